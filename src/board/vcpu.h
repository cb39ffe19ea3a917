/*
 * A vCPU's thread: it runs the guest, has its exits answered (board/cpu_exit.h), delivers
 * interrupts, and sleeps while the guest is halted. How it is brought to stand still is in
 * board/cpus.h.
 */
#ifndef MOTE_BOARD_VCPU_H
#define MOTE_BOARD_VCPU_H

#include "accel/accel.h"
#include "board/cpu_intc.h"

#include <pthread.h>
#include <stdatomic.h>

struct cpus;

/* What a processor does (SDM Vol. 3C 24.4.2, the activity state). */
enum cpu_activity {
    CPU_ACTIVE,
    CPU_HALTED,    /* HLT was executed and nothing woke it yet */
    CPU_WAIT_SIPI, /* for a start-up message, before which nothing is executed */
};

struct cpu {
    struct vcpu *vcpu;
    struct cpus *cpus; /* all of them */
    struct cpu_intc intc;
    int pin; /* the host CPU its thread keeps to; -1: any */
    pthread_t thread;
    bool started;
    atomic_uint event;  /* enum cpu_event, a futex */
    atomic_uint hold;   /* enum cpu_hold bits, a futex (board/cpus.h) */
    atomic_uint over;   /* the thread is at its end, a futex */
    atomic_bool kicked; /* by a hypercall: the HLT under way, or the next, ends at once */
    enum cpu_activity activity;
    bool stepping; /* a debugger's step: no interrupts, and HLT is one; its holder's to set */
    struct vcpu_exit exit;
    uint64_t exits[VCPU_EXIT_COUNT]; /* for --stats */
};

/*
 * vcpu, cpus, intc, pin and activity are filled in before; it may have holders. -EINVAL: the
 * process may not use the host CPU of that number.
 */
int cpu_start(struct cpu *cpu);

/* Wait for the end of the thread. It was told before, by CPU_HOLD_END. */
void cpu_join(struct cpu *cpu);

/*
 * The vCPU has something new to look at: an interrupt, a holder. What it is, is visible
 * before the call. Any thread, any locks held.
 */
void cpu_wake(struct cpu *cpu);

/* End a system call (a write to a full pipe) that its thread may sleep in. */
void cpu_nudge(struct cpu *cpu);

#endif
