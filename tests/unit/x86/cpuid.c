/* CPUID tables: replacing, filling up, and what an unknown leaf returns. */
#include "x86/cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void put(struct x86_cpuid *t, uint32_t leaf, int subleaf, uint32_t eax, uint32_t edx)
{
    struct x86_cpuid_leaf l = {.leaf = leaf, .eax = eax, .ebx = 2, .ecx = 3, .edx = edx};

    l.indexed = subleaf >= 0;
    l.subleaf = subleaf >= 0 ? (uint32_t)subleaf : 0;
    assert_int_equal(x86_cpuid_put(t, &l), 0);
}

static void expect(const struct x86_cpuid *t, uint32_t leaf, uint32_t subleaf, uint32_t eax,
                   uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    uint32_t regs[4] = {~0u, ~0u, ~0u, ~0u};

    x86_cpuid_query(t, leaf, subleaf, regs);
    assert_int_equal(regs[0], eax);
    assert_int_equal(regs[1], ebx);
    assert_int_equal(regs[2], ecx);
    assert_int_equal(regs[3], edx);
}

static void put_replaces(void **state)
{
    struct x86_cpuid t = {0};

    put(&t, 1, -1, 10, 4);
    put(&t, 1, -1, 11, 4);
    assert_int_equal(t.count, 1);
    assert_int_equal(x86_cpuid_find(&t, 1, 99)->eax, 11);
    put(&t, 4, 0, 20, 4);
    put(&t, 4, 1, 21, 4);
    put(&t, 4, 0, 22, 4);
    assert_int_equal(t.count, 3);
    assert_int_equal(x86_cpuid_find(&t, 4, 0)->eax, 22);
    assert_int_equal(x86_cpuid_find(&t, 4, 1)->eax, 21);
    assert_null(x86_cpuid_find(&t, 4, 2));
    assert_null(x86_cpuid_find(&t, 2, 0));
    put(&t, 4, -1, 23, 4); /* one entry for all subleaves takes the place of both */
    assert_int_equal(t.count, 2);
    assert_int_equal(x86_cpuid_find(&t, 4, 1)->eax, 23);
    x86_cpuid_find(&t, 1, 0)->ebx = 77;
    assert_int_equal(x86_cpuid_find(&t, 1, 0)->ebx, 77);
    assert_int_equal(x86_cpuid_put(&t, x86_cpuid_find(&t, 1, 0)), 0);
    assert_int_equal(x86_cpuid_find(&t, 1, 0)->ebx, 77);
}

static void full_table(void **state)
{
    static struct x86_cpuid t;
    struct x86_cpuid_leaf l = {.leaf = X86_CPUID_MAX};

    for (uint32_t i = 0; i < X86_CPUID_MAX; i++)
        put(&t, i, -1, i, 0);
    assert_int_equal(x86_cpuid_put(&t, &l), -ENOSPC);
    assert_int_equal(t.count, X86_CPUID_MAX);
    put(&t, 5, -1, 55, 0); /* a replacement still fits */
    assert_int_equal(x86_cpuid_find(&t, 5, 0)->eax, 55);
    assert_int_equal(x86_cpuid_find(&t, X86_CPUID_MAX - 1, 0)->eax, X86_CPUID_MAX - 1);
}

static void ranges(void **state)
{
    struct x86_cpuid t = {0};

    expect(&t, 0, 0, 0, 0, 0, 0);
    put(&t, 1, -1, 1, 4);
    expect(&t, 1, 0, 0, 0, 0, 0); /* no leaf 0: nothing is in range */
    put(&t, 0, -1, 7, 4);
    put(&t, 7, 0, 70, 4);
    put(&t, 8, -1, 80, 4);
    put(&t, 0x80000000, -1, 0x80000001, 4);
    put(&t, 0x80000001, -1, 81, 4);
    put(&t, 0x80000002, -1, 82, 4);
    put(&t, 0x40000000, -1, 0x40000000, 4);
    put(&t, 0x40000001, -1, 41, 4);
    put(&t, 0xc0000000, -1, 90, 4);
    expect(&t, 0, 5, 7, 2, 3, 4);
    expect(&t, 1, 5, 1, 2, 3, 4);
    expect(&t, 2, 0, 0, 0, 0, 0);
    expect(&t, 7, 0, 70, 2, 3, 4);
    expect(&t, 7, 1, 0, 0, 0, 0);
    expect(&t, 8, 0, 0, 0, 0, 0);
    expect(&t, 0x80000001, 0, 81, 2, 3, 4);
    expect(&t, 0x80000002, 0, 0, 0, 0, 0);
    expect(&t, 0x40000001, 0, 41, 2, 3, 4);
    expect(&t, 0x40000002, 0, 0, 0, 0, 0);
    expect(&t, 0xc0000000, 0, 0, 0, 0, 0);
    expect(&t, UINT32_MAX, UINT32_MAX, 0, 0, 0, 0);
}

static void topology_subleaves(void **state)
{
    struct x86_cpuid t = {0};

    put(&t, 0, -1, 0x1f, 4);
    expect(&t, 0x0b, 1, 0, 0, 0, 0);
    put(&t, 0x0b, 0, 1, 6);
    put(&t, 0x1f, 0, 1, 9);
    expect(&t, 0x0b, 0, 1, 2, 3, 6);
    expect(&t, 0x0b, 2, 0, 0, 2, 6);
    expect(&t, 0x0b, 0x1234, 0, 0, 0x34, 6); /* SDM Vol. 2A: only CL comes back */
    expect(&t, 0x1f, 5, 0, 0, 5, 9);
}

static void host(void **state)
{
    uint32_t regs[4], again[4];

    x86_cpuid_host(0, 0, regs);
    x86_cpuid_host(0, 0, again);
    assert_memory_equal(regs, again, sizeof(regs));
    assert_true(regs[0] >= 1);
    x86_cpuid_host(0x80000001, 0, regs);
    assert_true(regs[3] & (1u << 29)); /* long mode: this program runs in it */
    for (unsigned i = 0; i < 3; i++) {
        uint32_t leaf = (const uint32_t[]){1, 7, 0x80000001}[i];

        x86_cpuid_host(leaf, 0, regs);
        __cpuid_count(leaf, 0, again[0], again[1], again[2], again[3]);
        if (leaf == 1) /* which processor it is */
            regs[1] = again[1] = 0;
        if (leaf == 7 && __get_cpuid_max(0, NULL) < 7)
            memset(again, 0, sizeof(again));
        assert_memory_equal(regs, again, sizeof(regs));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_replaces), cmocka_unit_test(full_table),
        cmocka_unit_test(ranges),       cmocka_unit_test(topology_subleaves),
        cmocka_unit_test(host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
