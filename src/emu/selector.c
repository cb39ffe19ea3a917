/*
 * Instructions that ask about a selector without loading it: LAR, LSL, VERR,
 * VERW, ARPL (SDM Vol. 3A 5.10). They answer in ZF and never fault over the
 * descriptor.
 */
#include "emu/system.h"

static void set_zf(struct emu_cpu *c, bool on)
{
    c->rflags = (c->rflags & ~(uint64_t)FLAG_ZF) | (on ? FLAG_ZF : 0);
}

/* Is the descriptor there and visible at CPL and RPL? */
static bool selector_visible(struct emu_cpu *c, uint16_t selector, struct emu_desc *d)
{
    unsigned conforming = SEG_S | SEG_TYPE_CODE | SEG_TYPE_EC;
    unsigned attrib, dpl;

    if (selector_null(selector) || !desc_find(c, selector, d))
        return false;
    attrib = desc_attrib(d->raw);
    dpl = attrib_dpl(attrib);
    return (attrib & conforming) == conforming || (dpl >= c->cpl && dpl >= (selector & 3u));
}

/* System descriptor types that LAR and LSL answer for (SDM Vol. 2A tables 3-52, 3-55). */
static bool type_known(const struct emu_cpu *c, unsigned type, bool lar)
{
    unsigned lsl_types = 1 << DESC_LDT | 1 << DESC_TSS32 | 1 << DESC_TSS32_BUSY;
    unsigned lar_types = lsl_types | 1 << DESC_CALL32;

    if (!c->long_mode) {
        lsl_types |= 1 << DESC_TSS16 | 1 << DESC_TSS16_BUSY;
        lar_types |= lsl_types | 1 << DESC_CALL16 | 1 << DESC_TASK_GATE;
    }
    return (lar ? lar_types : lsl_types) >> type & 1;
}

/* 0F 02 LAR, 0F 03 LSL */
static void op_lar_lsl(struct emu_cpu *c, const struct emu_op *op)
{
    bool lar = op->i.opcode == 0x02;
    uint16_t selector = (uint16_t)emu_get_rm(c, &op->i, 2);
    struct emu_desc d;
    unsigned attrib;
    bool ok = selector_visible(c, selector, &d);

    if (ok) {
        attrib = desc_attrib(d.raw);
        ok = attrib & SEG_S || (type_known(c, attrib & SEG_TYPE, lar) &&
                                (!c->long_mode || desc_find_high(c, selector, &d)));
    }
    if (ok)
        emu_set_reg(c, op->i.reg, op->i.osize,
                    lar ? d.raw >> 32 & 0xffff00 : desc_segment(&d, selector).limit);
    set_zf(c, ok);
}

/* 0F 00 /4 VERR, /5 VERW */
static void op_verify(struct emu_cpu *c, const struct emu_op *op)
{
    bool write = insn_ext(&op->i) == 5, ok = false;
    uint16_t selector = (uint16_t)emu_get_rm(c, &op->i, 2);
    struct emu_desc d;

    if (selector_visible(c, selector, &d)) {
        unsigned attrib = desc_attrib(d.raw);
        bool code = attrib & SEG_TYPE_CODE, rw = attrib & SEG_TYPE_RW;

        ok = attrib & SEG_S && (write ? !code && rw : !code || rw);
    }
    set_zf(c, ok);
}

/* 63 ARPL, outside 64-bit mode: raise the destination's RPL to the source's */
static void op_arpl(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t dest = emu_get_rm(c, &op->i, 2);
    unsigned rpl = c->r[op->i.reg] & 3;
    bool raise = (dest & 3) < rpl;

    if (raise)
        emu_set_rm(c, &op->i, 2, (dest & ~UINT64_C(3)) | rpl);
    set_zf(c, raise);
}

bool bind_selector(const struct emu_cpu *c, struct emu_op *op)
{
    unsigned ext = insn_ext(&op->i);

    if (!c->protected_mode)
        return false;
    if (op->i.map == X86_MAP_1B)
        return op->i.opcode == 0x63 && c->mode != X86_MODE64 && bind_to(op, op_arpl, false);
    switch (op->i.opcode) {
    case 0x00: return (ext == 4 || ext == 5) && bind_to(op, op_verify, false);
    case 0x02:
    case 0x03: return bind_to(op, op_lar_lsl, false);
    default: return false;
    }
}
