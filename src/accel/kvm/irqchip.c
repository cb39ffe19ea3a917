/*
 * Interrupt controllers inside KVM. Its PIT is not used: destroying that waits
 * for grace periods of RCU, some 20 ms.
 */
#include "accel/kvm/kvm.h"

#include "base/bits.h"

#define PIC_LINES    16 /* of both, the second behind input 2 of the first */
#define IOAPIC_PINS  24
#define PIT_GSI      0
#define PIT_PIN      2 /* the MADT's interrupt source override */
#define CASCADE_LINE 2 /* no input for anybody */

/* Where KVM puts them; what the guest moves its local APIC to is not looked at. */
#define LAPIC_PAGE  UINT64_C(0xfee00000)
#define IOAPIC_PAGE UINT64_C(0xfec00000)

struct route_table {
    struct kvm_irq_routing head;
    struct kvm_irq_routing_entry entry[PIC_LINES + IOAPIC_PINS];
};

static void route_add(struct route_table *t, unsigned gsi, unsigned chip, unsigned pin)
{
    t->entry[t->head.nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_IRQCHIP,
        .u.irqchip = {.irqchip = chip, .pin = pin},
    };
}

/* The wiring of board/irq.h. KVM's own (api.rst 4.24) leads GSI 0 to IOAPIC pin 0. */
static int route_gsis(struct kvm_machine *m)
{
    struct route_table t = {.head.nr = 0};

    for (unsigned gsi = 0; gsi < IOAPIC_PINS; gsi++) {
        if (gsi == CASCADE_LINE)
            continue;
        if (gsi < PIC_LINES)
            route_add(&t, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
        route_add(&t, gsi, KVM_IRQCHIP_IOAPIC, gsi == PIT_GSI ? PIT_PIN : gsi);
    }
    return KVM_CALL(m->vm, KVM_SET_GSI_ROUTING, &t);
}

void kvm_irqchip_offer(struct kvm_machine *m, unsigned want)
{
    if ((want & ACCEL_CAP_CLOCK) && kvm_cap(m->vm, KVM_CAP_ADJUST_CLOCK))
        m->m.caps |= ACCEL_CAP_CLOCK;
    if (!(want & ACCEL_CAP_IRQCHIP) || !kvm_cap(m->vm, KVM_CAP_IRQCHIP) ||
        !kvm_cap(m->vm, KVM_CAP_IRQ_ROUTING))
        return;
    m->m.caps |= ACCEL_CAP_IRQCHIP;
    if ((want & ACCEL_CAP_TSC_DEADLINE) && kvm_cap(m->vm, KVM_CAP_TSC_DEADLINE_TIMER))
        m->m.caps |= ACCEL_CAP_TSC_DEADLINE;
}

int kvm_irqchip_create(struct kvm_machine *m)
{
    int err;

    if (!(m->m.caps & ACCEL_CAP_IRQCHIP) || m->irqchip)
        return 0;
    m->irqchip = true;
    err = KVM_CALL(m->vm, KVM_CREATE_IRQCHIP, 0);
    return err < 0 ? err : route_gsis(m);
}

bool kvm_irqchip_has(const struct machine *m, const struct vcpu_exit *exit)
{
    static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1}; /* of the PICs */

    if (!(m->caps & ACCEL_CAP_IRQCHIP))
        return false;
    if (exit->reason == VCPU_EXIT_MMIO) {
        uint64_t page = align_down(exit->mem.gpa.v, PAGE_SIZE);

        return page == LAPIC_PAGE || page == IOAPIC_PAGE;
    }
    for (unsigned i = 0; exit->reason == VCPU_EXIT_IO && i < ARRAY_SIZE(ports); i++) {
        if (exit->io.port == ports[i])
            return true;
    }
    return false;
}

int kvm_irq_line(struct machine *m, unsigned gsi, int level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = level != 0};
    int err = KVM_CALL(kvm_machine(m)->vm, KVM_IRQ_LINE, &line);

    return MIN(err, 0);
}
