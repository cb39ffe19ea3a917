/* ACPI's fixed hardware; the width of its timer goes by the time it was made. */
#include "dev/chip/acpi_pm.h"

#include "chip.h"

static struct acpi_pm pm;

static void end(void *user)
{
    read_back();
}

static void start(void)
{
    const struct acpi_pm_ports where = {0x600, 0x604, 0x608, 0x60c};
    bool timer_32bit = now >> 34 & 1;

    acpi_pm_init(&pm, &LINE, &CLOCK, &timer.timer, timer_32bit,
                 &(struct acpi_pm_ops){end, end, NULL});
    check(!acpi_pm_add(&pm, &bus, &where));
}

static void stop(void)
{
    acpi_pm_destroy(&pm);
}

static void event(void)
{
    acpi_pm_power_button(&pm);
}

static void save(void *state)
{
    acpi_pm_save(&pm, state);
}

static int restore(const void *state)
{
    return acpi_pm_restore(&pm, state);
}

static const struct chip chip = {
    .start = start,
    .stop = stop,
    .event = event,
    .state_size = sizeof(struct acpi_pm_state),
    .save = save,
    .restore = restore,
};
