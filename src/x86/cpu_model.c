#include "x86/cpu_model.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/cpuid_leaves.h"

#include <errno.h>
#include <stdio.h>

const struct x86_cpu_model x86_cpu_models[] = {
    {"host", "all that the accelerator and the host's processor can give", 0},
    {"x86-64-v2", "level 2 of the x86-64 psABI (SSE4.2, POPCNT), the same on every host",
     X86_FEATURE_V2},
    {"x86-64-v3", "level 3 (AVX2, BMI2, FMA), the same on every host", X86_FEATURE_V3},
    {"x86-64-v4", "level 4 (AVX-512), the same on every host of one maker", X86_FEATURE_V4},
    {0},
};

/* ---- names ---- */

static int parse_model(struct x86_cpu *cpu, const char *name, size_t len)
{
    for (unsigned i = 0; x86_cpu_models[i].name; i++) {
        if (strlen(x86_cpu_models[i].name) == len && !memcmp(x86_cpu_models[i].name, name, len)) {
            cpu->model = i;
            return 0;
        }
    }
    return err_set(EINVAL, "'%.*s' is no model, expected host or one of x86-64-v2 to v4",
                   (int)MIN(len, 64u), name);
}

static int parse_feature(struct x86_cpu *cpu, const char *text, size_t len)
{
    int feature = len ? x86_feature_find(text + 1, len - 1) : -1;

    if (!len || (*text != '+' && *text != '-'))
        return err_set(EINVAL, "'%.*s', expected +FEATURE or -FEATURE behind the model",
                       (int)MIN(len, 64u), text);
    if (feature < 0)
        return err_set(EINVAL, "'%.*s' is no feature that a guest can have", (int)MIN(len - 1, 64u),
                       text + 1);
    x86_features_add(*text == '+' ? &cpu->plus : &cpu->minus, (unsigned)feature);
    return 0;
}

/* What is asked for may not need what is taken away. */
static int check_conflict(const struct x86_cpu *cpu)
{
    struct x86_features asked = cpu->plus;

    x86_features_complete(&asked);
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        if (x86_features_has(&asked, i) && x86_features_has(&cpu->minus, i))
            return err_set(EINVAL, "-%s takes away what a + asks for", x86_feature_info[i].name);
    }
    return 0;
}

int x86_cpu_parse(struct x86_cpu *cpu, const char *text)
{
    size_t len = strcspn(text, ",");
    int err;

    *cpu = (struct x86_cpu){0};
    err = parse_model(cpu, text, len);
    while (!err && text[len]) {
        text += len + 1;
        len = strcspn(text, ",");
        err = parse_feature(cpu, text, len);
    }
    return err ? err : check_conflict(cpu);
}

void x86_features_print(const struct x86_features *set, char *text, size_t size)
{
    size_t used = 0;

    text[0] = 0;
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        const char *name = x86_feature_info[i].name;

        if (!x86_features_has(set, i))
            continue;
        if (used + strlen(name) + sizeof(", , ...") > size) {
            snprintf(text + used, size - used, ", ...");
            return;
        }
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
    }
}

/* ---- features ---- */

void x86_cpu_features(const struct x86_cpu *cpu, struct x86_features *set)
{
    unsigned level = x86_cpu_models[cpu->model].level;

    *set = (struct x86_features){0};
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        unsigned class = x86_feature_info[i].class;

        if (level && (class == X86_FEATURE_KERNEL || (class && class <= level)))
            x86_features_add(set, i);
    }
}

/* What the guest is to have by name. */
static void asked_for(const struct x86_cpu *cpu, struct x86_features *set)
{
    x86_cpu_features(cpu, set);
    for (unsigned i = 0; i < ARRAY_SIZE(set->word); i++)
        set->word[i] |= cpu->plus.word[i];
    x86_features_complete(set);
    for (unsigned i = 0; i < ARRAY_SIZE(set->word); i++)
        set->word[i] &= ~cpu->minus.word[i];
}

bool x86_cpu_lacks(const struct x86_cpu *cpu, const struct x86_cpuid *offer,
                   struct x86_features *missing)
{
    struct x86_features offered, asked;
    bool any = false;

    x86_features_get(offer, &offered);
    x86_features_close(&offered);
    asked_for(cpu, &asked);
    for (unsigned i = 0; i < ARRAY_SIZE(asked.word); i++) {
        missing->word[i] = asked.word[i] & ~offered.word[i];
        any |= missing->word[i] != 0;
    }
    return any;
}

/* Nothing of what is asked for is missing in the offer. */
static void choose(const struct x86_cpu *cpu, const struct x86_cpuid *offer,
                   struct x86_features *set)
{
    bool all = !x86_cpu_models[cpu->model].level;
    struct x86_features offered;

    x86_features_get(offer, &offered);
    asked_for(cpu, set);
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        if ((all || x86_feature_info[i].class == X86_FEATURE_MACHINE) &&
            x86_features_has(&offered, i) && !x86_features_has(&cpu->minus, i))
            x86_features_add(set, i);
    }
    x86_features_close(set);
}

/* ---- tables ---- */

/* Leaves that are features, plain facts, or filled in; the others tell of what is not offered. */
static bool leaf_is_kept(uint32_t leaf)
{
    static const uint32_t kept[] = {0,          1,          2,          4,
                                    6,          7,          0x15,       0x16,
                                    0x40000000, 0x40000001, 0x40000010, 0x80000019,
                                    0x8000001a, 0x8000001d, 0x8000001e, 0x80000021};

    for (unsigned i = 0; i < ARRAY_SIZE(kept); i++) {
        if (leaf == kept[i])
            return true;
    }
    return leaf >= 0x80000000 && leaf <= 0x80000008;
}

static void host_table(const struct x86_cpuid *offer, struct x86_cpuid *table)
{
    table->count = 0;
    for (unsigned i = 0; i < offer->count; i++) {
        const struct x86_cpuid_leaf *l = &offer->leaf[i];

        if (leaf_is_kept(l->leaf) && (l->eax | l->ebx | l->ecx | l->edx))
            table->leaf[table->count++] = *l;
    }
}

#define BASELINE_BASIC    0xdu
#define BASELINE_EXTENDED 0x80000008u
#define BASELINE_PHYS     40u
#define BASELINE_CLFLUSH  8u
#define BASELINE_NAME     "mote x86-64 baseline"

/*
 * Family 0Fh, model 6, stepping 1 of Intel's: no kernel takes it for free of a flaw that
 * one of the hosts may have, and none looks for a model's own registers.
 */
#define BASELINE_SIGNATURE 0x00000f61u

/* SDM Vol. 2A, CPUID leaf 4: EAX type, level, self-initialising; EBX, ECX size. */
#define CACHE(n, type, level, ways, sets)                                                          \
    {                                                                                              \
        4, n, true, (type) | (level) << 5 | 1 << 8, ((ways)-1u) << 22 | 63, (sets)-1, 0            \
    }

static void baseline_table(const struct x86_cpuid *offer, struct x86_cpuid *table)
{
    static const struct x86_cpuid_leaf fixed[] = {
        {1, 0, false, BASELINE_SIGNATURE, BASELINE_CLFLUSH << 8, 0, 0},
        {2, 0, false, 0x0000ff01, 0, 0, 0}, /* see leaf 4 */
        CACHE(0, 1, 1, 8, 64),              /* 32 KiB of data */
        CACHE(1, 2, 1, 8, 64),              /* 32 KiB of code */
        CACHE(2, 3, 2, 16, 1024),           /* 1 MiB */
        CACHE(3, 3, 3, 16, 16384),          /* 16 MiB */
        {0x80000006, 0, false, 0, 0, 0x04008040, 0},
        {0x80000008, 0, false, BASELINE_PHYS | 48 << 8, 0, 0, 0},
    };
    static const uint32_t copied[] = {0x40000000, 0x40000010};

    table->count = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
        table->leaf[table->count++] = fixed[i];
    x86_cpuid_put_maker(table, "GenuineIntel", BASELINE_BASIC, BASELINE_EXTENDED);
    x86_cpuid_put_brand(table, BASELINE_NAME);
    for (unsigned i = 0; i < ARRAY_SIZE(copied); i++) {
        const struct x86_cpuid_leaf *l = x86_cpuid_find((struct x86_cpuid *)offer, copied[i], 0);

        if (l)
            table->leaf[table->count++] = *l;
    }
}

int x86_cpu_apply(const struct x86_cpu *cpu, const char *by, const struct x86_cpuid *offer,
                  struct x86_cpuid *table)
{
    struct x86_features set;
    char names[400];
    int err;

    if (x86_cpu_lacks(cpu, offer, &set)) {
        x86_features_print(&set, names, sizeof(names));
        return err_set(ENOTSUP, "--cpu %s: %s on this host lacks %s",
                       x86_cpu_models[cpu->model].name, by, names);
    }
    choose(cpu, offer, &set);
    if (x86_cpu_models[cpu->model].level)
        baseline_table(offer, table);
    else
        host_table(offer, table);
    table->arch_capabilities =
        x86_features_has(&set, X86_FEATURE_ARCH_CAPABILITIES) ? offer->arch_capabilities : 0;
    err = x86_cpuid_put_xsave(table, offer, &set);
    return err ? err : x86_features_put(table, &set);
}
