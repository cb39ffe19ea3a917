/* CPU models: the psABI's levels, what --cpu may say, what follows from masks, fixed tables. */
#include "x86/cpu_model.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/cpuid_leaves.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* System V ABI, AMD64, "Micro-Architecture Levels", by the names Linux has for them. */
static const char *const level[] = {
    "cmov cx8 fpu fxsr mmx syscall sse sse2",
    "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "avx512f avx512bw avx512cd avx512dq avx512vl",
};
/* Beside the levels. */
static const char kernel[] = "de pse tsc msr pae mce apic sep mtrr pge mca pat pse36 clflush nx lm";
static const char machine[] = "x2apic tsc_deadline_timer hypervisor arat kvm_nopiodelay kvmclock "
                              "kvmclock_stable_bit";

static unsigned feature(const char *name)
{
    int n = x86_feature_find(name, strlen(name));

    if (n < 0)
        fail_msg("no feature '%s'", name);
    return (unsigned)n;
}

static void add(struct x86_features *set, const char *names)
{
    for (size_t len; *names; names += len + (names[len] == ' ')) {
        int n;

        len = strcspn(names, " ");
        n = x86_feature_find(names, len);
        if (n < 0)
            fail_msg("no feature '%.*s'", (int)len, names);
        x86_features_add(set, (unsigned)n);
    }
}

static void expect_set(const struct x86_features *got, const struct x86_features *want)
{
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        if (x86_features_has(got, i) != x86_features_has(want, i))
            fail_msg("%s: %d, expected %d", x86_feature_info[i].name, x86_features_has(got, i),
                     x86_features_has(want, i));
    }
}

static struct x86_cpu parse(const char *text)
{
    struct x86_cpu cpu;

    if (x86_cpu_parse(&cpu, text))
        fail_msg("'%s': %s", text, err_text());
    return cpu;
}

/* A host with everything, of either maker; what the accelerator leaves in is not our matter. */
static void fake_host(struct x86_cpuid *t, bool amd)
{
    static const struct x86_cpuid_leaf part[] = {
        {0xd, 0, true, 0xe7, 0x240, 0xa80, 0},
        {0xd, 1, true, 0xf, 0x240, 0x1800, 0},
        {0xd, 2, true, 0x100, 0x240, 0, 0},
    };
    const struct x86_cpuid_leaf own[] = {
        {1, 0, false, amd ? 0xa10f11 : 0xc06f2, 0x5020800, 0, 0},
        {0xa, 0, false, 0x7300803, 0, 0, 0x603}, /* performance counters */
        {0x80000008, 0, false, amd ? 0x3030 : 0x392e, 0, amd ? 0x7001 : 0, 0},
        {0x80000005, 0, false, 0xff48ff40, 0, 0, 0},
        {0xd, 5, true, 0x40, amd ? 0x340 : 0x440, 0, 0},
        {0xd, 6, true, 0x200, amd ? 0x380 : 0x480, 0, 0},
        {0xd, 7, true, 0x400, amd ? 0x580 : 0x680, 0, 0},
        {0xd, 9, true, 8, amd ? 0x980 : 0xa80, 0, 0},
        {0xd, 18, true, 0x2000, 0xb00, 6, 0}, /* AMX */
    };
    struct x86_features all = {0};

    memset(t, 0, sizeof(*t));
    t->arch_capabilities = amd ? 0 : 0x6b;
    x86_cpuid_put_maker(t, amd ? "AuthenticAMD" : "GenuineIntel", amd ? 0x10 : 0x1f,
                        amd ? 0x80000021 : 0x80000008);
    x86_cpuid_put_brand(t, amd ? "one" : "another");
    for (unsigned i = 0; i < ARRAY_SIZE(part); i++)
        assert_int_equal(x86_cpuid_put(t, &part[i]), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(own); i++)
        assert_int_equal(x86_cpuid_put(t, &own[i]), 0);
    x86_cpuid_put_hypervisor(t, 2500000);
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++)
        x86_features_add(&all, i);
    assert_int_equal(x86_features_put(t, &all), 0);
    for (unsigned i = 0; i < t->count; i++) { /* unnamed bits: VMX, SVM, AMX, CET, SGX */
        struct x86_cpuid_leaf *l = &t->leaf[i];

        l->ecx |= l->leaf == 1 ? BIT(5) : l->leaf == 0x80000001 ? BIT(2) : 0;
        if (l->leaf == 7 && !l->subleaf) {
            l->ebx |= BIT(2);
            l->ecx |= BIT(7);
            l->edx |= BIT(22) | BIT(24);
        }
    }
}

static void apply(const char *text, const struct x86_cpuid *offer, struct x86_cpuid *table)
{
    struct x86_cpu cpu = parse(text);

    if (x86_cpu_apply(&cpu, "test", offer, table))
        fail_msg("'%s': %s", text, err_text());
}

static void levels_are_the_abis(void **state)
{
    static const char *const name[] = {NULL, "x86-64-v2", "x86-64-v3", "x86-64-v4"};
    struct x86_features want = {0}, got, all;
    struct x86_cpuid offer, table;

    add(&want, level[0]);
    add(&want, kernel);
    fake_host(&offer, true);
    for (unsigned n = 1; n < ARRAY_SIZE(level); n++) {
        struct x86_cpu cpu = parse(name[n]);

        add(&want, level[n]);
        x86_cpu_features(&cpu, &got);
        expect_set(&got, &want);
        x86_features_close(&got); /* a level has what it needs */
        expect_set(&got, &want);
        all = want;
        add(&all, machine);
        apply(name[n], &offer, &table);
        x86_features_get(&table, &got);
        expect_set(&got, &all);
    }
}

static bool host_has(const char *model)
{
    struct x86_cpu cpu = parse(model);
    struct x86_features set;

    x86_cpu_features(&cpu, &set);
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        const struct x86_feature_info *f = &x86_feature_info[i];
        uint32_t regs[4];

        x86_cpuid_host(f->leaf, f->subleaf, regs);
        if (x86_features_has(&set, i) && f->class <= X86_FEATURE_V4 &&
            !(regs[f->reg] >> f->bit & 1))
            return false;
    }
    return true;
}

/* The compiler's opinion of the host. */
static void compiler_agrees(void **state)
{
    __builtin_cpu_init();
    assert_int_equal(host_has("x86-64-v2"), !!__builtin_cpu_supports("x86-64-v2"));
    assert_int_equal(host_has("x86-64-v3"), !!__builtin_cpu_supports("x86-64-v3"));
    assert_int_equal(host_has("x86-64-v4"), !!__builtin_cpu_supports("x86-64-v4"));
}

static void expect_same(const struct x86_cpuid *a, const struct x86_cpuid *b)
{
    assert_int_equal(a->count, b->count);
    for (unsigned i = 0; i < a->count; i++) {
        if (memcmp(&a->leaf[i], &b->leaf[i], sizeof(a->leaf[i])))
            fail_msg("leaf 0x%x.%u differs", a->leaf[i].leaf, a->leaf[i].subleaf);
    }
    assert_int_equal(a->arch_capabilities, b->arch_capabilities);
}

static void baselines_are_the_same_everywhere(void **state)
{
    static const char *const names[] = {"x86-64-v2", "x86-64-v3", "x86-64-v3,+aes,-f16c"};
    struct x86_cpuid amd, intel, table[2];
    const struct x86_cpuid_topology place = {.apic_id = 2, .vcpus = 5, .tsc_khz = 2500000};
    uint32_t regs[4];

    fake_host(&amd, true);
    fake_host(&intel, false);
    for (unsigned n = 0; n < ARRAY_SIZE(names); n++) {
        memset(table, 0, sizeof(table));
        apply(names[n], &amd, &table[0]);
        apply(names[n], &intel, &table[1]);
        assert_int_equal(x86_cpuid_place(&table[0], &place), 0);
        assert_int_equal(x86_cpuid_place(&table[1], &place), 0);
        expect_same(&table[0], &table[1]);
        assert_int_equal(table[0].arch_capabilities, 0);
    }
    /* AVX-512's parts are where the processor has them. */
    apply("x86-64-v4", &amd, &table[0]);
    x86_cpuid_query(&table[0], 0xd, 0, regs);
    assert_int_equal(regs[0], 0xe7);
    assert_int_equal(regs[2], 0x980);
    apply("x86-64-v4", &intel, &table[1]);
    x86_cpuid_query(&table[1], 0xd, 0, regs);
    assert_int_equal(regs[2], 0xa80);
}

static void xsave_follows_the_features(void **state)
{
    static const struct {
        const char *cpu;
        uint32_t parts, size;
    } row[] = {
        {"host", 0x2e7, 0x988},       {"host,-pku", 0xe7, 0x980}, {"host,-avx512f,-pku", 7, 0x340},
        {"host,-avx", 0x203, 0x988},  {"host,-avx,-pku", 3, 576}, {"host,-xsave", 0, 0},
        {"x86-64-v2,+xsave", 3, 576}, {"x86-64-v3", 7, 0x340},    {"x86-64-v2", 0, 0},
    };
    struct x86_cpuid offer, table;
    uint32_t regs[4];

    fake_host(&offer, true);
    for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
        apply(row[i].cpu, &offer, &table);
        x86_cpuid_query(&table, 0xd, 0, regs);
        assert_int_equal(regs[0], row[i].parts);
        assert_int_equal(regs[1], row[i].size);
        assert_int_equal(regs[2], row[i].size);
        for (unsigned n = 2; n < 32; n++) {
            x86_cpuid_query(&table, 0xd, n, regs);
            assert_int_equal(!!regs[0], row[i].parts >> n & 1);
        }
        x86_cpuid_query(&table, 0xd, 1, regs);
        assert_int_equal(regs[2] | regs[3], 0); /* no supervisor state */
        if (!row[i].parts)
            assert_int_equal(regs[0], 0);
    }
}

static void host_hides_what_the_state_cannot_carry(void **state)
{
    struct x86_cpuid offer, table;
    uint32_t regs[4];

    for (unsigned amd = 0; amd < 2; amd++) {
        fake_host(&offer, amd);
        apply("host", &offer, &table);
        x86_cpuid_query(&table, 1, 0, regs);
        assert_false(regs[2] & BIT(5));
        x86_cpuid_query(&table, 0x80000001, 0, regs);
        assert_false(regs[2] & BIT(2));
        assert_int_equal(regs[3] & 1, amd); /* AMD's repeat leaf 1 */
        x86_cpuid_query(&table, 7, 0, regs);
        assert_false(regs[1] & BIT(2));
        assert_false(regs[2] & BIT(7));
        assert_false(regs[3] & (BIT(22) | BIT(24)));
        assert_true(regs[1] & BIT(5));
        x86_cpuid_query(&table, 0xa, 0, regs);
        assert_int_equal(regs[0] | regs[3], 0);
        assert_int_equal(table.arch_capabilities, amd ? 0 : 0x6b);
    }
    apply("host,-arch_capabilities", &offer, &table);
    assert_int_equal(table.arch_capabilities, 0);
}

static void masks_take_along_what_hangs_on_them(void **state)
{
    struct x86_cpuid offer, table;
    struct x86_features got;

    fake_host(&offer, true);
    apply("host,-avx", &offer, &table);
    x86_features_get(&table, &got);
    assert_false(x86_features_has(&got, X86_FEATURE_AVX));
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        const char *name = x86_feature_info[i].name;

        if (!strncmp(name, "avx", 3) || !strncmp(name, "vaes", 4) || !strcmp(name, "fma") ||
            !strcmp(name, "f16c") || !strcmp(name, "vpclmulqdq") || !strcmp(name, "xop"))
            assert_false(x86_features_has(&got, i));
    }
    assert_true(x86_features_has(&got, X86_FEATURE_XSAVE));
    assert_true(x86_features_has(&got, X86_FEATURE_SSE42));
    apply("host,-sse2", &offer, &table);
    x86_features_get(&table, &got);
    assert_false(x86_features_has(&got, X86_FEATURE_AVX2));
    assert_false(x86_features_has(&got, X86_FEATURE_LM));
    apply("x86-64-v2,+avx2", &offer, &table);
    x86_features_get(&table, &got);
    assert_true(x86_features_has(&got, X86_FEATURE_AVX));
    assert_true(x86_features_has(&got, X86_FEATURE_XSAVE));
    /* An offer that is not whole itself. */
    x86_cpuid_find(&offer, 1, 0)->ecx &= ~(uint32_t)BIT(28);
    apply("host", &offer, &table);
    x86_features_get(&table, &got);
    assert_false(x86_features_has(&got, feature("avx512_bf16")));
    apply("host,-hypervisor", &offer, &table);
    assert_false(x86_cpuid_has(&table, X86_FEATURE_KVM_CLOCK));
}

static void says_what_is_missing(void **state)
{
    struct x86_cpu cpu = parse("x86-64-v4");
    struct x86_features set = {0};
    struct x86_cpuid offer, table;

    fake_host(&offer, true);
    x86_features_get(&offer, &set);
    x86_features_remove(&set, X86_FEATURE_AVX512F);
    x86_features_remove(&set, X86_FEATURE_AVX512BW);
    x86_features_close(&set);
    x86_features_put(&offer, &set);
    assert_int_equal(x86_cpu_apply(&cpu, "kvm", &offer, &table), -ENOTSUP);
    assert_string_equal(err_text(), "--cpu x86-64-v4: kvm on this host lacks avx512f, avx512dq, "
                                    "avx512cd, avx512bw, avx512vl");
    cpu = parse("host,+avx512_bf16");
    assert_int_equal(x86_cpu_apply(&cpu, "kvm", &offer, &table), -ENOTSUP);
    assert_string_equal(err_text(),
                        "--cpu host: kvm on this host lacks avx512f, avx512bw, avx512_bf16");
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) /* all of them at once, too long for a line */
        x86_features_add(&cpu.plus, i);
    memset(&offer, 0, sizeof(offer));
    assert_int_equal(x86_cpu_apply(&cpu, "kvm", &offer, &table), -ENOTSUP);
    assert_non_null(strstr(err_text(), ", ..."));
}

static void hostile_texts(void **state)
{
    static const char *const bad[] = {
        "",          ",",        "x86-64",          "x86-64-v5",       "x86-64-v2 ",
        "Host",      "host,",    "host,,",          "host,avx",        "host,+",
        "host,-",    "host,+-",  "host,+avx,",      "host,+AVX",       "host,+avx -sse",
        "host,+vmx", "host,-%n", "host,+avx,-avx",  "host,+avx2,-avx", "x86-64-v3,+avx512f,-xsave",
        "+avx",      "help",     "host,+avx512f\n", "host,+\xff\xfe",
    };
    struct x86_cpu cpu;
    char *longest = malloc(1 << 20);

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        if (x86_cpu_parse(&cpu, bad[i]) != -EINVAL)
            fail_msg("'%s' is taken", bad[i]);
        assert_true(strlen(err_text()) > 10);
    }
    memset(longest, 'a', (1 << 20) - 1);
    longest[(1 << 20) - 1] = 0;
    assert_int_equal(x86_cpu_parse(&cpu, longest), -EINVAL);
    memcpy(longest, "host,+", 6);
    assert_int_equal(x86_cpu_parse(&cpu, longest), -EINVAL);
    assert_true(strlen(err_text()) < 200);
    free(longest);
    parse("host,-avx,-avx"); /* twice is no conflict */
    parse("x86-64-v3,-avx,+aes");
}

/* Each row is found by its name and stands where no other stands. */
static void table_is_sound(void **state)
{
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        const struct x86_feature_info *f = &x86_feature_info[i];

        assert_int_equal(feature(f->name), i);
        assert_true(f->reg < 4 && f->bit < 32);
        for (unsigned k = 0; k < i; k++) {
            const struct x86_feature_info *g = &x86_feature_info[k];
            bool leaf = f->leaf == g->leaf && f->subleaf == g->subleaf;

            assert_false(leaf && f->reg == g->reg && f->bit == g->bit);
            if (leaf && k + 1 < i) /* rows of a leaf stand together */
                assert_true(x86_feature_info[i - 1].leaf == f->leaf &&
                            x86_feature_info[i - 1].subleaf == f->subleaf);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_the_abis),
        cmocka_unit_test(compiler_agrees),
        cmocka_unit_test(baselines_are_the_same_everywhere),
        cmocka_unit_test(xsave_follows_the_features),
        cmocka_unit_test(host_hides_what_the_state_cannot_carry),
        cmocka_unit_test(masks_take_along_what_hangs_on_them),
        cmocka_unit_test(says_what_is_missing),
        cmocka_unit_test(hostile_texts),
        cmocka_unit_test(table_is_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
