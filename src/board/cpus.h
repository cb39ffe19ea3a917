/* The machine's vCPUs as one: started, held, let go and joined together. */
#ifndef MOTE_BOARD_CPUS_H
#define MOTE_BOARD_CPUS_H

#include "board/vcpu.h"

#define CPUS_MAX 64

struct cpus {
    unsigned count;
    struct cpu cpu[CPUS_MAX];
};

/* -errno: not all could be started; cpus_join ends those that were. */
int cpus_start(struct cpus *cpus);
/* life_finish was called before. */
void cpus_join(struct cpus *cpus);

/*
 * cpu_hold for all: true when all stand still already, else the last of them to do so
 * makes cpus_are_held true before its held() is called.
 */
bool cpus_hold(struct cpus *cpus, enum cpu_hold who);
void cpus_release(struct cpus *cpus, enum cpu_hold who);
bool cpus_are_held(struct cpus *cpus);

/* Who holds any of them. */
unsigned cpus_holders(struct cpus *cpus);

#endif
