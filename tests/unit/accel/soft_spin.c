/* PAUSE with several vCPUs: a vCPU that spins makes way for one that shares its host CPU. */
#include "smp.h"

#include "accel/backends.h"
#include "base/bits.h"

#include <sched.h>

#define YIELDS "times a spinning vCPU made way"

#define TURNS 200
/* PAUSEs that a vCPU waits before it looks around, and how often the host may choose it again. */
#define WINDOW 1024
#define CHOSEN 32
/* Others keep the host busy, and it may be that nobody waited. */
#define TRIES 50

/* Take turns: wait until the word is ours (rdi), give it to the next; RAX: PAUSEs. */
GUEST(turns, 64,
      "xorl %eax, %eax\n"
      "movl $200, %ecx\n"
      "jmp 2f\n"
      "1: incq %rax\n"
      "pause\n"
      "2: cmpl %edi, (%rbp)\n"
      "jne 1b\n"
      "xorl $1, (%rbp)\n"
      "decl %ecx\n"
      "jnz 2b\n"
      "hlt")

/* Spin rdi times. */
GUEST(spins, 64, "1: pause; decq %rdi; jnz 1b; movl $1, %eax; hlt")

/* As often, but not in a row: other things are done in between. */
GUEST(relaxes, 64,
      "1: pause\n"
      "movl $8000, %ecx\n"
      "2: decl %ecx\n"
      "jnz 2b\n"
      "decq %rdi\n"
      "jnz 1b\n"
      "hlt")

/* Spin until the word is not 0. */
GUEST(waits, 64, "1: pause; cmpq $0, (%rbp); je 1b; hlt; jmp 1b")

/* Flags, registers and vectors live across PAUSE. RAX: 100000 / 2, and XMM0 in the upper half. */
GUEST(keeps, 64,
      "xorl %eax, %eax\n"
      "pxor %xmm0, %xmm0\n"
      "movl $1, %edx\n"
      "movd %edx, %xmm1\n"
      "movl $100000, %ecx\n"
      "movl $0x1234, %r9d\n"
      "movl $0x1234, %r10d\n"
      "movl $0x1234, %r11d\n"
      "1: paddd %xmm1, %xmm0\n"
      "cmpl $50001, %ecx\n"
      "pause\n"
      "adcl $0, %eax\n"
      "cmpl %r9d, %r10d\n"
      "pause\n"
      "jne 3f\n"
      "cmpl %r10d, %r11d\n"
      "jne 3f\n"
      "decl %ecx\n"
      "pause\n"
      "jnz 1b\n"
      "movd %xmm0, %ecx\n"
      "shlq $32, %rcx\n"
      "orq %rcx, %rax\n"
      "3: hlt")

/* All threads to come run on one of the processors we may use. */
static void share_one(cpu_set_t *before)
{
    cpu_set_t one;
    int cpu = 0;

    assert_int_equal(sched_getaffinity(0, sizeof(*before), before), 0);
    while (!CPU_ISSET(cpu, before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void create(struct smp *s, enum accel_engine engine, unsigned vcpus)
{
    const struct machine_config config = {.vcpus = vcpus, .engine = engine};

    smp_create_as(s, accel_find("soft"), &config);
}

/* PAUSEs while two vCPUs take turns. */
static uint64_t take_turns(enum accel_engine engine, uint64_t *yields)
{
    uint64_t pauses = 0;
    struct smp s;

    create(&s, engine, 2);
    SMP_CODE(&s, 0x1000, turns);
    for (unsigned n = 0; n < 2; n++)
        smp_start(&s, n, 0x1000, n);
    for (unsigned n = 0; n < 2; n++)
        pauses += smp_join(&s, n);
    *yields = smp_stat(&s, 0, YIELDS) + smp_stat(&s, 1, YIELDS);
    smp_destroy(&s);
    return pauses;
}

/* Whoever has to wait does so for as long as the host lets it, unless it makes way. */
static void makes_way(void **state)
{
    enum accel_engine engine = *(const enum accel_engine *)*state;
    uint64_t pauses, yields, enough = UINT64_C(2) * TURNS * WINDOW * CHOSEN;
    unsigned tries = 0;
    cpu_set_t before;

    share_one(&before);
    do {
        pauses = take_turns(engine, &yields);
    } while ((pauses > enough || yields < TURNS) && ++tries < TRIES);
    sched_setaffinity(0, sizeof(before), &before);
    if (tries == TRIES)
        fail_msg("%lu PAUSEs and %lu yields, expected at most %lu and at least %d",
                 (unsigned long)pauses, (unsigned long)yields, (unsigned long)enough, TURNS);
}

/* Nobody waits: the others halted, have not begun, or are not. */
static void alone(void **state)
{
    enum accel_engine engine = *(const enum accel_engine *)*state;

    for (unsigned vcpus = 1; vcpus <= 3; vcpus++) {
        struct smp s;

        create(&s, engine, vcpus);
        SMP_CODE(&s, 0x1000, spins);
        if (vcpus > 2) {
            smp_start(&s, 2, 0x1000, 1);
            smp_join(&s, 2);
        }
        smp_start(&s, 0, 0x1000, 1000000);
        smp_join(&s, 0);
        assert_int_equal(smp_stat(&s, 0, YIELDS), 0);
        smp_destroy(&s);
    }
}

/* What vCPU 0 ends with, of code at 0x1000; meanwhile vCPU 1 waits for the same host CPU. */
static uint64_t run_beside(struct smp *s, uint64_t argument)
{
    uint64_t result;

    SMP_CODE(s, 0x2000, waits);
    smp_start(s, 1, 0x2000, 0);
    smp_start(s, 0, 0x1000, argument);
    result = smp_join(s, 0);
    smp_write(s, SMP_DATA, 1);
    smp_join(s, 1);
    return result;
}

/* A PAUSE now and then is no spinning, whoever waits. */
static void seldom(void **state)
{
    enum accel_engine engine = *(const enum accel_engine *)*state;
    cpu_set_t before;
    struct smp s;

    share_one(&before);
    create(&s, engine, 2);
    SMP_CODE(&s, 0x1000, relaxes);
    run_beside(&s, 4 * WINDOW);
    assert_int_equal(smp_stat(&s, 0, YIELDS), 0);
    smp_destroy(&s);
    sched_setaffinity(0, sizeof(before), &before);
}

static void keeps_state(void **state)
{
    enum accel_engine engine = *(const enum accel_engine *)*state;
    cpu_set_t before;
    struct smp s;

    share_one(&before);
    create(&s, engine, 2);
    SMP_CODE(&s, 0x1000, keeps);
    assert_int_equal(run_beside(&s, 0), UINT64_C(100000) << 32 | 50000);
    smp_destroy(&s);
    sched_setaffinity(0, sizeof(before), &before);
}

static void *run_once(void *vcpu)
{
    struct vcpu_exit exit;

    return vcpu_run(vcpu, &exit) || exit.reason != VCPU_EXIT_NONE ? "another exit" : NULL;
}

/* Of vCPUs that spin for ever each kick comes through, be they running or making way. */
static void kicked(void **state)
{
    enum accel_engine engine = *(const enum accel_engine *)*state;
    cpu_set_t before;
    struct smp s;

    share_one(&before);
    create(&s, engine, SMP_CPUS);
    SMP_CODE(&s, 0x2000, waits);
    smp_write(&s, SMP_DATA, 1);
    for (unsigned n = 0; n < SMP_CPUS; n++) {
        smp_start(&s, n, 0x2000, 0);
        smp_join(&s, n);
    }
    smp_write(&s, SMP_DATA, 0);
    for (unsigned turn = 0; turn < 100; turn++) {
        for (unsigned n = 0; n < SMP_CPUS; n++)
            assert_int_equal(pthread_create(&s.thread[n], NULL, run_once, s.v[n]), 0);
        for (unsigned n = 0; n < turn % 8; n++)
            sched_yield();
        for (unsigned n = 0; n < SMP_CPUS; n++) {
            void *why;

            vcpu_kick(s.v[n]);
            assert_int_equal(pthread_join(s.thread[n], &why), 0);
            assert_null(why);
        }
    }
    smp_destroy(&s);
    sched_setaffinity(0, sizeof(before), &before);
}

int main(void)
{
    static enum accel_engine best = ACCEL_ENGINE_BEST, interpret = ACCEL_ENGINE_INTERPRET;
#define TEST(name)                                                                                 \
    {                                                                                              \
#name, name, NULL, NULL, &best                                                             \
    }
#define INTERPRET(name)                                                                            \
    {                                                                                              \
#name ", interpreter", name, NULL, NULL, &interpret                                        \
    }
    const struct CMUnitTest tests[] = {
        TEST(makes_way),
#ifndef __SANITIZE_THREAD__ /* which makes it so slow that its PAUSEs may count as seldom */
        INTERPRET(makes_way),
#endif
        TEST(alone),          INTERPRET(alone),       TEST(seldom), INTERPRET(seldom),
        TEST(keeps_state),    INTERPRET(keeps_state), TEST(kicked), INTERPRET(kicked),
    };

    return cmocka_run_group_tests_name("soft, spinning vCPUs", tests, NULL, NULL);
}
