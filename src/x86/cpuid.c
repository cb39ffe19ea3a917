#include "x86/cpuid.h"

#include "base/err.h"

#include <cpuid.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#if __has_include(<sys/platform/x86.h>) /* glibc 2.33 */
#include <sys/platform/x86.h>
#define HAVE_LIBC_CPUID
#endif

#define LEAF_TOPOLOGY    0x0bu
#define LEAF_TOPOLOGY_V2 0x1fu
#define LEAF_HYPERVISOR  0x40000000u
#define LEAF_EXTENDED    0x80000000u
#define LEAF_RANGE       0xf0000000u /* the bits that tell the ranges apart */

static const struct x86_cpuid_leaf *leaf_find(const struct x86_cpuid *t, uint32_t leaf,
                                              uint32_t subleaf)
{
    for (unsigned i = 0; i < t->count; i++) {
        const struct x86_cpuid_leaf *l = &t->leaf[i];

        if (l->leaf == leaf && (!l->indexed || l->subleaf == subleaf))
            return l;
    }
    return NULL;
}

struct x86_cpuid_leaf *x86_cpuid_find(struct x86_cpuid *t, uint32_t leaf, uint32_t subleaf)
{
    return (struct x86_cpuid_leaf *)leaf_find(t, leaf, subleaf);
}

/* Do two entries answer for the same subleaf? */
static bool leaf_overlaps(const struct x86_cpuid_leaf *a, const struct x86_cpuid_leaf *b)
{
    return a->leaf == b->leaf && (!a->indexed || !b->indexed || a->subleaf == b->subleaf);
}

int x86_cpuid_put(struct x86_cpuid *t, const struct x86_cpuid_leaf *leaf)
{
    const struct x86_cpuid_leaf added = *leaf; /* it may point into the table */
    unsigned kept = 0;

    for (unsigned i = 0; i < t->count; i++) {
        if (!leaf_overlaps(&t->leaf[i], &added))
            t->leaf[kept++] = t->leaf[i];
    }
    t->count = kept;
    if (kept == X86_CPUID_MAX)
        return err_set(ENOSPC, "cpuid: no room for leaf %#x, the table holds %u entries",
                       added.leaf, X86_CPUID_MAX);
    t->leaf[t->count++] = added;
    return 0;
}

/* Is the leaf past the maximum that leaf 0 or 80000000h reports in EAX? */
static bool leaf_out_of_range(const struct x86_cpuid *t, uint32_t leaf)
{
    uint32_t range = leaf & LEAF_RANGE;

    if (range == LEAF_HYPERVISOR)
        return false;
    if (range != 0 && range != LEAF_EXTENDED)
        return true;

    const struct x86_cpuid_leaf *max = leaf_find(t, range, 0);

    return !max || leaf > max->eax;
}

void x86_cpuid_query(const struct x86_cpuid *t, uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    memset(regs, 0, 4 * sizeof(regs[0]));
    if (leaf_out_of_range(t, leaf))
        return;

    const struct x86_cpuid_leaf *l = leaf_find(t, leaf, subleaf);

    if (l) {
        regs[0] = l->eax;
        regs[1] = l->ebx;
        regs[2] = l->ecx;
        regs[3] = l->edx;
    } else if (leaf == LEAF_TOPOLOGY || leaf == LEAF_TOPOLOGY_V2) {
        l = leaf_find(t, leaf, 0);
        if (l) {
            regs[2] = subleaf & 0xff;
            regs[3] = l->edx;
        }
    }
}

bool x86_cpuid_is_amd(const struct x86_cpuid *t)
{
    uint32_t regs[4];

    x86_cpuid_query(t, 0, 0, regs);
    return regs[1] == 0x68747541 /* "Auth" */ || regs[1] == 0x6f677948 /* "Hygo" */;
}

#ifdef HAVE_LIBC_CPUID
/* The libc's number for a leaf that it has looked at before main, or -1. */
static int libc_index(uint32_t leaf, uint32_t subleaf)
{
    switch (leaf) {
    case 1: return CPUID_INDEX_1;
    case 7: return subleaf ? -1 : CPUID_INDEX_7;
    case 0x80000001: return CPUID_INDEX_80000001;
    default: return -1;
    }
}
#endif

void x86_cpuid_host(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
#ifdef HAVE_LIBC_CPUID
    int index = libc_index(leaf, subleaf);

    if (index >= 0) {
        memcpy(regs, __x86_get_cpuid_feature_leaf((unsigned)index)->cpuid_array,
               4 * sizeof(regs[0]));
        return;
    }
#endif
    __cpuid_count(leaf, subleaf, regs[0], regs[1], regs[2], regs[3]);
}
