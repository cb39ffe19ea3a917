/* The counters of several vCPUs agree, and time passes alike on them. */
#include "fixture.h"

#include "accel/backends.h"
#include "base/bits.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

#define CPUS       3
#define PAUSE_USEC 20000

GUEST(out, 16, "mov $1, %al; out %al, $0x80; hlt")

/* The guest's counter less the host's lies between these. */
struct offset {
    int64_t low, high;
};

static void skip_kvm(const char *why)
{
    print_message("skipped on kvm: this /dev/kvm %s\n", why);
    skip();
}

/* Else KVM lets those of its guests stand at times. */
static bool host_trusts_its_tsc(void)
{
    char line[200] = "tsc";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/available_clocksource", "r");
    bool trusts;

    if (!file)
        return true;
    trusts = fgets(line, sizeof(line), file) && strstr(line, "tsc");
    fclose(file);
    return trusts;
}

static struct offset offset_of(struct vcpu *v)
{
    uint64_t before = __rdtsc(), after;

    assert_int_equal(vcpu_get(v, X86_MSRS), 0);
    after = __rdtsc();
    return (struct offset){.low = (int64_t)(v->state->msr.tsc - after),
                           .high = (int64_t)(v->state->msr.tsc - before)};
}

/* Each runs for the first time a while after the one before it. */
static void create(struct fixture *f, const struct accel *accel, struct vcpu *v[CPUS])
{
    static struct x86_cpuid cpuid;
    const struct x86_cpuid_topology topology = {.vcpus = CPUS};

    if (accel == &accel_kvm && !host_trusts_its_tsc())
        skip_kvm("is a host's that holds its TSC for unstable");
    fixture_create_cpus(f, accel, 0, CPUS);
    assert_int_equal(machine_default_cpuid(f->m, &topology, &cpuid), 0);
    v[0] = f->v;
    for (unsigned i = 1; i < CPUS; i++) {
        assert_int_equal(vcpu_create(&v[i], f->m, i), 0);
        assert_int_equal(vcpu_set_cpuid(v[i], &cpuid), 0);
    }
    for (unsigned i = 0; i < CPUS; i++) {
        f->v = v[i];
        RUN_REAL(f, out);
        fixture_expect(f, VCPU_EXIT_IO);
        usleep(PAUSE_USEC);
    }
    f->v = v[0];
}

static void destroy(struct fixture *f, struct vcpu *v[CPUS])
{
    for (unsigned i = 1; i < CPUS; i++)
        vcpu_destroy(v[i]);
    fixture_destroy(f);
}

/* They may differ by so many of the host's ticks. The offset of the first. */
static struct offset assert_agree(struct vcpu *v[CPUS], int64_t ticks)
{
    struct offset first = offset_of(v[0]);

    for (unsigned i = 1; i < CPUS; i++) {
        struct offset other = offset_of(v[i]);

        if (other.low > first.high + ticks || other.high < first.low - ticks)
            fail_msg("vCPU %u is %ld to %ld ticks ahead of vCPU 0, expected %ld", i,
                     (long)(other.low - first.high), (long)(other.high - first.low), (long)ticks);
    }
    return first;
}

static void begin_together(void **state)
{
    struct vcpu *v[CPUS];
    struct fixture f;

    create(&f, accel_of(state), v);
    assert_agree(v, 0);
    destroy(&f, v);
}

static void set_of_0_is_none(void **state)
{
    struct vcpu *v[CPUS];
    struct fixture f;

    create(&f, accel_of(state), v);
    assert_int_equal(vcpu_get(v[1], X86_MSRS), 0);
    v[1]->state->msr.tsc = 0;
    assert_int_equal(vcpu_set(v[1], X86_MSRS), 0);
    f.v = v[1];
    fixture_expect(&f, VCPU_EXIT_HALT);
    f.v = v[0];
    assert_agree(v, 0);
    destroy(&f, v);
}

/* As a restore does: all are set to what one had, one after another, then go on. */
static void are_set_together(void **state)
{
    const uint64_t value = UINT64_C(1) << 50;
    struct vcpu *v[CPUS];
    struct offset first;
    struct fixture f;
    uint64_t begin;

    create(&f, accel_of(state), v);
    begin = __rdtsc();
    for (unsigned i = 0; i < CPUS; i++) {
        assert_int_equal(vcpu_get(v[i], X86_MSRS), 0);
        v[i]->state->msr.tsc = value;
        assert_int_equal(vcpu_set(v[i], X86_MSRS), 0);
        f.v = v[i];
        fixture_expect(&f, VCPU_EXIT_HALT);
    }
    f.v = v[0];
    first = assert_agree(v, (int64_t)(__rdtsc() - begin));
    if (f.accel == &accel_kvm && first.low <= 0 && first.high >= 0) {
        destroy(&f, v);
        skip_kvm("gives its guests the host's TSC");
    }
    for (unsigned i = 0; i < CPUS; i++)
        assert_true(v[i]->state->msr.tsc - value < __rdtsc() - begin);
    destroy(&f, v);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_together),
        cmocka_unit_test(set_of_0_is_none),
        cmocka_unit_test(are_set_together),
    };

    return fixture_run_all("tsc", tests, ARRAY_SIZE(tests));
}
