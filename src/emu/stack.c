/*
 * Stacks that far calls and events push on. Nothing of the CPU changes until
 * stack_commit, so a fault on the way leaves the state as it was.
 */
#include "emu/system.h"

void stack_current(struct emu_cpu *c, unsigned ext, struct emu_stack *s)
{
    *s = (struct emu_stack){.ss = c->seg[SEG_SS], .sp = c->r[RSP], .mask = c->sp_mask, .ext = ext};
}

/* Offsets in the TSS: SDM Vol. 3A figures 7-2 and 7-10. */
void stack_inner(struct emu_cpu *c, unsigned cpl, unsigned ext, struct emu_stack *s)
{
    const struct mote_seg *tr = &c->seg[SEG_TR];
    bool wide = tr->attrib & 8;
    unsigned size = wide ? 4 : 2;
    unsigned at = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
    uint16_t selector;

    if (at + size + 1 > tr->limit)
        emu_raise_error(c, EXC_TS, selector_error(tr->selector, ext));
    *s = (struct emu_stack){.system = true, .ext = ext};
    s->sp = emu_system_load(c, tr->base + at, size);
    selector = (uint16_t)emu_system_load(c, tr->base + at + size, 2);
    s->ss = segment_stack(c, selector, cpl, EXC_TS, ext);
    s->mask = s->ss.attrib & SEG_DB ? UINT32_MAX : UINT16_MAX;
}

uint64_t tss_rsp(struct emu_cpu *c, unsigned index, unsigned ext)
{
    const struct mote_seg *tr = &c->seg[SEG_TR];
    unsigned at = 4 + 8 * index;

    if (at + 7 > tr->limit)
        emu_raise_error(c, EXC_TS, selector_error(tr->selector, ext));
    return emu_system_load(c, tr->base + at, 8);
}

void stack_long(struct emu_cpu *c, uint64_t rsp, unsigned cpl, unsigned ext, struct emu_stack *s)
{
    *s = (struct emu_stack){.sp = rsp & ~UINT64_C(15), .mask = UINT64_MAX, .flat = true};
    s->ext = ext;
    s->system = cpl < 3;
    s->ss = cpl == c->cpl ? c->seg[SEG_SS] : segment_null((uint16_t)cpl, cpl);
}

/* Does [off, off+size) lie in the stack segment (SDM Vol. 3A 5.3)? */
static bool stack_holds(const struct mote_seg *ss, uint64_t off, unsigned size)
{
    uint64_t last = off + size - 1;

    if (ss->attrib & SEG_TYPE_EC)
        return off > ss->limit && last <= (ss->attrib & SEG_DB ? UINT32_MAX : UINT16_MAX);
    return last <= ss->limit;
}

void stack_push(struct emu_cpu *c, struct emu_stack *s, unsigned size, uint64_t value)
{
    uint64_t at = (s->sp - size) & s->mask;

    if (s->flat && !(x86_canonical(at) && x86_canonical(at + size - 1)))
        emu_raise_error(c, EXC_SS, s->ext);
    if (!s->system) {
        emu_store(c, SEG_SS, s->flat ? at - c->seg_base[SEG_SS] : at, size, value);
    } else if (s->flat) {
        emu_system_store(c, at, size, value);
    } else {
        if (!stack_holds(&s->ss, at, size))
            emu_raise_error(c, EXC_SS, selector_error(s->ss.selector, s->ext));
        emu_system_store(c, s->ss.base + at, size, value);
    }
    s->sp = (s->sp & ~s->mask) | at;
}

void stack_commit(struct emu_cpu *c, const struct emu_stack *s)
{
    c->seg[SEG_SS] = s->ss;
    if (s->mask == UINT16_MAX)
        c->r[RSP] = (c->r[RSP] & ~s->mask) | (s->sp & s->mask);
    else
        c->r[RSP] = s->sp & s->mask;
}
