#include "x86/cpu_features.h"

#include "base/bits.h"

#define DUPLICATED 0x0183f3ffu /* leaf 1 EDX in 80000001h EDX (AMD APM Vol. 3, E.4.2) */

const struct x86_feature_info x86_feature_info[X86_FEATURE_COUNT] = {
#define X(id, name, leaf, subleaf, reg, bit, class)                                                \
    {name, leaf, subleaf, reg, bit, X86_FEATURE_##class},
    X86_FEATURES(X)
#undef X
};

#define N(feature, needs)                                                                          \
    {                                                                                              \
        X86_FEATURE_##feature, X86_FEATURE_##needs                                                 \
    }

/* A feature and one that it is of no use or not allowed without (SDM Vol. 1 chapters 13 to 15). */
static const struct {
    uint8_t feature, needs;
} needs[] = {
    N(MMX, FPU),
    N(FXSR, FPU),
    N(FXSR_OPT, FXSR),
    N(SSE, FXSR),
    N(SSE2, SSE),
    N(MMXEXT, MMX),
    N(SSE3, SSE2),
    N(SSSE3, SSE3),
    N(SSE41, SSSE3),
    N(SSE42, SSE41),
    N(SSE4A, SSE3),
    N(MISALIGNSSE, SSE),
    N(PCLMUL, SSE2),
    N(AES, SSE2),
    N(SHA, SSE2),
    N(GFNI, SSE2),
    N(LM, PAE),
    N(LM, SSE2),
    N(LM, SYSCALL),
    N(NX, PAE),
    N(PDPE1GB, LM),
    N(LAHF, LM),
    N(LA57, LM),
    N(LAM, LM),
    N(PCID, LM),
    N(FSGSBASE, LM),
    N(CX16, CX8),
    N(X2APIC, APIC),
    N(TSC_DEADLINE, APIC),
    N(TSC_DEADLINE, TSC),
    N(ARAT, APIC),
    N(RDTSCP, TSC),
    N(TSC_ADJUST, TSC),
    N(CONSTANT_TSC, TSC),
    N(MCA, MCE),
    N(TSXLDTRK, RTM),
    N(XSAVE, FXSR),
    N(XSAVEOPT, XSAVE),
    N(XSAVEC, XSAVE),
    N(XGETBV1, XSAVE),
    N(XSAVES, XSAVEC),
    N(XSAVEERPTR, XSAVE),
    N(PKU, XSAVE),
    N(AVX, XSAVE),
    N(AVX, SSE42),
    N(FMA, AVX),
    N(F16C, AVX),
    N(FMA4, AVX),
    N(XOP, AVX),
    N(VAES, AVX),
    N(VAES, AES),
    N(VPCLMUL, AVX),
    N(VPCLMUL, PCLMUL),
    N(AVX2, AVX),
    N(AVX_VNNI, AVX2),
    N(AVX_IFMA, AVX2),
    N(AVX_VNNI_INT8, AVX2),
    N(AVX_VNNI_INT16, AVX2),
    N(AVX_NE_CONVERT, AVX2),
    N(SHA512, AVX2),
    N(SM3, AVX),
    N(SM4, AVX2),
    N(AVX512F, AVX2),
    N(AVX512F, FMA),
    N(AVX512F, F16C),
    N(AVX512DQ, AVX512F),
    N(AVX512IFMA, AVX512F),
    N(AVX512CD, AVX512F),
    N(AVX512BW, AVX512F),
    N(AVX512VL, AVX512F),
    N(AVX512VBMI, AVX512BW),
    N(AVX512VBMI2, AVX512BW),
    N(AVX512VNNI, AVX512F),
    N(AVX512BITALG, AVX512BW),
    N(AVX512VPOPCNTDQ, AVX512F),
    N(AVX512VP2INTERSECT, AVX512F),
    N(AVX512BF16, AVX512BW),
    N(AVX512FP16, AVX512BW),
    N(KVM_CLOCK, HYPERVISOR),
    N(KVM_CLOCK_STABLE, KVM_CLOCK),
    N(KVM_NOP_IO_DELAY, HYPERVISOR),
    N(KVM_ASYNC_PF, HYPERVISOR),
    N(KVM_ASYNC_PF_INT, KVM_ASYNC_PF),
    N(KVM_STEAL_TIME, HYPERVISOR),
    N(KVM_PV_EOI, HYPERVISOR),
    N(KVM_PV_UNHALT, HYPERVISOR),
    N(KVM_PV_TLB_FLUSH, KVM_STEAL_TIME),
    N(KVM_PV_IPI, HYPERVISOR),
    N(KVM_POLL_CONTROL, HYPERVISOR),
    N(KVM_PV_SCHED_YIELD, KVM_STEAL_TIME),
};
_Static_assert(X86_FEATURE_COUNT <= 256, "a feature's number fits a byte");

int x86_feature_find(const char *name, size_t len)
{
    for (int i = 0; i < X86_FEATURE_COUNT; i++) {
        if (strlen(x86_feature_info[i].name) == len && !memcmp(x86_feature_info[i].name, name, len))
            return i;
    }
    return -1;
}

void x86_features_close(struct x86_features *set)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
            if (!x86_features_has(set, needs[i].feature) || x86_features_has(set, needs[i].needs))
                continue;
            x86_features_remove(set, needs[i].feature);
            changed = true;
        }
    }
}

void x86_features_complete(struct x86_features *set)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
            if (!x86_features_has(set, needs[i].feature) || x86_features_has(set, needs[i].needs))
                continue;
            x86_features_add(set, needs[i].needs);
            changed = true;
        }
    }
}

bool x86_cpuid_has(const struct x86_cpuid *t, enum x86_feature feature)
{
    const struct x86_feature_info *f = &x86_feature_info[feature];
    uint32_t regs[4];

    x86_cpuid_query(t, f->leaf, f->subleaf, regs);
    return regs[f->reg] >> f->bit & 1;
}

static bool same_leaf(const struct x86_feature_info *f, unsigned other)
{
    return other < X86_FEATURE_COUNT && f->leaf == x86_feature_info[other].leaf &&
           f->subleaf == x86_feature_info[other].subleaf;
}

void x86_features_get(const struct x86_cpuid *t, struct x86_features *set)
{
    *set = (struct x86_features){0};
    for (unsigned i = 0; i < X86_FEATURE_COUNT;) {
        const struct x86_feature_info *f = &x86_feature_info[i];
        uint32_t regs[4];

        x86_cpuid_query(t, f->leaf, f->subleaf, regs);
        for (; same_leaf(f, i); i++) {
            if (regs[x86_feature_info[i].reg] >> x86_feature_info[i].bit & 1)
                x86_features_add(set, i);
        }
    }
}

/* The leaf's registers that hold features, the owned ones, become `bits`. */
static int leaf_put(struct x86_cpuid *t, const struct x86_feature_info *f, const bool owned[4],
                    const uint32_t bits[4])
{
    struct x86_cpuid_leaf *l = x86_cpuid_find(t, f->leaf, f->subleaf), added = {0};
    uint32_t any = 0;

    for (unsigned r = 0; r < 4; r++)
        any |= bits[r];
    if (!l && !any)
        return 0;
    if (!l)
        l = &added;
    l->eax = owned[0] ? bits[0] : l->eax;
    l->ebx = owned[1] ? bits[1] : l->ebx;
    l->ecx = owned[2] ? bits[2] : l->ecx;
    l->edx = owned[3] ? bits[3] : l->edx;
    if (l != &added)
        return 0;
    added.leaf = f->leaf;
    added.subleaf = f->subleaf;
    added.indexed = f->leaf == 7 || f->leaf == 0xd;
    return x86_cpuid_put(t, &added);
}

int x86_features_put(struct x86_cpuid *t, const struct x86_features *set)
{
    uint32_t edx1 = 0;
    int err = 0;

    for (unsigned i = 0; i < X86_FEATURE_COUNT && !err;) {
        const struct x86_feature_info *f = &x86_feature_info[i];
        bool owned[4] = {false};
        uint32_t bits[4] = {0};

        for (; same_leaf(f, i); i++) {
            owned[x86_feature_info[i].reg] = true;
            bits[x86_feature_info[i].reg] |= (uint32_t)x86_features_has(set, i)
                                             << x86_feature_info[i].bit;
        }
        if (f->leaf == 1)
            edx1 = bits[3];
        if (f->leaf == 0x80000001 && x86_cpuid_is_amd(t))
            bits[3] |= edx1 & DUPLICATED;
        err = leaf_put(t, f, owned, bits);
    }
    return err;
}
