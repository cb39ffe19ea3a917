/*
 * guest-api ACCELERATOR [--list] [CASE...]: run the cases (or those named) through libmote on an
 * accelerator. A line for each says how it went; how KVM differs from the other is printed, too.
 * 77: the accelerator is not usable here.
 */
#include "api.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SKIP 77
#define HOT  24 /* rounds after which the software engine has translated a case's code */

uint32_t api_features;
bool api_has_rdtscp;

static bool emulated, on_qemu;
static unsigned passed, failed, skipped;

/* What its guests find in CPUID. */
static int look_at_cpuid(const char *name)
{
    const struct mote_machine_config config = {.accel = name};
    struct mote_cpuid table[MOTE_CPUID_MAX];
    struct mote_machine *m;
    struct mote_vcpu *v;
    unsigned count = MOTE_CPUID_MAX;

    if (mote_machine_create(&m, &config))
        return -1;
    if (mote_vcpu_create(&v, m, 0) || mote_vcpu_get_cpuid(v, table, &count))
        count = 0;
    for (unsigned i = 0; i < count; i++) {
        if (table[i].leaf == 1)
            api_features = table[i].ecx;
        if (table[i].leaf == 0x80000001)
            api_has_rdtscp = table[i].edx >> 27 & 1;
    }
    return mote_machine_destroy(m) || !count ? -1 : 0;
}

/*
 * Does this KVM emulate ring 0? It is told by its speed, 1 MIPS or less; the best of several
 * tries, as others may have the processor meanwhile.
 */
__asm__(".pushsection .rodata\nlooping: mov $20000, %ecx\n1: dec %ecx\njnz 1b\nhlt\n"
        "looping_end:\n.popsection\n");
extern const uint8_t looping[], looping_end[];

static bool is_slow(const char *name)
{
    const struct api_case c = {
        .name = "speed", .mode = LONG, .code = looping, .code_end = looping_end};
    struct api a = {.c = &c, .accel = name, .on_kvm = true};
    jmp_buf abort;
    struct timespec begin, end;
    volatile uint64_t best = UINT64_MAX;

    a.abort = &abort;
    if (!setjmp(abort)) {
        api_create(&a);
        for (unsigned i = 0; i < 12; i++) {
            uint64_t ns;

            clock_gettime(CLOCK_MONOTONIC, &begin);
            api_expect(&a, MOTE_EXIT_HALT);
            clock_gettime(CLOCK_MONOTONIC, &end);
            ns = (uint64_t)(end.tv_sec - begin.tv_sec) * 1000000000u + (uint64_t)end.tv_nsec -
                 (uint64_t)begin.tv_nsec;
            best = ns < best ? ns : best;
            api_begin(&a);
        }
    }
    api_destroy(&a);
    return best > 8000000; /* 5 MIPS */
}

/* Which KVM is it? 0; or why there is none of this name. */
static int look_at(const char *name, char *why, size_t size)
{
    struct mote_accel list[8];
    uint32_t eax, signature[3];
    int count = mote_accel_list(list, 8);

    for (int i = 0; i < count && i < 8; i++) {
        if (strcmp(list[i].name, name))
            continue;
        snprintf(why, size, "%s", list[i].reason);
        __cpuid(0x40000000, eax, signature[0], signature[1], signature[2]);
        on_qemu = !strcmp(name, "kvm") && !memcmp(signature, "TCGTCGTCGTCG", 12);
        if (!list[i].usable)
            return -1;
        if (!look_at_cpuid(name)) {
            emulated = !strcmp(name, "kvm") && is_slow(name);
            return 0;
        }
        snprintf(why, size, "%s", mote_error());
        return -2;
    }
    snprintf(why, size, "no such accelerator");
    return -2;
}

static const char *reason_to_skip(const struct api_case *c)
{
    if (emulated && c->emulated)
        return c->emulated;
    if (on_qemu && c->qemu)
        return c->qemu;
    return c->need & ~api_features ? "offers no such instruction" : NULL;
}

static void play_case(struct api *a)
{
    jmp_buf abort;
    unsigned rounds = a->on_kvm ? 1 : HOT;

    a->abort = &abort;
    if (setjmp(abort))
        return;
    api_create(a);
    if (a->c->run) {
        a->c->run(a);
        return;
    }
    for (unsigned i = 0; i < rounds; i++) {
        if (i)
            api_begin(a);
        api_script(a);
    }
}

static void run_case(const struct api_case *c, const char *accel)
{
    struct api a = {.c = c, .accel = accel, .on_kvm = !strcmp(accel, "kvm")};
    const char *skip = reason_to_skip(c);

    if (skip) {
        printf("skipped on %s: this /dev/kvm %s\n[  SKIPPED ] %s\n", accel, skip, c->name);
        skipped++;
        return;
    }
    play_case(&a);
    api_destroy(&a);
    if (a.why[0]) {
        printf("%s: %s\n[  FAILED  ] %s\n", c->name, a.why, c->name);
        failed++;
        return;
    }
    if (c->differs && a.on_kvm)
        printf("differs on %s: %s\n", accel, c->differs);
    printf("[       OK ] %s\n", c->name);
    passed++;
}

static bool is_named(const char *name, char **names, int count)
{
    for (int i = 0; i < count; i++) {
        if (!strcmp(names[i], name))
            return true;
    }
    return !count;
}

static int list_cases(void)
{
    for (unsigned i = 0; i < api_count; i++)
        printf("%-28s %s\n", api_cases[i].name, api_cases[i].differs ? api_cases[i].differs : "");
    return 0;
}

int main(int argc, char **argv)
{
    char why[300];
    int err;

    if (argc > 2 && !strcmp(argv[2], "--list"))
        return list_cases();
    if (argc < 2) {
        fprintf(stderr, "usage: guest-api ACCELERATOR [--list] [CASE...]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    err = look_at(argv[1], why, sizeof(why));
    if (err) {
        printf("skipped: %s: %s\n", argv[1], why);
        return err == -2 ? 2 : SKIP;
    }
    for (unsigned i = 0; i < api_count; i++) {
        if (is_named(api_cases[i].name, argv + 2, argc - 2))
            run_case(&api_cases[i], argv[1]);
    }
    printf("%u cases on %s: %u passed, %u failed, %u skipped\n", passed + failed + skipped, argv[1],
           passed, failed, skipped);
    return failed || !(passed + skipped);
}
