/*
 * The hardware task switch (SDM Vol. 3A 7.3), with 32- and 16-bit TSSs.
 *
 * Everything that may fault in the old task comes first: the new TSS is read,
 * the old state is stored. Then the switch is committed, and what faults while
 * segments are loaded faults in the new task: c->op is cleared there, so that
 * the new task's rip is what an exception returns to.
 */
#include "emu/debug.h"
#include "emu/system.h"

/* Field offsets (SDM Vol. 3A figures 7-2 and 7-10). Registers come in encoding order. */
struct tss_layout {
    unsigned size; /* of a register */
    uint8_t rip, rflags, regs, segs, seg_step, nsegs, ldt;
    unsigned limit; /* the least */
};

static const struct tss_layout layout32 = {4, 0x20, 0x24, 0x28, 0x48, 4, 6, 0x60, 0x67};
static const struct tss_layout layout16 = {2, 0x0e, 0x10, 0x12, 0x22, 2, 4, 0x2a, 0x2b};

#define TSS_CR3  0x1c
#define TSS_TRAP 0x64

struct task_image {
    const struct tss_layout *layout;
    uint64_t r[8], rip, rflags, cr3;
    uint16_t seg[6], ldt;
    bool trap;
};

static const struct tss_layout *layout_of(unsigned type)
{
    return type & 8 ? &layout32 : &layout16;
}

/* The TSS descriptor to switch to, checked; #GP (or #TS for IRET), #NP, #TS. */
static void task_descriptor(struct emu_cpu *c, uint16_t selector, enum emu_task_reason reason,
                            unsigned ext, struct emu_desc *d)
{
    unsigned error = selector_error(selector, ext);
    unsigned vector = reason == EMU_TASK_IRET ? EXC_TS : EXC_GP, attrib, type;
    unsigned busy = reason == EMU_TASK_IRET ? DESC_BUSY : 0;

    if (selector & 4 || selector_null(selector))
        emu_raise_error(c, vector, error);
    desc_fetch(c, selector, vector, ext, d);
    attrib = desc_attrib(d->raw);
    type = attrib & SEG_TYPE;
    if (attrib & SEG_S || (type != (DESC_TSS32 | busy) && type != (DESC_TSS16 | busy)))
        emu_raise_error(c, vector, error);
    if (!(attrib & SEG_P))
        emu_raise_error(c, EXC_NP, error);
    if (desc_segment(d, selector).limit < layout_of(type)->limit)
        emu_raise_error(c, EXC_TS, error);
}

static void task_read(struct emu_cpu *c, const struct mote_seg *tss, struct task_image *t)
{
    const struct tss_layout *l = layout_of(tss->attrib & SEG_TYPE);

    *t = (struct task_image){.layout = l};
    t->rip = emu_system_load(c, tss->base + l->rip, l->size);
    t->rflags = emu_system_load(c, tss->base + l->rflags, l->size);
    for (unsigned n = 0; n < 8; n++) {
        t->r[n] = emu_system_load(c, tss->base + l->regs + n * l->size, l->size);
        if (l->size == 2)
            t->r[n] |= 0xffff0000; /* upper halves are undefined */
    }
    for (unsigned n = 0; n < l->nsegs; n++)
        t->seg[n] = (uint16_t)emu_system_load(c, tss->base + l->segs + n * l->seg_step, 2);
    t->ldt = (uint16_t)emu_system_load(c, tss->base + l->ldt, 2);
    if (l == &layout32) {
        t->cr3 = emu_system_load(c, tss->base + TSS_CR3, 4);
        t->trap = emu_system_load(c, tss->base + TSS_TRAP, 2) & 1;
    }
}

/* Store the dynamic fields of the task being left. */
static void task_save(struct emu_cpu *c, const struct mote_seg *tss, uint64_t rflags)
{
    const struct tss_layout *l = layout_of(tss->attrib & SEG_TYPE);

    emu_system_store(c, tss->base + l->rip, l->size, c->r[X86_RIP_SLOT] & c->rip_mask);
    emu_system_store(c, tss->base + l->rflags, l->size, rflags & mask_bytes(l->size));
    for (unsigned n = 0; n < 8; n++)
        emu_system_store(c, tss->base + l->regs + n * l->size, l->size,
                         c->r[n] & mask_bytes(l->size));
    for (unsigned n = 0; n < l->nsegs; n++)
        emu_system_store(c, tss->base + l->segs + n * l->seg_step, 2, c->seg[n].selector);
}

/* Clear the busy bit of the current TSS's descriptor. */
static void task_release(struct emu_cpu *c)
{
    uint64_t at = c->gdtr.base + (c->seg[SEG_TR].selector & 0xfff8) + 5;

    emu_system_update(c, at, DESC_BUSY, 0);
}

/* ---- in the new task ---------------------------------------------------- */

static void load_ldt(struct emu_cpu *c, uint16_t selector, unsigned ext)
{
    struct emu_desc d;

    c->seg[SEG_LDTR] = segment_null(selector, 0);
    if (selector_null(selector))
        return;
    if (selector & 4)
        emu_raise_error(c, EXC_TS, selector_error(selector, ext));
    desc_fetch(c, selector, EXC_TS, ext, &d);
    if ((desc_attrib(d.raw) & (SEG_S | SEG_TYPE | SEG_P)) != (DESC_LDT | SEG_P))
        emu_raise_error(c, EXC_TS, selector_error(selector, ext));
    c->seg[SEG_LDTR] = desc_segment(&d, selector);
}

static void load_cs(struct emu_cpu *c, uint16_t selector, unsigned ext)
{
    unsigned attrib, dpl, rpl = selector & 3, error = selector_error(selector, ext);
    struct emu_desc d;

    if (selector_null(selector))
        emu_raise_error(c, EXC_TS, error);
    desc_fetch(c, selector, EXC_TS, ext, &d);
    attrib = desc_attrib(d.raw);
    dpl = attrib_dpl(attrib);
    if ((attrib & (SEG_S | SEG_TYPE_CODE)) != (SEG_S | SEG_TYPE_CODE) ||
        (attrib & SEG_TYPE_EC ? dpl > rpl : dpl != rpl))
        emu_raise_error(c, EXC_TS, error);
    c->seg[SEG_CS] = segment_code(c, &d, selector, rpl, ext);
}

/* All selectors are in place, the segments unusable, before any is loaded. */
static void load_segments(struct emu_cpu *c, const struct task_image *t, unsigned ext)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    load_ldt(c, t->ldt, ext);
    if (c->vm86) {
        for (unsigned n = 0; n < 6; n++)
            c->seg[n] = segment_real(c, n, t->seg[n], true);
        emu_mode_changed(c);
        return;
    }
    load_cs(c, t->seg[SEG_CS], ext);
    emu_mode_changed(c);
    c->seg[SEG_SS] = segment_stack(c, t->seg[SEG_SS], c->cpl, EXC_TS, ext);
    emu_mode_changed(c);
    for (unsigned n = 0; n < ARRAY_SIZE(data); n++)
        c->seg[data[n]] = segment_data(c, t->seg[data[n]], c->cpl, EXC_TS, ext);
    emu_mode_changed(c);
}

/* Registers, flags and selectors of the new task; from here on it is the one that faults. */
static void task_commit(struct emu_cpu *c, const struct task_image *t, const struct mote_seg *tss,
                        bool nested)
{
    c->seg[SEG_TR] = *tss;
    c->seg[SEG_TR].attrib |= DESC_BUSY;
    c->cr0 |= CR0_TS;
    emu_vectors_changed(c);
    c->dr[7] &= ~UINT64_C(0x155); /* local breakpoints are the task's */
    debug_registers_changed(c);
    if (c->cr0 & CR0_PG && t->layout == &layout32) {
        c->cr3 = t->cr3;
        emu_tlb_flush(c);
    }
    memcpy(c->r, t->r, sizeof(t->r));
    c->r[X86_RIP_SLOT] = t->rip;
    for (unsigned n = 0; n < 6; n++)
        c->seg[n] = segment_null(t->seg[n], 0);
    c->cpl = t->rflags & FLAG_VM ? 3 : t->seg[SEG_CS] & 3;
    c->seg[SEG_SS].attrib |= (uint32_t)c->cpl << SEG_DPL_SHIFT;
    emu_set_rflags(c, t->rflags | (nested ? FLAG_NT : 0));
    emu_mode_changed(c);
    c->intr.shadow = 0;
    c->delivering = -1;
    c->op = NULL;
}

void emu_task_switch(struct emu_cpu *c, uint16_t tss_selector, enum emu_task_reason reason,
                     bool has_error, uint32_t error)
{
    /* An event from outside the program is delivered between instructions. */
    unsigned ext = reason == EMU_TASK_GATE && !c->op;
    bool nested = reason == EMU_TASK_CALL || reason == EMU_TASK_GATE;
    uint64_t leave = reason == EMU_TASK_IRET ? FLAG_NT : 0;
    struct mote_seg old = c->seg[SEG_TR], tss;
    struct task_image t;
    struct emu_desc d;

    task_descriptor(c, tss_selector, reason, ext, &d);
    tss = desc_segment(&d, tss_selector);
    task_read(c, &tss, &t);
    task_save(c, &old, c->rflags & ~leave);
    if (nested)
        emu_system_store(c, tss.base, 2, old.selector);
    else
        task_release(c);
    if (reason != EMU_TASK_IRET)
        desc_set_type(c, &d, DESC_BUSY);

    task_commit(c, &t, &tss, nested);
    load_segments(c, &t, ext);
    if (has_error)
        emu_push(c, t.layout->size, error);
    code_check_target(c, &c->seg[SEG_CS], t.rip, ext);
    if (t.trap) {
        c->dr[6] |= DR6_BT;
        emu_raise(c, EXC_DB);
    }
}
