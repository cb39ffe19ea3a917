/* INT3 and steps for a debugger outside the guest, on every accelerator. */
#include "debugger.h"

#include "base/bits.h"

/* ---- INT3 ---------------------------------------------------------------------- */

GUEST(int_3, 64, ".byte 0xcd, 3\nout %al, $0xf4")

static void int3_exits(void **state)
{
    const uint8_t nop = 0x90;
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR | ON_QEMU));
    RUN_LONG(&f, int3);
    set_debug(&f, &breakpoints);
    expect_debug(&f, CODE + 5, true, false, 0);
    assert_int_equal(f.v->state->gpr[RBX], 1);
    expect_debug(&f, CODE + 5, true, false, 0); /* it is still there */
    assert_int_equal(guest_mem_write(&f.m->mem, GPA(CODE + 5), &nop, 1), 0);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RBX), 2);
    fixture_destroy(&f);
}

static void int3_is_given_back(void **state)
{
    const struct mote_event bp = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_BP};
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR | ON_QEMU));
    RUN_LONG(&f, int3);
    SET_HANDLER(&f, EXC_BP, pops_rip);
    set_debug(&f, &breakpoints);
    expect_debug(&f, CODE + 5, true, false, 0);
    assert_int_equal(vcpu_inject(f.v, &bp), 0);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 6);
    assert_int_equal(fixture_gpr(&f, RCX), 8);
    assert_false(fixture_gpr(&f, RDX) & (FLAG_TF | FLAG_RF));
    fixture_destroy(&f);
}

/* #BP goes in as INT3 raises it, from behind the instruction. */
static void int3_is_injected(void **state)
{
    const struct mote_event bp = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_BP};
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR | ON_INTEL));
    RUN_LONG(&f, int3);
    SET_HANDLER(&f, EXC_BP, pops_rip);
    set_rip(&f, CODE + 5);
    assert_int_equal(vcpu_inject(f.v, &bp), 0);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 6);
    assert_false(fixture_gpr(&f, RDX) & FLAG_RF);
    fixture_destroy(&f);
}

/* Without a debugger, and INT 3 by its long form always. */
static void guests_own_int3(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR));
    RUN_LONG(&f, int_3);
    SET_HANDLER(&f, EXC_BP, pops_rip);
    set_debug(&f, &breakpoints);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 2);
    RUN_LONG(&f, int3);
    SET_HANDLER(&f, EXC_BP, pops_rip);
    set_debug(&f, &nothing);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 6);
    fixture_destroy(&f);
}

/* ---- steps ---------------------------------------------------------------------- */

static void steps_are_one_instruction(void **state)
{
    static const uint8_t at[] = {5, 7, 9, 5, 7, 9, 5, 7, 9, 11};
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_STEPS(&f, loops);
    f.v->state->gpr[RAX] = 10;
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        set_debug(&f, &step);
        expect_step(&f, CODE + at[i]);
        assert_int_equal(f.v->state->gpr[RAX], 10 + (i + 2) / 3);
    }
    set_debug(&f, &nothing);
    expect_end(&f);
    assert_false(fixture_gpr(&f, RBX) & FLAG_TF);
    fixture_destroy(&f);
}

/* set_debug once is enough, and registers may be changed in between. */
static void steps_go_on(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_STEPS(&f, loops);
    set_debug(&f, &step);
    expect_step(&f, CODE + 5);
    expect_step(&f, CODE + 7);
    expect_step(&f, CODE + 9);
    set_rip(&f, CODE);
    expect_step(&f, CODE + 5);
    f.v->state->gpr[RCX] = 1;
    assert_int_equal(vcpu_set(f.v, X86_GPRS), 0);
    expect_step(&f, CODE + 7);
    expect_step(&f, CODE + 9);
    expect_step(&f, CODE + 11);
    fixture_destroy(&f);
}

/* The exit first, then the step without another instruction. */
static void steps_over_accesses(void **state)
{
    static const struct access accesses[] = {OUT(1, 0x80, 7), IN(1, 0x81, 0x42),
                                             WR(4, 0x20000, 0x42), RD(4, 0x20004, 0x1234)};
    static const uint8_t at[] = {2, 4, 11, 18};
    struct script script = {accesses};
    const struct accel_bus_ops bus = PLAY(&script);
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_BOCHS));
    RUN_LONG(&f, ports);
    f.v->state->gpr[RAX] = 7;
    set_debug(&f, &step);
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        fixture_expect(&f, i < 2 ? VCPU_EXIT_IO : VCPU_EXIT_MMIO);
        assert_int_equal(vcpu_assist(f.v, &bus), 0);
        if (i & 1)
            assert_int_equal(vcpu_get(f.v, X86_GPRS), 0); /* makes no difference */
        expect_step(&f, CODE + at[i]);
        assert_ptr_equal(script.next, accesses + i + 1);
    }
    assert_int_equal(f.v->state->gpr[RAX], 0x1234);
    expect_step(&f, CODE + 19);
    fixture_destroy(&f);
}

GUEST(outs, 64, "mov $0x80, %edx\nmov $0x3000, %esi\nmov $2, %ecx\nrep outsb\nnop\nout %al, $0xf4")

static void steps_over_string_ports(void **state)
{
    static const struct access accesses[] = {OUT(1, 0x80, 5), OUT(1, 0x80, 6)};
    struct script script = {accesses};
    const struct accel_bus_ops bus = PLAY(&script);
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_BOCHS));
    RUN_LONG(&f, outs);
    f.ram[DATA] = 5;
    f.ram[DATA + 1] = 6;
    set_debug(&f, &step);
    for (unsigned i = 1; i <= 3; i++)
        expect_step(&f, CODE + i * 5);
    do { /* by elements, at a count of zero again, or as a whole */
        assert_int_equal(vcpu_run(f.v, &exit), 0);
        if (exit.reason == VCPU_EXIT_IO)
            assert_int_equal(vcpu_assist(f.v, &bus), 0);
        else
            assert_int_equal(exit.reason, VCPU_EXIT_DEBUG);
    } while (exit.reason == VCPU_EXIT_IO || exit.debug.rip == CODE + 15);
    assert_true(exit.debug.step);
    assert_int_equal(exit.debug.rip, CODE + 17);
    assert_ptr_equal(script.next, accesses + 2);
    expect_step(&f, CODE + 18);
    fixture_destroy(&f);
}

GUEST(rdmsr, 64, "mov $0x4d4f5445, %ecx\nrdmsr\nwrmsr\nnop\nout %al, $0xf4")

static void steps_over_msrs(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_BOCHS));
    RUN_LONG(&f, rdmsr);
    set_debug(&f, &step);
    expect_step(&f, CODE + 5);
    fixture_expect(&f, VCPU_EXIT_RDMSR);
    assert_int_equal(vcpu_complete_msr(f.v, 99, false), 0);
    expect_step(&f, CODE + 7);
    assert_int_equal(f.v->state->gpr[RAX], 99);
    fixture_expect(&f, VCPU_EXIT_WRMSR);
    assert_int_equal(vcpu_complete_msr(f.v, 0, false), 0);
    expect_step(&f, CODE + 9);
    expect_step(&f, CODE + 10);
    fixture_destroy(&f);
}

GUEST(halts, 64, "hlt\nnop\nnop")

static void steps_over_halt(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR | ON_BOCHS));
    RUN_LONG(&f, halts);
    set_debug(&f, &step);
    fixture_expect(&f, VCPU_EXIT_HALT);
    expect_step(&f, CODE + 1);
    expect_step(&f, CODE + 2);
    fixture_destroy(&f);
}

GUEST(stos, 64, "mov $3, %ecx\nmov $0x3000, %edi\nrep stosb\nnop\nout %al, $0xf4")

static void steps_are_one_iteration(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR));
    RUN_STEPS(&f, stos);
    set_debug(&f, &step);
    expect_step(&f, CODE + 5);
    expect_step(&f, CODE + 10);
    for (unsigned i = 1; i <= 3; i++) {
        expect_step(&f, CODE + (i < 3 ? 10 : 12));
        assert_int_equal(f.v->state->gpr[RCX], 3 - i);
        assert_int_equal(f.v->state->gpr[RDI], DATA + i);
    }
    expect_step(&f, CODE + 13);
    fixture_destroy(&f);
}

/* In an interrupt shadow some processors hold the trap back, too. */
GUEST(sti, 64, "sti\nnop\ncli\nout %al, $0xf4")

static void steps_over_sti(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_STEPS(&f, sti);
    set_debug(&f, &step);
    exit = fixture_expect(&f, VCPU_EXIT_DEBUG);
    assert_true(exit.debug.step);
    if (exit.debug.rip == CODE + 1)
        expect_step(&f, CODE + 2);
    else
        assert_int_equal(exit.debug.rip, CODE + 2);
    expect_step(&f, CODE + 3);
    set_debug(&f, &nothing);
    expect_end(&f);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(int3_exits),
        cmocka_unit_test(int3_is_given_back),
        cmocka_unit_test(int3_is_injected),
        cmocka_unit_test(guests_own_int3),
        cmocka_unit_test(steps_are_one_instruction),
        cmocka_unit_test(steps_go_on),
        cmocka_unit_test(steps_over_accesses),
        cmocka_unit_test(steps_over_string_ports),
        cmocka_unit_test(steps_over_msrs),
        cmocka_unit_test(steps_over_halt),
        cmocka_unit_test(steps_are_one_iteration),
        cmocka_unit_test(steps_over_sti),
    };

    return fixture_run_all("debug", tests, ARRAY_SIZE(tests));
}
