/*
 * Fast system calls: SYSCALL, SYSRET, SYSENTER, SYSEXIT, and what goes with
 * them: SWAPGS and the FS and GS base instructions. As on AMD's processors
 * (APM Vol. 2 6.1, Vol. 3): SYSCALL works in compatibility and legacy mode too,
 * SYSENTER and SYSEXIT are #UD in long mode.
 */
#include "emu/system.h"

/* Flat segments with fixed attributes; no descriptor is read. */
static void flat_segments(struct emu_cpu *c, uint16_t cs, uint16_t ss, unsigned cpl, bool code64)
{
    unsigned common = SEG_P | SEG_S | SEG_TYPE_A | SEG_TYPE_RW | SEG_G | cpl << SEG_DPL_SHIFT;

    c->seg[SEG_CS] = (struct mote_seg){
        .limit = UINT32_MAX,
        .attrib = common | SEG_TYPE_CODE | (code64 ? SEG_L : SEG_DB),
        .selector = cs,
    };
    c->seg[SEG_SS] = (struct mote_seg){
        .limit = UINT32_MAX,
        .attrib = common | SEG_DB,
        .selector = ss,
    };
    c->cpl = (uint8_t)cpl;
    emu_segments_changed(c);
}

/* Nothing faults any more from here on: SYSCALL ... */
static void enter_long(struct emu_cpu *c)
{
    uint16_t cs = (uint16_t)(c->msr.star >> 32 & 0xfffc);
    uint64_t target = c->code64 ? c->msr.lstar : c->msr.cstar;

    c->r[RCX] = c->r[X86_RIP_SLOT];
    c->r[R11] = c->rflags & ~(uint64_t)FLAG_RF;
    c->r[X86_RIP_SLOT] = target;
    flat_segments(c, cs, (uint16_t)(cs + 8), 0, true);
    emu_set_rflags(c, c->rflags & ~(c->msr.sfmask | FLAG_RF));
}

static void enter_legacy(struct emu_cpu *c)
{
    uint16_t cs = (uint16_t)(c->msr.star >> 32 & 0xfffc);

    c->r[RCX] = (uint32_t)c->r[X86_RIP_SLOT];
    c->r[X86_RIP_SLOT] = (uint32_t)c->msr.star;
    flat_segments(c, cs, (uint16_t)(cs + 8), 0, false);
    emu_set_rflags(c, c->rflags & ~(uint64_t)(FLAG_RF | FLAG_IF));
}

/* ... and SYSRET. A target that is not canonical faults when it is fetched, at CPL 3. */
static void go_back(struct emu_cpu *c, bool code64)
{
    uint16_t base = (uint16_t)(c->msr.star >> 48);
    uint16_t cs = (uint16_t)((code64 ? base + 16 : base) | 3);
    uint64_t rflags = c->rflags | FLAG_IF;

    if (c->long_mode)
        rflags = c->r[R11] & ~(uint64_t)(FLAG_RF | FLAG_VM);
    c->r[X86_RIP_SLOT] = code64 ? c->r[RCX] : (uint32_t)c->r[RCX];
    flat_segments(c, cs, (uint16_t)((base + 8) | 3), 3, code64);
    emu_set_rflags(c, rflags);
}

/* 0F 05 */
static void op_syscall(struct emu_cpu *c, const struct emu_op *op)
{
    if (!(c->msr.efer & EFER_SCE))
        emu_ud(c);
    if (c->long_mode)
        enter_long(c);
    else
        enter_legacy(c);
}

/* 0F 07 */
static void op_sysret(struct emu_cpu *c, const struct emu_op *op)
{
    if (!(c->msr.efer & EFER_SCE))
        emu_ud(c);
    need_cpl0(c);
    go_back(c, c->long_mode && op->i.osize == 8);
}

bool emu_syscall64(struct emu_cpu *c)
{
    if (!c->code64 || !(c->msr.efer & EFER_SCE))
        return false;
    enter_long(c);
    return true;
}

bool emu_sysret64(struct emu_cpu *c)
{
    if (!c->code64 || !(c->msr.efer & EFER_SCE) || c->cpl)
        return false;
    go_back(c, true);
    return true;
}

/* 0F 34 */
static void op_sysenter(struct emu_cpu *c, const struct emu_op *op)
{
    uint16_t cs = (uint16_t)(c->msr.sysenter_cs & 0xfffc);

    if (!cs || !(c->cr0 & CR0_PE))
        emu_gp(c, 0);
    emu_set_rflags(c, c->rflags & ~(uint64_t)(FLAG_VM | FLAG_IF | FLAG_RF));
    c->r[RSP] = (uint32_t)c->msr.sysenter_esp;
    c->r[X86_RIP_SLOT] = (uint32_t)c->msr.sysenter_eip;
    flat_segments(c, cs, (uint16_t)(cs + 8), 0, false);
}

/* 0F 35 */
static void op_sysexit(struct emu_cpu *c, const struct emu_op *op)
{
    uint16_t cs = (uint16_t)(c->msr.sysenter_cs & 0xfffc);

    if (!cs || !(c->cr0 & CR0_PE))
        emu_gp(c, 0);
    need_cpl0(c);
    c->r[RSP] = (uint32_t)c->r[RCX];
    c->r[X86_RIP_SLOT] = (uint32_t)c->r[RDX];
    flat_segments(c, (uint16_t)((cs + 16) | 3), (uint16_t)((cs + 24) | 3), 3, false);
}

/* SYSEXIT in long mode: the privilege is checked before the mode, as on the CPU. */
static void op_refuse(struct emu_cpu *c, const struct emu_op *op)
{
    emu_gp(c, 0);
}

/* 0F 01 F8 */
static void op_swapgs(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t base = c->seg[SEG_GS].base;

    need_cpl0(c);
    segment_set_base(c, SEG_GS, c->msr.kernel_gs_base);
    c->msr.kernel_gs_base = base;
}

/* F3 0F AE /0 RDFSBASE, /1 RDGSBASE, /2 WRFSBASE, /3 WRGSBASE */
static void op_fsgsbase(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned ext = insn_ext(&op->i), seg = ext & 1 ? SEG_GS : SEG_FS;
    uint64_t value = emu_get_reg(c, op->i.rm, op->i.osize);

    if (!(c->cr4 & CR4_FSGSBASE))
        emu_ud(c);
    if (ext < 2) {
        emu_set_reg(c, op->i.rm, op->i.osize, c->seg[seg].base);
        return;
    }
    if (!x86_canonical(value))
        emu_gp(c, 0);
    segment_set_base(c, seg, value);
}

bool bind_fast_call(const struct emu_cpu *c, struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    bool sep = !c->long_mode && c->features & EMU_F(SEP);

    if (i->map != X86_MAP_0F)
        return false;
    switch (i->opcode) {
    case 0x01: return i->modrm == 0xf8 && c->mode == X86_MODE64 && bind_to(op, op_swapgs, false);
    case 0x05:
        return c->protected_mode && c->features & EMU_F(SYSCALL) && bind_to(op, op_syscall, true);
    case 0x07:
        return c->protected_mode && c->features & EMU_F(SYSCALL) && bind_to(op, op_sysret, true);
    case 0x34: return sep && bind_to(op, op_sysenter, true);
    case 0x35:
        if (c->long_mode && c->cpl == 3 && c->features & EMU_F(SEP))
            return bind_to(op, op_refuse, true);
        return sep && bind_to(op, op_sysexit, true);
    case 0xae:
        return i->pp == 2 && !(i->flags & X86_RM_MEM) && insn_ext(i) < 4 && c->mode == X86_MODE64 &&
               c->features & EMU_F(FSGSBASE) && bind_to(op, op_fsgsbase, true);
    default: return false;
    }
}
