/*
 * The place of each vCPU, as Linux finds it: arch/x86/kernel/cpu/topology*.c for leaves
 * 0bh, 1fh, 8000001eh and the older 1, 4 and 80000008h, cacheinfo.c for who shares caches.
 */
#include "base/bits.h"
#include "x86/cpu_features.h"
#include "x86/cpuid_leaves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct place {
    unsigned package, core, thread, threads, cores;
};

static unsigned order(unsigned count)
{
    unsigned bits = 0;

    while (1u << bits < count)
        bits++;
    return bits;
}

/* Leaf 0bh or 1fh: walked until a level of no type; false: there is none. */
static bool by_levels(const struct x86_cpuid *t, uint32_t leaf, struct place *p)
{
    unsigned smt_shift = 0, package_shift = 0, cores = 0;
    uint32_t r[4], id = 0;

    x86_cpuid_query(t, leaf, 0, r);
    if (!(r[1] & 0xffff) || (r[2] >> 8 & 255) != 1)
        return false;
    id = r[3];
    smt_shift = package_shift = r[0] & 31;
    p->threads = r[1] & 0xffff;
    for (unsigned n = 1;; n++) {
        x86_cpuid_query(t, leaf, n, r);
        assert_int_equal(r[2] & 255, n);
        assert_int_equal(r[3], id);
        if (!(r[2] >> 8 & 255))
            break;
        assert_int_equal(r[2] >> 8 & 255, 2);
        assert_true((r[0] & 31) >= package_shift);
        package_shift = r[0] & 31;
        cores = (r[1] & 0xffff) / p->threads;
    }
    p->thread = id & ((1u << smt_shift) - 1);
    p->core = (id & ((1u << package_shift) - 1)) >> smt_shift;
    p->package = id >> package_shift;
    p->cores = cores;
    return true;
}

/* Leaf 1 and Intel's 4: the ids of a package, and of a core. */
static void by_intel_legacy(const struct x86_cpuid *t, struct place *p)
{
    uint32_t one[4], four[4];
    unsigned logical, cores, id;

    x86_cpuid_query(t, 1, 0, one);
    x86_cpuid_query(t, 4, 0, four);
    id = one[1] >> 24;
    logical = one[3] & BIT(28) ? one[1] >> 16 & 255 : 1;
    cores = four[0] & 31 ? (four[0] >> 26) + 1 : 1;
    p->package = id >> order(logical);
    p->threads = MAX((1u << order(logical)) / cores, 1u);
    p->thread = id & (p->threads - 1);
    p->core = (id & ((1u << order(logical)) - 1)) >> order(p->threads);
    p->cores = cores;
}

/* Leaf 80000008h, and 8000001eh where the processor has it. */
static void by_amd(const struct x86_cpuid *t, struct place *p)
{
    uint32_t one[4], eight[4], ext[4], feature[4];
    unsigned bits, id, cores;

    x86_cpuid_query(t, 1, 0, one);
    x86_cpuid_query(t, 0x80000008, 0, eight);
    x86_cpuid_query(t, 0x80000001, 0, feature);
    id = one[1] >> 24;
    cores = (eight[2] & 255) + 1;
    bits = eight[2] >> 12 & 15 ? eight[2] >> 12 & 15 : order(cores);
    assert_int_equal(!!(feature[2] & BIT(1)), cores > 1); /* CMP_LEGACY: cores, no threads */
    p->threads = 1;
    p->thread = 0;
    p->package = id >> bits;
    p->core = id & ((1u << bits) - 1);
    p->cores = cores;
    if (!x86_cpuid_has(t, X86_FEATURE_TOPOEXT))
        return;
    x86_cpuid_query(t, 0x8000001e, 0, ext);
    assert_int_equal(ext[0], id);
    p->threads = (ext[1] >> 8 & 255) + 1;
    assert_int_equal(ext[1] & 255, p->core);
    assert_int_equal(ext[2], 0); /* one node, the first */
}

static void expect_place(const struct place *p, unsigned id, unsigned vcpus)
{
    assert_int_equal(p->package, 0);
    assert_int_equal(p->core, id);
    assert_int_equal(p->thread, 0);
    assert_int_equal(p->threads, 1);
    assert_in_range(p->cores, vcpus, 1u << order(vcpus));
}

/* The ids below `vcpus` that share this cache with vCPU id. */
static unsigned sharers(const struct x86_cpuid_leaf *l, unsigned id, unsigned vcpus, bool amd)
{
    unsigned count = (l->eax >> 14 & 0xfff) + 1, shared = 0;

    for (unsigned k = 0; k < vcpus; k++)
        shared += amd ? id - id % count == k - k % count : id >> order(count) == k >> order(count);
    return shared;
}

static void check_caches(const struct x86_cpuid *t, unsigned id, unsigned vcpus)
{
    unsigned seen = 0;

    for (unsigned i = 0; i < t->count; i++) {
        const struct x86_cpuid_leaf *l = &t->leaf[i];

        if ((l->leaf != 4 && l->leaf != 0x8000001d) || !(l->eax & 31))
            continue;
        assert_int_equal(sharers(l, id, vcpus, l->leaf != 4), (l->eax >> 5 & 7) >= 3 ? vcpus : 1);
        seen++;
    }
    assert_int_equal(seen, 2);
}

static void check(const struct x86_cpuid *t, unsigned id, unsigned vcpus, bool amd)
{
    struct place p;
    uint32_t max[4], one[4];

    x86_cpuid_query(t, 1, 0, one);
    assert_int_equal(one[1] >> 24, id);
    assert_int_equal(!!(one[3] & BIT(28)), vcpus > 1);
    assert_int_equal(one[1] & 0xffff, 0x0805); /* what is no matter of topology stays */
    x86_cpuid_query(t, 0, 0, max);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t leaf = i ? 0x1f : 0xb;

        memset(&p, 0, sizeof(p));
        assert_int_equal(by_levels(t, leaf, &p), max[0] >= leaf);
        if (max[0] >= leaf) {
            expect_place(&p, id, vcpus);
            assert_int_equal(p.cores, vcpus);
        }
    }
    if (amd)
        by_amd(t, &p);
    else
        by_intel_legacy(t, &p);
    expect_place(&p, id, vcpus);
    check_caches(t, id, vcpus);
}

static void make(struct x86_cpuid *t, bool amd, uint32_t basic, bool topoext)
{
    const struct x86_cpuid_leaf leaves[] = {
        {1, 0, false, 0, 0xff120805, 0, 0xffff}, /* the host's place is of no account */
        {amd ? 0x8000001d : 4, 0, true, 0xfc01c121, 63, 63, 0},
        {amd ? 0x8000001d : 4, 1, true, 0xfc03c163, 63, 63, 0},
        {amd ? 0x8000001d : 4, 2, true, 0, 0, 0, 0},
        {0x80000001, 0, false, 0, 0, topoext ? (uint32_t)BIT(22) : 0, 0},
        {0x80000008, 0, false, 0x3030, 0, 0x70ff, 0},
    };

    memset(t, 0, sizeof(*t));
    x86_cpuid_put_maker(t, amd ? "AuthenticAMD" : "GenuineIntel", basic, 0x80000021);
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
        assert_int_equal(x86_cpuid_put(t, &leaves[i]), 0);
}

static void every_vcpu_has_its_place(void **state)
{
    static const struct {
        bool amd, topoext;
        uint32_t basic;
    } kind[] = {{false, false, 4}, {false, false, 0xd}, {false, false, 0x1f},
                {true, false, 1},  {true, false, 0xd},  {true, true, 0x10}};
    struct x86_cpuid t;

    for (unsigned k = 0; k < ARRAY_SIZE(kind); k++) {
        make(&t, kind[k].amd, kind[k].basic, kind[k].topoext);
        for (unsigned vcpus = 1; vcpus <= 64; vcpus++) {
            for (unsigned id = 0; id < vcpus; id++) { /* one table after the other, in place */
                const struct x86_cpuid_topology place = {.apic_id = id, .vcpus = vcpus};

                assert_int_equal(x86_cpuid_place(&t, &place), 0);
                check(&t, id, vcpus, kind[k].amd);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vcpu_has_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
