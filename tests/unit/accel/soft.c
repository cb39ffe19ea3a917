/* What only the soft engine has: cached blocks that must follow their bytes, and counters. */
#include "fixture.h"

#include "base/bits.h"
#include "x86/regs.h"

static uint64_t stat(struct fixture *f, const char *name)
{
    struct accel_stat stats[ACCEL_STATS];
    unsigned count = vcpu_stats(f->v, stats);

    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(stats[i].name, name))
            return stats[i].value;
    }
    fail_msg("no counter '%s'", name);
    return 0;
}

static void jump_back(struct fixture *f)
{
    assert_int_equal(vcpu_get(f->v, X86_GPRS), 0);
    f->v->state->rip = CODE;
    assert_int_equal(vcpu_set(f->v, X86_GPRS), 0);
}

GUEST(immediate, 16, "movw $0x1111, %ax\nhlt")

/* A device or a loader writes where code is cached from. */
static void code_written_by_the_host(void **state)
{
    const uint8_t patch[] = {0x22, 0x33};
    struct fixture f;

    fixture_create(&f, *state);
    RUN_REAL(&f, immediate);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0x1111);
    assert_int_equal(guest_mem_write(&f.m->mem, GPA(CODE + 1), patch, 2), 0);
    jump_back(&f);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0x3322);
    fixture_destroy(&f);
}

/* 0x60000 times: change the instruction behind the one that changes it, and run both. */
GUEST(rewrites, 16,
      "movw $6, %bx\n"
      "xorw %cx, %cx\n"
      "1: incl %cs:0x1000 + 2f - g_rewrites + 2\n"
      "2: movl $0, %eax\n"
      "loop 1b\n"
      "decw %bx\n"
      "jnz 1b\n"
      "hlt")

static void code_written_without_end(void **state)
{
    struct fixture f;

    fixture_create(&f, *state);
    RUN_REAL(&f, rewrites);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0x60000);
    assert_true(stat(&f, "blocks dropped by writes to code") >= 0x60000);
    assert_true(stat(&f, "bytes of blocks, and instructions kept") <
                8 << 20); /* it is bounded, and used again */
    assert_true(stat(&f, "bytes of decoded instructions") < 8 << 20);
    assert_int_equal(stat(&f, "flushes of all blocks"), 0);
    fixture_destroy(&f);
}

GUEST(five, 16, "movw $1, %ax\nmovw $0x80, %dx\noutb %al, %dx\nincw %ax\nhlt")

static void counts_instructions(void **state)
{
    static const struct access accesses[] = {OUT(1, 0x80, 1)};
    struct script script = {accesses};
    const struct accel_bus_ops bus = PLAY(&script);
    struct fixture f;

    fixture_create(&f, *state);
    RUN_REAL(&f, five);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(stat(&f, "instructions"), 2);
    assert_int_equal(vcpu_assist(f.v, &bus), 0);
    assert_int_equal(stat(&f, "instructions"), 3);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(stat(&f, "instructions"), 5);
    assert_int_equal(stat(&f, "blocks decoded"), 2);
    fixture_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(code_written_by_the_host, (void *)accel_find("soft")),
        cmocka_unit_test_prestate(code_written_without_end, (void *)accel_find("soft")),
        cmocka_unit_test_prestate(counts_instructions, (void *)accel_find("soft")),
    };

    return cmocka_run_group_tests_name("soft", tests, NULL, NULL);
}
