#include "cmd/cpu_help.h"

#include "accel/accel.h"
#include "base/err.h"
#include "x86/cpu_model.h"

#include <stdio.h>
#include <string.h>

#define WIDTH 95

/* What the accelerator can honour on this host; false: err_text says why there is nothing. */
static bool offered(const struct accel *accel, struct x86_cpuid *table)
{
    const struct x86_cpuid_topology topology = {.vcpus = 1};
    const struct machine_config config = {
        .vcpus = 1, .want = ACCEL_CAP_LAPIC | ACCEL_CAP_CLOCK | ACCEL_CAP_TSC_DEADLINE};
    struct machine *m;
    int err = machine_create(&m, accel, &config);

    if (err)
        return false;
    err = machine_default_cpuid(m, &topology, table);
    machine_destroy(m);
    return !err;
}

static void print_models(const struct x86_cpuid *offer)
{
    for (unsigned i = 0; x86_cpu_models[i].name; i++) {
        const struct x86_cpu cpu = {.model = i};
        struct x86_features missing;
        char names[400] = "yes";
        bool lacks = x86_cpu_lacks(&cpu, offer, &missing);

        if (lacks)
            x86_features_print(&missing, names, sizeof(names));
        printf("  %-10s  %s%s\n", x86_cpu_models[i].name, lacks ? "no, lacks " : "", names);
    }
}

static void print_features(const struct x86_cpuid *offer)
{
    struct x86_features set;
    unsigned column = 0;

    x86_features_get(offer, &set);
    for (unsigned i = 0; i < X86_FEATURE_COUNT; i++) {
        const char *name = x86_feature_info[i].name;

        if (!x86_features_has(&set, i))
            continue;
        if (column + strlen(name) >= WIDTH) {
            putchar('\n');
            column = 0;
        }
        column += (unsigned)printf("%s%s", column ? " " : "    ", name);
    }
    putchar('\n');
}

void cpu_help(void)
{
    puts("Models:");
    for (unsigned i = 0; x86_cpu_models[i].name; i++)
        printf("  %-10s  %s\n", x86_cpu_models[i].name, x86_cpu_models[i].help);
    for (unsigned i = 0; accel_list[i]; i++) {
        struct x86_cpuid offer;

        if (!offered(accel_list[i], &offer)) {
            printf("\n%s on this host: not usable: %s\n", accel_list[i]->name, err_text());
            continue;
        }
        printf("\n%s on this host:\n", accel_list[i]->name);
        print_models(&offer);
        puts("  features:");
        print_features(&offer);
    }
}
