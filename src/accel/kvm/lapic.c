/*
 * Local APICs inside KVM, with PICs and IOAPIC left to user space: what KVM calls
 * a split irqchip. Its chips register ports, and taking those down at a machine's
 * end waits for grace periods of RCU, 10 ms and more; local APICs have nothing to
 * wait for.
 */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "x86/msi.h"

/* Where KVM puts them; what the guest moves its local APIC to is not looked at. */
#define LAPIC_PAGE UINT64_C(0xfee00000)

void kvm_lapic_offer(struct kvm_machine *m, unsigned want)
{
    if ((want & ACCEL_CAP_CLOCK) && kvm_cap(m->vm, KVM_CAP_ADJUST_CLOCK))
        m->m.caps |= ACCEL_CAP_CLOCK;
    if (!(want & ACCEL_CAP_LAPIC) || !kvm_cap(m->vm, KVM_CAP_SPLIT_IRQCHIP) ||
        !kvm_cap(m->vm, KVM_CAP_SIGNAL_MSI) || !kvm_cap(m->vm, KVM_CAP_IRQ_ROUTING))
        return;
    m->m.caps |= ACCEL_CAP_LAPIC;
    if ((want & ACCEL_CAP_TSC_DEADLINE) && kvm_cap(m->vm, KVM_CAP_TSC_DEADLINE_TIMER))
        m->m.caps |= ACCEL_CAP_TSC_DEADLINE;
}

int kvm_lapic_enable(struct kvm_machine *m)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};

    return m->m.caps & ACCEL_CAP_LAPIC ? KVM_CALL(m->vm, KVM_ENABLE_CAP, &cap) : 0;
}

bool kvm_lapic_has(const struct machine *m, const struct vcpu_exit *exit)
{
    return (m->caps & ACCEL_CAP_LAPIC) && exit->reason == VCPU_EXIT_MMIO &&
           align_down(exit->mem.gpa.v, PAGE_SIZE) == LAPIC_PAGE;
}

/* KVM's answers tell how many took the message: none is no error. */
int kvm_msi(struct machine *m, uint64_t address, uint32_t data)
{
    struct kvm_msi msi = {
        .address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};

    kvm_ioctl(kvm_machine(m)->vm, KVM_SIGNAL_MSI, &msi);
    return 0;
}

/* KVM looks through these routes for the vectors whose EOI exits (api.rst 7.5). */
static int routes_set(struct kvm_machine *m)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entry[IOAPIC_PINS];
    } t = {.head.nr = 0};

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        const struct kvm_route *r = &m->route[pin];

        if (!(r->data & MSI_LEVEL))
            continue;
        t.entry[t.head.nr++] = (struct kvm_irq_routing_entry){
            .gsi = pin,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = {.address_lo = (uint32_t)r->address,
                      .address_hi = (uint32_t)(r->address >> 32),
                      .data = r->data},
        };
    }
    return KVM_CALL(m->vm, KVM_SET_GSI_ROUTING, &t);
}

/* Only level-triggered pins have routes: to set the table takes a grace period. */
int kvm_ioapic_route(struct machine *machine, unsigned pin, uint64_t address, uint32_t data)
{
    struct kvm_machine *m = kvm_machine(machine);
    struct kvm_route *r = &m->route[pin], old = *r;
    int err;

    *r = (struct kvm_route){address, data};
    if (!((old.data | data) & MSI_LEVEL) || (old.address == address && old.data == data))
        return 0;
    err = routes_set(m);
    return MIN(err, 0);
}
