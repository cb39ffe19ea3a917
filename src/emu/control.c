/*
 * Control registers CR0 to CR8 and XCR0 (SDM Vol. 3A 2.5, 2.6, 9.8.5; AMD APM
 * Vol. 2 chapter 3 and 14.6).
 *
 * PAE's four top entries are read at each walk instead of being latched by MOV
 * to CR3: a guest cannot tell unless it changes them without reloading CR3,
 * which the manual forbids. Likewise TLB entries are not tagged by PCID: a CR3
 * load flushes whatever bit 63 says, which is always allowed.
 */
#include "emu/system.h"

#define CR0_DEFINED                                                                                \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
#define CR3_NO_FLUSH BIT(63)
#define CR3_RESERVED (~(BIT(X86_PHYS_BITS) - 1))

/* LMA follows from LME and PG; what turning paging on requires for it. */
static void long_mode_switch(struct emu_cpu *c, uint64_t cr0)
{
    if (!(cr0 & CR0_PG)) {
        if (c->code64 || c->cr4 & CR4_PCIDE)
            emu_gp(c, 0);
        c->msr.efer &= ~(uint64_t)EFER_LMA;
        return;
    }
    if (!(c->msr.efer & EFER_LME))
        return;
    if (!(c->cr4 & CR4_PAE) || c->seg[SEG_CS].attrib & SEG_L)
        emu_gp(c, 0);
    c->msr.efer |= EFER_LMA;
}

void control_set_cr0(struct emu_cpu *c, uint64_t value)
{
    uint64_t changed;

    if (value >> 32 || (value & (CR0_PE | CR0_PG)) == CR0_PG ||
        (value & (CR0_NW | CR0_CD)) == CR0_NW)
        emu_gp(c, 0);
    value = (value & CR0_DEFINED) | CR0_ET;
    changed = c->cr0 ^ value;
    if (changed & CR0_PG)
        long_mode_switch(c, value);
    c->cr0 = value;
    emu_vectors_changed(c);
    if (changed & (CR0_PG | CR0_WP | CR0_PE)) {
        emu_mode_changed(c);
        emu_tlb_flush(c);
    }
}

void control_set_cr3(struct emu_cpu *c, uint64_t value)
{
    if (c->cr4 & CR4_PCIDE)
        value &= ~CR3_NO_FLUSH;
    if (value & CR3_RESERVED)
        emu_gp(c, 0);
    c->cr3 = value;
    emu_tlb_flush_local(c);
}

/* Bits that the CPUID table lets the guest set. */
static uint64_t cr4_allowed(const struct emu_cpu *c)
{
    static const struct {
        uint64_t feature;
        uint32_t bits;
    } by_feature[] = {
        {EMU_F(TSC), CR4_TSD},           {EMU_F(FXSR), CR4_OSFXSR}, {EMU_F(SSE), CR4_OSXMMEXCPT},
        {EMU_F(UMIP), CR4_UMIP},         {EMU_F(PCID), CR4_PCIDE},  {EMU_F(XSAVE), CR4_OSXSAVE},
        {EMU_F(FSGSBASE), CR4_FSGSBASE}, {EMU_F(SMEP), CR4_SMEP},   {EMU_F(SMAP), CR4_SMAP},
    };
    uint64_t allowed = CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE;

    for (unsigned n = 0; n < ARRAY_SIZE(by_feature); n++) {
        if (c->features & by_feature[n].feature)
            allowed |= by_feature[n].bits;
    }
    return allowed;
}

void control_set_cr4(struct emu_cpu *c, uint64_t value)
{
    uint64_t changed = c->cr4 ^ value;

    if (value & ~cr4_allowed(c) || (c->long_mode && !(value & CR4_PAE)))
        emu_gp(c, 0);
    if (changed & value & CR4_PCIDE && (!c->long_mode || c->cr3 & 0xfff))
        emu_gp(c, 0);
    c->cr4 = value;
    emu_vectors_changed(c);
    emu_mode_changed(c);
    if (changed & (CR4_PGE | CR4_PAE | CR4_PSE | CR4_SMEP | CR4_SMAP | CR4_PCIDE))
        emu_tlb_flush(c);
}

/* Raising the priority threshold hides interrupts, lowering may uncover some. */
static void control_set_cr8(struct emu_cpu *c, uint64_t value)
{
    bool lowered = value < c->cr8;

    if (value > 15)
        emu_gp(c, 0);
    c->cr8 = value;
    if (lowered)
        emu_leave_after(c, VCPU_EXIT_TPR);
}

/* 0F 20 MOV r, CR */
static void op_mov_from_cr(struct emu_cpu *c, const struct emu_op *op)
{
    const uint64_t value[] = {
        [0] = c->cr0, [2] = c->cr2, [3] = c->cr3, [4] = c->cr4, [8] = c->cr8,
    };

    need_cpl0(c);
    emu_set_reg(c, op->i.rm, c->code64 ? 8 : 4, value[op->i.reg]);
}

/* 0F 22 MOV CR, r */
static void op_mov_to_cr(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t value = emu_get_reg(c, op->i.rm, c->code64 ? 8 : 4);

    need_cpl0(c);
    switch (op->i.reg) {
    case 0: control_set_cr0(c, value); break;
    case 2: c->cr2 = value; break;
    case 3: control_set_cr3(c, value); break;
    case 4: control_set_cr4(c, value); break;
    default: control_set_cr8(c, value); break;
    }
}

/* 0F 06 CLTS */
static void op_clts(struct emu_cpu *c, const struct emu_op *op)
{
    need_cpl0(c);
    c->cr0 &= ~(uint64_t)CR0_TS;
    emu_vectors_changed(c);
}

/* 0F 01 /4 SMSW: memory gets 16 bits, a register as many as it has */
static void op_smsw(struct emu_cpu *c, const struct emu_op *op)
{
    if (c->cr4 & CR4_UMIP)
        need_cpl0(c);
    if (op->i.flags & X86_RM_MEM)
        emu_store(c, op->i.seg, emu_ea(c, &op->i), 2, c->cr0 & 0xffff);
    else
        emu_set_reg(c, op->i.rm, op->i.osize, c->cr0);
}

/* 0F 01 /6 LMSW: PE, MP, EM and TS; it cannot clear PE */
static void op_lmsw(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t value;

    need_cpl0(c);
    value = emu_get_rm(c, &op->i, 2);
    control_set_cr0(c, (c->cr0 & ~UINT64_C(0xe)) | (value & 0xf));
}

/* 0F 01 D0 XGETBV */
static void op_xgetbv(struct emu_cpu *c, const struct emu_op *op)
{
    if (!(c->cr4 & CR4_OSXSAVE))
        emu_ud(c);
    if ((uint32_t)c->r[RCX])
        emu_gp(c, 0);
    c->r[RAX] = (uint32_t)c->fpu.xcr0;
    c->r[RDX] = c->fpu.xcr0 >> 32;
}

/* 0F 01 D1 XSETBV (SDM Vol. 1 13.3: x87 always, AVX only with SSE) */
static void op_xsetbv(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t value = (c->r[RDX] << 32) | (uint32_t)c->r[RAX];
    uint64_t offered = XCR0_X87 | XCR0_SSE | (c->features & EMU_F(AVX) ? XCR0_AVX : 0);

    if (!(c->cr4 & CR4_OSXSAVE))
        emu_ud(c);
    need_cpl0(c);
    if ((uint32_t)c->r[RCX] || value & ~offered || !(value & XCR0_X87) ||
        (value & (XCR0_SSE | XCR0_AVX)) == XCR0_AVX)
        emu_gp(c, 0);
    c->fpu.xcr0 = value;
    emu_vectors_changed(c);
}

static bool bind_cr(const struct emu_cpu *c, struct emu_op *op)
{
    static const unsigned known = BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8);

    if (!(known & BIT(op->i.reg)))
        return false;
    return bind_to(op, op->i.opcode == 0x20 ? op_mov_from_cr : op_mov_to_cr, op->i.opcode == 0x22);
}

bool bind_control(const struct emu_cpu *c, struct emu_op *op)
{
    if (op->i.map != X86_MAP_0F)
        return false;
    switch (op->i.opcode) {
    case 0x06: return bind_to(op, op_clts, true);
    case 0x20:
    case 0x22: return bind_cr(c, op);
    case 0x21: return op->i.reg < 8 && bind_to(op, op_mov_from_dr, true);
    case 0x23: return op->i.reg < 8 && bind_to(op, op_mov_to_dr, true);
    case 0x01: break;
    default: return false;
    }
    if (op->i.modrm == 0xd0 && !op->i.pp && c->features & EMU_F(XSAVE))
        return bind_to(op, op_xgetbv, false);
    if (op->i.modrm == 0xd1 && !op->i.pp && c->features & EMU_F(XSAVE))
        return bind_to(op, op_xsetbv, true);
    if (insn_ext(&op->i) == 4)
        return bind_to(op, op_smsw, false);
    return insn_ext(&op->i) == 6 && bind_to(op, op_lmsw, true);
}
