/*
 * A vCPU that spins on PAUSE makes way for another one that has to wait for the same processor of
 * the host, as with PAUSE-loop exiting (SDM Vol. 3C 25.1.3) and the pause filter (APM Vol. 2
 * 15.14.4) under KVM. Translated code only counts, but for the last of many. In a machine of one
 * vCPU PAUSE is nothing.
 */
#ifndef MOTE_ACCEL_SOFT_SPIN_H
#define MOTE_ACCEL_SOFT_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct soft_vcpu;

struct soft_spin {
    int left;        /* PAUSEs until somebody looks whether it spins; translated code counts, too */
    uint64_t tsc;    /* the host's, when that was done last */
    uint64_t within; /* ticks of it that so many PAUSEs take at most when they are spinning */
    uint64_t yields;
};

/* Where a vCPU was last seen to run, as it entered or spun. Others read it; 64 bytes, so that
 * a vCPU that moves costs the others little. */
struct spin_place {
    _Atomic unsigned cpu; /* a number for each of the host's; 0: the vCPU does not want to run */
    uint8_t pad[60];
};

/* Is it to be told of PAUSEs? */
bool spin_init(struct soft_vcpu *s);

/* emu_ops.paused: sets SOFT_SPIN when it spins while another one has to wait. */
void spin_paused(void *user);
/* Then, between two blocks, outside of the code map: the host runs others. */
void spin_make_way(struct soft_vcpu *s);

/* Its thread is about to run the guest; it halted, or is no more. */
void spin_run(struct soft_vcpu *s);
void spin_halted(struct soft_vcpu *s);

#endif
