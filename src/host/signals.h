/*
 * Signals as events of the loop. Blocked in every thread that starts after
 * signals_init, so they are taken on the loop's thread only, in order and
 * outside of handlers.
 */
#ifndef MOTE_HOST_SIGNALS_H
#define MOTE_HOST_SIGNALS_H

#include "host/loop.h"

struct signals {
    struct loop *loop;
    struct loop_watch watch;
    void (*end)(void *user, int sig); /* SIGINT, SIGTERM, SIGHUP or SIGQUIT */
    void (*resize)(void *user);       /* SIGWINCH */
    void (*stop)(void *user);         /* SIGTSTP: the process stops when this returns */
    void (*resume)(void *user);       /* SIGCONT */
    void *user;
};

/*
 * Fill in the callbacks (each may be NULL) and user first. Signals that ask for
 * the end go to `end`, each of them.
 */
int signals_init(struct loop *loop, struct signals *s);

/*
 * The end is under way: what was sent up to now has been heeded, and from now on
 * signals that ask for the end have their default action, so that one that
 * hangs can be cut short.
 */
void signals_release(struct signals *s);
void signals_destroy(struct signals *s);

#endif
