/* A debugger outside the guest: breakpoints, steps and watches, on every accelerator. */
#include "fixture.h"

#include "base/bits.h"

#include <cpuid.h>
#include <errno.h>

#define DATA    0x3000u
#define IDT     0x4000u
#define GDT     0x5000u
#define HANDLER 0x6000u

static void set_debug(struct fixture *f, const struct vcpu_debug *debug)
{
    assert_int_equal(vcpu_set_debug(f->v, debug), 0);
}

static const struct vcpu_debug nothing = {0};
static const struct vcpu_debug step = {.step = true};
static const struct vcpu_debug breakpoints = {.breakpoints = true};

static struct vcpu_debug watching(unsigned n, uint64_t gva, unsigned size,
                                  enum vcpu_watch_kind kind)
{
    struct vcpu_debug d = {0};

    d.watch[n] = (struct vcpu_watch){gva, (uint8_t)size, (uint8_t)kind};
    return d;
}

/* Run to a debug exit at rip, which the registers agree with. */
static void expect_debug(struct fixture *f, uint64_t rip, bool int3, bool stepped, unsigned watches)
{
    struct vcpu_exit exit = fixture_expect(f, VCPU_EXIT_DEBUG);

    assert_int_equal(exit.debug.rip, rip);
    assert_int_equal(exit.debug.int3, int3);
    assert_int_equal(exit.debug.step, stepped);
    assert_int_equal(exit.debug.watches, watches);
    assert_int_equal(vcpu_get(f->v, X86_GPRS), 0);
    assert_int_equal(f->v->state->rip, rip);
    assert_false(f->v->state->rflags & FLAG_TF);
    assert_false(exit.rflags & FLAG_TF);
}

static void expect_step(struct fixture *f, uint64_t rip)
{
    expect_debug(f, rip, false, true, 0);
}

static void set_rip(struct fixture *f, uint64_t rip)
{
    assert_int_equal(vcpu_get(f->v, X86_GPRS), 0);
    f->v->state->rip = rip;
    assert_int_equal(vcpu_set(f->v, X86_GPRS), 0);
}

/* Exception `vector` goes to this code. */
static void set_handler(struct fixture *f, unsigned vector, const uint8_t *code, size_t size)
{
    static const uint64_t gdt[] = {0, UINT64_C(0x00af9b000000ffff), UINT64_C(0x00cf93000000ffff)};

    memcpy(f->ram + GDT, gdt, sizeof(gdt));
    le64_put(f->ram + IDT + vector * 16, HANDLER | 8 << 16 | UINT64_C(0x8e00) << 32);
    le64_put(f->ram + IDT + vector * 16 + 8, 0);
    memcpy(f->ram + HANDLER, code, size);
    assert_int_equal(vcpu_get(f->v, X86_SEGS), 0);
    f->v->state->gdtr = (struct x86_table){.base = GDT, .limit = sizeof(gdt) - 1};
    f->v->state->idtr = (struct x86_table){.base = IDT, .limit = 32 * 16 - 1};
    assert_int_equal(vcpu_set(f->v, X86_SEGS), 0);
}
#define SET_HANDLER(f, vector, name)                                                               \
    set_handler(f, vector, g_##name, (size_t)(g_##name##_end - g_##name))

GUEST(int3, 64, "mov $1, %ebx\nint3\nmov $2, %ebx\nout %al, $0xf4")
GUEST(pops_rip, 64, "pop %rax\npop %rcx\npop %rdx\nout %al, $0xf4")

/*
 * Two kinds of /dev/kvm say nothing about this. One runs ring 0 on an emulator
 * that knows no INT3, no data breakpoints and no iterations. The other runs on
 * QEMU's emulation of SVM (7.2), which intercepts neither INT3 nor debug registers.
 */
enum { ON_EMULATOR = 1, ON_QEMU = 2 };

static bool runs_on_emulator(const struct accel *accel)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel);
    RUN_LONG(&f, int3);
    SET_HANDLER(&f, EXC_BP, pops_rip);
    do
        assert_int_equal(vcpu_run(f.v, &exit), 0);
    while (exit.reason == VCPU_EXIT_NONE);
    fixture_destroy(&f);
    return exit.reason == VCPU_EXIT_FAIL;
}

static bool runs_on_qemu(void)
{
    uint32_t eax, signature[3];

    __cpuid(0x40000000, eax, signature[0], signature[1], signature[2]);
    return !memcmp(signature, "TCGTCGTCGTCG", 12);
}

/* This test's accelerator, unless it is a KVM of these kinds. */
static const struct accel *accel_but(void **state, unsigned kinds)
{
    const struct accel *accel = accel_of(state);
    const char *why = NULL;

    if (strcmp(accel->name, "kvm") != 0)
        return accel;
    if ((kinds & ON_EMULATOR) && runs_on_emulator(accel))
        why = "runs ring 0 on an emulator";
    if ((kinds & ON_QEMU) && runs_on_qemu())
        why = "runs on QEMU's SVM, which has no breakpoints";
    if (why) {
        print_message("skipped on kvm: this /dev/kvm %s\n", why);
        skip();
    }
    return accel;
}

/* All of them end so. */
static void expect_end(struct fixture *f)
{
    struct vcpu_exit exit = fixture_expect(f, VCPU_EXIT_IO);

    assert_int_equal(exit.io.port, 0xf4);
}

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
    const struct x86_event bp = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_BP};
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
    const struct x86_event bp = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_BP};
    struct fixture f;

    fixture_create(&f, accel_but(state, ON_EMULATOR));
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

GUEST(loops, 64, "mov $3, %ecx\n1: inc %eax\ndec %ecx\njnz 1b\npushf\npop %rbx\nout %al, $0xf4")

static void steps_are_one_instruction(void **state)
{
    static const uint8_t at[] = {5, 7, 9, 5, 7, 9, 5, 7, 9, 11};
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, loops);
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
    RUN_LONG(&f, loops);
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

GUEST(ports, 64,
      "out %al, $0x80\nin $0x81, %al\nmov %eax, 0x20000\nmov 0x20004, %eax\nnop\nout %al, $0xf4")

/* The exit first, then the step without another instruction. */
static void steps_over_accesses(void **state)
{
    static const struct access accesses[] = {OUT(1, 0x80, 7), IN(1, 0x81, 0x42),
                                             WR(4, 0x20000, 0x42), RD(4, 0x20004, 0x1234)};
    static const uint8_t at[] = {2, 4, 11, 18};
    struct script script = {accesses};
    const struct accel_bus_ops bus = PLAY(&script);
    struct fixture f;

    fixture_create(&f, accel_of(state));
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

    fixture_create(&f, accel_of(state));
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

    fixture_create(&f, accel_of(state));
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

    fixture_create(&f, accel_but(state, ON_EMULATOR));
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
    RUN_LONG(&f, stos);
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
    RUN_LONG(&f, sti);
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

/* ---- watches --------------------------------------------------------------------- */

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
    RUN_LONG(&f, loads);
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
    struct x86_state *s;
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

    return fixture_run_all("debug", tests, ARRAY_SIZE(tests));
}
