/*
 * The event loop of the one I/O thread: file descriptors and timers. It sleeps
 * in epoll_wait and nowhere else; callbacks must not block.
 *
 * Watches are added and removed on the loop's thread, or before it runs.
 * loop_stop, loop_event_set and loop_timer_arm may be called from any thread.
 */
#ifndef MOTE_HOST_LOOP_H
#define MOTE_HOST_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A file descriptor that is watched. The owner keeps it at one address while it is added. */
struct loop_watch {
    int fd;
    void (*ready)(void *user, uint32_t events); /* EPOLL* bits */
    void *user;
};

/* A wake-up that other threads can set: ready() runs on the loop's thread once after it. */
struct loop_event {
    struct loop_watch watch;
    void (*ready)(void *user);
    void *user;
};

struct loop {
    int epoll_fd; /* -1: not open */
    struct loop_event wake;
    atomic_bool stop;
};

int loop_init(struct loop *loop);
void loop_destroy(struct loop *loop);

/* Dispatch until loop_stop. 0, or -errno when waiting itself failed. */
int loop_run(struct loop *loop);

/* Make loop_run return soon. Sticky. Async-signal-safe. */
void loop_stop(struct loop *loop);

/*
 * Watch w->fd for `events` (EPOLLIN, EPOLLOUT). -EPERM: the file cannot be
 * waited for because it is always ready (a regular file, /dev/null).
 */
int loop_add(struct loop *loop, struct loop_watch *w, uint32_t events);

/* After this, w->ready is not called any more, not even from the same wake-up. */
void loop_remove(struct loop *loop, struct loop_watch *w);

int loop_event_init(struct loop *loop, struct loop_event *e, void (*ready)(void *user), void *user);
void loop_event_set(struct loop_event *e);
void loop_event_destroy(struct loop *loop, struct loop_event *e);

/* A one-shot timer on CLOCK_MONOTONIC. */
struct loop_timer {
    struct loop_watch watch;
    void (*fire)(void *user);
    void *user;
};

#define LOOP_TIMER_OFF UINT64_MAX

int loop_timer_init(struct loop *loop, struct loop_timer *t, void (*fire)(void *user), void *user);
void loop_timer_destroy(struct loop *loop, struct loop_timer *t);

/*
 * Ask for one fire() at `deadline`, in ns of CLOCK_MONOTONIC (soon, when it is
 * past), instead of what was asked before; LOOP_TIMER_OFF asks for none. One
 * fire() that had already begun may still run after this returns.
 */
void loop_timer_arm(struct loop_timer *t, uint64_t deadline);

#endif
