/* Several vCPUs for real: started by messages, brought to stand still, asleep. */
#include "board/cpus.h"

#include "../deadlock.h"
#include "smp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/*
 * Whoever comes takes a number. The first enables x2APIC and sends INIT and SIPI to all
 * others; each then counts in its own word without end.
 */
extern const uint8_t counts[], counts_end[];
__asm__(".pushsection .rodata\n"
        ".code16\n"
        "counts:\n"
        "mov $1, %eax\n"
        "lock xaddl %eax, 0x8000\n"
        "test %eax, %eax\n"
        "jnz 1f\n"
        "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n"
        "xor %edx, %edx\n"
        "mov $0x80f, %ecx\n mov $0x1ff, %eax\n wrmsr\n"
        "mov $0x830, %ecx\n mov $0xc4500, %eax\n wrmsr\n"
        "mov $0xc4601, %eax\n wrmsr\n"
        "xor %eax, %eax\n"
        "1: mov %eax, %ebx\n"
        "shl $2, %ebx\n"
        "2: incl 0x8004(%ebx)\n"
        "jmp 2b\n"
        "counts_end:\n"
        ".code64\n"
        ".popsection\n");

/*
 * One processor, asleep but for its local APIC's timer: one-shot, 1 ms at 1 GHz; the handler
 * counts, ends the interrupt and arms again.
 */
extern const uint8_t sleeps[], sleeps_end[];
__asm__(".pushsection .rodata\n"
        ".code16\n"
        "sleeps:\n"
        "mov $0x7000, %esp\n"
        "movw $(3f - sleeps), 0x100\n" /* vector 0x40 */
        "movw %cs, 0x102\n"
        "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n"
        "xor %edx, %edx\n"
        "mov $0x80f, %ecx\n mov $0x1ff, %eax\n wrmsr\n"
        "mov $0x83e, %ecx\n mov $0xb, %eax\n wrmsr\n" /* divide by 1 */
        "mov $0x832, %ecx\n mov $0x40, %eax\n wrmsr\n"
        "mov $0x838, %ecx\n mov $1000000, %eax\n wrmsr\n"
        "sti\n"
        "1: hlt\n"
        "jmp 1b\n"
        "3: incl 0x8000\n"
        "mov $0x80b, %ecx\n xor %eax, %eax\n wrmsr\n"
        "mov $0x838, %ecx\n mov $1000000, %eax\n wrmsr\n"
        "iret\n"
        "sleeps_end:\n"
        ".code64\n"
        ".popsection\n");

static struct smp smp;

#define MAKE(accel, count, guest) smp_make(&smp, accel, count, guest, (size_t)(guest##_end - guest))

static void end(void)
{
    smp_end(&smp);
}

/* ---- a holder that waits for held() ---- */

static atomic_uint told;

static void on_held(void *user)
{
    atomic_fetch_add(&told, 1);
}

/* held() may come again for a safe point that was told; that all stand still is what counts. */
static void hold(enum cpu_hold who)
{
    const struct timespec moment = {.tv_nsec = 1000};
    uint64_t until = host_now_ns() + DEADLOCK_SECONDS * UINT64_C(1000000000);
    unsigned before = atomic_load(&told);

    cpus_hold(&smp.cpus, who);
    while (atomic_load(&told) == before || !cpus_are_held(&smp.cpus)) {
        assert_true(host_now_ns() < until);
        nanosleep(&moment, NULL);
    }
}

/* Nothing counts on, and all states are to be had. */
static void check_still(void)
{
    uint32_t sum[2] = {0, 0};

    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned n = 0; n < smp.cpus.count; n++) {
            assert_int_equal(vcpu_get(smp.cpus.cpu[n].vcpu, X86_GPRS), 0);
            sum[turn] += smp_counter(&smp, SMP_PRIVATE + 4 * n);
        }
    }
    assert_int_equal(sum[0], sum[1]);
}

#define ENOUGH_NS UINT64_C(20000000000) /* a busy host gets through fewer pauses */
#define ENOUGH    100

static void pause_and_resume(unsigned times)
{
    const uint64_t enough = host_now_ns() + ENOUGH_NS;

    smp.cpus.held = on_held;
    smp_start(&smp);
    smp_wait(&smp, SMP_CAME, 0, smp.cpus.count);
    for (unsigned i = 0; i < times && (i < ENOUGH || host_now_ns() < enough); i++) {
        hold(CPU_HOLD_USER);
        if (i % 16 == 0)
            check_still();
        cpus_release(&smp.cpus, CPU_HOLD_USER);
    }
    for (unsigned n = 0; n < smp.cpus.count; n++)
        smp_wait(&smp, SMP_PRIVATE + 4 * n, smp_counter(&smp, SMP_PRIVATE + 4 * n), 1);
    end();
}

static void many_pauses(void **state)
{
    assert_int_equal(MAKE("soft", 2, counts), 0);
    pause_and_resume(10000);
}

static void more_vcpus_than_the_host_has(void **state)
{
    assert_int_equal(MAKE("soft", 8, counts), 0);
    pause_and_resume(100);
}

static void pauses_on_kvm(void **state)
{
    if (MAKE("kvm", 2, counts))
        skip(); /* no KVM here */
    pause_and_resume(1000);
}

static void all_64_start(void **state)
{
    assert_int_equal(MAKE("soft", CPUS_MAX, counts), 0);
    smp.cpus.held = on_held;
    smp_start(&smp);
    smp_wait(&smp, SMP_CAME, 0, CPUS_MAX);
    for (unsigned n = 0; n < CPUS_MAX; n++)
        smp_wait(&smp, SMP_PRIVATE + 4 * n, 0, 1);
    hold(CPU_HOLD_USER);
    check_still();
    end(); /* out of the safe point */
}

/* It waits for what nobody sends: still it acknowledges, and its thread ends. */
static void one_that_was_not_started_stands_still_too(void **state)
{
    assert_int_equal(MAKE("soft", 3, sleeps), 0);
    smp.cpus.held = on_held;
    smp_start(&smp);
    smp_wait(&smp, SMP_CAME, 0, 1);
    hold(CPU_HOLD_USER);
    for (unsigned n = 1; n < 3; n++)
        assert_int_equal(smp.cpus.cpu[n].activity, CPU_WAIT_SIPI);
    end();
}

static void it_runs_when_nobody_holds_it(void **state)
{
    uint32_t was;

    assert_int_equal(MAKE("soft", 2, counts), 0);
    smp.cpus.held = on_held;
    cpus_hold(&smp.cpus, CPU_HOLD_DEBUGGER); /* before it starts */
    smp_start(&smp);
    hold(CPU_HOLD_USER);
    cpus_release(&smp.cpus, CPU_HOLD_USER);
    assert_true(cpus_are_held(&smp.cpus));
    assert_int_equal(cpus_holders(&smp.cpus), CPU_HOLD_DEBUGGER);
    assert_int_equal(smp_counter(&smp, SMP_CAME), 0);
    cpus_release(&smp.cpus, CPU_HOLD_DEBUGGER);
    smp_wait(&smp, SMP_CAME, 0, 2);
    hold(CPU_HOLD_DEBUGGER);
    was = smp_counter(&smp, SMP_PRIVATE + 4);
    cpu_release(&smp.cpus.cpu[0], CPU_HOLD_DEBUGGER); /* one of them */
    smp_wait(&smp, SMP_PRIVATE, smp_counter(&smp, SMP_PRIVATE), 1000);
    assert_false(cpus_are_held(&smp.cpus));
    assert_int_equal(smp_counter(&smp, SMP_PRIVATE + 4), was);
    end();
}

/* Nobody runs the loop, so the vCPU's own wait is what ends at the deadline. */
static void a_halted_vcpu_keeps_its_own_time(void **state)
{
    unsigned halts = 0;

    /* One that the host left alone for a while before HLT was not halted. */
    for (unsigned tries = 0; tries < 100 && halts < 10; tries++) {
        assert_int_equal(MAKE("soft", 1, sleeps), 0);
        smp_start(&smp);
        smp_wait(&smp, SMP_CAME, 0, 20);
        end();
        halts += smp.cpus.cpu[0].exits[VCPU_EXIT_HALT];
    }
    if (halts < 10)
        fail_msg("%u halts, expected 10", halts);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_pauses),
        cmocka_unit_test(more_vcpus_than_the_host_has),
        cmocka_unit_test(pauses_on_kvm),
        cmocka_unit_test(all_64_start),
        cmocka_unit_test(one_that_was_not_started_stands_still_too),
        cmocka_unit_test(it_runs_when_nobody_holds_it),
        cmocka_unit_test(a_halted_vcpu_keeps_its_own_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
