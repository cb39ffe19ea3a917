/*
 * ACPI fixed hardware (ACPI specification 6.4, chapter 4.8): the PM1a event and
 * control registers, the power-management timer, the power button, and a reset
 * register as the FADT describes it. The machine is always in ACPI mode
 * (SCI_EN reads 1), as there is no SMI_CMD port.
 *
 * Locking: one lock, held while the SCI is driven and not while power_off or
 * reset are called.
 */
#ifndef MOTE_DEV_CHIP_ACPI_PM_H
#define MOTE_DEV_CHIP_ACPI_PM_H

#include "dev/dev.h"

#include <pthread.h>
#include <stdbool.h>

#define ACPI_PM_EVENT_PORTS   4 /* PM1_EVT_LEN */
#define ACPI_PM_CONTROL_PORTS 2 /* PM1_CNT_LEN */
#define ACPI_PM_TIMER_PORTS   4 /* PM_TMR_LEN */
#define ACPI_PM_TIMER_HZ      3579545
#define ACPI_PM_SLP_TYP_S5    5    /* for the DSDT's _S5 */
#define ACPI_PM_RESET_VALUE   0x06 /* for the FADT's RESET_VALUE */

/* Where the board puts the register blocks. */
struct acpi_pm_ports {
    uint16_t event, control, timer;
    uint16_t reset; /* one port */
};

struct acpi_pm_ops {
    void (*power_off)(void *user);
    void (*reset)(void *user);
    void *user;
};

struct acpi_pm_state {
    uint16_t status, enable, control;
    uint8_t reset;
    uint8_t pad;
    uint64_t ticks; /* of the timer, to which status was brought up to date */
};

struct acpi_pm {
    pthread_mutex_t lock;
    struct acpi_pm_ops ops;
    struct dev_irq sci; /* level-triggered */
    struct dev_clock clock;
    struct dev_timer *timer;
    bool timer_32bit;
    struct acpi_pm_state s;
};

/*
 * timer_32bit is the FADT's TMR_VAL_EXT. dev_timer is armed only while the
 * guest asks for the timer's carry interrupt; its fire and dev are set here.
 */
void acpi_pm_init(struct acpi_pm *pm, const struct dev_irq *sci, const struct dev_clock *clock,
                  struct dev_timer *timer, bool timer_32bit, const struct acpi_pm_ops *ops);
void acpi_pm_destroy(struct acpi_pm *pm);

/* Put the registers on the port bus. Errors of dev_bus_add. */
int acpi_pm_add(struct acpi_pm *pm, struct dev_bus *ports, const struct acpi_pm_ports *where);

/* The person presses the power button. false: the guest has not asked to be told. Any thread. */
bool acpi_pm_power_button(struct acpi_pm *pm);

void acpi_pm_save(struct acpi_pm *pm, struct acpi_pm_state *out);
/* -EINVAL: nothing is changed. The SCI is not driven. */
int acpi_pm_restore(struct acpi_pm *pm, const struct acpi_pm_state *in);

#endif
