/* The local APIC inside an accelerator: messages, EOIs, and the PICs' interrupts beside it. */
#include "fixture.h"

#include "base/bits.h"
#include "x86/msi.h"

#include <errno.h>
#include <pthread.h>

#define EDGE  0x30
#define LEVEL 0x31
#define PIC   0x32

/* Port 0x80 says that the APIC is on, 0x81 that an interrupt came; its EOI follows. */
GUEST(x2apic, 16,
      "mov $0x1b,%ecx; mov $0xfee00d00,%eax; xor %edx,%edx; wrmsr\n"
      "mov $0x80f,%ecx; mov $0x1ff,%eax; wrmsr\n"
      "mov $0,%al; out %al,$0x80; sti; 1: hlt; jmp 1b")
GUEST(handler, 16,
      "mov $1,%al; out %al,$0x81; mov $0x80b,%ecx; xor %eax,%eax; xor %edx,%edx; wrmsr; iret")
/* As above without an APIC's EOI; the loop opens a window. */
GUEST(window, 16, "mov $0,%al; out %al,$0x80; sti; nop; 1: jmp 1b")
GUEST(pic_handler, 16, "mov $1,%al; out %al,$0x81; hlt")
/* LINT0 masked, then open again. */
GUEST(lint0, 16,
      "mov $0x1b,%ecx; mov $0xfee00d00,%eax; xor %edx,%edx; wrmsr\n"
      "mov $0x80f,%ecx; mov $0x1ff,%eax; wrmsr\n"
      "mov $0x835,%ecx; mov $0x10700,%eax; wrmsr; sti; nop; mov $0,%al; out %al,$0x80\n"
      "mov $0x700,%eax; wrmsr; 1: jmp 1b")

static const struct access on = OUT(1, 0x80, 0), came = OUT(1, 0x81, 1);
static const struct mote_event pic = {.kind = X86_EVENT_INTR, .vector = PIC};

static void set_handler(struct fixture *f, const uint8_t *code, size_t size)
{
    static const uint8_t entry[4] = {0, 0x20}; /* 0:2000 */

    assert_int_equal(guest_mem_write(&f->m->mem, GPA(0x2000), code, size), 0);
    for (unsigned vector = EDGE; vector <= PIC; vector++)
        assert_int_equal(guest_mem_write(&f->m->mem, GPA(vector * 4), entry, sizeof(entry)), 0);
}
#define SET_HANDLER(f, name) set_handler(f, g_##name, (size_t)(g_##name##_end - g_##name))

/* false: the accelerator has none, and says so. */
static bool create(struct fixture *f, void **state)
{
    fixture_create_with(f, accel_of(state), ACCEL_CAP_LAPIC | ACCEL_CAP_TSC_DEADLINE);
    if (f->m->caps & ACCEL_CAP_LAPIC)
        return true;
    assert_int_equal(machine_msi(f->m, MSI_BASE, EDGE), -ENODEV);
    assert_int_equal(machine_ioapic_route(f->m, 9, MSI_BASE, EDGE), -ENODEV);
    fixture_destroy(f);
    return false;
}

static struct vcpu_exit expect_access(struct fixture *f, const struct access *access)
{
    struct script script = {access};
    const struct accel_bus_ops ops = PLAY(&script);
    struct vcpu_exit exit = fixture_expect(f, VCPU_EXIT_IO);

    assert_int_equal(vcpu_assist(f->v, &ops), 0);
    assert_int_equal(vcpu_get(f->v, X86_GPRS), 0); /* finished: ops need not live on */
    return exit;
}

/* HLT sleeps inside, until the kick. On a busy host a kick may come before HLT. */
static struct vcpu_exit sleep_until_kicked(struct fixture *f)
{
    struct vcpu_exit exit;
    pthread_t thread;

    do {
        assert_int_equal(pthread_create(&thread, NULL, kick_later, f->v), 0);
        assert_int_equal(vcpu_run(f->v, &exit), 0);
        assert_int_equal(exit.reason, VCPU_EXIT_NONE);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(vcpu_get(f->v, X86_INTR), 0);
    } while (f->v->state->intr.activity != X86_HALTED);
    return exit;
}

static void only_when_asked_for(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_of(state));
    assert_int_equal(machine_msi(f.m, MSI_BASE, EDGE), -ENODEV);
    assert_int_equal(machine_ioapic_route(f.m, 9, MSI_BASE, EDGE), -ENODEV);
    fixture_destroy(&f);
}

static bool x2apic_is_offered(struct fixture *f)
{
    const struct x86_cpuid_topology topology = {.vcpus = 1};
    static struct x86_cpuid table;

    assert_int_equal(machine_default_cpuid(f->m, &topology, &table), 0);
    return x86_cpuid_find(&table, 1, 0)->ecx & BIT(21);
}

/* The local APIC of user space that stands in for it gets no MSRs from KVM. */
static void x2apic_goes_with_it(void **state)
{
    struct fixture f;

    if (!create(&f, state))
        return;
    assert_true(x2apic_is_offered(&f));
    fixture_destroy(&f);
    fixture_create(&f, accel_of(state));
    assert_false(x2apic_is_offered(&f));
    fixture_destroy(&f);
}

static void refuses_what_is_no_message(void **state)
{
    struct fixture f;

    if (!create(&f, state))
        return;
    assert_int_equal(machine_msi(f.m, 0xfed00000, EDGE), -EINVAL);
    assert_int_equal(machine_msi(f.m, MSI_BASE + (UINT64_C(1) << 32), EDGE), -EINVAL);
    assert_int_equal(machine_ioapic_route(f.m, 9, 0x1000, EDGE), -EINVAL);
    assert_int_equal(machine_ioapic_route(f.m, IOAPIC_PINS, MSI_BASE, EDGE), -EINVAL);
    assert_int_equal(machine_msi(f.m, MSI_BASE | 7 << MSI_DEST_SHIFT, EDGE), 0); /* no such APIC */
    fixture_destroy(&f);
}

static void messages_wake(void **state)
{
    struct fixture f;

    if (!create(&f, state))
        return;
    SET_HANDLER(&f, handler);
    RUN_REAL(&f, x2apic);
    expect_access(&f, &on);
    sleep_until_kicked(&f);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(machine_msi(f.m, MSI_BASE, EDGE), 0);
        expect_access(&f, &came);
    }
    sleep_until_kicked(&f);
    fixture_destroy(&f);
}

/* The EOI of a level-triggered vector exits, once its route is known; that of an edge does not. */
static void eoi_of_a_level_exits(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    if (!create(&f, state))
        return;
    SET_HANDLER(&f, handler);
    RUN_REAL(&f, x2apic);
    expect_access(&f, &on);
    for (unsigned i = 0; i < 3; i++) {
        const uint32_t data = (i < 2 ? LEVEL : PIC) | MSI_ASSERT | MSI_LEVEL;

        if (i != 1) /* the second is the same: nothing to be told */
            assert_int_equal(machine_ioapic_route(f.m, 9, MSI_BASE, data), 0);
        assert_int_equal(machine_msi(f.m, MSI_BASE, data), 0);
        expect_access(&f, &came);
        exit = fixture_expect(&f, VCPU_EXIT_IOAPIC_EOI);
        assert_int_equal(exit.eoi.vector, data & 0xff);
        assert_int_equal(machine_msi(f.m, MSI_BASE, EDGE), 0);
        expect_access(&f, &came);
        sleep_until_kicked(&f);
    }
    /* An edge again: no exit any more. */
    assert_int_equal(machine_ioapic_route(f.m, 9, MSI_BASE, PIC | MSI_ASSERT), 0);
    assert_int_equal(machine_msi(f.m, MSI_BASE, PIC | MSI_ASSERT), 0);
    expect_access(&f, &came);
    sleep_until_kicked(&f);
    fixture_destroy(&f);
}

static void pics_interrupt_wakes(void **state)
{
    struct fixture f;

    if (!create(&f, state))
        return;
    SET_HANDLER(&f, pic_handler);
    RUN_REAL(&f, x2apic);
    expect_access(&f, &on);
    assert_true(sleep_until_kicked(&f).intr_ready);
    assert_int_equal(vcpu_inject(f.v, &pic), 0);
    assert_int_equal(vcpu_inject(f.v, &pic), -EAGAIN);
    assert_false(expect_access(&f, &came).intr_ready);
    fixture_destroy(&f);
}

static void pics_interrupt_awaits_its_window(void **state)
{
    struct fixture f;

    if (!create(&f, state))
        return;
    SET_HANDLER(&f, pic_handler);
    RUN_REAL(&f, window);
    assert_false(expect_access(&f, &on).intr_ready);
    assert_int_equal(vcpu_inject(f.v, &pic), -EAGAIN);
    vcpu_request_window(f.v, true, false);
    assert_true(fixture_expect(&f, VCPU_EXIT_INTR_WINDOW).intr_ready);
    assert_int_equal(vcpu_inject(f.v, &pic), 0);
    expect_access(&f, &came);
    fixture_destroy(&f);
}

static void lint0_shuts_the_window(void **state)
{
    struct fixture f;

    if (!create(&f, state))
        return;
    SET_HANDLER(&f, pic_handler);
    RUN_REAL(&f, lint0);
    vcpu_request_window(f.v, true, false);
    assert_false(expect_access(&f, &on).intr_ready); /* though IF is set */
    assert_true(fixture_expect(&f, VCPU_EXIT_INTR_WINDOW).intr_ready);
    assert_int_equal(vcpu_inject(f.v, &pic), 0);
    expect_access(&f, &came);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_when_asked_for),
        cmocka_unit_test(x2apic_goes_with_it),
        cmocka_unit_test(refuses_what_is_no_message),
        cmocka_unit_test(messages_wake),
        cmocka_unit_test(eoi_of_a_level_exits),
        cmocka_unit_test(pics_interrupt_wakes),
        cmocka_unit_test(pics_interrupt_awaits_its_window),
        cmocka_unit_test(lint0_shuts_the_window),
    };

    return fixture_run_all("lapic", tests, ARRAY_SIZE(tests));
}
