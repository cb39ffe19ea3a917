/*
 * Instructions that ask the CPU or leave it: CPUID, time-stamp counter, random
 * numbers, MSRs, HLT, hypercalls, MONITOR and MWAIT (SDM Vol. 2).
 */
#include "emu/system.h"

#include <errno.h>
#include <sys/random.h>

#define CPUID_1_ECX_OSXSAVE BIT(27)
#define XSAVE_LEGACY        (512 + 64) /* the FXSAVE image and the header */

void emu_cpuid(const struct emu_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    x86_cpuid_query(c->cpuid, leaf, subleaf, regs);
    if (leaf == 1) {
        regs[2] &= ~(uint32_t)CPUID_1_ECX_OSXSAVE;
        if (c->cr4 & CR4_OSXSAVE)
            regs[2] |= CPUID_1_ECX_OSXSAVE;
    } else if (leaf == 0xd && subleaf == 0 && regs[0]) {
        regs[1] = XSAVE_LEGACY + (c->fpu.xcr0 & XCR0_AVX ? 16 * 16 : 0);
    }
}

static bool leaf_exits(const struct emu_cpu *c, uint32_t leaf)
{
    for (unsigned n = 0; n < c->exit_leaves; n++) {
        if (c->exit_leaf[n] == leaf)
            return true;
    }
    return false;
}

/* 0F A2 */
static void op_cpuid(struct emu_cpu *c, const struct emu_op *op)
{
    uint32_t leaf = (uint32_t)c->r[RAX], subleaf = (uint32_t)c->r[RCX], regs[4];

    emu_cpuid(c, leaf, subleaf, regs);
    if (unlikely(leaf_exits(c, leaf))) {
        c->exit.cpuid.leaf = leaf;
        c->exit.cpuid.subleaf = subleaf;
        memcpy(c->exit.cpuid.regs, regs, sizeof(regs));
        emu_leave(c, VCPU_EXIT_CPUID);
    }
    c->r[RAX] = regs[0];
    c->r[RBX] = regs[1];
    c->r[RCX] = regs[2];
    c->r[RDX] = regs[3];
}

static void read_tsc(struct emu_cpu *c)
{
    uint64_t tsc;

    if (c->cr4 & CR4_TSD)
        need_cpl0(c);
    tsc = emu_tsc(c);
    c->r[RAX] = (uint32_t)tsc;
    c->r[RDX] = tsc >> 32;
}

/* 0F 31 */
static void op_rdtsc(struct emu_cpu *c, const struct emu_op *op)
{
    read_tsc(c);
}

/* 0F 01 F9 */
static void op_rdtscp(struct emu_cpu *c, const struct emu_op *op)
{
    read_tsc(c);
    c->r[RCX] = (uint32_t)c->msr.tsc_aux;
}

/* F3 0F C7 /7 */
static void op_rdpid(struct emu_cpu *c, const struct emu_op *op)
{
    c->r[op->i.rm] = (uint32_t)c->msr.tsc_aux;
}

/* 0F 33 RDPMC: there are no counters, so no index is valid */
static void op_rdpmc(struct emu_cpu *c, const struct emu_op *op)
{
    emu_gp(c, 0);
}

/* 0F C7 /6 RDRAND, /7 RDSEED: the host's random numbers; CF tells whether it had some */
static void op_random(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t value = 0;
    bool ok = getrandom(&value, sizeof(value), GRND_NONBLOCK) == sizeof(value);

    emu_set_reg(c, op->i.rm, op->i.osize, (ok ? value : 0) & mask_bytes(op->i.osize));
    c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | (ok ? FLAG_CF : 0);
}

/* F4 */
static void op_hlt(struct emu_cpu *c, const struct emu_op *op)
{
    need_cpl0(c);
    emu_leave_after(c, VCPU_EXIT_HALT);
}

/* 0F 01 C1 VMCALL, D9 VMMCALL; either serves, as under KVM */
static void op_hypercall(struct emu_cpu *c, const struct emu_op *op)
{
    emu_leave_after(c, VCPU_EXIT_HYPERCALL);
}

/* 0F 01 C8: the address is checked as a load; ECX has no extensions */
static void op_monitor(struct emu_cpu *c, const struct emu_op *op)
{
    if (c->cpl)
        emu_ud(c);
    if ((uint32_t)c->r[RCX])
        emu_gp(c, 0);
    emu_load(c, op->i.flags & X86_SEGOVR ? op->i.seg : SEG_DS, c->r[RAX] & mask_bytes(op->i.asize),
             1);
}

/* 0F 01 C9: wakes at once, which the architecture allows (SDM Vol. 2B MWAIT) */
static void op_mwait(struct emu_cpu *c, const struct emu_op *op)
{
    if (c->cpl)
        emu_ud(c);
    if ((uint32_t)c->r[RCX] & ~1u)
        emu_gp(c, 0);
}

static bool bind_01(const struct emu_cpu *c, struct emu_op *op)
{
    bool monitor = c->features & EMU_F(MONITOR);

    if (op->i.pp)
        return false;
    switch (op->i.modrm) {
    case 0xc1:
    case 0xd9: return bind_to(op, op_hypercall, true);
    case 0xc8: return monitor && bind_to(op, op_monitor, false);
    case 0xc9: return monitor && bind_to(op, op_mwait, true);
    case 0xf9: return c->features & EMU_F(RDTSCP) && bind_to(op, op_rdtscp, false);
    default: return false;
    }
}

/* 0F C7 with a register; memory is CMPXCHG8B and XSAVE's */
static bool bind_c7(const struct emu_cpu *c, struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    if (i->flags & X86_RM_MEM)
        return false;
    if (i->pp == 2)
        return insn_ext(i) == 7 && c->features & EMU_F(RDPID) && bind_to(op, op_rdpid, false);
    if (i->pp > 1)
        return false;
    if (insn_ext(i) == 6)
        return c->features & EMU_F(RDRAND) && bind_to(op, op_random, false);
    return insn_ext(i) == 7 && c->features & EMU_F(RDSEED) && bind_to(op, op_random, false);
}

bool bind_query(const struct emu_cpu *c, struct emu_op *op)
{
    bool msr = c->features & EMU_F(MSR);

    if (op->i.map == X86_MAP_1B)
        return op->i.opcode == 0xf4 && bind_to(op, op_hlt, true);
    if (op->i.map != X86_MAP_0F)
        return false;
    switch (op->i.opcode) {
    case 0x01: return bind_01(c, op);
    case 0x30: return msr && bind_to(op, op_wrmsr, true);
    case 0x31: return c->features & EMU_F(TSC) && bind_to(op, op_rdtsc, false);
    case 0x32: return msr && bind_to(op, op_rdmsr, true);
    case 0x33: return bind_to(op, op_rdpmc, true);
    case 0xa2: return bind_to(op, op_cpuid, true);
    case 0xc7: return bind_c7(c, op);
    default: return false;
    }
}
