/*
 * The descriptor-table registers: GDTR and IDTR, LDTR and TR (SDM Vol. 3A 2.4,
 * Vol. 2 LGDT, SGDT, LLDT, LTR, SLDT, STR).
 */
#include "emu/system.h"

/* UMIP keeps the addresses of system tables from user code (SDM Vol. 3A 2.5). */
static void need_umip(struct emu_cpu *c)
{
    if (c->cr4 & CR4_UMIP)
        need_cpl0(c);
}

/* 0F 01 /0 SGDT, /1 SIDT */
static void op_store_table(struct emu_cpu *c, const struct emu_op *op)
{
    const struct mote_table *t = insn_ext(&op->i) ? &c->idtr : &c->gdtr;
    uint8_t image[10];

    need_umip(c);
    le16_put(&image[0], t->limit);
    le64_put(&image[2], t->base);
    emu_store_bytes(c, op->i.seg, emu_ea(c, &op->i), image, c->code64 ? 10 : 6);
}

/* 0F 01 /2 LGDT, /3 LIDT; a 16-bit operand size gives 24 bits of base */
static void op_load_table(struct emu_cpu *c, const struct emu_op *op)
{
    uint8_t image[10] = {0};
    struct mote_table t = {0};

    need_cpl0(c);
    emu_load_bytes(c, op->i.seg, emu_ea(c, &op->i), image, c->code64 ? 10 : 6);
    t.limit = le16_get(&image[0]);
    t.base = le64_get(&image[2]);
    if (!c->code64 && op->i.osize == 2)
        t.base &= 0xffffff;
    if (!x86_canonical(t.base))
        emu_gp(c, 0);
    *(insn_ext(&op->i) == 3 ? &c->idtr : &c->gdtr) = t;
}

/* 0F 00 /0 SLDT, /1 STR: memory gets 16 bits, a register as many as it has */
static void op_store_selector(struct emu_cpu *c, const struct emu_op *op)
{
    uint16_t selector = c->seg[insn_ext(&op->i) ? SEG_TR : SEG_LDTR].selector;

    need_umip(c);
    if (op->i.flags & X86_RM_MEM)
        emu_store(c, op->i.seg, emu_ea(c, &op->i), 2, selector);
    else
        emu_set_reg(c, op->i.rm, op->i.osize, selector);
}

/* A system descriptor in the GDT, 16 bytes of it in long mode; #GP, #NP. */
static void system_desc(struct emu_cpu *c, uint16_t selector, struct emu_desc *d)
{
    unsigned error = selector_error(selector, 0);

    if (selector & 4)
        emu_gp(c, error);
    desc_fetch(c, selector, EXC_GP, 0, d);
    if (c->long_mode && !desc_find_high(c, selector, d))
        emu_gp(c, error);
    if (desc_attrib(d->raw) & SEG_S || (c->long_mode && d->high >> 40 & 31))
        emu_gp(c, error);
}

/* What follows the type checks: presence and a canonical base. */
static struct mote_seg system_segment(struct emu_cpu *c, uint16_t selector,
                                      const struct emu_desc *d)
{
    struct mote_seg s = desc_segment(d, selector);

    if (!(s.attrib & SEG_P))
        emu_raise_error(c, EXC_NP, selector_error(selector, 0));
    if (!x86_canonical(s.base))
        emu_gp(c, selector_error(selector, 0));
    return s;
}

/* 0F 00 /2 LLDT */
static void op_lldt(struct emu_cpu *c, const struct emu_op *op)
{
    uint16_t selector;
    struct emu_desc d;

    need_cpl0(c);
    selector = (uint16_t)emu_get_rm(c, &op->i, 2);
    if (selector_null(selector)) {
        c->seg[SEG_LDTR] = segment_null(selector, 0);
        return;
    }
    system_desc(c, selector, &d);
    if ((desc_attrib(d.raw) & SEG_TYPE) != DESC_LDT)
        emu_gp(c, selector_error(selector, 0));
    c->seg[SEG_LDTR] = system_segment(c, selector, &d);
}

/* 0F 00 /3 LTR: an available TSS, which becomes busy */
static void op_ltr(struct emu_cpu *c, const struct emu_op *op)
{
    uint16_t selector;
    unsigned type;
    struct emu_desc d;
    struct mote_seg s;

    need_cpl0(c);
    selector = (uint16_t)emu_get_rm(c, &op->i, 2);
    if (selector_null(selector))
        emu_gp(c, 0);
    system_desc(c, selector, &d);
    type = desc_attrib(d.raw) & SEG_TYPE;
    if (type != DESC_TSS32 && (c->long_mode || type != DESC_TSS16))
        emu_gp(c, selector_error(selector, 0));
    s = system_segment(c, selector, &d);
    desc_set_type(c, &d, DESC_BUSY);
    s.attrib |= DESC_BUSY;
    c->seg[SEG_TR] = s;
}

static bool bind_selectors(const struct emu_cpu *c, struct emu_op *op)
{
    if (!c->protected_mode)
        return false;
    switch (insn_ext(&op->i)) {
    case 0:
    case 1: return bind_to(op, op_store_selector, false);
    case 2: return bind_to(op, op_lldt, true);
    case 3: return bind_to(op, op_ltr, true);
    default: return false;
    }
}

bool bind_table(const struct emu_cpu *c, struct emu_op *op)
{
    if (op->i.map != X86_MAP_0F)
        return false;
    if (op->i.opcode == 0x00)
        return bind_selectors(c, op);
    if (op->i.opcode != 0x01 || !(op->i.flags & X86_RM_MEM) || insn_ext(&op->i) > 3)
        return false;
    return bind_to(op, insn_ext(&op->i) < 2 ? op_store_table : op_load_table, true);
}
