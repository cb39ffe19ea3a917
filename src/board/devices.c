#include "board/devices.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "base/steps.h"
#include "board/layout.h"

#include <time.h>

/* ---- interrupts ---- */

static int add_intc(struct devices *d, const struct devices_config *cfg)
{
    d->intc.machine = cfg->machine;
    irqfds_init(&d->irqfds, cfg->loop, &d->intc, &d->irq);
    intc_init(&d->intc);
    d->has_intc = true;
    intc_route(&d->intc, &d->irq);
    return intc_map(&d->intc, &d->ports, &d->mmio);
}

static int add_pit(struct devices *d, const struct devices_config *cfg)
{
    const struct dev_irq irq = irq_line(&d->irq, PC_GSI_PIT);
    const struct dev_clock clock = board_clock(cfg->clock);
    int err;

    if (d->intc.full)
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

/* ---- the end ---- */

static void power_off(void *user)
{
    struct devices *d = user;

    life_finish(d->life, LIFE_POWEROFF, 0, NULL);
}

static void reset(void *user)
{
    struct devices *d = user;

    life_finish(d->life, LIFE_RESET, 0, NULL);
}

static void debug_exit(void *user, uint32_t status)
{
    struct devices *d = user;

    life_finish(d->life, LIFE_DEBUG_EXIT, status & 0xff, NULL);
}

static void guest_panicked(void *user, unsigned events)
{
    struct devices *d = user;

    if (events & PVPANIC_PANICKED)
        life_finish(d->life, LIFE_PANIC, 0, NULL);
    else if (!d->crash_noted)
        log_warn("the guest panicked; its crash kernel takes over");
    d->crash_noted = true;
}

static int add_power(struct devices *d, const struct devices_config *cfg)
{
    const struct acpi_pm_ports where = {PC_PORT_PM1_EVT, PC_PORT_PM1_CNT, PC_PORT_PM_TIMER,
                                        PC_PORT_RESET};
    const struct acpi_pm_ops ops = {power_off, reset, d};
    const struct dev_irq sci = irq_line(&d->irq, PC_GSI_SCI);
    const struct dev_clock clock = board_clock(cfg->clock);
    int err = board_timer_init(&d->pm_timer, cfg->loop, cfg->clock);

    if (err)
        return err;
    acpi_pm_init(&d->pm, &sci, &clock, &d->pm_timer.dev, PC_PM_TIMER_32, &ops);
    d->has_pm = true;
    err = acpi_pm_add(&d->pm, &d->ports, &where);
    if (err)
        return err;
    pvpanic_init(&d->pvpanic, guest_panicked, d);
    err = dev_bus_add(&d->ports, PC_PORT_PVPANIC, PVPANIC_PORTS, &pvpanic_ops, &d->pvpanic);
    if (err || !cfg->debug_exit)
        return err;
    debug_exit_init(&d->debug_exit, debug_exit, d);
    return dev_bus_add(&d->ports, PC_PORT_DEBUG_EXIT, DEBUG_EXIT_PORTS, &debug_exit_ops,
                       &d->debug_exit);
}

/* ---- clock and keyboard controller ---- */

static int64_t wall_now(void *user)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int add_rtc(struct devices *d, const struct devices_config *cfg)
{
    const struct dev_irq irq = irq_line(&d->irq, PC_GSI_RTC);
    const struct dev_clock clock = board_clock(cfg->clock);
    const struct rtc_wall wall = {wall_now, NULL};
    int err = board_timer_init(&d->rtc_timer, cfg->loop, cfg->clock);

    if (err)
        return err;
    rtc_init(&d->rtc, &irq, &clock, &d->rtc_timer.dev, &wall);
    d->has_rtc = true;
    return dev_bus_add(&d->ports, PC_PORT_RTC, RTC_PORTS, &rtc_ops, &d->rtc);
}

static int add_i8042(struct devices *d)
{
    const struct dev_irq irq = irq_line(&d->irq, PC_GSI_KEYBOARD);
    int err;

    i8042_init(&d->i8042, &irq, reset, d);
    d->has_i8042 = true;
    err = dev_bus_add(&d->ports, PC_PORT_I8042_DATA, 1, &i8042_data_ops, &d->i8042);
    return err ? err : dev_bus_add(&d->ports, PC_PORT_I8042_CMD, 1, &i8042_command_ops, &d->i8042);
}

/* ---- boot timer ---- */

static void guest_ready(void *user)
{
    uint64_t age = steps_age();

    step_end(STEP_READY);
    log_warn("guest ready after %.3f ms", (double)age / 1e6);
}

static int add_boot_timer(struct devices *d, const struct devices_config *cfg)
{
    if (!cfg->boot_timer)
        return 0;
    boot_timer_init(&d->boot_timer, guest_ready, d);
    return dev_bus_add(&d->mmio, PC_BOOT_TIMER, BOOT_TIMER_SIZE, &boot_timer_ops, &d->boot_timer);
}

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
    if (!err)
        err = add_power(d, cfg);
    if (!err)
        err = add_rtc(d, cfg);
    if (!err)
        err = add_i8042(d);
    if (!err)
        err = add_boot_timer(d, cfg);
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
    if (d->has_i8042)
        i8042_destroy(&d->i8042);
    if (d->has_rtc) {
        rtc_destroy(&d->rtc);
        board_timer_destroy(&d->rtc_timer, d->loop);
    }
    if (d->has_pm) {
        acpi_pm_destroy(&d->pm);
        board_timer_destroy(&d->pm_timer, d->loop);
    }
    if (d->has_pit) {
        pit_destroy(&d->pit);
        board_timer_destroy(&d->pit_timer, d->loop);
    }
    if (d->has_intc) {
        intc_destroy(&d->intc);
        irqfds_destroy(&d->irqfds);
    }
}
