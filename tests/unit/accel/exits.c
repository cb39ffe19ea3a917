/* KVM's exit reasons, told by a kvm_run that no KVM wrote. */
#include "fixture.h"

#include "accel/kvm/kvm.h"
#include "base/bits.h"

static struct {
    struct kvm_run run;
    uint8_t data[64];
} page;
static struct mote_state shared;
static struct kvm_machine machine;
static struct kvm_vcpu vcpu;

static struct vcpu_exit decode(uint32_t reason)
{
    struct vcpu_exit exit;

    memset(&exit, 0xa5, sizeof(exit));
    page.run.exit_reason = reason;
    kvm_exit_decode(&vcpu, &exit);
    assert_true(exit.reason < VCPU_EXIT_COUNT);
    return exit;
}

static int setup(void **state)
{
    memset(&page, 0, sizeof(page));
    memset(&vcpu, 0, sizeof(vcpu));
    guest_mem_init(&machine.m.mem);
    vcpu.v.machine = &machine.m;
    vcpu.v.state = &shared;
    vcpu.run = &page.run;
    vcpu.fd = -1;
    page.run.io.data_offset = sizeof(page.run);
    return 0;
}

static void fails(uint32_t reason, const char *why)
{
    struct vcpu_exit exit = decode(reason);

    assert_int_equal(exit.reason, VCPU_EXIT_FAIL);
    assert_string_equal(exit.fail.why, why);
}

/* Whatever the number, there is an answer, and none is taken for another. */
static void every_number(void **state)
{
    for (uint32_t reason = 0; reason < 300; reason++) {
        struct vcpu_exit exit = decode(reason);

        if (exit.reason != VCPU_EXIT_FAIL)
            continue;
        assert_non_null(exit.fail.why);
        assert_memory_equal(exit.fail.why, "KVM", 3);
        if (!strcmp(exit.fail.why, "KVM: unexpected exit reason"))
            assert_int_equal(exit.fail.detail[0], reason);
    }
    fails(UINT32_MAX, "KVM: unexpected exit reason");
    fails(13, "KVM: unexpected exit reason"); /* S390_SIEIC */
    fails(KVM_EXIT_RISCV_SBI, "KVM: unexpected exit reason");
}

static void what_a_guest_goes_on_from(void **state)
{
    assert_int_equal(decode(KVM_EXIT_INTR).reason, VCPU_EXIT_NONE);
    assert_int_equal(decode(KVM_EXIT_X86_BUS_LOCK).reason, VCPU_EXIT_NONE);
    assert_int_equal(decode(KVM_EXIT_NOTIFY).reason, VCPU_EXIT_NONE);
    page.run.notify.flags = KVM_NOTIFY_CONTEXT_INVALID;
    fails(KVM_EXIT_NOTIFY, "KVM: the vCPU's state was lost in a loop without interrupt window");
}

static void ends_of_the_machine(void **state)
{
    static const struct {
        uint32_t type;
        enum vcpu_system_event event;
    } ends[] = {
        {KVM_SYSTEM_EVENT_SHUTDOWN, VCPU_SYSTEM_POWEROFF},
        {KVM_SYSTEM_EVENT_RESET, VCPU_SYSTEM_RESET},
        {KVM_SYSTEM_EVENT_CRASH, VCPU_SYSTEM_CRASH},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        struct vcpu_exit exit;

        page.run.system_event.type = ends[i].type;
        exit = decode(KVM_EXIT_SYSTEM_EVENT);
        assert_int_equal(exit.reason, VCPU_EXIT_SYSTEM);
        assert_int_equal(exit.system, ends[i].event);
    }
    page.run.system_event.type = KVM_SYSTEM_EVENT_SEV_TERM;
    fails(KVM_EXIT_SYSTEM_EVENT, "KVM: unexpected system event");
    assert_int_equal(decode(KVM_EXIT_SHUTDOWN).reason, VCPU_EXIT_SHUTDOWN);
}

static void what_nobody_asked_for(void **state)
{
    struct vcpu_exit exit;

    fails(KVM_EXIT_TPR_ACCESS, "KVM: an access to the TPR, which nobody asked it to report");
    fails(KVM_EXIT_HYPERV, "KVM: a call of Hyper-V's interface, which the guest was not offered");
    fails(KVM_EXIT_XEN, "KVM: a call of Xen's interface, which the guest was not offered");
    page.run.fail_entry.hardware_entry_failure_reason = 0x80000021;
    page.run.fail_entry.cpu = 3;
    exit = decode(KVM_EXIT_FAIL_ENTRY);
    assert_int_equal(exit.fail.detail[0], 0x80000021);
    assert_int_equal(exit.fail.detail[1], 3);
    page.run.internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
    page.run.internal.ndata = 0;
    fails(KVM_EXIT_INTERNAL_ERROR, "KVM: an exit while delivering an event");
    page.run.internal.suberror = 77;
    exit = decode(KVM_EXIT_INTERNAL_ERROR);
    assert_string_equal(exit.fail.why, "KVM internal error");
    assert_int_equal(exit.fail.detail[0], 77);
}

/* flags, gpa and size, where api.rst has them in the union. */
static void memory_fault(void **state)
{
    const uint64_t fault[3] = {8, 0x12345000, 0x1000};
    struct vcpu_exit exit;

    memcpy(&page.run.padding, fault, sizeof(fault));
    exit = decode(KVM_EXIT_MEMORY_FAULT);
    assert_int_equal(exit.reason, VCPU_EXIT_FAIL);
    assert_string_equal(exit.fail.why, "KVM cannot reach the host's memory behind the guest's");
    assert_int_equal(exit.fail.detail[0], 0x12345000);
    assert_int_equal(exit.fail.detail[1], 0x1000);
}

static void accesses(void **state)
{
    struct vcpu_exit exit;

    page.run.io.direction = KVM_EXIT_IO_IN;
    page.run.io.port = 0x3f8;
    page.run.io.size = 2;
    page.run.io.count = 3;
    exit = decode(KVM_EXIT_IO);
    assert_int_equal(exit.reason, VCPU_EXIT_IO);
    assert_int_equal(exit.io.port, 0x3f8);
    assert_int_equal(exit.io.size, 2);
    assert_true(exit.io.in);
    assert_true(exit.io.string);
    assert_int_equal(vcpu.pending, KVM_PENDING_OPEN);
    assert_memory_equal(page.data, "\xff\xff\xff\xff\xff\xff\0", 7); /* unless answered */

    memset(&page.run.padding, 0, 32);
    page.run.mmio.phys_addr = 0xd0000000;
    page.run.mmio.len = 4;
    page.run.mmio.is_write = 1;
    exit = decode(KVM_EXIT_MMIO);
    assert_int_equal(exit.reason, VCPU_EXIT_MMIO);
    assert_int_equal(exit.mem.gpa.v, 0xd0000000);
    assert_int_equal(exit.mem.size, 4);
    assert_true(exit.mem.write);

    memset(&page.run.padding, 0, 32);
    page.run.msr.index = 0x1b;
    page.run.msr.data = 7;
    exit = decode(KVM_EXIT_X86_WRMSR);
    assert_int_equal(exit.reason, VCPU_EXIT_WRMSR);
    assert_int_equal(exit.msr.index, 0x1b);
    assert_int_equal(exit.msr.value, 7);
    assert_int_equal(page.run.msr.error, 1);
    assert_int_equal(decode(KVM_EXIT_X86_RDMSR).reason, VCPU_EXIT_RDMSR);
    page.run.eoi.vector = 0x51;
    assert_int_equal(decode(KVM_EXIT_IOAPIC_EOI).eoi.vector, 0x51);
    page.run.request_interrupt_window = 1;
    assert_int_equal(decode(KVM_EXIT_IRQ_WINDOW_OPEN).reason, VCPU_EXIT_INTR_WINDOW);
    assert_int_equal(page.run.request_interrupt_window, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_number, setup),
        cmocka_unit_test_setup(what_a_guest_goes_on_from, setup),
        cmocka_unit_test_setup(ends_of_the_machine, setup),
        cmocka_unit_test_setup(what_nobody_asked_for, setup),
        cmocka_unit_test_setup(memory_fault, setup),
        cmocka_unit_test_setup(accesses, setup),
    };

    return cmocka_run_group_tests_name("exits", tests, NULL, NULL);
}
