/* Sockets for people and tools on this host: a debugger, `mote ctl`. */
#ifndef MOTE_HOST_LISTEN_H
#define MOTE_HOST_LISTEN_H

#include "host/loop.h"

#include <stdbool.h>
#include <sys/un.h>

struct listener {
    struct loop *loop;
    struct loop_watch watch;
    struct loop_timer rest; /* runs while nothing can be accepted, and watch is out of the loop */
    bool resting;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* of the socket to remove, or "" */
    void (*accepted)(void *user, int fd); /* a connection, non-blocking; its owner closes it */
    void *user;
};

/*
 * Listen at "unix:PATH" or "tcp:ADDRESS:PORT" and hand every connection to
 * accepted(), on the loop's thread. ADDRESS is a loopback address in numbers,
 * as whoever connects can do what he likes with the guest; PORT 0 takes a free
 * one (listener_port). A socket at PATH that nobody listens at is replaced; the
 * new one is for its owner only (mode 0600). -EINVAL: where is neither;
 * -EADDRINUSE: somebody listens there; others as of socket, bind and listen.
 * While the process has no descriptor or memory for a connection, it waits.
 */
int listener_open(struct listener *l, struct loop *loop, const char *where,
                  void (*accepted)(void *user, int fd), void *user);

/* Could listener_open understand this? For a command line, before anything is made. */
bool listener_valid(const char *where);

/* Stop listening and remove the socket. Connections stay. Fine on a zeroed listener. */
void listener_close(struct listener *l);

/* The TCP port that is listened at; 0 for a unix socket. */
unsigned listener_port(const struct listener *l);

#endif
