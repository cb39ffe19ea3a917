/*
 * The timer of a vCPU's local APIC, which belongs to the vCPU's thread alone. A halted vCPU
 * sleeps until the deadline. For one that runs, the loop's timer makes it look: that is set
 * to the deadline or before, and a deadline that moves away leaves it as it is.
 */
#ifndef MOTE_BOARD_CPU_TIMER_H
#define MOTE_BOARD_CPU_TIMER_H

#include "dev/dev.h"
#include "host/clock.h"
#include "host/loop.h"

#include <stdatomic.h>

struct cpu_timer {
    struct dev_timer dev; /* the device sets fire and dev before it arms */
    struct host_clock *clock;
    struct loop_timer loop;
    void (*wake)(void *user); /* make the vCPU's thread call cpu_timer_look; any thread */
    void *user;
    uint64_t deadline; /* host_now_ns, or LOOP_TIMER_OFF */
    uint64_t set;      /* that of the loop's timer */
    atomic_bool rung;  /* the loop's timer came */
};

/* wake and user are filled in before. */
int cpu_timer_init(struct cpu_timer *t, struct loop *loop, struct host_clock *clock);
void cpu_timer_destroy(struct cpu_timer *t, struct loop *loop);

/* The rest is called on the vCPU's thread. Fire if it is time; a call too many is fine. */
void cpu_timer_look(struct cpu_timer *t);

/* The vCPU is about to run. */
void cpu_timer_run(struct cpu_timer *t);

/* It is about to sleep: returns until when, in host_now_ns; LOOP_TIMER_OFF: without end. */
uint64_t cpu_timer_sleep(struct cpu_timer *t);

/* It slept until then. */
void cpu_timer_slept(struct cpu_timer *t);

#endif
