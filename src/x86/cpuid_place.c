/* The leaves that say where a processor is: package, core, thread. */
#include "base/bits.h"
#include "x86/cpu_features.h"

#define EDX1_HTT         (1u << 28)
#define ECX81_CMP_LEGACY (1u << 1)
#define LEVEL_SMT        1u
#define LEVEL_CORE       2u

/* Bits that an APIC id below `vcpus` takes. */
static unsigned id_bits(unsigned vcpus)
{
    unsigned bits = 0;

    while (bits < 31 && 1u << bits < vcpus)
        bits++;
    return bits;
}

/* Leaves 0bh and 1fh: threads, then cores; what follows is made up by x86_cpuid_query and KVM. */
static int put_levels(struct x86_cpuid *t, uint32_t leaf, const struct x86_cpuid_topology *topo)
{
    const struct x86_cpuid_leaf level[] = {
        {leaf, 0, true, 0, 1, LEVEL_SMT << 8, topo->apic_id},
        {leaf, 1, true, id_bits(topo->vcpus), topo->vcpus, LEVEL_CORE << 8 | 1, topo->apic_id},
        {leaf, 2, true, 0, 0, 2, topo->apic_id},
    };
    int err = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(level) && !err; i++)
        err = x86_cpuid_put(t, &level[i]);
    return err;
}

/* Leaf 4, Intel's: the ids that may share a cache, and the cores of the package, less one. */
static void place_intel_cache(struct x86_cpuid_leaf *l, unsigned vcpus)
{
    unsigned ids = (1u << id_bits(vcpus)) - 1, level = l->eax >> 5 & 7;

    if (l->eax & 31)
        l->eax = (l->eax & 0x3fff) | (level >= 3 ? ids : 0) << 14 | MIN(ids, 63u) << 26;
}

/* Leaf 8000001dh, AMD's: how many share a cache, less one. */
static void place_amd_cache(struct x86_cpuid_leaf *l, unsigned vcpus)
{
    if (l->eax & 31)
        l->eax = (l->eax & 0x3fff) | ((l->eax >> 5 & 7) >= 3 ? vcpus - 1 : 0) << 14;
}

static void place_leaf(struct x86_cpuid_leaf *l, const struct x86_cpuid_topology *topo, bool amd)
{
    unsigned vcpus = topo->vcpus;

    switch (l->leaf) {
    case 1:
        l->ebx = (l->ebx & 0xffff) | MIN(vcpus, 255u) << 16 | topo->apic_id << 24;
        l->edx = vcpus > 1 ? l->edx | EDX1_HTT : l->edx & ~EDX1_HTT;
        break;
    case 4: place_intel_cache(l, vcpus); break;
    case 0x80000001:
        l->ecx = amd && vcpus > 1 ? l->ecx | ECX81_CMP_LEGACY : l->ecx & ~ECX81_CMP_LEGACY;
        break;
    case 0x80000008: /* AMD's: cores less one, and bits of an APIC id; else reserved */
        l->ecx = amd ? MIN(vcpus - 1, 255u) | id_bits(vcpus) << 12 : 0;
        break;
    case 0x8000001d: place_amd_cache(l, vcpus); break;
    case 0x8000001e: /* AMD's: extended APIC id, core and its threads less one, node */
        l->eax = topo->apic_id;
        l->ebx = topo->apic_id & 0xff;
        l->ecx = 0;
        break;
    default: break;
    }
}

int x86_cpuid_place(struct x86_cpuid *t, const struct x86_cpuid_topology *topo)
{
    uint32_t max[4];
    bool amd;
    int err = 0;

    x86_cpuid_query(t, 0, 0, max);
    amd = x86_cpuid_is_amd(t);
    if (x86_cpuid_has(t, X86_FEATURE_TOPOEXT) && !x86_cpuid_find(t, 0x8000001e, 0))
        err = x86_cpuid_put(t, &(struct x86_cpuid_leaf){.leaf = 0x8000001e});
    for (unsigned i = 0; i < t->count; i++)
        place_leaf(&t->leaf[i], topo, amd);
    if (!err && max[0] >= 0xb)
        err = put_levels(t, 0xb, topo);
    if (!err && max[0] >= 0x1f)
        err = put_levels(t, 0x1f, topo);
    return err;
}
