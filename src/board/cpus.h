/*
 * The machine's vCPUs as one, and its safe point: all of them stand still, so that whoever
 * asked for it may use their state, guest memory and its map as if they were its own.
 *
 * A holder asks with cpus_hold; nobody waits. Each vCPU finishes the instruction under way,
 * and then acknowledges with CPU_STILL in the word that has its holders' bits. The last one
 * calls held(), as does a cpus_hold that finds all there already. A vCPU goes on when nobody
 * holds it: it takes CPU_STILL out of a word that has no other bit, in one step. So a new holder
 * either finds it gone, and held() is yet to come, or it stays (tests/model/still.pml).
 */
#ifndef MOTE_BOARD_CPUS_H
#define MOTE_BOARD_CPUS_H

#include "board/life.h"
#include "board/vcpu.h"
#include "dev/dev.h"

#define CPUS_MAX 64

/* Who wants vCPUs to stand still. A vCPU runs when nobody does. */
enum cpu_hold {
    CPU_HOLD_USER = 1,     /* mote ctl, --paused */
    CPU_HOLD_DEBUGGER = 2, /* what gdb was told is stopped */
    CPU_HOLD_STOP = 4,     /* a debug exit, until the debugger has looked at it */
    CPU_HOLD_END = 8,      /* the machine's life is over: their threads end */
    CPU_STILL = 16,        /* no holder: the vCPU's own bit, it stands still */
};

struct cpus {
    struct life *life;
    struct dev_bus *ports, *mmio;
    /* All stand still; any thread. It may be called again for the same safe point. */
    void (*held)(void *user);
    void *user;
    unsigned count;
    struct cpu cpu[CPUS_MAX];
};

/* -errno: not all could be started; cpus_join ends those that were. */
int cpus_start(struct cpus *cpus);
/* life_finish was called before. All are told, then waited for. */
void cpus_join(struct cpus *cpus);

/*
 * Let all vCPUs stand still until cpus_release: held() is called then, maybe before this
 * returns. Their holders may get and set their state from one thread at a time. Any thread.
 */
void cpus_hold(struct cpus *cpus, enum cpu_hold who);
void cpus_release(struct cpus *cpus, enum cpu_hold who);

/* Let one of them go, while `who` goes on to hold the others. */
void cpu_release(struct cpu *cpu, enum cpu_hold who);

/*
 * Do all stand still? Between cpus_hold and the release that lets one of them go, true stays
 * true, and false may mean that held() is being called.
 */
bool cpus_are_held(struct cpus *cpus);

/* Who holds any of them, or waits for it to stand still: enum cpu_hold bits. */
unsigned cpus_holders(struct cpus *cpus);

/* On the vCPU's thread, which has a holder: stand still until it has none, or life is over. */
void cpu_stand_still(struct cpu *cpu);

#endif
