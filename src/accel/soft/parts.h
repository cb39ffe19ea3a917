/*
 * What a vCPU's time goes to, by part of the engine, and which tier did how many
 * instructions: for people who tune the engine. Only where statistics are wanted
 * (machine_config.count). A run's time on the processor is divided as the TSC says at each change
 * of parts, so that a busy host does little harm. A call of the interpreter is two changes: parts
 * that change often look a little larger than they are.
 */
#ifndef MOTE_ACCEL_SOFT_PARTS_H
#define MOTE_ACCEL_SOFT_PARTS_H

#include "accel/accel.h"

enum soft_part {
    PART_OUTSIDE,     /* no run: exits, devices */
    PART_LOOP,        /* between blocks: finding them, attention */
    PART_CODE,        /* translated code */
    PART_INTERPRETED, /* the interpreter, called from there */
    PART_MISSED,      /* ditto, as a check failed */
    PART_COLD,        /* blocks not translated yet */
    PART_SINGLE,      /* instructions in no block */
    PART_EVENT,       /* delivering exceptions and interrupts */
    PART_TRANSLATE,   /* decoding into blocks, and translating them */
    PART_WALK,        /* misses of the TLB: page walks */
    PART_COUNT,
};

struct soft_parts {
    bool on;
    enum soft_part now;
    uint64_t since;             /* the TSC when that began */
    uint64_t since_retired;     /* instructions retired then */
    uint64_t since_cpu;         /* the thread's time on the processor when this run, or the time
                                   outside, began, ns; 0: no run yet */
    uint64_t ticks[PART_COUNT]; /* of this run */
    uint64_t ns[PART_COUNT], retired[PART_COUNT];
};

/* `retired`: instructions so far. The part before is what came between. */
enum soft_part parts_switch(struct soft_parts *p, enum soft_part to, uint64_t retired);

/* What came since the last switch was that. */
static inline void parts_was(struct soft_parts *p, enum soft_part part, uint64_t retired)
{
    enum soft_part now = p->now;

    p->now = part;
    parts_switch(p, now, retired);
}

/* Around a run, on the vCPU's thread. */
void parts_begin(struct soft_parts *p, uint64_t retired);
void parts_end(struct soft_parts *p, uint64_t retired);

/* Counters to stats[], at most `room`: how many they are. */
unsigned parts_stats(const struct soft_parts *p, struct accel_stat *stats, unsigned room);

#endif
