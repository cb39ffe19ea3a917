/*
 * The remote stub: what a gdb says is obeyed on a struct gdb_target. The
 * protocol and nothing else: whoever has the connection feeds it, on one
 * thread. It is all-stop: all vCPUs run, or all stand still. A client's bytes
 * are hostile; memory and the work for a byte are bounded.
 */
#ifndef MOTE_GDB_STUB_H
#define MOTE_GDB_STUB_H

#include "gdb/packet.h"
#include "gdb/target.h"

/* Signals in gdb's numbering. */
enum {
    GDB_SIGHUP = 1,
    GDB_SIGINT = 2,
    GDB_SIGTRAP = 5,
    GDB_SIGABRT = 6,
    GDB_SIGSEGV = 11,
    GDB_SIGALRM = 14,
    GDB_SIGTERM = 15,
};

enum gdb_stop_kind {
    GDB_STOP_PLAIN, /* a step was done, or the client asked */
    GDB_STOP_SOFT,  /* a breakpoint that was inserted as GDB_BREAK_SOFT */
    GDB_STOP_HARD,
    GDB_STOP_WATCH_WRITE,
    GDB_STOP_WATCH_READ,
    GDB_STOP_WATCH_ACCESS,
};

struct gdb_stop {
    unsigned cpu;
    unsigned signal;
    enum gdb_stop_kind kind;
    uint64_t gva; /* of a watch */
};

enum gdb_state {
    GDB_STOPPED,
    GDB_RUNNING,
    GDB_DETACHED, /* the client is done, and the guest is to go on */
    GDB_KILLED,   /* the client wants the machine to end */
};

#define GDB_XML 16384

struct gdb_stub {
    const struct gdb_target *target;
    enum gdb_state state;
    bool no_ack;              /* QStartNoAckMode */
    bool swbreak, hwbreak;    /* the client knows these stop reasons */
    unsigned cpu, resume_cpu; /* chosen by Hg and Hc */
    bool resume_all;
    struct gdb_stop stop; /* the last one */
    struct gdb_receiver in;
    struct gdb_reply reply;
    size_t frame_len;
    char frame[GDB_FRAME]; /* what was sent last, for a client that asks for it again */
    char xml[GDB_XML];     /* the target's description */
};

/* A client came, and all vCPUs stand still. The target outlives the stub. */
void gdb_stub_init(struct gdb_stub *s, const struct gdb_target *target);

/* Bytes of the client. Look at s->state afterwards. */
void gdb_stub_feed(struct gdb_stub *s, const uint8_t *buf, size_t len);

/* All vCPUs stand still again. */
void gdb_stub_stopped(struct gdb_stub *s, const struct gdb_stop *stop);

/* The machine's life is over: with a status (0 to 255), or by a signal as it were. */
void gdb_stub_exited(struct gdb_stub *s, bool by_signal, unsigned value);

#endif
