/*
 * A gdb's connection to the machine (--gdb): one client at a time. While it is
 * there, and from its first byte on, the vCPUs stand still until it says
 * continue. When it leaves, or is gone, its breakpoints are removed and the
 * guest runs on. All on the loop's thread.
 */
#ifndef MOTE_BOARD_DEBUGGER_H
#define MOTE_BOARD_DEBUGGER_H

#include "board/breakpoints.h"
#include "board/cpus.h"
#include "gdb/stub.h"
#include "host/listen.h"

#define DEBUGGER_OUT 65536 /* bytes that a client may leave unread */

enum debugger_phase {
    DEBUGGER_IDLE,      /* nobody is there */
    DEBUGGER_ATTACHING, /* a client waits for the vCPUs to stand still */
    DEBUGGER_ATTACHED,  /* stub.state says what is going on */
    DEBUGGER_LEAVING,   /* nobody is there; the vCPUs are to stand still to be cleaned up */
};

struct debugger {
    struct loop *loop;
    struct life *life;
    struct guest_mem *mem;
    struct cpus *cpus;
    struct listener listener;
    bool open;

    enum debugger_phase phase;
    bool stopping;        /* the client is to be told of `stop` */
    bool unpause;         /* LEAVING: the client held the machine; --paused ends with it */
    struct gdb_stop stop; /* what the client is told then */
    struct breakpoints breaks;
    struct gdb_target target;
    struct gdb_stub stub;

    struct loop_watch client; /* fd -1: none */
    uint32_t watched;         /* EPOLL* bits; 0: it is not */
    bool lost;                /* the client is gone, or read too little */
    size_t out_len;
    char out[DEBUGGER_OUT];
};

/* Listen; `where` as listener_open has it, with its errors. */
int debugger_open(struct debugger *d, struct loop *loop, struct life *life, const char *where);

/* The machine is there. avx: its guest is offered AVX. Before the loop runs. */
void debugger_attach(struct debugger *d, struct guest_mem *mem, struct cpus *cpus, bool avx);

/* All vCPUs stand still (cpus->held). On the loop's thread. */
void debugger_held(struct debugger *d);

/* The machine's life is over, the vCPUs' threads have ended: tell the client. */
void debugger_end(struct debugger *d, enum life_end end, unsigned detail);

void debugger_close(struct debugger *d); /* fine on a zeroed one */

#endif
