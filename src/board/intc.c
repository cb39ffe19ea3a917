#include "board/intc.h"

#include "base/bits.h"
#include "board/layout.h"

#include <x86intrin.h>

/* ---- wiring ---- */

static void lapic_kick(void *user)
{
    struct intc *ic = user;

    ic->wake(ic->user);
}

static void lapic_send(void *user, struct lapic *from, const struct apic_msg *msg)
{
    struct intc *ic = user;

    apic_bus_send(&ic->bus, from, msg);
}

static void lapic_eoi_broadcast(void *user, uint8_t vector)
{
    struct intc *ic = user;

    ioapic_eoi(&ic->ioapic, vector);
}

/* The offset is the vCPU's; the I/O thread may read it while a guest that sets its TSC changes it.
 */
static uint64_t guest_tsc(void *user)
{
    struct intc *ic = user;

    return __rdtsc() + __atomic_load_n(ic->tsc_offset, __ATOMIC_RELAXED);
}

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

static void pic_output(void *user, unsigned line, int level)
{
    struct intc *ic = user;

    if (!ic->inside) {
        lapic_set_lint(&ic->lapic, 0, level);
        return;
    }
    atomic_store(&ic->lint0, level);
    if (level)
        ic->wake(ic->user);
}

static int own_lapic_init(struct intc *ic, struct loop *loop, struct host_clock *clock,
                          uint32_t tsc_khz)
{
    const struct lapic_ops ops = {lapic_kick, lapic_send, lapic_eoi_broadcast, guest_tsc, ic};
    const struct dev_clock now = board_clock(clock);
    int err = board_timer_init(&ic->timer, loop, clock);

    if (err)
        return err;
    lapic_init(&ic->lapic, 0, true, &ops, &now, &ic->timer.dev, tsc_khz);
    lapic_set_virtual_wire(&ic->lapic);
    apic_bus_init(&ic->bus);
    return apic_bus_add(&ic->bus, &ic->lapic);
}

int intc_init(struct intc *ic, struct loop *loop, struct host_clock *clock, uint32_t tsc_khz)
{
    const struct ioapic_ops ioapic = {ioapic_deliver, ioapic_written, ic};
    const struct dev_irq pic = {pic_output, ic, 0};
    int err;

    ic->inside = ic->machine->caps & ACCEL_CAP_LAPIC;
    err = ic->inside ? 0 : own_lapic_init(ic, loop, clock, tsc_khz);
    if (err)
        return err;
    ioapic_init(&ic->ioapic, PC_IOAPIC_ID, &ioapic);
    pic_init(&ic->pic, &pic);
    return 0;
}

void intc_destroy(struct intc *ic, struct loop *loop)
{
    pic_destroy(&ic->pic);
    ioapic_destroy(&ic->ioapic);
    if (ic->inside)
        return;
    lapic_destroy(&ic->lapic);
    board_timer_destroy(&ic->timer, loop);
}

static void set_pic(void *user, unsigned line, int level)
{
    pic_set_irq(user, line, level);
}

static void set_ioapic(void *user, unsigned line, int level)
{
    ioapic_set_pin(user, line, level);
}

int intc_map(struct intc *ic, struct dev_bus *ports, struct dev_bus *mmio)
{
    int err = dev_bus_add(ports, PC_PORT_PIC0, 2, &pic_master_ops, &ic->pic);

    if (!err)
        err = dev_bus_add(ports, PC_PORT_PIC1, 2, &pic_slave_ops, &ic->pic);
    if (!err)
        err = dev_bus_add(ports, PC_PORT_ELCR, 2, &pic_elcr_ops, &ic->pic);
    if (!err)
        err = dev_bus_add(mmio, PC_IOAPIC, IOAPIC_MMIO_SIZE, &ioapic_mmio_ops, &ic->ioapic);
    return err;
}

void intc_route(struct intc *ic, struct irq_router *router)
{
    router->pic = (struct dev_irq){set_pic, &ic->pic, 0};
    router->ioapic = (struct dev_irq){set_ioapic, &ic->ioapic, 0};
}

/* ---- the vCPU's side ---- */

bool intc_pending(struct intc *ic)
{
    if (ic->inside)
        return atomic_load(&ic->lint0);
    return lapic_pending(&ic->lapic) >= 0 || (lapic_events(&ic->lapic) & LAPIC_EVENT_EXTINT);
}

bool intc_nmi_pending(struct intc *ic)
{
    return !ic->inside && (lapic_events(&ic->lapic) & LAPIC_EVENT_NMI);
}

int intc_take(struct intc *ic)
{
    int vector;

    /* The PIC's line may have fallen meanwhile; a real one answers with the spurious IRQ 7. */
    if (ic->inside)
        return intc_pending(ic) ? pic_acknowledge(&ic->pic) : -1;
    if (lapic_take_events(&ic->lapic, LAPIC_EVENT_EXTINT, NULL))
        return pic_acknowledge(&ic->pic);
    vector = lapic_pending(&ic->lapic);
    if (vector >= 0)
        lapic_accept(&ic->lapic, (uint8_t)vector);
    return vector;
}

bool intc_take_nmi(struct intc *ic)
{
    return lapic_take_events(&ic->lapic, LAPIC_EVENT_NMI, NULL);
}

uint64_t intc_cr8(struct intc *ic)
{
    return lapic_cr8(&ic->lapic);
}

void intc_set_cr8(struct intc *ic, uint64_t cr8)
{
    lapic_set_cr8(&ic->lapic, cr8);
}

void intc_eoi(struct intc *ic, uint8_t vector)
{
    ioapic_eoi(&ic->ioapic, vector);
}

bool intc_mmio(struct intc *ic, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    uint64_t offset;

    if (ic->inside || !lapic_mmio_at(&ic->lapic, gpa.v, &offset))
        return false;
    if (write)
        lapic_mmio_ops.write(&ic->lapic, offset, size, *data);
    else
        *data = lapic_mmio_ops.read(&ic->lapic, offset, size);
    return true;
}

bool intc_msr(struct intc *ic, uint32_t msr, bool write, uint64_t *value)
{
    if (ic->inside || !lapic_owns_msr(msr))
        return false;
    return !(write ? lapic_wrmsr(&ic->lapic, msr, *value) : lapic_rdmsr(&ic->lapic, msr, value));
}
