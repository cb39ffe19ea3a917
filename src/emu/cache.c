/*
 * Caches, TLBs and memory order: INVLPG, INVPCID, WBINVD, CLFLUSH, fences,
 * prefetches, and the hints that are NOPs. Guest memory is coherent, so what
 * writes back or invalidates lines only checks its operands.
 */
#include "emu/access.h"
#include "emu/system.h"

static void op_nop(struct emu_cpu *c, const struct emu_op *op)
{
}

/* 0F 01 /7 INVLPG: any address will do, one that cannot be mapped does nothing */
static void op_invlpg(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t linear = (c->seg_base[op->i.seg] + emu_ea(c, &op->i)) & c->lin_mask;

    need_cpl0(c);
    emu_tlb_flush_page(c, linear);
}

/* 66 0F 38 82 INVPCID: the checks of SDM Vol. 2A; entries have no PCID, so those of all go.
 * Only type 2 is for global pages, too. */
static void op_invpcid(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t type = emu_get_reg(c, op->i.reg, c->code64 ? 8 : 4);
    uint64_t desc[2];

    need_cpl0(c);
    if (type > 3)
        emu_gp(c, 0);
    emu_load_bytes(c, op->i.seg, emu_ea(c, &op->i), desc, sizeof(desc));
    if (type < 2 && (desc[0] >> 12 || (desc[0] && !(c->cr4 & CR4_PCIDE))))
        emu_gp(c, 0);
    if (type == 0 && !x86_canonical(desc[1]))
        emu_gp(c, 0);
    if (type == 2)
        emu_tlb_flush(c);
    else if (type == 0)
        emu_tlb_flush_page(c, desc[1]);
    else
        emu_tlb_flush_local(c);
}

/* 0F 08 INVD, 0F 09 WBINVD, F3 0F 09 WBNOINVD */
static void op_wbinvd(struct emu_cpu *c, const struct emu_op *op)
{
    need_cpl0(c);
}

/* 0F AE /7 CLFLUSH, 66 0F AE /7 CLFLUSHOPT, 66 0F AE /6 CLWB: fault as a load would,
 * but touch no device */
static void op_flush_line(struct emu_cpu *c, const struct emu_op *op)
{
    emu_span(c, op->i.seg, emu_linear(c, op->i.seg, emu_ea(c, &op->i), 1, false), EMU_READ);
}

/* 0F AE E8 LFENCE, F0 MFENCE, F8 SFENCE. AMD's MFENCE serialises, too (APM Vol. 2 7.6.4). */
static void op_fence(struct emu_cpu *c, const struct emu_op *op)
{
    host_fence();
}

/* 0F AE: the rest is XSAVE's and the FS and GS bases'. */
static bool bind_ae(const struct emu_cpu *c, struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    unsigned ext = insn_ext(i);

    if (!(i->flags & X86_RM_MEM))
        return !i->pp && ext >= 5 && c->features & EMU_F(SSE) && bind_to(op, op_fence, ext == 6);
    if (i->pp == 0 && ext == 7)
        return bind_to(op, op_flush_line, false);
    if (i->pp != 1)
        return false;
    if (ext == 7)
        return c->features & EMU_F(CLFLUSHOPT) && bind_to(op, op_flush_line, false);
    return ext == 6 && c->features & EMU_F(CLWB) && bind_to(op, op_flush_line, false);
}

bool bind_cache(const struct emu_cpu *c, struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    if (i->map == X86_MAP_1B) /* PAUSE; 90 alone, and with REX.B, is an exchange */
        return i->opcode == 0x90 && i->flags & X86_REP && !i->rm && bind_to(op, op_nop, false);
    if (i->map == X86_MAP_0F38)
        return i->opcode == 0x82 && i->pp == 1 && i->flags & X86_RM_MEM &&
               c->features & EMU_F(INVPCID) && bind_to(op, op_invpcid, true);
    switch (i->opcode) {
    case 0x01: return insn_ext(i) == 7 && i->flags & X86_RM_MEM && bind_to(op, op_invlpg, true);
    case 0x08:
    case 0x09: return bind_to(op, op_wbinvd, true);
    case 0x0d: return i->flags & X86_RM_MEM && bind_to(op, op_nop, false);
    case 0x18 ... 0x1f: return bind_to(op, op_nop, false);
    case 0xae: return bind_ae(c, op);
    default: return false;
    }
}
