/*
 * One entry of the software TLB remembered for each place in translated code that accesses
 * memory, so that a check there needs no index. Slots hold copies: whatever takes an entry or a
 * right from the TLB takes it from the slots, by a log of those that are filled.
 *
 * A slot that is empty has a page in its tag that no canonical address has and the guest cannot
 * know, and a page of its own in `host`.
 */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_SLOTS_H
#define MOTE_ACCEL_SOFT_TRANSLATE_SLOTS_H

#include "base/bits.h"

struct soft_vcpu;
struct block;

#define SLOT_COUNT 32768 /* places beyond it look into the TLB */
#define SLOT_LOG   4096

/* Slots missed this often, with less than so many cycles in between, are given up. */
#define SLOT_MISSES 64
#define SLOT_CYCLES 500

struct translate_slot {
    uint64_t tag;
    uint8_t *host;
};

/* Whose it is: found there when it misses often. */
struct translate_place {
    struct block *block;
    uint64_t tsc; /* of a miss, a while ago */
    uint8_t op;
};

struct translate_slots {
    uint64_t tmp_rax, tmp_rcx;
    uint64_t empty; /* the tag of those that are */
    uint32_t fills; /* in log[] */
    uint32_t hot;   /* the slot that has missed SLOT_MISSES times: its offset from GS; 0: none */
    uint32_t used;
    struct {
        uint32_t slot; /* offset from GS */
        uint32_t page; /* low bits of the page's number */
    } log[SLOT_LOG];
    struct translate_slot slot[SLOT_COUNT] __attribute__((aligned(16)));
    uint16_t misses[SLOT_COUNT];
    struct translate_place place[SLOT_COUNT];
    uint8_t nowhere[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
};

void slots_init(struct soft_vcpu *s);
/* Nothing is in the slots any more; or nothing of linear's page is. */
void slots_flush(struct soft_vcpu *s);
void slots_flush_page(struct soft_vcpu *s, uint64_t linear);
/* They belong to nobody any more. */
void slots_reset(struct soft_vcpu *s);

/* For op number `op` of b: offset from GS. 0: there is none left. */
uint32_t slots_take(struct soft_vcpu *s, struct block *b, unsigned op);

/* The slot `hot` missed often: perhaps its place is better off with the TLB. */
void slots_missed(struct soft_vcpu *s);

#endif
