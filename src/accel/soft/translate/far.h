/*
 * Direct branches of user code to other pages. Each place remembers the page it was executed in
 * and what code it led to then, which is as good as the jump cache's entry that it was taken from:
 * whatever forgets addresses empties all places. So a loop across a page's end neither looks
 * anything up nor waits for the page that its last branch computed.
 */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_FAR_H
#define MOTE_ACCEL_SOFT_TRANSLATE_FAR_H

#include "base/bits.h"

struct soft_vcpu;

#define FAR_COUNT 16384 /* branches beyond it look into the jump cache */

struct translate_far {
    uint64_t minus; /* rip_page at the branch, negated; FAR_EMPTY: nothing is known */
    const uint8_t *code;
    uint64_t page; /* rip_page of the code there */
    uint64_t unused;
};

/* Added to any rip_page, and to the attention word, it is not 0. */
#define FAR_EMPTY UINT64_C(0x100)

struct translate_fars {
    uint32_t used;
    uint32_t fills;          /* places that are not empty, in log[] */
    uint32_t filling;        /* the one that looks into the jump cache: offset from GS */
    uint32_t stale;          /* code that was dropped was entered, perhaps from one of them */
    uint32_t log[FAR_COUNT]; /* offsets from GS */
    struct translate_far place[FAR_COUNT];
};

/* Nothing is known of any place any more. */
void far_flush(struct soft_vcpu *s);
/* They belong to nobody any more. */
void far_reset(struct soft_vcpu *s);

#endif
