/*
 * A vCPU's thread: it runs the guest, answers its exits from the buses and the
 * interrupt controllers, and sleeps while the guest is halted.
 */
#ifndef MOTE_BOARD_VCPU_H
#define MOTE_BOARD_VCPU_H

#include "accel/accel.h"
#include "board/cpu_intc.h"
#include "board/life.h"
#include "dev/dev.h"

#include <pthread.h>
#include <stdatomic.h>

/* Who wants the vCPU to stand still. It runs when nobody does. */
enum cpu_hold {
    CPU_HOLD_USER = 1,
    CPU_HOLD_DEBUGGER = 2,
};

struct cpu {
    struct vcpu *vcpu;
    struct life *life;
    struct dev_bus *ports, *mmio;
    struct cpu_intc intc;
    void (*held)(void *user); /* the vCPU came to stand still; on its thread; may be NULL */
    void *user;
    pthread_t thread;
    bool started;
    atomic_uint event; /* enum cpu_event, a futex */
    atomic_uint hold;  /* enum cpu_hold bits and whether it stands still, a futex */
    bool halted;       /* HLT was executed and nothing woke it yet */
    bool waits;        /* for a start-up message (SIPI), before which nothing is executed */
    bool stepping;     /* a debugger's step: no interrupts, and HLT is one; its holder's to set */
    struct vcpu_exit exit;
    uint64_t exits[VCPU_EXIT_COUNT]; /* for --stats */
};

/* Fields up to user are filled in before, and waits; cpu_hold may have been called. */
int cpu_start(struct cpu *cpu);

/* life_finish was called before: make the thread see it, and wait for its end. */
void cpu_stop(struct cpu *cpu);
void cpu_join(struct cpu *cpu);

/*
 * An interrupt may be pending for this vCPU: look at the controllers again.
 * What made it pending is visible before the call. Any thread, any locks held.
 */
void cpu_wake(struct cpu *cpu);

/*
 * Let the vCPU stand still until cpu_release. True: it does already; else
 * held() is called once it does. From then on its holder may get and set its
 * state, from one thread at a time. A debug exit holds the vCPU by itself for
 * CPU_HOLD_DEBUGGER; cpu->exit is that exit then. Any thread but the vCPU's.
 */
bool cpu_hold(struct cpu *cpu, enum cpu_hold who);
void cpu_release(struct cpu *cpu, enum cpu_hold who);

/* Does it stand still? Its end is no standing still. */
bool cpu_is_held(struct cpu *cpu);

/* Who holds it, or waits for it to stand still: enum cpu_hold bits. */
unsigned cpu_holders(struct cpu *cpu);

#endif
