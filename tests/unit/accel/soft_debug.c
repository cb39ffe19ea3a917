/* What only the soft engine promises a debugger: nothing of it shows, and little is slowed. */
#include "debugger.h"

#include "../deadlock.h"

#include "base/bits.h"
#include "x86/regs.h"

#include <unistd.h>

static void start(struct fixture *f, const uint8_t *code, size_t size)
{
    alarm(DEADLOCK_SECONDS);
    fixture_create(f, accel_find("soft"));
    fixture_long(f, code, size);
}
#define START(f, name) start(f, g_##name, (size_t)(g_##name##_end - g_##name))

GUEST(mov_ss, 64, "mov %ss, %eax\nmov %eax, %ss\nnop\nnop")

static void steps_in_a_shadow(void **state)
{
    struct fixture f;

    START(&f, mov_ss);
    memset(f.ram + GDT, 0, 24);
    le64_put(f.ram + GDT + 16, UINT64_C(0x00cf93000000ffff));
    f.v->state->gdtr = (struct mote_table){.base = GDT, .limit = 23};
    set_debug(&f, &step);
    for (unsigned i = 1; i <= 3; i++) {
        static const uint8_t at[] = {0, 2, 4, 5};

        expect_step(&f, CODE + at[i]);
        assert_int_equal(vcpu_get(f.v, X86_INTR), 0);
        assert_int_equal(f.v->state->intr.shadow, i == 2);
    }
    fixture_destroy(&f);
}

GUEST(mov_ss_int3, 64, "mov %ss, %eax\nmov %eax, %ss\nint3\nnop")

/* An INT3 that exits has changed nothing. */
static void int3_keeps_the_shadow(void **state)
{
    struct fixture f;

    START(&f, mov_ss_int3);
    memset(f.ram + GDT, 0, 24);
    le64_put(f.ram + GDT + 16, UINT64_C(0x00cf93000000ffff));
    f.v->state->gdtr = (struct mote_table){.base = GDT, .limit = 23};
    set_debug(&f, &breakpoints);
    expect_debug(&f, CODE + 4, true, false, 0);
    assert_int_equal(vcpu_get(f.v, X86_INTR), 0);
    assert_int_equal(f.v->state->intr.shadow, 1);
    fixture_destroy(&f);
}

GUEST(ud2, 64, "ud2")

static void steps_into_a_handler(void **state)
{
    struct fixture f;

    START(&f, ud2);
    SET_HANDLER(&f, EXC_UD, pops_rip);
    set_debug(&f, &step);
    expect_step(&f, HANDLER);
    for (unsigned i = 1; i <= 3; i++)
        expect_step(&f, HANDLER + i);
    assert_int_equal(f.v->state->gpr[RAX], CODE);
    assert_false(f.v->state->gpr[RDX] & FLAG_TF);
    fixture_destroy(&f);
}

GUEST(traps, 64, "pushf\norl $0x100, (%rsp)\npopf\nnop\nnop")

/* The guest steps itself while it is stepped. */
static void steps_into_a_trap(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    START(&f, traps);
    SET_HANDLER(&f, EXC_DB, pops_rip);
    set_debug(&f, &step);
    expect_step(&f, CODE + 1);
    expect_step(&f, CODE + 8);
    exit = fixture_expect(&f, VCPU_EXIT_DEBUG);
    assert_int_equal(exit.debug.rip, CODE + 9);
    assert_true(exit.rflags & FLAG_TF); /* the guest's */
    expect_step(&f, HANDLER);
    assert_int_equal(vcpu_get(f.v, X86_DRS), 0);
    assert_true(f.v->state->dr[6] & DR6_BS);
    set_debug(&f, &nothing);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 10);
    assert_true(fixture_gpr(&f, RDX) & FLAG_TF);
    fixture_destroy(&f);
}

GUEST(traps_msr, 64, "pushf\norl $0x100, (%rsp)\npopf\nrdmsr\nnop")

/* An instruction that is completed outside is stepped over by the guest as well. */
static void guests_own_step_over_an_exit(void **state)
{
    struct fixture f;

    START(&f, traps_msr);
    SET_HANDLER(&f, EXC_DB, pops_rip);
    f.v->state->gpr[RCX] = 0x4d4f5445;
    fixture_expect(&f, VCPU_EXIT_RDMSR);
    assert_int_equal(vcpu_complete_msr(f.v, 1, false), 0);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 11);
    fixture_destroy(&f);
}

static void set_dr(struct fixture *f, unsigned n, uint64_t address, uint64_t dr7)
{
    assert_int_equal(vcpu_get(f->v, X86_DRS), 0);
    f->v->state->dr[n] = address;
    f->v->state->dr[7] = DR7_FIXED | dr7;
    assert_int_equal(vcpu_set(f->v, X86_DRS), 0);
}

#define WRITES_BYTE 1u /* type and length of DR0 in DR7, from bit 16 */

GUEST(store, 64, "nop\nmovb $1, (%rdi)\nnop\nnop")

/* Both watch one byte, and the debugger an instruction: the guest has its #DB, we have ours. */
static void guests_own_breakpoints(void **state)
{
    struct vcpu_debug d = watching(1, DATA, 4, VCPU_WATCH_WRITE);
    struct fixture f;

    START(&f, store);
    SET_HANDLER(&f, EXC_DB, pops_rip);
    f.v->state->gpr[RDI] = DATA;
    set_dr(&f, 0, DATA, 2 | WRITES_BYTE << 16);
    d.watch[0] = (struct vcpu_watch){CODE + 1, 1, VCPU_WATCH_EXEC};
    set_debug(&f, &d);
    expect_debug(&f, CODE + 1, false, false, 1);
    expect_debug(&f, HANDLER, false, false, 2);
    assert_int_equal(vcpu_get(f.v, X86_DRS), 0);
    assert_int_equal(f.v->state->dr[6], DR6_FIXED | 1);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 4);
    fixture_destroy(&f);
}

GUEST(resumes, 64, "inc %ebx\norl $0x10000, 16(%rsp)\niretq")
GUEST(one_port, 64, "in $0x81, %al\nout %al, $0xf4")

/* A breakpoint on an instruction that exits hits once: the guest's, and the debugger's. */
static void breakpoint_on_an_access(void **state)
{
    static const struct access accesses[] = {IN(1, 0x81, 7)};
    struct script script = {accesses};
    const struct accel_bus_ops bus = PLAY(&script);
    struct vcpu_debug d = watching(0, CODE, 1, VCPU_WATCH_EXEC);
    struct fixture f;

    START(&f, one_port);
    SET_HANDLER(&f, EXC_DB, resumes);
    f.v->state->gpr[RBX] = 0;
    set_dr(&f, 0, CODE, 2);
    set_debug(&f, &d);
    expect_debug(&f, CODE, false, false, 1);
    expect_debug(&f, CODE, false, false, 1); /* come back to after the guest's handler */
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &bus), 0);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX) & 0xff, 7);
    assert_int_equal(fixture_gpr(&f, RBX), 1);
    assert_false(f.v->state->rflags & FLAG_RF);
    fixture_destroy(&f);
}

GUEST(prefixed, 64, ".byte 0x66, 0xcc\nnop")

/* No debugger puts one there. */
static void int3_with_a_prefix(void **state)
{
    struct fixture f;

    START(&f, prefixed);
    SET_HANDLER(&f, EXC_BP, pops_rip);
    set_debug(&f, &breakpoints);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 2);
    fixture_destroy(&f);
}

GUEST(pops_error, 64, "pop %rbx\npop %rax\nout %al, $0xf4")

/* Without a gate the INT3 itself faults, and EXT is clear. */
static void int3_without_a_gate(void **state)
{
    const struct mote_event bp = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_BP};
    struct fixture f;

    START(&f, int3);
    SET_HANDLER(&f, EXC_GP, pops_error);
    set_debug(&f, &breakpoints);
    expect_debug(&f, CODE + 5, true, false, 0);
    assert_int_equal(vcpu_inject(f.v, &bp), 0);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 5);
    assert_int_equal(fixture_gpr(&f, RBX), EXC_BP * 8 + 2);
    fixture_destroy(&f);
}

GUEST(fills, 64, "rep stosb\nout %al, $0xf4")

static void repeats(void **state)
{
    struct vcpu_debug d = watching(0, DATA + 5, 1, VCPU_WATCH_WRITE);
    struct fixture f;

    START(&f, fills);
    f.v->state->gpr[RCX] = 16;
    f.v->state->gpr[RDI] = DATA;
    set_debug(&f, &d);
    expect_debug(&f, CODE, false, false, 1); /* after the element */
    assert_int_equal(f.v->state->gpr[RCX], 10);
    expect_end(&f);
    set_rip(&f, CODE);
    f.v->state->gpr[RCX] = 0x8000; /* longer than an engine goes on for in one go */
    f.v->state->gpr[RDI] = DATA;
    d = watching(0, CODE, 1, VCPU_WATCH_EXEC);
    d.watch[1] = (struct vcpu_watch){0xfff8, 8, VCPU_WATCH_WRITE}; /* element by element */
    set_debug(&f, &d);
    expect_debug(&f, CODE, false, false, 1);
    expect_end(&f);
    fixture_destroy(&f);
}

GUEST(alias, 64, "1: inc %eax\nnop\nnop\njmp *%rbx")
#define ALIAS 0x200000u /* second linear address of what is at 0 */

/* A block that was built where nobody watches is not for where somebody does. */
static void watches_one_of_two_addresses(void **state)
{
    struct vcpu_debug d = watching(0, ALIAS + CODE + 2, 1, VCPU_WATCH_EXEC);
    struct fixture f;

    START(&f, alias);
    le64_put(f.ram + PAGE_DIRS + 0x2008, 0x83);
    f.v->state->gpr[RAX] = 0;
    f.v->state->gpr[RBX] = ALIAS + CODE;
    set_debug(&f, &d);
    for (unsigned i = 2; i < 6; i++) {
        expect_debug(&f, ALIAS + CODE + 2, false, false, 1);
        assert_int_equal(f.v->state->gpr[RAX], i);
    }
    fixture_destroy(&f);
}

static uint64_t uncached(struct fixture *f)
{
    struct accel_stat stats[ACCEL_STATS];
    unsigned count = vcpu_stats(f->v, stats);

    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(stats[i].name, "instructions outside of blocks"))
            return stats[i].value;
    }
    fail_msg("no such counter");
    return 0;
}

/* A watch in the same page, even, takes no other instruction out of the blocks. */
static void watch_slows_nothing_else(void **state)
{
    struct vcpu_debug d = watching(0, CODE + 11, 1, VCPU_WATCH_EXEC);
    struct fixture f;

    START(&f, loops);
    expect_end(&f); /* blocks from before have to go */
    set_rip(&f, CODE + 5);
    f.v->state->gpr[RCX] = 100000;
    set_debug(&f, &d);
    expect_debug(&f, CODE + 11, false, false, 1);
    assert_true(uncached(&f) < 10);
    fixture_destroy(&f);
}

/* A kick and an interrupt wait for their turn; the step is not lost. */
static void step_waits(void **state)
{
    static const struct access accesses[] = {OUT(1, 0x80, 7)};
    const struct mote_event intr = {.kind = X86_EVENT_INTR, .vector = 0x1f};
    struct script script = {accesses};
    const struct accel_bus_ops bus = PLAY(&script);
    struct fixture f;

    START(&f, ports);
    SET_HANDLER(&f, 0x1f, pops_rip);
    f.v->state->gpr[RAX] = 7;
    f.v->state->rflags |= FLAG_IF;
    set_debug(&f, &step);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &bus), 0);
    assert_int_equal(vcpu_inject(f.v, &intr), 0);
    vcpu_kick(f.v); /* fixture_expect runs again */
    expect_step(&f, CODE + 2);
    expect_step(&f, HANDLER);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_in_a_shadow),
        cmocka_unit_test(int3_keeps_the_shadow),
        cmocka_unit_test(steps_into_a_handler),
        cmocka_unit_test(steps_into_a_trap),
        cmocka_unit_test(guests_own_step_over_an_exit),
        cmocka_unit_test(guests_own_breakpoints),
        cmocka_unit_test(breakpoint_on_an_access),
        cmocka_unit_test(int3_with_a_prefix),
        cmocka_unit_test(int3_without_a_gate),
        cmocka_unit_test(repeats),
        cmocka_unit_test(watches_one_of_two_addresses),
        cmocka_unit_test(watch_slows_nothing_else),
        cmocka_unit_test(step_waits),
    };

    return cmocka_run_group_tests_name("soft_debug", tests, NULL, NULL);
}
