/* Steal time: what the guest's page says (Linux Documentation/virt/kvm/x86/msr.rst). */
#include "fixture.h"

#include "accel/backends.h"
#include "base/bits.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define PAGE      0x3000u
#define STEAL     PAGE
#define VERSION   (PAGE + 8)
#define PREEMPTED (PAGE + 16)

#define SLEEP_MS 300u
#define SLEPT_NS (SLEEP_MS * 500000u) /* at least; to begin and end it takes the processor */

/* Switch it on at EBX; then, again and again: what the page says to DL, an OUT, a HLT. */
#define WRITE "mov $0x4b564d03, %ecx; mov %ebx, %eax; xor %edx, %edx; wrmsr; "
#define TURN  "movb 0x3010, %dl; outb %al, $0x80; hlt; "
GUEST(turns, 16, "1: " WRITE "hlt; 2: " TURN "jmp 2b")
GUEST(twice, 16,
      WRITE "hlt; xor %eax, %eax; wrmsr; hlt; outb %al, $0x80; " WRITE "hlt; 1: hlt; jmp 1b")
GUEST(read, 16, WRITE "mov $-1, %eax; rdmsr; hlt")

static void set_gpr(struct fixture *f, unsigned reg, uint64_t value)
{
    must(vcpu_get(f->v, X86_GPRS), "vcpu_get");
    f->v->state->gpr[reg] = value;
    must(vcpu_set(f->v, X86_GPRS), "vcpu_set");
}

static void begin(struct fixture *f, uint32_t msr)
{
    memset(f->ram + PAGE, 0, 64);
    RUN_REAL(f, turns);
    set_gpr(f, RBX, msr);
}

/* Whether it is none of `ns` that was slept. A busy host steals, too: it is asked again. */
static bool is_free(uint64_t ns, unsigned *tries)
{
    assert_true(++*tries < 20);
    return ns < SLEPT_NS;
}

static uint64_t stolen(const struct fixture *f)
{
    assert_false(f->ram[VERSION] & 1);
    return le64_get(f->ram + STEAL);
}

static void halted_is_preempted(void **state)
{
    struct fixture f;

    fixture_create(&f, &accel_soft);
    begin(&f, PAGE | 1);
    assert_int_equal(f.ram[PREEMPTED], 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(f.ram[PREEMPTED], 1);
    for (int i = 0; i < 3; i++) {
        fixture_expect(&f, VCPU_EXIT_IO);
        assert_int_equal(fixture_gpr(&f, RDX) & 0xff, 0);
        assert_int_equal(f.ram[PREEMPTED], 0);
        fixture_expect(&f, VCPU_EXIT_HALT);
        assert_int_equal(f.ram[PREEMPTED], 1);
    }
    assert_true(le32_get(f.ram + VERSION) >= 2);
    fixture_destroy(&f);
}

/* Between two exits the thread is not on a processor; while it halts, nobody wants to be. */
static void stolen_is_what_no_halt_is(void **state)
{
    struct fixture f;
    uint64_t before, after;
    unsigned tries = 0;

    fixture_create(&f, &accel_soft);
    begin(&f, PAGE | 1);
    fixture_expect(&f, VCPU_EXIT_HALT);
    fixture_expect(&f, VCPU_EXIT_IO);
    before = stolen(&f);
    usleep(SLEEP_MS * 1000);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_true(stolen(&f) - before >= SLEPT_NS);
    do {
        before = stolen(&f);
        usleep(SLEEP_MS * 1000);
        fixture_expect(&f, VCPU_EXIT_IO);
        fixture_expect(&f, VCPU_EXIT_HALT);
        after = stolen(&f);
    } while (!is_free(after - before, &tries));
    do { /* nor does a pause count */
        fixture_expect(&f, VCPU_EXIT_IO);
        before = stolen(&f);
        usleep(SLEEP_MS * 1000);
        vcpu_paused(f.v);
        fixture_expect(&f, VCPU_EXIT_HALT);
        after = stolen(&f);
    } while (!is_free(after - before, &tries));
    fixture_destroy(&f);
}

static void interrupts_tell(void **state)
{
    const struct mote_event intr = {.kind = X86_EVENT_INTR, .vector = 0x20};
    struct fixture f;
    uint64_t before;

    fixture_create(&f, &accel_soft);
    begin(&f, PAGE | 1);
    fixture_expect(&f, VCPU_EXIT_HALT);
    fixture_expect(&f, VCPU_EXIT_IO);
    must(vcpu_get(f.v, X86_GPRS), "vcpu_get");
    f.v->state->rflags |= FLAG_IF;
    must(vcpu_set(f.v, X86_GPRS), "vcpu_set");
    before = stolen(&f);
    usleep(SLEEP_MS * 1000);
    must(vcpu_inject(f.v, &intr), "vcpu_inject");
    assert_true(stolen(&f) - before >= SLEPT_NS);
    assert_int_equal(f.ram[PREEMPTED], 0);
    fixture_destroy(&f);
}

static void *run_to_io(void *f)
{
    fixture_expect(f, VCPU_EXIT_IO);
    return NULL;
}

/* Another thread's time on the processor says nothing of the time before it. */
static void threads_change(void **state)
{
    struct fixture f;
    pthread_t thread;
    uint64_t before;
    unsigned tries = 0;

    fixture_create(&f, &accel_soft);
    begin(&f, PAGE | 1);
    fixture_expect(&f, VCPU_EXIT_HALT);
    do {
        before = stolen(&f);
        assert_int_equal(pthread_create(&thread, NULL, run_to_io, &f), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        usleep(SLEEP_MS * 1000);
        fixture_expect(&f, VCPU_EXIT_HALT);
    } while (!is_free(stolen(&f) - before, &tries));
    fixture_destroy(&f);
}

static void is_off(void **state)
{
    static const uint8_t zero[64];
    struct fixture f;

    fixture_create(&f, &accel_soft);
    begin(&f, PAGE);
    fixture_expect(&f, VCPU_EXIT_HALT);
    fixture_expect(&f, VCPU_EXIT_IO);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_memory_equal(f.ram + PAGE, zero, sizeof(zero));
    begin(&f, HOLE | 1); /* on, where no memory is */
    fixture_expect(&f, VCPU_EXIT_HALT);
    fixture_expect(&f, VCPU_EXIT_IO);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_memory_equal(f.ram + PAGE, zero, sizeof(zero));
    fixture_destroy(&f);
}

/* As for a processor that is taken away and given back: in between nobody asks. */
static void is_off_for_a_while(void **state)
{
    struct fixture f;
    uint64_t before;
    unsigned tries = 0;

    fixture_create(&f, &accel_soft);
    do {
        begin(&f, PAGE | 1);
        RUN_REAL(&f, twice);
        set_gpr(&f, RBX, PAGE | 1);
        fixture_expect(&f, VCPU_EXIT_HALT);
        before = stolen(&f);
        fixture_expect(&f, VCPU_EXIT_HALT);
        usleep(SLEEP_MS * 1000);
        fixture_expect(&f, VCPU_EXIT_IO);
        fixture_expect(&f, VCPU_EXIT_HALT);
    } while (!is_free(stolen(&f) - before, &tries));
    assert_int_equal(f.ram[PREEMPTED], 1);
    fixture_destroy(&f);
}

/* The board answers what is no value for it as any MSR that nobody knows. */
static void bad_values_exit(void **state)
{
    const struct x86_cpuid_topology topology = {.vcpus = 1};
    static struct x86_cpuid cpuid;
    struct fixture f;

    fixture_create(&f, &accel_soft);
    RUN_REAL(&f, read);
    set_gpr(&f, RBX, PAGE | 1);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), PAGE | 1);
    for (uint32_t bit = 2; bit < 64; bit <<= 1) {
        begin(&f, PAGE | 1 | bit);
        fixture_expect(&f, VCPU_EXIT_WRMSR);
    }
    must(machine_default_cpuid(f.m, &topology, &cpuid), "machine_default_cpuid");
    x86_cpuid_find(&cpuid, 0x40000001, 0)->eax &= ~(1u << 5);
    must(vcpu_set_cpuid(f.v, &cpuid), "vcpu_set_cpuid");
    begin(&f, PAGE | 1);
    fixture_expect(&f, VCPU_EXIT_WRMSR);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(halted_is_preempted),
        cmocka_unit_test(stolen_is_what_no_halt_is),
        cmocka_unit_test(interrupts_tell),
        cmocka_unit_test(threads_change),
        cmocka_unit_test(is_off),
        cmocka_unit_test(bad_values_exit),
        cmocka_unit_test(is_off_for_a_while),
    };

    return cmocka_run_group_tests_name("soft_steal", tests, NULL, NULL);
}
