/* The soft engine's choice of tiers, and the witness that compares them. */
#include "fixture.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/regs.h"

#include "accel/soft/soft.h"

#include <errno.h>

/* A sum over memory, with a device written and read within, and an exception handled. */
GUEST(sums, 64,
      "movl $1000, %ecx\n"
      "xorl %eax, %eax\n"
      "movl $0x4000, %ebx\n"
      "1: addl %ecx, (%rbx)\n"
      "movl (%rbx), %r10d\n"
      "addl %r10d, %eax\n"
      "pushq %rax\n"
      "popq %r11\n"
      "decl %ecx\n"
      "jnz 1b\n"
      "outb %al, $0x80\n"
      "inb $0x81, %al\n"
      "rdtsc\n"
      "hlt")

static void create(struct fixture *f, void **state, enum accel_engine engine)
{
    const struct machine_config config = {.vcpus = 1, .engine = engine};

    fixture_create_config(f, accel_of(state), &config);
    RUN_LONG(f, sums);
}

static uint32_t run_sums(struct fixture *f)
{
    static const struct access accesses[] = {OUT(1, 0x80, 0x1c), IN(1, 0x81, 7)};
    struct script script = {accesses};
    const struct accel_bus_ops bus = PLAY(&script);

    fixture_expect(f, VCPU_EXIT_IO);
    must(vcpu_assist(f->v, &bus), "vcpu_assist");
    fixture_expect(f, VCPU_EXIT_IO);
    must(vcpu_assist(f->v, &bus), "vcpu_assist");
    fixture_expect(f, VCPU_EXIT_HALT);
    return (uint32_t)fixture_gpr(f, R11);
}

static uint64_t translated(const struct fixture *f)
{
    return ((const struct soft_vcpu *)f->v)->tr.stats.translated;
}

static void all_engines_agree(void **state)
{
    static const enum accel_engine engines[] = {ACCEL_ENGINE_BEST, ACCEL_ENGINE_TRANSLATE,
                                                ACCEL_ENGINE_INTERPRET, ACCEL_ENGINE_CHECK};
    struct fixture f;

    for (unsigned n = 0; n < ARRAY_SIZE(engines); n++) {
        create(&f, state, engines[n]);
        assert_int_equal(run_sums(&f), 0x13e5e51c);
        if (engines[n] == ACCEL_ENGINE_INTERPRET)
            assert_int_equal(translated(&f), 0);
        else
            assert_true(translated(&f) > 0);
        fixture_destroy(&f);
    }
}

/* The translator emits another instruction: ADD becomes SUB. */
static void wrong_code_is_found(void **state)
{
    static const uint8_t add[] = {0x44, 0x01, 0xd8}, add10[] = {0x41, 0x03, 0xc2};
    struct fixture f;
    struct soft_vcpu *s;
    struct vcpu_exit exit;
    unsigned found = 0;

    create(&f, state, ACCEL_ENGINE_CHECK);
    s = (struct soft_vcpu *)f.v;
    run_sums(&f);
    for (size_t at = s->tr.stubs; at + 3 < s->tr.code.used; at++) {
        uint8_t *p = s->tr.code.rw + at;

        if (!memcmp(p, add, 3))
            p[1] = 0x29, found++;
        else if (!memcmp(p, add10, 3))
            p[1] = 0x2b, found++;
    }
    assert_true(found > 0);
    must(vcpu_get(f.v, X86_GPRS), "vcpu_get");
    f.v->state->rip = CODE; /* the translations stay */
    must(vcpu_set(f.v, X86_GPRS), "vcpu_set");
    must(vcpu_run(f.v, &exit), "vcpu_run");
    assert_int_equal(exit.reason, VCPU_EXIT_FAIL);
    assert_non_null(strstr(exit.fail.why, "differ"));
    fixture_destroy(&f);
}

/* A store that only the translator does is found as well, if later: memory is compared whole. */
static void wrong_memory_is_found(void **state)
{
    struct fixture f;
    struct vcpu_exit exit;

    create(&f, state, ACCEL_ENGINE_CHECK);
    run_sums(&f);
    f.ram[0x4000] ^= 1; /* as a stray store would */
    RUN_LONG(&f, sums);
    must(vcpu_run(f.v, &exit), "vcpu_run");
    assert_int_equal(exit.reason, VCPU_EXIT_FAIL);
    fixture_destroy(&f);
}

GUEST(call_by_nothing, 64, "nop\nnop\ncall *0x7f000000\nhlt")
GUEST(jump_by_nothing, 64, "nop\nnop\njmp *0x7f000000\nhlt")
GUEST(call_to_nothing, 64, "movl $0x7f000008, %esp\nnop\ncall 1f\nhlt\n1: hlt")
GUEST(return_to_nothing, 64, "movl $0x7f000000, %esp\nnop\nret\nhlt")

/* A branch whose memory is not there: the witness faults at the same instruction. There is no
 * handler. */
static void branches_that_fault(void **state)
{
    static const struct {
        const uint8_t *code, *end;
    } guests[] = {{g_call_by_nothing, g_call_by_nothing_end},
                  {g_jump_by_nothing, g_jump_by_nothing_end},
                  {g_call_to_nothing, g_call_to_nothing_end},
                  {g_return_to_nothing, g_return_to_nothing_end}};
    struct fixture f;

    for (unsigned n = 0; n < ARRAY_SIZE(guests); n++) {
        create(&f, state, ACCEL_ENGINE_CHECK);
        memcpy(f.ram + CODE, guests[n].code, (size_t)(guests[n].end - guests[n].code));
        fixture_expect(&f, VCPU_EXIT_SHUTDOWN);
        fixture_destroy(&f);
    }
}

static void one_vcpu_only(void **state)
{
    const struct machine_config config = {.vcpus = 2, .engine = ACCEL_ENGINE_CHECK};
    struct machine *m;

    assert_int_equal(machine_create(&m, accel_of(state), &config), -EINVAL);
    assert_non_null(strstr(err_text(), "expected 1"));
}

static void kvm_has_no_engines(void **state)
{
    const struct machine_config config = {.vcpus = 1, .engine = ACCEL_ENGINE_TRANSLATE};
    struct machine *m;

    assert_int_equal(machine_create(&m, accel_find("kvm"), &config), -ENOTSUP);
}

#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_engines_agree),   TEST(wrong_code_is_found), TEST(wrong_memory_is_found),
        TEST(branches_that_fault), TEST(one_vcpu_only),       TEST(kvm_has_no_engines),
    };

    return cmocka_run_group_tests_name("soft_check", tests, NULL, NULL);
}
