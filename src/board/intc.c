#include "board/intc.h"

#include "base/bits.h"
#include "base/err.h"
#include "board/cpu_intc.h"
#include "board/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* ---- wiring ---- */

static void ioapic_deliver(void *user, const struct apic_msg *msg)
{
    struct intc *ic = user;

    if (ic->inside)
        machine_msi(ic->machine, apic_msg_address(msg), apic_msg_data(msg));
    else
        apic_bus_send(&ic->bus, NULL, msg);
}

static void ioapic_written(void *user, unsigned pin, const struct apic_msg *msg)
{
    struct intc *ic = user;

    if (ic->inside)
        machine_ioapic_route(ic->machine, pin, apic_msg_address(msg), apic_msg_data(msg));
}

static void tell_ended(struct intc *ic, unsigned gsi)
{
    if (ic->ended)
        ic->ended(ic->ended_user, gsi);
}

static void ioapic_ended(void *user, unsigned pin)
{
    tell_ended(user, pin == 2 ? 0 : pin); /* board/irq.h */
}

static void pic_ended(void *user, unsigned irq)
{
    tell_ended(user, irq);
}

static void pic_output(void *user, unsigned line, int level)
{
    struct intc *ic = user;

    cpu_intc_set_lint0(ic->boot, level);
}

void intc_init(struct intc *ic)
{
    const struct ioapic_ops ioapic = {ioapic_deliver, ioapic_written, ioapic_ended, ic};
    const struct dev_irq pic = {pic_output, ic, 0};

    ic->inside = ic->machine->caps & ACCEL_CAP_LAPIC;
    ic->full = ic->machine->caps & ACCEL_CAP_IRQCHIP;
    apic_bus_init(&ic->bus);
    ioapic_init(&ic->ioapic, PC_IOAPIC_ID, &ioapic);
    pic_init(&ic->pic, &pic);
    pic_on_ended(&ic->pic, pic_ended, ic);
}

void intc_destroy(struct intc *ic)
{
    pic_destroy(&ic->pic);
    ioapic_destroy(&ic->ioapic);
    free(ic->page);
}

static void set_pic(void *user, unsigned line, int level)
{
    pic_set_irq(user, line, level);
}

static void set_ioapic(void *user, unsigned line, int level)
{
    ioapic_set_pin(user, line, level);
}

/* Reading the IOAPIC's registers is no exit, where the accelerator maps memory for reading only. */
static int show_ioapic(struct intc *ic)
{
    int err;

    ic->page = aligned_alloc(PAGE_SIZE, IOAPIC_MMIO_SIZE);
    if (!ic->page)
        return err_set(ENOMEM, "no memory for the IOAPIC's page");
    memset(ic->page, 0, IOAPIC_MMIO_SIZE);
    ioapic_show(&ic->ioapic, ic->page);
    err = machine_map(ic->machine, GPA(PC_IOAPIC), IOAPIC_MMIO_SIZE, ic->page, MEM_READ);
    return err == -ENOTSUP ? 0 : err;
}

int intc_map(struct intc *ic, struct dev_bus *ports, struct dev_bus *mmio)
{
    int err;

    if (ic->full)
        return 0;
    err = dev_bus_add(ports, PC_PORT_PIC0, 2, &pic_master_ops, &ic->pic);
    if (!err)
        err = dev_bus_add(ports, PC_PORT_PIC1, 2, &pic_slave_ops, &ic->pic);
    if (!err)
        err = dev_bus_add(ports, PC_PORT_ELCR, 2, &pic_elcr_ops, &ic->pic);
    if (!err)
        err = dev_bus_add(mmio, PC_IOAPIC, IOAPIC_MMIO_SIZE, &ioapic_mmio_ops, &ic->ioapic);
    return err ? err : show_ioapic(ic);
}

static void set_inside(void *user, unsigned line, int level)
{
    machine_irq_line(user, line, level);
}

void intc_route(struct intc *ic, struct irq_router *router)
{
    *router = (struct irq_router){0};
    if (ic->full) {
        router->inside = (struct dev_irq){set_inside, ic->machine, 0};
        return;
    }
    router->pic = (struct dev_irq){set_pic, &ic->pic, 0};
    router->ioapic = (struct dev_irq){set_ioapic, &ic->ioapic, 0};
}

int intc_msi(struct intc *ic, uint64_t address, uint32_t data)
{
    int err;

    if (ic->inside)
        return machine_msi(ic->machine, address, data);
    err = apic_bus_msi(&ic->bus, address, data);
    return err < 0 ? err_set(EINVAL, "0x%" PRIx64 " is no address of a message", address) : 0;
}

void intc_eoi(struct intc *ic, uint8_t vector)
{
    ioapic_eoi(&ic->ioapic, vector);
}
