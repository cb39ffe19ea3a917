/* What the protocol wants of the machine that is debugged. */
#ifndef MOTE_GDB_TARGET_H
#define MOTE_GDB_TARGET_H

#include "x86/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the protocol's order: Z0 to Z4. */
enum gdb_break {
    GDB_BREAK_SOFT,
    GDB_BREAK_HARD,
    GDB_WATCH_WRITE,
    GDB_WATCH_READ,
    GDB_WATCH_ACCESS,
    GDB_BREAK_KINDS
};

/*
 * Functions that return int: 0, or -errno. All but send, interrupt and cpus
 * are called only while every vCPU stands still. vCPUs count from 0;
 * addresses are linear ones.
 */
struct gdb_target {
    void *user;
    unsigned cpus;
    bool avx; /* the guest is offered AVX */

    /* Bytes for the client. */
    void (*send)(void *user, const void *data, size_t len);

    /* A vCPU's state with these groups (X86_*) current, or NULL; and: they were changed. */
    struct mote_state *(*get)(void *user, unsigned cpu, unsigned groups);
    int (*set)(void *user, unsigned cpu, unsigned groups);

    /*
     * Read returns how many bytes there are from gva on, up to len. Write is
     * all or nothing. Neither sees the software breakpoints.
     */
    size_t (*read)(void *user, unsigned cpu, uint64_t gva, void *buf, size_t len);
    int (*write)(void *user, unsigned cpu, uint64_t gva, const void *buf, size_t len);

    /* size: bytes that are watched; means nothing for breakpoints. */
    int (*insert)(void *user, unsigned cpu, enum gdb_break kind, uint64_t gva, uint64_t size);
    int (*remove)(void *user, unsigned cpu, enum gdb_break kind, uint64_t gva, uint64_t size);

    /* Let a vCPU run, or execute one instruction. */
    void (*resume)(void *user, unsigned cpu, bool step);

    /* Let all vCPUs stand still; gdb_stub_stopped tells when they do. */
    void (*interrupt)(void *user);

    /* A person's `monitor` command: print into text, with a NUL behind. */
    void (*monitor)(void *user, unsigned cpu, const char *command, char *text, size_t size);
};

#endif
