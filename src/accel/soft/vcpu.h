/*
 * What vcpu.c, a vCPU's life and state, and run_loop.c, which runs it, share: small things that a
 * run does at its beginning and end, or for each block, so they are inline.
 */
#ifndef MOTE_ACCEL_SOFT_VCPU_H
#define MOTE_ACCEL_SOFT_VCPU_H

#include "accel/soft/soft.h"

static inline struct soft_vcpu *soft(struct vcpu *v)
{
    return (struct soft_vcpu *)v;
}

/* The offset is the interpreter's to change; others see it as of the last exit. */
static inline void tell_tsc_offset(struct soft_vcpu *s)
{
    atomic_store_explicit(&s->vcpu.tsc_offset, s->cpu.msr.tsc, memory_order_relaxed);
}

/* With counting. */
static inline enum soft_part part(struct soft_vcpu *s, enum soft_part to)
{
    return parts_switch(&s->parts, to, s->cpu.retired);
}

/* An NMI waits, or no more. */
static inline void nmi_waits(struct soft_vcpu *s, bool waits)
{
    s->cpu.intr.nmi_pending = waits;
    if (waits)
        atomic_fetch_or(&s->attention, SOFT_NMI);
    else
        atomic_fetch_and(&s->attention, ~(unsigned)SOFT_NMI);
}

/* What the shared page was changed to goes in before the CPU is looked at. */
static inline void state_flush(struct vcpu *v)
{
    if (v->dirty)
        soft_set(v, v->dirty);
    v->dirty = 0;
}

#endif
