/*
 * Faults in hot code: an instruction runs thousands of times, and then once where it faults.
 * What the tests of them share: where things are, and the machine that they begin with.
 */
#ifndef MOTE_TESTS_ACCEL_FAULTS_H
#define MOTE_TESTS_ACCEL_FAULTS_H

#include "hot.h"

#define GOOD    (SMP_DATA + 0x800)
#define BAD     0x90000u /* a page that is made bad; NEXT is */
#define NEXT    0x91000u /* ... when the operand crosses */
#define OPERAND UINT64_C(0x1122334455667788)

enum effect { READ, WRITE }; /* what is read and written counts as written */

struct kind {
    const char *name;
    const uint8_t *code, *end, *loop, *at;
    enum effect access;
    unsigned size;
    int disp;      /* from RBX to the operand */
    unsigned copy; /* a register that holds RBX as well, never RAX; 0: none */
    bool stack;    /* the operand is in SS */
    bool target;   /* the operand is the address of the instruction that follows */
    unsigned align;
};

/* Where the operand is bad, and what comes of it. */
struct bad {
    const char *name;
    enum hot_mode mode;
    uint64_t entry;   /* of the bad page, but for its address */
    bool crosses;     /* the page is the operand's second one */
    bool only_writes; /* reading is fine */
    uint32_t error;   /* #PF's, but for PF_W */
    uint64_t cr4;
};

/* Code of k at HOT_CODE, hot_at it; registers that the code of kinds takes for granted. */
void fault_start(struct smp *s, const struct kind *k, const struct bad *b);

/* Status flags that the code overwrites before it reads them may be stale in a fault's frame
 * (docs/architecture.md, the translator). The others are exact. */
void fault_flags(const struct hot_trap *t);

#endif
