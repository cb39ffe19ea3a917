#include "x86/cpuid_leaves.h"

#include "base/bits.h"
#include "x86/regs.h"

#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_FEATURES   0x40000001u
#define LEAF_TSC        0x40000010u /* EAX: TSC kHz, EBX: APIC timer kHz (VMware's convention) */
#define APIC_TIMER_KHZ  1000000u    /* it counts nanoseconds */
#define XSAVE_LEGACY    576u        /* the FXSAVE image and the header (SDM Vol. 1 13.4) */
#define XSAVE_PARTS     32u

int x86_cpuid_put_maker(struct x86_cpuid *t, const char *maker, uint32_t basic, uint32_t extended)
{
    struct x86_cpuid_leaf l = {.eax = basic};
    int err;

    memcpy(&l.ebx, maker, 4);
    memcpy(&l.edx, maker + 4, 4);
    memcpy(&l.ecx, maker + 8, 4);
    err = x86_cpuid_put(t, &l);
    l.leaf = 0x80000000;
    l.eax = extended;
    if (!memcmp(maker, "GenuineIntel", 12)) /* reserved */
        l.ebx = l.ecx = l.edx = 0;
    return err ? err : x86_cpuid_put(t, &l);
}

int x86_cpuid_put_brand(struct x86_cpuid *t, const char *brand)
{
    uint32_t word[12] = {0};
    int err = 0;

    memcpy(word, brand, MIN(strlen(brand), sizeof(word) - 1));
    for (unsigned n = 0; n < 3 && !err; n++)
        err = x86_cpuid_put(t, &(struct x86_cpuid_leaf){.leaf = 0x80000002 + n,
                                                        .eax = word[4 * n],
                                                        .ebx = word[4 * n + 1],
                                                        .ecx = word[4 * n + 2],
                                                        .edx = word[4 * n + 3]});
    return err;
}

int x86_cpuid_put_hypervisor(struct x86_cpuid *t, uint32_t tsc_khz)
{
    const struct x86_cpuid_leaf tsc = {.leaf = LEAF_TSC, .eax = tsc_khz, .ebx = APIC_TIMER_KHZ};
    struct x86_cpuid_leaf signature = {.leaf = LEAF_HYPERVISOR};
    int err;

    signature.eax = tsc_khz ? LEAF_TSC : LEAF_FEATURES;
    memcpy(&signature.ebx, "KVMK", 4);
    memcpy(&signature.ecx, "VMKV", 4);
    memcpy(&signature.edx, "M\0\0\0", 4);
    err = x86_cpuid_put(t, &signature);
    return err || !tsc_khz ? err : x86_cpuid_put(t, &tsc);
}

/* XCR0's bits that the features want. */
static uint32_t xsave_parts(const struct x86_features *set)
{
    uint32_t parts = XCR0_X87 | XCR0_SSE;

    if (x86_features_has(set, X86_FEATURE_AVX))
        parts |= XCR0_AVX;
    if (x86_features_has(set, X86_FEATURE_AVX512F))
        parts |= XCR0_AVX512;
    if (x86_features_has(set, X86_FEATURE_PKU))
        parts |= XCR0_PKRU;
    return parts;
}

static void remove_leaf(struct x86_cpuid *t, uint32_t leaf)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < t->count; i++) {
        if (t->leaf[i].leaf != leaf)
            t->leaf[kept++] = t->leaf[i];
    }
    t->count = kept;
}

int x86_cpuid_put_xsave(struct x86_cpuid *t, const struct x86_cpuid *offer,
                        const struct x86_features *set)
{
    struct x86_cpuid_leaf whole = {.leaf = 0xd, .indexed = true, .ebx = XSAVE_LEGACY};
    int err = 0;

    remove_leaf(t, 0xd);
    if (!x86_features_has(set, X86_FEATURE_XSAVE))
        return 0;
    whole.eax = xsave_parts(set);
    for (uint32_t n = 2; n < XSAVE_PARTS && !err; n++) {
        struct x86_cpuid_leaf part = {.leaf = 0xd, .subleaf = n, .indexed = true};
        uint32_t regs[4];

        if (!(whole.eax >> n & 1))
            continue;
        x86_cpuid_query(offer, 0xd, n, regs);
        part.eax = regs[0];
        part.ebx = regs[1];
        part.ecx = regs[2] & 2; /* aligned in the compacted form */
        whole.ebx = MAX(whole.ebx, part.eax + part.ebx);
        err = x86_cpuid_put(t, &part);
    }
    whole.ecx = whole.ebx;
    return err ? err : x86_cpuid_put(t, &whole);
}
