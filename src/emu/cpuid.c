/*
 * What the software engine tells its guest about the CPU.
 *
 * The identity is AuthenticAMD, family 0Fh: the one that Linux lists as free of
 * Meltdown, L1TF, MDS and speculative store bypass and that is not subject to
 * Retbleed or SRSO, so a guest does not pay for workarounds that have nothing to
 * work around here. Model 2Bh is before erratum 400 and after the LAHF one.
 *
 * Three promises of leaf 80000021h, all of which hold for the interpreter:
 * - LFENCE serializes: instructions execute one after the other.
 * - A null selector clears the segment's base: segment_null does.
 * - Automatic IBRS: user code cannot steer the kernel's indirect branches. A
 *   guest's branch target is a number that the interpreter loads into its rip;
 *   the host's branches go to the interpreter's handlers, whose addresses no
 *   guest chooses. So retpolines would defend nothing, and Linux leaves them out.
 *
 * PCID is not offered: the TLB is not tagged, so CR3 loads flush in any case.
 */
#include "emu/features.h"

#include "base/bits.h"
#include "x86/paging.h"

#define SIGNATURE      0x00020fb1u /* family 0Fh, model 2Bh, stepping 1 */
#define MAX_BASIC      0x0du
#define MAX_HYPERVISOR 0x40000010u
#define MAX_EXTENDED   0x80000021u
#define APIC_BUS_KHZ   1000000u /* the local APIC's timer counts nanoseconds */
#define CLFLUSH_QUADS  8u       /* line size in 8 bytes */
#define XSAVE_SSE_SIZE 576u
#define XSAVE_AVX_SIZE 256u

enum { EAX, EBX, ECX, EDX };

#define B(n) (1u << (n))

/* Always there. */
#define F1_EDX                                                                                     \
    (B(0) /* FPU */ | B(2) /* DE */ | B(3) /* PSE */ | B(4) /* TSC */ | B(5) /* MSR */ |           \
     B(6) /* PAE */ | B(7) /* MCE */ | B(8) /* CX8 */ | B(9) /* APIC */ | B(11) /* SEP */ |        \
     B(12) /* MTRR */ | B(13) /* PGE */ | B(14) /* MCA */ | B(15) /* CMOV */ | B(16) /* PAT */ |   \
     B(17) /* PSE36 */ | B(19) /* CLFSH */ | B(23) /* MMX */ | B(24) /* FXSR */ |                  \
     B(25) /* SSE */ | B(26) /* SSE2 */)
#define F1_ECX                                                                                     \
    (B(13) /* CX16 */ | B(21) /* x2APIC */ | B(22) /* MOVBE */ | B(24) /* TSC deadline */ |        \
     B(26) /* XSAVE */ | B(30) /* RDRAND */ | B(31) /* hypervisor */)
#define F7_EBX                                                                                     \
    (B(0) /* FSGSBASE */ | B(1) /* TSC_ADJUST */ | B(7) /* SMEP */ | B(9) /* ERMS */ |             \
     B(10) /* INVPCID */ | B(18) /* RDSEED */ | B(20) /* SMAP */ | B(23) /* CLFLUSHOPT */ |        \
     B(24) /* CLWB */)
#define F7_ECX (B(2) /* UMIP */ | B(22) /* RDPID */)
#define F7_EDX (B(4) /* FSRM */)
#define FX_ECX (B(0) /* LAHF */ | B(8) /* PREFETCHW */)
#define FX_EDX                                                                                     \
    (B(11) /* SYSCALL */ | B(20) /* NX */ | B(22) /* MMXEXT */ | B(26) /* 1 GiB pages */ |         \
     B(27) /* RDTSCP */ | B(29) /* LM */)
#define F1_EDX_SHARED 0x0183f3ffu /* bits of leaf 1 EDX that 80000001h repeats */

/* Executed on the host: there if the host has them. */
#define HOST1_ECX                                                                                  \
    (B(0) /* SSE3 */ | B(1) /* PCLMUL */ | B(9) /* SSSE3 */ | B(19) /* SSE4.1 */ |                 \
     B(20) /* SSE4.2 */ | B(23) /* POPCNT */ | B(25) /* AES */)
#define HOST7_EBX (B(3) /* BMI1 */ | B(8) /* BMI2 */ | B(19) /* ADX */ | B(29) /* SHA */)
#define HOSTX_ECX (B(5) /* ABM */)
/* Those of them that are VEX-encoded want the host's kernel to save YMM too. */
#define AVX1_ECX (B(12) /* FMA */ | B(28) /* AVX */ | B(29) /* F16C */)
#define AVX7_EBX (B(5) /* AVX2 */)

/* X86_CPUID_MAX exceeds what is put here, so there is always room. */
static void put(struct x86_cpuid *t, uint32_t leaf, int subleaf, uint32_t eax, uint32_t ebx,
                uint32_t ecx, uint32_t edx)
{
    const struct x86_cpuid_leaf l = {
        .leaf = leaf,
        .subleaf = subleaf < 0 ? 0 : (uint32_t)subleaf,
        .indexed = subleaf >= 0,
        .eax = eax,
        .ebx = ebx,
        .ecx = ecx,
        .edx = edx,
    };

    x86_cpuid_put(t, &l);
}

/* Does the host have AVX, with YMM state switched on by its kernel? */
static bool host_has_avx(void)
{
    uint32_t regs[4], low, high;

    x86_cpuid_host(1, 0, regs);
    if ((regs[ECX] & (B(27) | B(28))) != (B(27) | B(28)))
        return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

/* Bits to hold an APIC id below `vcpus`. */
static unsigned id_bits(unsigned vcpus)
{
    unsigned bits = 0;

    while (bits < 31 && 1u << bits < vcpus)
        bits++;
    return bits;
}

static void put_basic(struct x86_cpuid *t, const struct x86_cpuid_topology *topo, bool avx)
{
    unsigned vcpus = MAX(topo->vcpus, 1u), apic = topo->apic_id;
    uint32_t host[4], ecx = F1_ECX, ebx = F7_EBX;

    x86_cpuid_host(1, 0, host);
    ecx |= host[ECX] & (HOST1_ECX | (avx ? AVX1_ECX : 0));
    x86_cpuid_host(7, 0, host);
    ebx |= host[EBX] & (HOST7_EBX | (avx ? AVX7_EBX : 0));

    put(t, 0, -1, MAX_BASIC, 0x68747541, 0x444d4163, 0x69746e65); /* "AuthenticAMD" */
    put(t, 1, -1, SIGNATURE, apic << 24 | MIN(vcpus, 255u) << 16 | CLFLUSH_QUADS << 8, ecx,
        F1_EDX | (vcpus > 1 ? B(28) /* HTT */ : 0));
    put(t, 6, -1, B(2) /* the APIC timer always runs */, 0, 0, 0);
    put(t, 7, 0, 0, ebx, F7_ECX, F7_EDX);
    put(t, 0xb, 0, 0, 1, 0x100, apic);
    put(t, 0xb, 1, id_bits(vcpus), vcpus, 0x201, apic);
    put(t, 0xd, 0, avx ? 7 : 3, XSAVE_SSE_SIZE, XSAVE_SSE_SIZE + (avx ? XSAVE_AVX_SIZE : 0), 0);
    if (avx)
        put(t, 0xd, 2, XSAVE_AVX_SIZE, XSAVE_SSE_SIZE, 0, 0);
}

/* KVM's leaves, for kvmclock (Linux Documentation/virt/kvm/x86/cpuid.rst). */
static void put_hypervisor(struct x86_cpuid *t, const struct x86_cpuid_topology *topo)
{
    uint32_t features = B(1) /* port accesses need no delay */ | B(3) /* kvmclock, new MSRs */ |
                        B(24) /* and it is stable across vCPUs */ | B(7) | B(11) |
                        B(13) /* hypercalls: kick, send IPIs, yield */;

    put(t, 0x40000000, -1, MAX_HYPERVISOR, 0x4b4d564b, 0x564b4d56, 0x4d); /* "KVMKVMKVM" */
    put(t, 0x40000001, -1, features, 0, 0, 0);
    put(t, MAX_HYPERVISOR, -1, topo->tsc_khz, APIC_BUS_KHZ, 0, 0);
}

static void put_extended(struct x86_cpuid *t, const struct x86_cpuid_topology *topo)
{
    static const char brand[48] = "mote soft engine";
    unsigned vcpus = MAX(topo->vcpus, 1u);
    uint32_t host[4], ecx = FX_ECX, word[12];

    x86_cpuid_host(0x80000001, 0, host);
    ecx |= (host[ECX] & HOSTX_ECX) | (vcpus > 1 ? B(1) /* cores, not threads */ : 0);
    memcpy(word, brand, sizeof(word));

    put(t, 0x80000000, -1, MAX_EXTENDED, 0x68747541, 0x444d4163, 0x69746e65);
    put(t, 0x80000001, -1, SIGNATURE, 0, ecx, FX_EDX | (F1_EDX & F1_EDX_SHARED));
    for (unsigned n = 0; n < 3; n++)
        put(t, 0x80000002 + n, -1, word[4 * n], word[4 * n + 1], word[4 * n + 2], word[4 * n + 3]);
    /* 64 KiB L1, 1 MiB L2, of 64-byte lines; TLBs that look like a K8's */
    put(t, 0x80000005, -1, 0xff08ff08, 0xff20ff20, 0x40020140, 0x40020140);
    put(t, 0x80000006, -1, 0, 0x42004200, 0x04008140, 0);
    put(t, 0x80000007, -1, 0, 0, 0, B(8) /* invariant TSC */);
    put(t, 0x80000008, -1, X86_PHYS_BITS | 48 << 8, B(2) /* XSAVE keeps FPU pointers */ | B(9),
        (vcpus - 1 > 255 ? 255 : vcpus - 1) | id_bits(vcpus) << 12, 0);
    put(t, 0x80000021, -1, B(2) | B(6) | B(8), 0, 0, 0);
}

void emu_default_cpuid(const struct x86_cpuid_topology *topology, struct x86_cpuid *table)
{
    memset(table, 0, sizeof(*table));
    put_basic(table, topology, host_has_avx());
    put_hypervisor(table, topology);
    put_extended(table, topology);
}

uint64_t emu_features(const struct x86_cpuid *table)
{
    static const struct {
        uint32_t leaf;
        uint8_t reg, bit;
    } where[EMU_FEATURE_COUNT] = {
#define X(name, leaf_, reg_, bit_) {leaf_, reg_, bit_},
        EMU_FEATURES(X)
#undef X
    };
    uint64_t features = 0;
    uint32_t regs[4];

    for (unsigned n = 0; n < EMU_FEATURE_COUNT; n++) {
        x86_cpuid_query(table, where[n].leaf, 0, regs);
        if (regs[where[n].reg] >> where[n].bit & 1)
            features |= BIT(n);
    }
    return features;
}
