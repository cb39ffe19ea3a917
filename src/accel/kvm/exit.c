/* Exits: KVM's into the seam's, and the answers back. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>

/* What the RAX of an unanswered hypercall says: not implemented, as KVM's own do. */
#define HYPERCALL_ENOSYS ((uint64_t)-1000)

static void fail(struct vcpu_exit *exit, const char *why, uint64_t detail0, uint64_t detail1)
{
    exit->reason = VCPU_EXIT_FAIL;
    exit->fail.why = why;
    exit->fail.detail[0] = detail0;
    exit->fail.detail[1] = detail1;
    exit->fail.insn_len = 0;
}

/* The bytes at cs:rip that guest memory still holds, for the report. */
static void fail_insn(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    const struct kvm_run *run = k->run;
    struct kvm_translation tr = {0};
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    uint64_t room;

    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
        run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 3 &&
        (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
        exit->fail.insn_len = MIN(run->emulation_failure.insn_size, 15);
        memcpy(exit->fail.insn, run->emulation_failure.insn_bytes, exit->fail.insn_len);
        return;
    }
    if (kvm_ioctl(k->fd, KVM_GET_REGS, &regs) < 0 || kvm_ioctl(k->fd, KVM_GET_SREGS, &sregs) < 0)
        return;
    tr.linear_address = sregs.cs.base + regs.rip;
    if (kvm_ioctl(k->fd, KVM_TRANSLATE, &tr) < 0 || !tr.valid)
        return;
    room = PAGE_SIZE - (tr.physical_address & PAGE_MASK);
    room = MIN(room, sizeof(exit->fail.insn) - 1);
    if (!guest_mem_read(&k->v.machine->mem, GPA(tr.physical_address), exit->fail.insn, room))
        exit->fail.insn_len = (uint8_t)room;
}

static void internal_error(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    const struct kvm_run *run = k->run;
    uint64_t data = run->internal.ndata ? run->internal.data[0] : 0;

    switch (run->internal.suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
        fail(exit, "KVM cannot emulate an instruction", run->internal.suberror, data);
        break;
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        fail(exit, "KVM: an exit while delivering an event", run->internal.suberror, data);
        break;
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
        fail(exit, "KVM: unexpected hardware exit", run->internal.suberror, data);
        break;
    default: fail(exit, "KVM internal error", run->internal.suberror, data);
    }
    fail_insn(k, exit);
}

static void *io_data(struct kvm_run *run)
{
    return (uint8_t *)run + run->io.data_offset;
}

/* Each pending exit is given the answer that stands if nobody gives another. */
static void answer_default(struct kvm_vcpu *k)
{
    struct kvm_run *run = k->run;

    k->has_ops = false;
    k->pending = KVM_PENDING_OPEN;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
    case KVM_EXIT_MMIO: kvm_access(run, NULL); break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR: run->msr.error = 1; break;
    case KVM_EXIT_HYPERCALL:
        run->hypercall.ret = HYPERCALL_ENOSYS;
        k->pending = KVM_PENDING_ANSWERED; /* rip is to be behind it */
        break;
    default: k->pending = KVM_PENDING_NONE;
    }
}

/* ---- one reason each ---- */

static void decode_io(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    const struct kvm_run *run = k->run;

    exit->io.port = run->io.port;
    exit->io.size = run->io.size;
    exit->io.in = run->io.direction == KVM_EXIT_IO_IN;
    exit->io.string = run->io.count != 1; /* KVM tells no more; an assist does either */
}

/* Devices know powers of two; what crosses a page may leave KVM others. */
static unsigned mmio_piece(unsigned len)
{
    return len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : len;
}

static void decode_mmio(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    exit->mem.gpa = GPA(k->run->mmio.phys_addr);
    exit->mem.size = (uint8_t)mmio_piece(k->run->mmio.len);
    exit->mem.write = k->run->mmio.is_write;
}

static void decode_msr(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    exit->msr.index = k->run->msr.index;
    exit->msr.value = k->run->msr.data;
}

static void decode_step(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    k->step_due = k->debug.step;
}

static void decode_window(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    k->run->request_interrupt_window = 0;
}

static void decode_eoi(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    exit->eoi.vector = k->run->eoi.vector;
}

static void decode_fail_entry(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    exit->fail.detail[0] = k->run->fail_entry.hardware_entry_failure_reason;
    exit->fail.detail[1] = k->run->fail_entry.cpu;
}

static void decode_unknown(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    exit->fail.detail[0] = k->run->hw.hardware_exit_reason;
}

static void decode_memory_fault(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    const struct kvm_memory_fault *fault = (const void *)&k->run->padding;

    exit->fail.detail[0] = fault->gpa;
    exit->fail.detail[1] = fault->size;
}

/* Events that a guest makes by Hyper-V's registers. Others are of other architectures. */
static void decode_system(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    switch (k->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN: exit->system = VCPU_SYSTEM_POWEROFF; break;
    case KVM_SYSTEM_EVENT_RESET: exit->system = VCPU_SYSTEM_RESET; break;
    case KVM_SYSTEM_EVENT_CRASH: exit->system = VCPU_SYSTEM_CRASH; break;
    default: fail(exit, "KVM: unexpected system event", k->run->system_event.type, 0);
    }
}

/* The guest kept the processor without a break; it goes on unless its state was lost. */
static void decode_notify(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    if (k->run->notify.flags & KVM_NOTIFY_CONTEXT_INVALID)
        fail(exit, "KVM: the vCPU's state was lost in a loop without interrupt window", 0, 0);
}

/* KVM's reasons of x86 (api.rst 5); the others belong to other architectures. */
static const struct row {
    enum vcpu_exit_reason reason;
    void (*decode)(struct kvm_vcpu *k, struct vcpu_exit *exit);
    const char *why; /* of VCPU_EXIT_FAIL */
} rows[] = {
    [KVM_EXIT_UNKNOWN] = {VCPU_EXIT_FAIL, decode_unknown, "KVM: unknown hardware exit"},
    [KVM_EXIT_EXCEPTION] = {VCPU_EXIT_FAIL, NULL, "KVM: unexpected exception in the guest"},
    [KVM_EXIT_IO] = {VCPU_EXIT_IO, decode_io, NULL},
    [KVM_EXIT_HYPERCALL] = {VCPU_EXIT_HYPERCALL, NULL, NULL},
    [KVM_EXIT_DEBUG] = {VCPU_EXIT_DEBUG, kvm_debug_decode, NULL},
    [KVM_EXIT_HLT] = {VCPU_EXIT_HALT, decode_step, NULL},
    [KVM_EXIT_MMIO] = {VCPU_EXIT_MMIO, decode_mmio, NULL},
    [KVM_EXIT_IRQ_WINDOW_OPEN] = {VCPU_EXIT_INTR_WINDOW, decode_window, NULL},
    [KVM_EXIT_SHUTDOWN] = {VCPU_EXIT_SHUTDOWN, NULL, NULL},
    [KVM_EXIT_FAIL_ENTRY] = {VCPU_EXIT_FAIL, decode_fail_entry,
                             "KVM: the processor refused to enter the guest"},
    [KVM_EXIT_INTR] = {VCPU_EXIT_NONE, NULL, NULL},
    [KVM_EXIT_SET_TPR] = {VCPU_EXIT_TPR, decode_step, NULL},
    [KVM_EXIT_TPR_ACCESS] = {VCPU_EXIT_FAIL, NULL,
                             "KVM: an access to the TPR, which nobody asked it to report"},
    [KVM_EXIT_NMI] = {VCPU_EXIT_FAIL, NULL, "KVM: unexpected NMI exit"},
    [KVM_EXIT_INTERNAL_ERROR] = {VCPU_EXIT_FAIL, internal_error, "KVM internal error"},
    [KVM_EXIT_WATCHDOG] = {VCPU_EXIT_FAIL, NULL, "KVM: unexpected watchdog exit"},
    [KVM_EXIT_SYSTEM_EVENT] = {VCPU_EXIT_SYSTEM, decode_system, NULL},
    [KVM_EXIT_IOAPIC_EOI] = {VCPU_EXIT_IOAPIC_EOI, decode_eoi, NULL},
    [KVM_EXIT_HYPERV] = {VCPU_EXIT_FAIL, NULL,
                         "KVM: a call of Hyper-V's interface, which the guest was not offered"},
    [KVM_EXIT_X86_RDMSR] = {VCPU_EXIT_RDMSR, decode_msr, NULL},
    [KVM_EXIT_X86_WRMSR] = {VCPU_EXIT_WRMSR, decode_msr, NULL},
    [KVM_EXIT_DIRTY_RING_FULL] = {VCPU_EXIT_DIRTY_FULL, NULL, NULL},
    [KVM_EXIT_AP_RESET_HOLD] = {VCPU_EXIT_FAIL, NULL,
                                "KVM: an encrypted guest's wait for its start"},
    [KVM_EXIT_X86_BUS_LOCK] = {VCPU_EXIT_NONE, NULL, NULL}, /* the instruction is done */
    [KVM_EXIT_XEN] = {VCPU_EXIT_FAIL, NULL,
                      "KVM: a call of Xen's interface, which the guest was not offered"},
    [KVM_EXIT_NOTIFY] = {VCPU_EXIT_NONE, decode_notify, NULL},
    [KVM_EXIT_MEMORY_FAULT] = {VCPU_EXIT_FAIL, decode_memory_fault,
                               "KVM cannot reach the host's memory behind the guest's"},
    [KVM_EXIT_TDX] = {VCPU_EXIT_FAIL, NULL, "KVM: a call of an encrypted guest's"},
};

static void decode_reason(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    static const struct row none;
    uint32_t reason = k->run->exit_reason;
    const struct row *row = reason < ARRAY_SIZE(rows) ? &rows[reason] : &none;

    if (row->reason == VCPU_EXIT_NONE && !row->decode && reason != KVM_EXIT_INTR &&
        reason != KVM_EXIT_X86_BUS_LOCK) {
        fail(exit, "KVM: unexpected exit reason", reason, 0);
        return;
    }
    exit->reason = row->reason;
    if (row->why)
        fail(exit, row->why, 0, 0);
    if (row->decode)
        row->decode(k, exit);
}

void kvm_exit_decode(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    struct kvm_run *run = k->run;

    answer_default(k);
    decode_reason(k, exit);
    exit->rflags = k->regs_fresh ? run->s.regs.regs.rflags : FLAG_R1 | (run->if_flag ? FLAG_IF : 0);
    exit->cr8 = run->cr8;
    k->intr_ready = run->ready_for_interrupt_injection;
    exit->intr_ready = k->intr_ready;
}

static int access_io(struct kvm_run *run, const struct accel_bus_ops *ops)
{
    unsigned size = run->io.size;
    bool write = run->io.direction == KVM_EXIT_IO_OUT;
    uint8_t *data = io_data(run);

    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        uint64_t value = mask_bytes(size);
        int err = 0;

        if (write) {
            value = 0;
            memcpy(&value, data, size);
        }
        if (ops)
            err = ops->io(ops->user, run->io.port, size, write, &value);
        if (err)
            return err;
        if (!write)
            memcpy(data, &value, size);
    }
    return 0;
}

static int access_mmio(struct kvm_run *run, const struct accel_bus_ops *ops)
{
    unsigned len = MIN(run->mmio.len, 8), size;

    for (unsigned at = 0; at < len; at += size) {
        uint8_t *data = run->mmio.data + at;
        uint64_t value;
        int err = 0;

        size = mmio_piece(len - at);
        value = mask_bytes(size);
        if (run->mmio.is_write) {
            value = 0;
            memcpy(&value, data, size);
        }
        if (ops)
            err = ops->mmio(ops->user, GPA(run->mmio.phys_addr + at), size, run->mmio.is_write,
                            &value);
        if (err)
            return err;
        if (!run->mmio.is_write)
            memcpy(data, &value, size);
    }
    return 0;
}

int kvm_access(struct kvm_run *run, const struct accel_bus_ops *ops)
{
    return run->exit_reason == KVM_EXIT_IO ? access_io(run, ops) : access_mmio(run, ops);
}

static bool is_access(const struct kvm_run *run)
{
    return run->exit_reason == KVM_EXIT_IO || run->exit_reason == KVM_EXIT_MMIO;
}

static bool is_msr(const struct kvm_run *run)
{
    return run->exit_reason == KVM_EXIT_X86_RDMSR || run->exit_reason == KVM_EXIT_X86_WRMSR;
}

/* Register changes made since the exit go in before the instruction is finished. */
static int answer_begin(struct kvm_vcpu *k, bool fits)
{
    int err;

    if (k->pending != KVM_PENDING_OPEN || !fits)
        return err_set(EINVAL, "vCPU %u: no such exit to answer", k->v.id);
    err = k->v.dirty ? kvm_set(&k->v, k->v.dirty) : 0;
    k->v.valid = 0;
    return err;
}

int kvm_assist(struct vcpu *v, const struct accel_bus_ops *ops)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    int err;

    if (kvm_rescue_is_open(k))
        return kvm_rescue_assist(k, ops);
    err = answer_begin(k, is_access(k->run));
    if (!err)
        err = kvm_access(k->run, ops);
    if (err)
        return err;
    k->ops = *ops;
    k->has_ops = true;
    k->pending = KVM_PENDING_ANSWERED;
    return 0;
}

int kvm_complete_msr(struct vcpu *v, uint64_t value, bool fault)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    int err;

    if (kvm_rescue_is_open(k))
        return kvm_rescue_msr(k, value, fault);
    err = answer_begin(k, is_msr(k->run));
    if (err)
        return err;
    k->run->msr.data = value;
    k->run->msr.error = fault;
    k->pending = KVM_PENDING_ANSWERED;
    return 0;
}
