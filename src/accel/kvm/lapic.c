/*
 * Local APICs inside KVM: with PICs and IOAPIC left to user space, what KVM calls a split
 * irqchip, or all chips (irqchip.c). KVM's chips register ports, and taking those down at
 * a machine's end waits for grace periods of RCU, 10 ms and more; local APICs have nothing
 * to wait for.
 */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/regs.h"

#include <errno.h>
#include <inttypes.h>

/* Where KVM puts them; what the guest moves its local APIC to is not looked at. */
#define LAPIC_PAGE  UINT64_C(0xfee00000)
#define IOAPIC_PAGE UINT64_C(0xfec00000)

/* Registers of x86/irqchip.h's page (SDM Vol. 3A table 10-1). */
enum { REG_ID = 0x02, REG_CURRENT = 0x39, REG_DIVIDE = 0x3e };

/* ---- on and off ---- */

static bool has_all(int vm, const int *caps, unsigned count)
{
    unsigned i = 0;

    while (i < count && kvm_cap(vm, caps[i]))
        i++;
    return i == count;
}
#define HAS_ALL(vm, ...)                                                                           \
    has_all(vm, (const int[]){__VA_ARGS__}, ARRAY_SIZE(((const int[]){__VA_ARGS__})))

static unsigned chips_offered(const struct kvm_machine *m, unsigned want)
{
    bool irqfd = want & (ACCEL_CAP_IRQFD | ACCEL_CAP_IRQCHIP) &&
                 HAS_ALL(m->vm, KVM_CAP_IRQFD, KVM_CAP_IRQFD_RESAMPLE) &&
                 kvm_cap(m->vm, KVM_CAP_IRQ_ROUTING) >= MACHINE_GSIS;

    if (!(want & ACCEL_CAP_LAPIC) || !HAS_ALL(m->vm, KVM_CAP_SIGNAL_MSI, KVM_CAP_IRQ_ROUTING))
        return 0;
    if ((want & ACCEL_CAP_IRQCHIP) && irqfd &&
        HAS_ALL(m->vm, KVM_CAP_IRQCHIP, KVM_CAP_PIT2, KVM_CAP_PIT_STATE2))
        return ACCEL_CAP_LAPIC | ACCEL_CAP_IRQCHIP | ACCEL_CAP_IRQFD;
    if (!kvm_cap(m->vm, KVM_CAP_SPLIT_IRQCHIP))
        return 0;
    return ACCEL_CAP_LAPIC | (irqfd ? want & ACCEL_CAP_IRQFD : 0);
}

void kvm_lapic_offer(struct kvm_machine *m, unsigned want)
{
    unsigned caps = chips_offered(m, want);

    if ((want & ACCEL_CAP_CLOCK) && kvm_cap(m->vm, KVM_CAP_ADJUST_CLOCK))
        caps |= want & ACCEL_CAP_CLOCK;
    if ((caps & ACCEL_CAP_LAPIC) && kvm_cap(m->vm, KVM_CAP_TSC_DEADLINE_TIMER))
        caps |= want & ACCEL_CAP_TSC_DEADLINE;
    if ((want & ACCEL_CAP_IOEVENTFD) &&
        HAS_ALL(m->vm, KVM_CAP_IOEVENTFD, KVM_CAP_IOEVENTFD_ANY_LENGTH))
        caps |= want & ACCEL_CAP_IOEVENTFD;
    m->m.caps = caps;
}

int kvm_lapic_enable(struct kvm_machine *m)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};

    if (m->m.caps & ACCEL_CAP_IRQCHIP)
        return kvm_irqchip_create(m);
    return m->m.caps & ACCEL_CAP_LAPIC ? KVM_CALL(m->vm, KVM_ENABLE_CAP, &cap) : 0;
}

static bool is_chip_port(uint16_t port)
{
    return (port & ~1) == 0x20 || (port & ~1) == 0xa0 || (port & ~1) == 0x4d0 ||
           (port & ~3) == 0x40 || port == 0x61;
}

const char *kvm_chip_of(const struct machine *m, const struct vcpu_exit *exit)
{
    uint64_t page = align_down(exit->mem.gpa.v, PAGE_SIZE);

    if ((m->caps & ACCEL_CAP_LAPIC) && exit->reason == VCPU_EXIT_MMIO && page == LAPIC_PAGE)
        return "KVM cannot emulate an access to the local APIC inside it";
    if (!(m->caps & ACCEL_CAP_IRQCHIP))
        return NULL;
    if ((exit->reason == VCPU_EXIT_MMIO && page == IOAPIC_PAGE) ||
        (exit->reason == VCPU_EXIT_IO && is_chip_port(exit->io.port)))
        return "KVM cannot emulate an access to the interrupt chips inside it";
    return NULL;
}

/* ---- state ---- */

static bool is_x2apic(uint64_t apic_base)
{
    const uint64_t on = APIC_BASE_ENABLE | APIC_BASE_X2APIC;

    return (apic_base & on) == on;
}

/* Nanoseconds in one tick of the divided clock, 1 GHz (SDM Vol. 3A figure 10-10). */
static uint64_t tick_ns(uint32_t divide)
{
    return UINT64_C(1) << (((divide & 3) + ((divide & 8) >> 1) + 1) & 7);
}

/* Without KVM_CAP_X2APIC_API the ID is in the top byte in either mode (api.rst 4.57). */
void kvm_lapic_from(struct lapic_state *out, const struct kvm_lapic_state *in)
{
    for (unsigned i = 0; i < ARRAY_SIZE(out->reg); i++)
        out->reg[i] = le32_get(&in->regs[16 * i]);
    if (is_x2apic(out->apic_base))
        out->reg[REG_ID] >>= 24;
    out->timer_left = out->reg[REG_CURRENT] * tick_ns(out->reg[REG_DIVIDE]);
}

void kvm_lapic_to(struct kvm_lapic_state *out, const struct lapic_state *in)
{
    uint64_t tick = tick_ns(in->reg[REG_DIVIDE]);

    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < ARRAY_SIZE(in->reg); i++)
        le32_put(&out->regs[16 * i], in->reg[i]);
    if (is_x2apic(in->apic_base))
        le32_put(&out->regs[16 * REG_ID], in->reg[REG_ID] << 24);
    le32_put(&out->regs[16 * REG_CURRENT],
             (uint32_t)MIN((in->timer_left + tick - 1) / tick, (uint64_t)UINT32_MAX));
}

struct msr_list {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[1];
};

static int move_msr(struct kvm_vcpu *k, bool set, uint32_t index, uint64_t *value)
{
    struct msr_list list = {.head.nmsrs = 1, .entry = {{.index = index, .data = *value}}};
    int ret = set ? KVM_CALL(k->fd, KVM_SET_MSRS, &list) : KVM_CALL(k->fd, KVM_GET_MSRS, &list);

    if (ret < 0)
        return ret;
    if (ret != 1)
        return err_set(EINVAL, "vCPU %u: KVM takes no 0x%" PRIx64 " in MSR 0x%" PRIx32, k->v.id,
                       *value, index);
    *value = list.entry[0].data;
    return 0;
}

/* CR8 is the TPR: what was changed there goes in first. An AP may have a message to take. */
static int settle(struct kvm_vcpu *k)
{
    unsigned groups = k->v.dirty & (X86_SEGS | X86_CRS | X86_MSRS);
    int err = k->pending == KVM_PENDING_ANSWERED ? kvm_finish(k) : 0;

    return err || !groups ? err : kvm_set(&k->v, groups);
}

int kvm_get_lapic(struct vcpu *v, struct lapic_state *out)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    struct kvm_lapic_state page;
    int err = settle(k);

    memset(out, 0, sizeof(*out));
    if (!err)
        err = move_msr(k, false, MSR_APIC_BASE, &out->apic_base);
    if (!err)
        err = move_msr(k, false, MSR_TSC_DEADLINE, &out->tsc_deadline);
    if (!err)
        err = MIN(KVM_CALL(k->fd, KVM_GET_LAPIC, &page), 0);
    if (!err)
        kvm_lapic_from(out, &page);
    return err;
}

/* The mode first: it says what the page means. The deadline last: the page says whether it counts.
 */
int kvm_set_lapic(struct vcpu *v, const struct lapic_state *in)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    uint64_t base = in->apic_base, deadline = in->tsc_deadline;
    struct kvm_lapic_state page;
    int err = 0;

    if (is_x2apic(base) && in->reg[REG_ID] != v->id)
        err = err_set(EINVAL, "vCPU %u: a local APIC's state with ID %" PRIu32, v->id,
                      in->reg[REG_ID]);
    kvm_lapic_to(&page, in);
    if (!err)
        err = settle(k);
    if (!err)
        err = move_msr(k, true, MSR_APIC_BASE, &base);
    if (!err)
        err = MIN(KVM_CALL(k->fd, KVM_SET_LAPIC, &page), 0);
    return err ? err : move_msr(k, true, MSR_TSC_DEADLINE, &deadline);
}
