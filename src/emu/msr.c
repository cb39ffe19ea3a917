/*
 * Model-specific registers that belong to the CPU (SDM Vol. 4; APM Vol. 2
 * appendix A). The local APIC's, the TSC deadline and kvmclock's are the
 * board's: -ENOENT sends them out as exits, and so those that the guest has not.
 */
#include "emu/system.h"

#include "x86/msrs.h"

#include <errno.h>

/* AMD's, which kernels read on the family that CPUID claims */
#define MSR_SYSCFG              0xc0010010u
#define MSR_HWCR                0xc0010015u
#define MSR_NB_CFG              0xc001001fu
#define MSR_INT_PEND            0xc0010055u
#define MSR_DE_CFG              0xc0011029u
#define DE_CFG_LFENCE_SERIALIZE BIT(1)

#define MICROCODE_REVISION 0x01000065u
#define MTRR_VARIABLE      8u
#define MTRRCAP_VALUE      (MTRR_VARIABLE | BIT(8) | BIT(10)) /* fixed ranges, write-combining */

#define SPEC_CTRL_IBRS  BIT(0)
#define SPEC_CTRL_STIBP BIT(1)
#define SPEC_CTRL_SSBD  BIT(2)

uint64_t emu_tsc(const struct emu_cpu *c)
{
    return c->ops->tsc(c->user) + c->msr.tsc;
}

/* Is it one that goes with a feature which the guest has not? */
static bool is_absent(const struct emu_cpu *c, uint32_t index)
{
    const struct x86_msr_info *msr = x86_msr_find(index);

    return msr && !(c->msrs >> (msr - x86_msr_list) & 1);
}

static bool offered(const struct emu_cpu *c, enum x86_feature feature)
{
    return x86_cpuid_has(c->cpuid, feature);
}

/* SPEC_CTRL's bits that CPUID offers, by Intel's or AMD's way to say so. */
static uint64_t spec_ctrl_allowed(const struct emu_cpu *c)
{
    bool ibrs = offered(c, X86_FEATURE_SPEC_CTRL) || offered(c, X86_FEATURE_AMD_IBRS);
    bool stibp = offered(c, X86_FEATURE_INTEL_STIBP) || offered(c, X86_FEATURE_AMD_STIBP);
    bool ssbd = offered(c, X86_FEATURE_INTEL_SSBD) || offered(c, X86_FEATURE_AMD_SSBD);

    return (ibrs ? SPEC_CTRL_IBRS : 0) | (stibp ? SPEC_CTRL_STIBP : 0) |
           (ssbd ? SPEC_CTRL_SSBD : 0);
}

/* ---- memory types ------------------------------------------------------ */

/* UC, WC, WT, WP, WB; the PAT has UC- too (SDM Vol. 3A 11.11.2.1, 11.12.2). */
static bool memory_type_valid(uint8_t type, bool pat)
{
    return type <= 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool memory_types_valid(uint64_t value, bool pat)
{
    for (unsigned n = 0; n < 64; n += 8) {
        if (!memory_type_valid((uint8_t)(value >> n), pat))
            return false;
    }
    return true;
}

static bool physical(uint64_t value)
{
    return !(value >> X86_PHYS_BITS);
}

/* Base: type and address; mask: valid bit and address (SDM Vol. 3A 11.11.2.3). */
static bool mtrr_var_valid(unsigned n, uint64_t value)
{
    if (!physical(value))
        return false;
    return n & 1 ? !(value & 0x7ff) : !(value & 0xf00) && memory_type_valid((uint8_t)value, false);
}

/* The MTRR of that index in the state, NULL: none; *kind: v(ariable), f(ixed), d(efault). */
static uint64_t *mtrr_find(struct emu_cpu *c, uint32_t index, char *kind)
{
    uint32_t fixed = index == MSR_MTRR_FIX64K                                    ? 0
                     : index - MSR_MTRR_FIX16K_0 < 2                             ? index - 0x257
                     : index >= MSR_MTRR_FIX4K_0 && index < MSR_MTRR_FIX4K_0 + 8 ? index - 0x265
                                                                                 : UINT32_MAX;

    *kind = 'f';
    if (fixed < ARRAY_SIZE(c->msr.mtrr_fixed))
        return &c->msr.mtrr_fixed[fixed];
    *kind = 'v';
    if (index - MSR_MTRR_PHYSBASE0 < ARRAY_SIZE(c->msr.mtrr_var))
        return &c->msr.mtrr_var[index - MSR_MTRR_PHYSBASE0];
    *kind = 'd';
    return index == MSR_MTRR_DEF_TYPE ? &c->msr.mtrr_def_type : NULL;
}

static int mtrr_write(uint64_t *mtrr, uint32_t index, char kind, uint64_t value)
{
    bool valid = kind == 'f' ? memory_types_valid(value, false)
                 : kind == 'v'
                     ? mtrr_var_valid(index & 1, value)
                     : !(value & ~UINT64_C(0xcff)) && memory_type_valid((uint8_t)value, false);

    if (!valid)
        return -EINVAL;
    *mtrr = value;
    return 0;
}

/* ---- writes with rules of their own ------------------------------------ */

/* LMA follows paging; LME may not change under it (SDM Vol. 3A 2.2.1). */
static int efer_write(struct emu_cpu *c, uint64_t value)
{
    uint64_t allowed = EFER_LMA, changed;

    if (c->features & EMU_F(SYSCALL))
        allowed |= EFER_SCE;
    if (c->features & EMU_F(LM))
        allowed |= EFER_LME;
    if (c->features & EMU_F(NX))
        allowed |= EFER_NXE;
    if (offered(c, X86_FEATURE_AUTOIBRS))
        allowed |= EFER_AUTOIBRS;
    if (value & ~allowed)
        return -EINVAL;
    value = (value & ~(uint64_t)EFER_LMA) | (c->msr.efer & EFER_LMA);
    changed = c->msr.efer ^ value;
    if (changed & EFER_LME && c->cr0 & CR0_PG)
        return -EINVAL;
    c->msr.efer = value;
    if (changed & EFER_NXE)
        emu_tlb_flush(c);
    return 0;
}

/* The counter and IA32_TSC_ADJUST move together (SDM Vol. 3B 17.17.3). */
static int tsc_move(struct emu_cpu *c, uint64_t delta)
{
    c->msr.tsc += delta;
    c->msr.tsc_adjust += delta;
    return 0;
}

/* Registers that hold what is written, with the values they refuse. */
static uint64_t *plain_find(struct emu_cpu *c, uint32_t index, uint64_t value, bool *valid)
{
    bool canonical = x86_canonical(value), narrow = !(value >> 32);

    *valid = true;
    switch (index) {
    case MSR_SYSENTER_CS: *valid = narrow; return &c->msr.sysenter_cs;
    case MSR_SYSENTER_ESP: *valid = canonical; return &c->msr.sysenter_esp;
    case MSR_SYSENTER_EIP: *valid = canonical; return &c->msr.sysenter_eip;
    case MSR_PAT: *valid = memory_types_valid(value, true); return &c->msr.pat;
    case MSR_MISC_ENABLE: return &c->msr.misc_enable;
    case MSR_STAR: return &c->msr.star;
    case MSR_LSTAR: *valid = canonical; return &c->msr.lstar;
    case MSR_CSTAR: *valid = canonical; return &c->msr.cstar;
    case MSR_SFMASK: *valid = narrow; return &c->msr.sfmask;
    case MSR_KERNEL_GS_BASE: *valid = canonical; return &c->msr.kernel_gs_base;
    case MSR_TSC_AUX: *valid = narrow; return &c->msr.tsc_aux;
    case MSR_EFER: return &c->msr.efer;
    case MSR_TSC_ADJUST: return &c->msr.tsc_adjust;
    default: return NULL;
    }
}

/* Registers without memory: what they read as, and that writes go nowhere. */
static bool constant_find(uint32_t index, uint64_t *value)
{
    switch (index) {
    case MSR_UCODE_REV: *value = (uint64_t)MICROCODE_REVISION << 32 | MICROCODE_REVISION; break;
    case MSR_DE_CFG: *value = DE_CFG_LFENCE_SERIALIZE; break;
    case MSR_MCG_STATUS: /* no machine-check banks, so no machine checks */
    case MSR_SYSCFG:
    case MSR_HWCR:
    case MSR_NB_CFG:
    case MSR_INT_PEND: *value = 0; break;
    default: return false;
    }
    return true;
}

int emu_rdmsr(struct emu_cpu *c, uint32_t index, uint64_t *value)
{
    bool valid;
    char kind;
    uint64_t *reg;

    if (is_absent(c, index))
        return -ENOENT;
    reg = plain_find(c, index, 0, &valid);
    if (!reg)
        reg = mtrr_find(c, index, &kind);
    if (reg) {
        *value = *reg;
        return 0;
    }
    if (constant_find(index, value))
        return 0;
    switch (index) {
    case MSR_TSC: *value = emu_tsc(c); return 0;
    case MSR_FS_BASE: *value = c->seg[SEG_FS].base; return 0;
    case MSR_GS_BASE: *value = c->seg[SEG_GS].base; return 0;
    case MSR_MTRRCAP: *value = MTRRCAP_VALUE; return 0;
    case MSR_MCG_CAP: *value = 0; return 0;
    case MSR_SPEC_CTRL: *value = c->msr.spec_ctrl; return spec_ctrl_allowed(c) ? 0 : -ENOENT;
    case MSR_PRED_CMD: return -EINVAL;
    default: return -ENOENT;
    }
}

static int base_write(struct emu_cpu *c, unsigned seg, uint64_t value)
{
    if (!x86_canonical(value))
        return -EINVAL;
    segment_set_base(c, seg, value);
    return 0;
}

/* PRED_CMD.IBPB: there is no predictor that guest code shares, so nothing to do. */
static int pred_cmd_write(const struct emu_cpu *c, uint64_t value)
{
    bool ibpb = offered(c, X86_FEATURE_SPEC_CTRL) || offered(c, X86_FEATURE_AMD_IBPB);

    return ibpb && !(value & ~UINT64_C(1)) ? 0 : -EINVAL;
}

static int spec_ctrl_write(struct emu_cpu *c, uint64_t value)
{
    uint64_t allowed = spec_ctrl_allowed(c);

    if (value & ~allowed || !allowed)
        return allowed ? -EINVAL : -ENOENT;
    c->msr.spec_ctrl = value;
    return 0;
}

int emu_wrmsr(struct emu_cpu *c, uint32_t index, uint64_t value)
{
    bool valid;
    char kind;
    uint64_t ignored, *reg;

    if (is_absent(c, index))
        return -ENOENT;
    switch (index) {
    case MSR_EFER: return efer_write(c, value);
    case MSR_TSC: return tsc_move(c, value - emu_tsc(c));
    case MSR_TSC_ADJUST: return tsc_move(c, value - c->msr.tsc_adjust);
    case MSR_FS_BASE: return base_write(c, SEG_FS, value);
    case MSR_GS_BASE: return base_write(c, SEG_GS, value);
    case MSR_SPEC_CTRL: return spec_ctrl_write(c, value);
    case MSR_PRED_CMD: return pred_cmd_write(c, value);
    case MSR_MTRRCAP:
    case MSR_MCG_CAP: return -EINVAL;
    default: break;
    }
    reg = plain_find(c, index, value, &valid);
    if (reg) {
        if (!valid)
            return -EINVAL;
        *reg = value;
        return 0;
    }
    reg = mtrr_find(c, index, &kind);
    if (reg)
        return mtrr_write(reg, index, kind, value);
    return constant_find(index, &ignored) ? 0 : -ENOENT;
}

/* 0F 32 */
void op_rdmsr(struct emu_cpu *c, const struct emu_op *op)
{
    uint32_t index = (uint32_t)c->r[RCX];
    uint64_t value = 0;
    int rc;

    need_cpl0(c);
    rc = emu_rdmsr(c, index, &value);
    if (rc == -ENOENT) {
        c->exit.msr.index = index;
        c->exit.msr.value = 0;
        emu_leave(c, VCPU_EXIT_RDMSR);
    }
    if (rc)
        emu_gp(c, 0);
    c->r[RAX] = (uint32_t)value;
    c->r[RDX] = value >> 32;
}

/* 0F 30 */
void op_wrmsr(struct emu_cpu *c, const struct emu_op *op)
{
    uint32_t index = (uint32_t)c->r[RCX];
    uint64_t value = c->r[RDX] << 32 | (uint32_t)c->r[RAX];
    int rc;

    need_cpl0(c);
    rc = emu_wrmsr(c, index, value);
    if (rc == -ENOENT) {
        c->exit.msr.index = index;
        c->exit.msr.value = value;
        emu_leave(c, VCPU_EXIT_WRMSR);
    }
    if (rc)
        emu_gp(c, 0);
}
