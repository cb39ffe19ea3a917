/*
 * What a test of memory order is: the code of its threads and the outcome to look for. The tests
 * are in tests.c; litmus.c has them executed, and counts.
 */
#ifndef MOTE_GUESTS_LITMUS_H
#define MOTE_GUESTS_LITMUS_H

#include <stdint.h>

#define MAX_THREADS 4

/* What the threads of one instance share. x and y point into lines. */
struct instance {
    uint64_t *x, *y;
    uint64_t a[MAX_THREADS], b[MAX_THREADS]; /* what the threads read */
    _Alignas(64) unsigned char lines[3 * 64];
};

struct body_args {
    uint64_t *x, *y;
    uint64_t a, b;
};

typedef void body(struct body_args *args);

struct test {
    const char *name;
    unsigned threads;
    body *bodies[MAX_THREADS];
    body *broken[MAX_THREADS]; /* of --broken, where other than bodies */
    /* The outcome to look for. */
    int (*seen)(const struct instance *at);
    unsigned allowed : 1;   /* x86 allows it: it is only counted */
    unsigned line_only : 1; /* x is 16 bytes that are aligned, y is not used */
    unsigned split : 1;     /* x lies across two cache lines */
    int (*offered)(void);   /* NULL: always */
    /* Sums: one pair of cells for the whole run, looked at once, at the end. */
    uint64_t (*lost)(const unsigned char *cell, uint64_t turns);
};

extern const struct test tests[];
extern const unsigned test_count;

#endif
