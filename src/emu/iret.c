/*
 * IRET in every mode (SDM Vol. 2A IRET): real, virtual-8086, protected mode to
 * the same or an outer level, to virtual-8086 mode, to the previous task, and
 * 64-bit mode.
 */
#include "emu/system.h"

struct iret_frame {
    uint64_t rip, rflags, rsp;
    uint16_t cs, ss;
};

static uint64_t pop_at(struct emu_cpu *c, unsigned index, unsigned size)
{
    return emu_load(c, SEG_SS, emu_stack_at(c, index * size), size);
}

/* The end that all forms share: flags last, NMIs come again. */
static void iret_commit(struct emu_cpu *c, uint64_t rflags, uint64_t rip)
{
    c->r[X86_RIP_SLOT] = rip;
    emu_set_rflags(c, rflags);
    emu_segments_changed(c);
    c->intr.nmi_masked = 0;
}

/* Real mode, and virtual-8086 mode with IOPL 3. */
static void iret_real(struct emu_cpu *c, unsigned size)
{
    uint64_t rip = pop_at(c, 0, size), flags = pop_at(c, 2, size);
    uint16_t selector = (uint16_t)pop_at(c, 1, size);
    struct mote_seg cs = segment_real(c, SEG_CS, selector, c->vm86);
    struct emu_stack stack;

    if (rip > cs.limit)
        emu_gp(c, 0);
    stack_current(c, 0, &stack);
    stack.sp += 3 * size;
    stack_commit(c, &stack);
    c->seg[SEG_CS] = cs;
    iret_commit(c, flags_popped(c, flags, size), rip);
}

/* CPL 0 pops an image with VM set: nine doublewords. */
static void iret_to_vm86(struct emu_cpu *c, const struct iret_frame *f)
{
    static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint64_t rsp = pop_at(c, 3, 4);
    uint16_t selector[ARRAY_SIZE(order)], ss = (uint16_t)pop_at(c, 4, 4);

    for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
        selector[n] = (uint16_t)pop_at(c, 5 + n, 4);
    if (f->rip > 0xffff)
        emu_gp(c, 0);
    for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
        c->seg[order[n]] = segment_real(c, order[n], selector[n], true);
    c->seg[SEG_SS] = segment_real(c, SEG_SS, ss, true);
    c->seg[SEG_CS] = segment_real(c, SEG_CS, f->cs, true);
    c->r[RSP] = (uint32_t)rsp;
    c->cpl = 3;
    iret_commit(c, (uint32_t)f->rflags, f->rip);
}

static struct mote_seg iret_stack_segment(struct emu_cpu *c, const struct mote_seg *cs, uint16_t ss)
{
    unsigned cpl = cs->selector & 3;

    if (selector_null(ss) && code_is_64(c, cs) && cpl < 3 && ss == cpl)
        return segment_null(ss, cpl);
    return segment_stack(c, ss, cpl, EXC_GP, 0);
}

/* Code segment to return to: privilege may only go down. */
static struct mote_seg iret_code_segment(struct emu_cpu *c, const struct iret_frame *f)
{
    unsigned attrib, dpl, rpl = f->cs & 3;
    struct emu_desc d;
    struct mote_seg cs;

    code_fetch(c, f->cs, 0, &d);
    attrib = desc_attrib(d.raw);
    dpl = attrib_dpl(attrib);
    if (rpl < c->cpl || (attrib & SEG_TYPE_EC ? dpl > rpl : dpl != rpl))
        emu_gp(c, selector_error(f->cs, 0));
    cs = segment_code(c, &d, f->cs, rpl, 0);
    code_check_target(c, &cs, f->rip, 0);
    return cs;
}

static void iret_protected(struct emu_cpu *c, struct iret_frame *f, unsigned size)
{
    struct mote_seg cs = iret_code_segment(c, f);
    bool outer = (cs.selector & 3) > c->cpl;
    uint64_t flags = flags_popped(c, f->rflags, size);
    struct emu_stack stack;

    stack_current(c, 0, &stack);
    stack.sp += 3 * size;
    if (outer || c->code64) { /* 64-bit mode pops SS:RSP always */
        stack.sp = pop_at(c, 3, size);
        stack.ss = iret_stack_segment(c, &cs, (uint16_t)pop_at(c, 4, size));
        stack.mask = code_is_64(c, &cs)         ? UINT64_MAX
                     : stack.ss.attrib & SEG_DB ? UINT32_MAX
                                                : UINT16_MAX;
    }
    c->seg[SEG_CS] = cs;
    c->cpl = cs.selector & 3;
    stack_commit(c, &stack);
    if (outer)
        segments_drop_inner(c);
    iret_commit(c, flags, f->rip);
}

/* NT: back to the task that the current TSS links to. NMIs come again first, since
 * the switch may raise an exception in the task returned to. */
static void iret_task(struct emu_cpu *c)
{
    uint16_t link = (uint16_t)emu_system_load(c, c->seg[SEG_TR].base, 2);

    c->intr.nmi_masked = 0;
    emu_task_switch(c, link, EMU_TASK_IRET, false, 0);
}

void op_iret(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = op->i.osize;
    struct iret_frame f;

    if (c->vm86 && iopl(c) < 3)
        emu_gp(c, 0);
    if (!c->protected_mode) {
        iret_real(c, size);
        return;
    }
    if (c->rflags & FLAG_NT) {
        if (c->long_mode)
            emu_gp(c, 0);
        iret_task(c);
        return;
    }
    f.rip = pop_at(c, 0, size);
    f.cs = (uint16_t)pop_at(c, 1, size);
    f.rflags = pop_at(c, 2, size);
    if (f.rflags & FLAG_VM && size == 4 && !c->cpl && !c->long_mode)
        iret_to_vm86(c, &f);
    else
        iret_protected(c, &f, size);
}
