/*
 * Steal time (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME): 64 bytes of guest
 * memory that say how long the vCPU would have run and did not, and whether it is off its
 * processor now.
 *
 * Stolen is what wall time passes the thread's processor time by while the vCPU does not halt:
 * the host ran others, or fetched the guest's memory.
 *
 * A vCPU that halted is off its processor. Linux wakes no task onto such a one unless the others
 * are busy for long, and to wake its thread costs more than most tasks do before they sleep again.
 */
#ifndef MOTE_ACCEL_SOFT_STEAL_H
#define MOTE_ACCEL_SOFT_STEAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct soft_vcpu;

struct soft_steal {
    bool measures;  /* the rest is valid: the vCPU has run, and neither halted nor paused since */
    bool preempted; /* the guest was told so */
    pthread_t thread;
    uint64_t wall, cpu; /* ns of CLOCK_MONOTONIC and of that thread, up to which it is accounted */
    uint64_t stolen;    /* ns */
};

/* MSR_KVM_STEAL_TIME. False: `index` is another register, CPUID offers none, or the value has
 * reserved bits. */
bool steal_write(struct soft_vcpu *s, uint32_t index, uint64_t value);
bool steal_read(const struct soft_vcpu *s, uint32_t index, uint64_t *value);

/* Its thread is about to run the guest. */
void steal_run(struct soft_vcpu *s);
/* The guest executed HLT, and the vCPU has left. */
void steal_halted(struct soft_vcpu *s);
/* It stood still, and nobody stole that time. */
void steal_paused(struct soft_vcpu *s);
/* An interrupt is delivered; Linux looks at the time as its timer's is. */
void steal_interrupted(struct soft_vcpu *s);

#endif
