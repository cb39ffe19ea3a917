/*
 * A vCPU's thread: it runs the guest, answers its exits from the buses and the
 * interrupt controllers, and sleeps while the guest is halted.
 */
#ifndef MOTE_BOARD_VCPU_H
#define MOTE_BOARD_VCPU_H

#include "accel/accel.h"
#include "board/intc.h"
#include "board/life.h"
#include "dev/dev.h"

#include <pthread.h>
#include <stdatomic.h>

struct cpu {
    struct vcpu *vcpu;
    struct life *life;
    const struct dev_bus *ports, *mmio;
    struct intc *intc; /* NULL: the controllers are inside the accelerator */
    pthread_t thread;
    bool started;
    atomic_uint event; /* enum cpu_event, a futex */
    struct vcpu_exit exit;
    uint64_t exits[VCPU_EXIT_COUNT]; /* for --stats */
};

/* Fields up to intc are filled in before. */
int cpu_start(struct cpu *cpu);

/* Wait for the thread's end; life_finish was called before. */
void cpu_join(struct cpu *cpu);

/*
 * An interrupt may be pending for this vCPU: look at the controllers again.
 * What made it pending is visible before the call. Any thread, any locks held.
 */
void cpu_wake(struct cpu *cpu);

#endif
