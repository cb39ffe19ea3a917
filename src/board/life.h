/* How a machine's life ends: any thread may end it, the first reason counts. */
#ifndef MOTE_BOARD_LIFE_H
#define MOTE_BOARD_LIFE_H

#include "host/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum life_end {
    LIFE_RUNNING,
    LIFE_POWEROFF,     /* the guest switched itself off */
    LIFE_RESET,        /* the guest asked for a reset */
    LIFE_TRIPLE_FAULT, /* a vCPU shut down */
    LIFE_PANIC,        /* the guest's kernel reported that it panicked */
    LIFE_DEBUG_EXIT,   /* detail: the status that the debug-exit port made of it */
    LIFE_EXIT,         /* detail: the status the guest asked for on the control line */
    LIFE_TIMEOUT,      /* --timeout */
    LIFE_QUIT,         /* the user asked for it; why: by what means */
    LIFE_FAILED,       /* the accelerator, or a host function, cannot go on; see why */
};

struct life {
    struct loop *loop;
    pthread_mutex_t lock;
    atomic_int end; /* enum life_end */
    unsigned detail;
    char why[512]; /* LIFE_FAILED: a sentence; LIFE_QUIT: "Ctrl-A x" or the like */
};

void life_init(struct life *life, struct loop *loop);
void life_destroy(struct life *life);

/*
 * End the machine: loop_run returns soon, and whoever runs vCPUs stops them
 * then. why may be NULL. Any thread; later calls change nothing.
 */
void life_finish(struct life *life, enum life_end end, unsigned detail, const char *why);

static inline bool life_running(struct life *life)
{
    return atomic_load(&life->end) == LIFE_RUNNING;
}

#endif
