#include "board/devices.h"

#include "base/bits.h"
#include "base/err.h"
#include "board/layout.h"

/* ---- interrupts ---- */

static void line_inside(void *user, unsigned gsi, int level)
{
    machine_irq_line(user, gsi, level);
}

static int add_intc(struct devices *d, const struct devices_config *cfg)
{
    int err;

    if (cfg->machine->caps & ACCEL_CAP_IRQCHIP) {
        d->irq.inside = (struct dev_irq){line_inside, cfg->machine, 0};
        return 0;
    }
    d->intc.wake = cfg->wake_vcpu;
    d->intc.user = cfg->wake_user;
    err = intc_init(&d->intc, cfg->loop, cfg->clock, cfg->tsc_khz);
    if (err)
        return err;
    d->has_intc = true;
    intc_route(&d->intc, &d->irq);
    return intc_map(&d->intc, &d->ports, &d->mmio);
}

static int add_pit(struct devices *d, const struct devices_config *cfg)
{
    const struct dev_irq irq = irq_line(&d->irq, PC_GSI_PIT);
    const struct dev_clock clock = board_clock(cfg->clock);
    int err;

    if (cfg->machine->caps & ACCEL_CAP_PIT)
        return 0;
    err = board_timer_init(&d->pit_timer, cfg->loop, cfg->clock);
    if (err)
        return err;
    pit_init(&d->pit, &irq, &clock, &d->pit_timer.dev);
    d->has_pit = true;
    err = dev_bus_add(&d->ports, PC_PORT_PIT, 4, &pit_ops, &d->pit);
    return err ? err : dev_bus_add(&d->ports, PC_PORT_SPEAKER, 1, &pit_speaker_ops, &d->pit);
}

/* ---- serial ports ---- */

static void com1_write(void *user, const uint8_t *buf, size_t len)
{
    console_write(user, buf, len);
}

static void com1_ready(void *user)
{
    console_room(user);
}

static int add_serial(struct devices *d, const struct devices_config *cfg)
{
    const struct serial_backend backend = {com1_write, com1_ready, cfg->console};
    struct dev_irq irq = irq_line(&d->irq, PC_GSI_COM1);
    int err;

    serial_init(&d->com1, &irq, &backend);
    d->has_com1 = true;
    err = dev_bus_add(&d->ports, PC_PORT_COM1, SERIAL_PORTS, &serial_ops, &d->com1);
    if (err || !cfg->control)
        return err;
    irq = irq_line(&d->irq, PC_GSI_COM2);
    err = control_init(&d->control, cfg->loop, cfg->life, &irq);
    if (err)
        return err;
    d->has_control = true;
    return dev_bus_add(&d->ports, PC_PORT_COM2, SERIAL_PORTS, &serial_ops, &d->control.serial);
}

/* ---- the debug-exit port ---- */

static uint64_t debug_exit_read(void *dev, uint64_t offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct devices *d = dev;

    life_finish(d->life, LIFE_DEBUG_EXIT, (unsigned)value, NULL);
}

static const struct dev_region_ops debug_exit_ops = {debug_exit_read, debug_exit_write};

/* ---- all of them ---- */

int devices_init(struct devices *d, const struct devices_config *cfg)
{
    int err;

    d->loop = cfg->loop;
    d->life = cfg->life;
    dev_bus_init(&d->ports, "port");
    dev_bus_init(&d->mmio, "mmio");
    err = add_intc(d, cfg);
    if (!err)
        err = add_pit(d, cfg);
    if (!err)
        err = add_serial(d, cfg);
    if (!err && cfg->debug_exit)
        err = dev_bus_add(&d->ports, PC_PORT_DEBUG_EXIT, 4, &debug_exit_ops, d);
    if (err)
        devices_destroy(d);
    return err;
}

void devices_destroy(struct devices *d)
{
    if (d->has_control)
        control_destroy(&d->control);
    if (d->has_com1)
        serial_destroy(&d->com1);
    if (d->has_pit) {
        pit_destroy(&d->pit);
        board_timer_destroy(&d->pit_timer, d->loop);
    }
    if (d->has_intc)
        intc_destroy(&d->intc, d->loop);
}
