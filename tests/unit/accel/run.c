/* Running, stopping, MSR exits and events through the seam, on every accelerator. */
#include "fixture.h"

#include "base/bits.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#define UNKNOWN_MSR 0x4d4f5445u

GUEST(in8, 16, "mov $-1,%eax; in $0x80,%al; hlt")
GUEST(halts, 16, "hlt; mov $1,%bx; hlt; mov $2,%bx; hlt")

static void halts_and_goes_on(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, halts);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, CODE + 1);
    assert_int_equal(f.v->state->gpr[RBX], 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 1);
    f.v->state->rip = CODE; /* back to the start */
    f.v->state->gpr[RBX] = 5;
    assert_int_equal(vcpu_set(f.v, X86_GPRS), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 5);
    assert_int_equal(f.v->state->rip, CODE + 1);
    fixture_destroy(&f);
}

/* In long mode: KVM's emulator of real mode does not look at the IDT's limit. */
GUEST(fault64, 64, "ud2")

static void triple_fault(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, fault64);
    f.v->state->idtr.limit = 0;
    fixture_expect(&f, VCPU_EXIT_SHUTDOWN);
    fixture_destroy(&f);
}

GUEST(spin, 16, "1: inc %bx; jmp 1b")

static void kick_stops_a_loop(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;
    pthread_t thread;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, spin);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&thread, NULL, kick_later, f.v), 0);
        assert_int_equal(vcpu_run(f.v, &exit), 0);
        assert_int_equal(exit.reason, VCPU_EXIT_NONE);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    fixture_destroy(&f);
}

static void kick_before_run(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, halts);
    vcpu_kick(f.v);
    vcpu_kick(f.v);
    assert_int_equal(vcpu_run(f.v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, CODE);
    assert_int_equal(vcpu_run(f.v, &exit), 0); /* two kicks, one stop */
    assert_int_equal(exit.reason, VCPU_EXIT_HALT);
    fixture_destroy(&f);
}

/* Reading state in between must not swallow a kick. */
static void kick_survives_a_get(void **state)
{
    const struct access answer = IN(1, 0x80, 0x42);
    struct script script = {&answer};
    const struct accel_bus_ops ops = PLAY(&script);
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, in8);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    vcpu_kick(f.v);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffff42);
    assert_int_equal(vcpu_run(f.v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    fixture_expect(&f, VCPU_EXIT_HALT);
    fixture_destroy(&f);
}

GUEST(rdmsr, 16, "mov $0x4d4f5445,%ecx; rdmsr; hlt")
GUEST(wrmsr, 16, "mov $0x4d4f5445,%ecx; mov $1,%eax; mov $2,%edx; wrmsr; hlt")
GUEST(handler, 16, "mov $0x77,%bx; hlt")

static void set_vector(struct fixture *f, unsigned vector, uint16_t ip)
{
    uint8_t entry[4] = {(uint8_t)ip, (uint8_t)(ip >> 8), 0, 0};

    assert_int_equal(guest_mem_write(&f->m->mem, GPA(vector * 4), entry, 4), 0);
}

static void set_handler(struct fixture *f, unsigned vector)
{
    size_t size = (size_t)(g_handler_end - g_handler);

    assert_int_equal(guest_mem_write(&f->m->mem, GPA(0x2000), g_handler, size), 0);
    set_vector(f, vector, 0x2000);
}

static void unknown_msrs_exit(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, EXC_GP);
    RUN_REAL(&f, rdmsr);
    exit = fixture_expect(&f, VCPU_EXIT_RDMSR);
    assert_int_equal(exit.msr.index, UNKNOWN_MSR);
    assert_int_equal(vcpu_complete_msr(f.v, UINT64_C(0x1122334455667788), false), 0);
    assert_int_equal(vcpu_complete_msr(f.v, 0, false), -EINVAL); /* once only */
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0x55667788);
    assert_int_equal(fixture_gpr(&f, RDX), 0x11223344);

    RUN_REAL(&f, wrmsr);
    exit = fixture_expect(&f, VCPU_EXIT_WRMSR);
    assert_int_equal(exit.msr.index, UNKNOWN_MSR);
    assert_int_equal(exit.msr.value, UINT64_C(0x200000001));
    assert_int_equal(vcpu_complete_msr(f.v, 0, false), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0);

    RUN_REAL(&f, wrmsr);
    fixture_expect(&f, VCPU_EXIT_WRMSR);
    assert_int_equal(vcpu_complete_msr(f.v, 0, true), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77); /* through #GP's handler */
    fixture_destroy(&f);
}

GUEST(sti_hlt, 16, "sti; hlt; mov $1,%bx; hlt")
GUEST(masked, 16, "out %al,$0x80; sti; nop; 1: jmp 1b")

static const struct mote_event intr_0x20 = {.kind = X86_EVENT_INTR, .vector = 0x20};

static void interrupt_after_halt(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, 0x20);
    RUN_REAL(&f, sti_hlt);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), -EAGAIN); /* IF is clear */
    exit = fixture_expect(&f, VCPU_EXIT_HALT);
    assert_true(exit.rflags & FLAG_IF);
    assert_true(exit.intr_ready);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), 0);
    exit = fixture_expect(&f, VCPU_EXIT_HALT);
    assert_false(exit.rflags & FLAG_IF);
    assert_false(exit.intr_ready);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77);
    assert_int_equal(f.v->state->gpr[RSP], STACK - 6);
    assert_int_equal(le16_get(f.ram + STACK - 6), CODE + 2); /* behind the HLT */
    fixture_destroy(&f);
}

static void interrupt_window(void **state)
{
    const struct access answer = OUT(1, 0x80, 0);
    struct script script = {&answer};
    const struct accel_bus_ops ops = PLAY(&script);
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, 0x20);
    RUN_REAL(&f, masked);
    f.v->state->gpr[RAX] = 0;
    exit = fixture_expect(&f, VCPU_EXIT_IO);
    assert_false(exit.intr_ready);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), -EAGAIN);
    vcpu_request_window(f.v, true, false);
    exit = fixture_expect(&f, VCPU_EXIT_INTR_WINDOW);
    assert_true(exit.intr_ready);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77);
    assert_true(le16_get(f.ram + STACK - 6) > CODE + 3); /* not in STI's shadow */
    fixture_destroy(&f);
}

static void nmi_and_its_window(void **state)
{
    const struct mote_event nmi = {.kind = X86_EVENT_NMI};
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, EXC_NMI);
    RUN_REAL(&f, spin);
    vcpu_request_window(f.v, false, true);
    fixture_expect(&f, VCPU_EXIT_NMI_WINDOW);
    assert_int_equal(vcpu_inject(f.v, &nmi), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77);
    assert_int_equal(vcpu_get(f.v, X86_INTR), 0);
    assert_true(f.v->state->intr.nmi_masked);
    fixture_destroy(&f);
}

static void exception_is_injected(void **state)
{
    const struct mote_event ud = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_UD};
    const struct mote_event bad = {.kind = X86_EVENT_EXCEPTION, .vector = 32};
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, EXC_UD);
    RUN_REAL(&f, halts);
    assert_int_equal(vcpu_inject(f.v, &bad), -EINVAL);
    assert_int_equal(vcpu_inject(f.v, &ud), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77);
    assert_int_equal(le16_get(f.ram + STACK - 6), CODE);
    fixture_destroy(&f);
}

/* MSR_KVM_SYSTEM_TIME_NEW: the page's layout is fixed by msr.rst. */
GUEST(clock, 16, "mov $0x4b564d01,%ecx; mov $0x3001,%eax; xor %edx,%edx; hlt; wrmsr; hlt; hlt; hlt")
#define CLOCK_VERSION 0x3000
#define CLOCK_FLAGS   (0x3000 + 29)
#define STOPPED       2

static void clock_tells_of_a_pause(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, clock);
    fixture_expect(&f, VCPU_EXIT_HALT);
    vcpu_paused(f.v); /* there is no clock yet */
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_true(f.ram[CLOCK_VERSION]);
    assert_false(f.ram[CLOCK_FLAGS] & STOPPED);
    vcpu_paused(f.v);
    vcpu_paused(f.v);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_true(f.ram[CLOCK_FLAGS] & STOPPED);
    f.ram[CLOCK_FLAGS] &= (uint8_t)~STOPPED; /* as the guest does */
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_false(f.ram[CLOCK_FLAGS] & STOPPED);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(halts_and_goes_on),      cmocka_unit_test(triple_fault),
        cmocka_unit_test(kick_stops_a_loop),      cmocka_unit_test(kick_before_run),
        cmocka_unit_test(kick_survives_a_get),    cmocka_unit_test(unknown_msrs_exit),
        cmocka_unit_test(interrupt_after_halt),   cmocka_unit_test(interrupt_window),
        cmocka_unit_test(nmi_and_its_window),     cmocka_unit_test(exception_is_injected),
        cmocka_unit_test(clock_tells_of_a_pause),
    };

    return fixture_run_all("run", tests, ARRAY_SIZE(tests));
}
