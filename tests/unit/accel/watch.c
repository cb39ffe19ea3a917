/* Watches of a debugger outside the guest, on every accelerator. */
#include "debugger.h"

#include "base/bits.h"

#include <errno.h>

static void watches_execution(void **state)
{
    struct vcpu_debug d = watching(2, CODE + 7, 1, VCPU_WATCH_EXEC);
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_QEMU));
    RUN_LONG(&f, loops);
    f.v->state->gpr[RAX] = 0;
    set_debug(&f, &d);
    for (unsigned i = 1; i <= 3; i++) {
        expect_debug(&f, CODE + 7, false, false, 4);
        assert_int_equal(f.v->state->gpr[RAX], i);
        assert_int_equal(f.v->state->gpr[RCX], 4 - i);
    }
    expect_end(&f);
    assert_false(fixture_gpr(&f, RBX) & (FLAG_TF | FLAG_RF));
    fixture_destroy(&f);
}

/* Only where the last exit left rip, and only for one instruction. */
static void watches_again(void **state)
{
    struct vcpu_debug d = watching(0, CODE + 7, 1, VCPU_WATCH_EXEC);
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_QEMU));
    RUN_LONG(&f, loops);
    set_debug(&f, &d);
    expect_debug(&f, CODE + 7, false, false, 1);
    set_rip(&f, CODE + 5);
    expect_debug(&f, CODE + 7, false, false, 1);
    d.step = true;
    set_debug(&f, &d);
    expect_step(&f, CODE + 9);
    d.step = false;
    set_debug(&f, &d);
    expect_debug(&f, CODE + 7, false, false, 1);
    set_debug(&f, &nothing);
    expect_end(&f);
    set_debug(&f, &d);
    set_rip(&f, CODE + 7);
    expect_debug(&f, CODE + 7, false, false, 1);
    fixture_destroy(&f);
}

/* A watch at the instruction behind an exit is no old one. */
static void watches_behind_an_exit(void **state)
{
    static const struct access accesses[] = {OUT(1, 0x80, 0), IN(1, 0x81, 1)};
    struct script script = {accesses};
    const struct accel_bus_ops bus = PLAY(&script);
    struct vcpu_debug d = watching(3, CODE + 2, 1, VCPU_WATCH_EXEC);
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_QEMU));
    RUN_LONG(&f, ports);
    f.v->state->gpr[RAX] = 0;
    set_debug(&f, &d);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &bus), 0);
    expect_debug(&f, CODE + 2, false, false, 8);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &bus), 0);
    assert_int_equal(fixture_gpr(&f, RAX), 1);
    fixture_destroy(&f);
}

GUEST(stores, 64, "movb $1, (%rsi)\nmovb $1, (%rdi)\nmovb $1, (%rbx)\nnop\nout %al, $0xf4")

/* The bytes to both sides do not count. */
static void watches_writes(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR | ON_QEMU));
    for (unsigned size = 1; size <= 8; size *= 2) {
        struct vcpu_debug d = watching(1, DATA + 8, size, VCPU_WATCH_WRITE);

        RUN_LONG(&f, stores);
        f.v->state->gpr[RSI] = DATA + 7;
        f.v->state->gpr[RDI] = DATA + 8 + size - 1;
        f.v->state->gpr[RBX] = DATA + 8 + size;
        f.ram[DATA + 8 + size - 1] = 0;
        set_debug(&f, &d);
        expect_debug(&f, CODE + 6, false, false, 2);
        assert_int_equal(f.ram[DATA + 8 + size - 1], 1);
        expect_end(&f);
    }
    RUN_LONG(&f, stores);
    set_debug(&f, &nothing);
    expect_end(&f);
    fixture_destroy(&f);
}

GUEST(loads, 64, "mov (%rsi), %rax\nmov %rax, (%rdi)\nincq (%rsi)\nnop\nout %al, $0xf4")

static void watches_reads(void **state)
{
    struct vcpu_debug d = watching(0, DATA + 4, 4, VCPU_WATCH_ACCESS);
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR | ON_QEMU));
    d.watch[3] = (struct vcpu_watch){DATA, 1, VCPU_WATCH_WRITE};
    RUN_LONG(&f, loads);
    f.v->state->gpr[RSI] = DATA;
    f.v->state->gpr[RDI] = DATA + 8;
    set_debug(&f, &d);
    expect_debug(&f, CODE + 3, false, false, 1);
    expect_debug(&f, CODE + 9, false, false, 9);
    expect_end(&f);
    fixture_destroy(&f);
}

/* One step can hit a watch as well. */
static void steps_onto_a_watch(void **state)
{
    struct vcpu_debug d = watching(0, DATA, 8, VCPU_WATCH_WRITE);
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR | ON_QEMU));
    RUN_STEPS(&f, loads);
    f.v->state->gpr[RSI] = DATA + 8;
    f.v->state->gpr[RDI] = DATA;
    d.step = true;
    set_debug(&f, &d);
    expect_step(&f, CODE + 3);
    expect_debug(&f, CODE + 6, false, true, 1);
    expect_step(&f, CODE + 9);
    fixture_destroy(&f);
}

/* ---- what the guest sees -------------------------------------------------------------- */

static void registers_are_the_guests(void **state)
{
    struct vcpu_debug d = watching(0, CODE + 7, 1, VCPU_WATCH_EXEC);
    struct mote_state *s;
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_QEMU));
    RUN_LONG(&f, loops);
    s = f.v->state;
    assert_int_equal(vcpu_get(f.v, X86_DRS), 0);
    s->dr[0] = 0x1111;
    s->dr[3] = 0x3333;
    assert_int_equal(vcpu_set(f.v, X86_DRS), 0);
    set_debug(&f, &d);
    for (unsigned i = 0; i < 2; i++) {
        expect_debug(&f, CODE + 7, false, false, 1);
        d.step = true;
        set_debug(&f, &d);
        expect_step(&f, CODE + 9);
        d.step = false;
        set_debug(&f, &d);
        assert_int_equal(vcpu_get(f.v, X86_ALL), 0);
        assert_int_equal(s->dr[0], 0x1111);
        assert_int_equal(s->dr[1], 0);
        assert_int_equal(s->dr[3], 0x3333);
        assert_int_equal(s->dr[6], DR6_FIXED);
        assert_int_equal(s->dr[7], DR7_FIXED);
        assert_int_equal(s->intr.pending.kind, X86_EVENT_NONE);
        assert_int_equal(s->gpr[RSP], STACK);
        assert_int_equal(vcpu_set(f.v, X86_ALL), 0); /* all of it can be put back */
    }
    fixture_destroy(&f);
}

GUEST(traps, 64, "pushf\norl $0x100, (%rsp)\npopf\nnop\nnop\nout %al, $0xf4")

/* The guest steps itself while a watch that is not hit is set. */
static void guests_own_trap(void **state)
{
    struct vcpu_debug d = watching(0, 0x9000, 1, VCPU_WATCH_WRITE);
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR));
    RUN_LONG(&f, traps);
    SET_HANDLER(&f, EXC_DB, pops_rip);
    set_debug(&f, &d);
    expect_end(&f);
    assert_int_equal(fixture_gpr(&f, RAX), CODE + 10);
    assert_int_equal(fixture_gpr(&f, RDX) & FLAG_TF, FLAG_TF); /* its own */
    assert_int_equal(vcpu_get(f.v, X86_DRS), 0);
    assert_int_equal(f.v->state->dr[6] & 0xffff, (DR6_FIXED | DR6_BS) & 0xffff);
    fixture_destroy(&f);
}

static void refuses_watches(void **state)
{
    static const struct vcpu_watch bad[] = {
        {DATA + 1, 2, VCPU_WATCH_WRITE},
        {DATA, 3, VCPU_WATCH_WRITE},
        {DATA, 16, VCPU_WATCH_ACCESS},
        {DATA, 0, VCPU_WATCH_ACCESS},
        {DATA, 4, VCPU_WATCH_EXEC},
        {DATA, 1, VCPU_WATCH_ACCESS + 1},
        {UINT64_C(1) << 47, 1, VCPU_WATCH_EXEC},
    };
    struct fixture f;

    fixture_create(&f, accel_of(state));
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vcpu_debug d = {.watch = {bad[i]}};

        assert_int_equal(vcpu_set_debug(f.v, &d), -EINVAL);
    }
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(watches_execution),
        cmocka_unit_test(watches_again),
        cmocka_unit_test(watches_behind_an_exit),
        cmocka_unit_test(watches_writes),
        cmocka_unit_test(watches_reads),
        cmocka_unit_test(steps_onto_a_watch),
        cmocka_unit_test(registers_are_the_guests),
        cmocka_unit_test(guests_own_trap),
        cmocka_unit_test(refuses_watches),
    };

    return fixture_run_all("watch", tests, ARRAY_SIZE(tests));
}
