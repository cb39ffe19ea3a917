/*
 * What the software engine tells its guest about the CPU.
 *
 * The identity is AuthenticAMD, family 0Fh: the one that Linux lists as free of
 * Meltdown, L1TF, MDS and speculative store bypass and that is not subject to
 * Retbleed or SRSO, so a guest does not pay for workarounds that have nothing to
 * work around here. Model 2Bh is before erratum 400 and after the LAHF one.
 *
 * Three promises of leaf 80000021h:
 * - LFENCE serializes: instructions execute one after the other.
 * - A null selector clears the segment's base: segment_null does.
 * - Automatic IBRS: user code cannot steer the kernel's indirect branches. A
 *   guest's branch target is a number that the interpreter loads into its rip;
 *   the host's branches go to the interpreter's handlers, whose addresses no
 *   guest chooses. So retpolines would defend nothing, and Linux leaves them out.
 *   The soft engine's translator does not keep this promise: user and kernel
 *   code share the host's predictors. Retpolines would not help there either, as
 *   their returns are indirect jumps of the host's once they are translated.
 *
 * PCID is not offered: the TLB is not tagged, so CR3 loads flush in any case.
 */
#include "emu/features.h"

#include "base/bits.h"
#include "x86/cpuid_leaves.h"
#include "x86/paging.h"
#include "x86/regs.h"

#define SIGNATURE      0x00020fb1u /* family 0Fh, model 2Bh, stepping 1 */
#define MAX_BASIC      0x0du
#define MAX_EXTENDED   0x80000021u
#define CLFLUSH_QUADS  8u /* line size in 8 bytes */
#define XSAVE_SSE_SIZE 576u
#define XSAVE_AVX_SIZE 256u

#define ECX1_OSXSAVE (1u << 27)

#define F(name) X86_FEATURE_##name
/* Always there. */
static const uint8_t always[] = {
    F(FPU),          F(DE),         F(PSE),          F(TSC),
    F(MSR),          F(PAE),        F(MCE),          F(CX8),
    F(APIC),         F(SEP),        F(MTRR),         F(PGE),
    F(MCA),          F(CMOV),       F(PAT),          F(PSE36),
    F(CLFLUSH),      F(MMX),        F(FXSR),         F(SSE),
    F(SSE2),         F(CX16),       F(X2APIC),       F(MOVBE),
    F(TSC_DEADLINE), F(XSAVE),      F(RDRAND),       F(HYPERVISOR),
    F(FSGSBASE),     F(TSC_ADJUST), F(SMEP),         F(ERMS),
    F(INVPCID),      F(RDSEED),     F(SMAP),         F(CLFLUSHOPT),
    F(CLWB),         F(UMIP),       F(RDPID),        F(FSRM),
    F(LAHF),         F(PREFETCHW),  F(SYSCALL),      F(NX),
    F(MMXEXT),       F(PDPE1GB),    F(RDTSCP),       F(LM),
    F(CONSTANT_TSC), F(WBNOINVD),   F(LFENCE_RDTSC), F(NULL_SEL_CLR_BASE),
    F(AUTOIBRS),     F(ARAT), /* the local APIC's timer never stops */
    F(XSAVEERPTR),            /* XSAVE keeps the FPU's pointers */
};

/* KVM's (Linux Documentation/virt/kvm/x86/cpuid.rst): clocks, and the board's hypercalls. */
static const uint8_t paravirtual[] = {F(KVM_NOP_IO_DELAY),  F(KVM_CLOCK),     F(KVM_CLOCK_STABLE),
                                      F(KVM_STEAL_TIME),    F(KVM_PV_UNHALT), F(KVM_PV_IPI),
                                      F(KVM_PV_SCHED_YIELD)};

/* Executed on the host: there if the host has them. */
static const uint8_t executed[] = {F(SSE3), F(PCLMUL), F(SSSE3), F(SSE41), F(SSE42), F(POPCNT),
                                   F(AES),  F(BMI1),   F(BMI2),  F(ADX),   F(SHA),   F(ABM)};

/* Those of them that want the host's kernel to save YMM too. */
static const uint8_t executed_avx[] = {F(FMA), F(AVX), F(F16C), F(AVX2)};
#undef F

/* Does the host have AVX, with YMM state switched on by its kernel? */
static bool host_has_avx(const struct x86_cpuid *host)
{
    uint32_t regs[4], low, high;

    x86_cpuid_query(host, 1, 0, regs);
    if (!(regs[2] & ECX1_OSXSAVE) || !x86_cpuid_has(host, X86_FEATURE_AVX))
        return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

/* The host's feature leaves that the libc has looked at before main. */
static void host_table(struct x86_cpuid *host)
{
    static const uint32_t leaves[] = {1, 7, 0x80000001};
    uint32_t regs[4];

    host->count = 0;
    x86_cpuid_put_maker(host, "host's maker", 7, 0x80000001);
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
        x86_cpuid_host(leaves[i], 0, regs);
        x86_cpuid_put(
            host,
            &(struct x86_cpuid_leaf){
                .leaf = leaves[i], .eax = regs[0], .ebx = regs[1], .ecx = regs[2], .edx = regs[3]});
    }
}

static void add_hosts(struct x86_features *set, const struct x86_cpuid *host, const uint8_t *list,
                      unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (x86_cpuid_has(host, list[i]))
            x86_features_add(set, list[i]);
    }
}

static void features_of_host(struct x86_features *set)
{
    struct x86_cpuid host;

    *set = (struct x86_features){0};
    for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
        x86_features_add(set, always[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(paravirtual); i++)
        x86_features_add(set, paravirtual[i]);
    host_table(&host);
    add_hosts(set, &host, executed, ARRAY_SIZE(executed));
    if (host_has_avx(&host))
        add_hosts(set, &host, executed_avx, ARRAY_SIZE(executed_avx));
    x86_features_close(set);
}

/* Leaf 0dh: the parts that the interpreter has, and where. */
static void put_xsave(struct x86_cpuid *table, bool avx)
{
    struct x86_cpuid_leaf whole = {
        0xd, 0, true, XCR0_X87 | XCR0_SSE, XSAVE_SSE_SIZE, XSAVE_SSE_SIZE, 0};
    const struct x86_cpuid_leaf part = {0xd, 2, true, XSAVE_AVX_SIZE, XSAVE_SSE_SIZE, 0, 0};

    if (avx) {
        whole.eax |= XCR0_AVX;
        whole.ebx = whole.ecx = XSAVE_SSE_SIZE + XSAVE_AVX_SIZE;
        x86_cpuid_put(table, &part);
    }
    x86_cpuid_put(table, &whole);
}

void emu_default_cpuid(const struct x86_cpuid_topology *topology, struct x86_cpuid *table)
{
    static const struct x86_cpuid_leaf leaves[] = {
        {.leaf = 1, .eax = SIGNATURE, .ebx = CLFLUSH_QUADS << 8},
        {.leaf = 0x80000001, .eax = SIGNATURE},
        /* 64 KiB L1, 1 MiB L2, of 64-byte lines; TLBs that look like a K8's */
        {0x80000005, 0, false, 0xff08ff08, 0xff20ff20, 0x40020140, 0x40020140},
        {0x80000006, 0, false, 0, 0x42004200, 0x04008140, 0},
        {.leaf = 0x80000008, .eax = X86_PHYS_BITS | 48 << 8},
    };
    struct x86_features set;

    /* X86_CPUID_MAX exceeds what is put here, so there is always room. */
    memset(table, 0, sizeof(*table));
    x86_cpuid_put_maker(table, "AuthenticAMD", MAX_BASIC, MAX_EXTENDED);
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
        x86_cpuid_put(table, &leaves[i]);
    x86_cpuid_put_brand(table, "mote soft engine");
    x86_cpuid_put_hypervisor(table, topology->tsc_khz);
    features_of_host(&set);
    x86_features_put(table, &set);
    put_xsave(table, x86_features_has(&set, X86_FEATURE_AVX));
    x86_cpuid_place(table, topology);
}

uint64_t emu_features(const struct x86_cpuid *table)
{
    static const uint8_t feature[EMU_FEATURE_COUNT] = {
#define X(name) X86_FEATURE_##name,
        EMU_FEATURES(X)
#undef X
    };
    struct x86_features set;
    uint64_t features = 0;

    x86_features_get(table, &set);
    for (unsigned n = 0; n < EMU_FEATURE_COUNT; n++) {
        if (x86_features_has(&set, feature[n]))
            features |= BIT(n);
    }
    return features;
}
