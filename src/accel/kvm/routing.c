/* Interrupt messages, KVM's routing table of GSIs, and eventfds on either side of the guest. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/msi.h"

#include <errno.h>
#include <stdlib.h>

/* KVM's answers tell how many took the message: none is no error. */
int kvm_msi(struct machine *m, uint64_t address, uint32_t data)
{
    struct kvm_msi msi = {
        .address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};

    kvm_ioctl(kvm_machine(m)->vm, KVM_SIGNAL_MSI, &msi);
    return 0;
}

int kvm_irq_line(struct machine *m, unsigned gsi, int level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = (uint32_t)level};

    return MIN(KVM_CALL(kvm_machine(m)->vm, KVM_IRQ_LINE, &line), 0);
}

/* ---- the table ---- */

struct table {
    struct kvm_irq_routing head;
    struct kvm_irq_routing_entry entry[MACHINE_GSIS + 16];
};

static void add_pin(struct table *t, unsigned gsi, unsigned chip, unsigned pin)
{
    t->entry[t->head.nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_IRQCHIP,
        .u.irqchip = {.irqchip = chip, .pin = pin},
    };
}

/* As board/irq.h wires its own chips: GSI 0 is the IOAPIC's pin 2, GSI 2 no input. */
static void add_pins(struct table *t)
{
    for (unsigned gsi = 0; gsi < IOAPIC_PINS; gsi++) {
        if (gsi == 2)
            continue;
        if (gsi < 16)
            add_pin(t, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
        add_pin(t, gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2);
    }
}

/* The board's IOAPIC sends its messages itself; of its entries KVM is to know the levels. */
static bool is_wanted(unsigned gsi, const struct kvm_route *r)
{
    return r->address && (gsi >= IOAPIC_PINS || (r->data & MSI_LEVEL));
}

int kvm_routes_set(struct kvm_machine *m)
{
    struct table *t = calloc(1, sizeof(*t));
    int err;

    if (!t)
        return err_set(ENOMEM, KVM_DEVICE ": out of memory");
    if (m->m.caps & ACCEL_CAP_IRQCHIP)
        add_pins(t);
    for (unsigned gsi = 0; gsi < m->routes; gsi++) {
        const struct kvm_route *r = &m->route[gsi];

        if (!is_wanted(gsi, r))
            continue;
        t->entry[t->head.nr++] = (struct kvm_irq_routing_entry){
            .gsi = gsi,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = {.address_lo = (uint32_t)r->address,
                      .address_hi = (uint32_t)(r->address >> 32),
                      .data = r->data},
        };
    }
    err = KVM_CALL(m->vm, KVM_SET_GSI_ROUTING, t);
    free(t);
    return MIN(err, 0);
}

/* Nothing is set that changes nothing for KVM: a table takes a grace period. */
int kvm_route(struct machine *machine, unsigned gsi, uint64_t address, uint32_t data)
{
    struct kvm_machine *m = kvm_machine(machine);
    const struct kvm_route new = {address, data};
    struct kvm_route old;
    int err = 0;

    pthread_mutex_lock(&m->route_lock);
    old = m->route[gsi];
    m->route[gsi] = new;
    m->routes = MAX(m->routes, gsi + 1);
    if ((is_wanted(gsi, &old) || is_wanted(gsi, &new)) &&
        (old.address != address || old.data != data))
        err = kvm_routes_set(m);
    pthread_mutex_unlock(&m->route_lock);
    return err;
}

/* ---- eventfds ---- */

int kvm_irqfd(struct machine *m, const struct machine_irqfd *irqfd, bool add)
{
    struct kvm_irqfd k = {.fd = (uint32_t)irqfd->fd, .gsi = irqfd->gsi};

    if (!add) {
        k.flags = KVM_IRQFD_FLAG_DEASSIGN;
    } else if (irqfd->resample >= 0) {
        k.flags = KVM_IRQFD_FLAG_RESAMPLE;
        k.resamplefd = (uint32_t)irqfd->resample;
    }
    return MIN(KVM_CALL(kvm_machine(m)->vm, KVM_IRQFD, &k), 0);
}

int kvm_ioeventfd(struct machine *m, const struct machine_ioeventfd *e, bool add)
{
    struct kvm_ioeventfd k = {
        .addr = e->address,
        .len = e->size,
        .fd = e->fd,
        .datamatch = e->data,
        .flags = (add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN) | (e->mmio ? 0 : KVM_IOEVENTFD_FLAG_PIO) |
                 (e->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
    };

    return MIN(KVM_CALL(kvm_machine(m)->vm, KVM_IOEVENTFD, &k), 0);
}
