#include "dev/chip/acpi_pm.h"

#include "base/bits.h"
#include "base/err.h"
#include "dev/bytewise.h"

#include <errno.h>

#define NS_PER_S 1000000000u

/* PM1 status and enable (4.8.3.1): timer, global lock, buttons, RTC; status has also wake. */
#define PM1_TIMER        0x0001
#define PM1_POWER_BUTTON 0x0100
#define PM1_STATUS_BITS  0x8731
#define PM1_ENABLE_BITS  0x0721

#define CONTROL_SCI_EN  0x0001
#define CONTROL_SLP_TYP 0x1c00
#define CONTROL_SLP_EN  0x2000 /* write-only */
#define CONTROL_KEPT    0x1c02 /* SLP_TYP and BM_RLD; GBL_RLS reads 0 */

#define RESET_CPU  0x04
#define RESET_KEPT 0x0a

static uint64_t ticks_now(const struct acpi_pm *pm)
{
    return (uint64_t)((unsigned __int128)dev_clock_now(&pm->clock) * ACPI_PM_TIMER_HZ / NS_PER_S);
}

/* The carry: the highest bit of the counter changes every so many ticks (4.8.2.1). */
static unsigned carry_shift(const struct acpi_pm *pm)
{
    return pm->timer_32bit ? 31 : 23;
}

/* Bring the timer's status, the SCI and the timer for the next carry up to date. */
static void pm_update(struct acpi_pm *pm)
{
    unsigned shift = carry_shift(pm);
    uint64_t now = ticks_now(pm), deadline = DEV_TIMER_OFF;

    if (now >> shift != pm->s.ticks >> shift)
        pm->s.status |= PM1_TIMER;
    pm->s.ticks = now;
    if ((pm->s.enable & PM1_TIMER) && !(pm->s.status & PM1_TIMER)) {
        unsigned __int128 next = (unsigned __int128)((now >> shift) + 1) << shift;

        deadline = (uint64_t)((next * NS_PER_S + ACPI_PM_TIMER_HZ - 1) / ACPI_PM_TIMER_HZ);
    }
    pm->timer->arm(pm->timer, deadline);
    dev_irq_set(&pm->sci, !!(pm->s.status & pm->s.enable & PM1_ENABLE_BITS));
}

static void acpi_pm_fire(void *dev)
{
    struct acpi_pm *pm = dev;

    pthread_mutex_lock(&pm->lock);
    pm_update(pm);
    pthread_mutex_unlock(&pm->lock);
}

static uint8_t event_read(void *dev, unsigned reg)
{
    struct acpi_pm *pm = dev;
    uint32_t value;

    pthread_mutex_lock(&pm->lock);
    pm_update(pm);
    value = pm->s.status | (uint32_t)pm->s.enable << 16;
    pthread_mutex_unlock(&pm->lock);
    return (uint8_t)(value >> (8 * (reg & 3)));
}

static void event_write(void *dev, unsigned reg, uint8_t value)
{
    struct acpi_pm *pm = dev;
    unsigned shift = 8 * (reg & 1);
    uint16_t mask = (uint16_t)(0xff << shift), bits = (uint16_t)(value << shift);

    pthread_mutex_lock(&pm->lock);
    pm_update(pm);
    if (reg & 2)
        pm->s.enable = (uint16_t)((pm->s.enable & ~mask) | (bits & PM1_ENABLE_BITS));
    else
        pm->s.status &= (uint16_t)~bits; /* writing one clears */
    pm_update(pm);
    pthread_mutex_unlock(&pm->lock);
}

static uint8_t control_read(void *dev, unsigned reg)
{
    struct acpi_pm *pm = dev;
    uint16_t value;

    pthread_mutex_lock(&pm->lock);
    value = pm->s.control | CONTROL_SCI_EN;
    pthread_mutex_unlock(&pm->lock);
    return (uint8_t)(value >> (8 * (reg & 1)));
}

static void control_write(void *dev, unsigned reg, uint8_t value)
{
    struct acpi_pm *pm = dev;
    unsigned shift = 8 * (reg & 1);
    uint16_t mask = (uint16_t)(0xff << shift), bits = (uint16_t)(value << shift);
    bool off;

    pthread_mutex_lock(&pm->lock);
    pm->s.control = (uint16_t)((pm->s.control & ~mask) | (bits & CONTROL_KEPT));
    off = (bits & CONTROL_SLP_EN) && (pm->s.control & CONTROL_SLP_TYP) >> 10 == ACPI_PM_SLP_TYP_S5;
    pthread_mutex_unlock(&pm->lock);
    if (off)
        pm->ops.power_off(pm->ops.user);
}

static uint64_t timer_value(void *dev, uint64_t offset, unsigned size)
{
    struct acpi_pm *pm = dev;
    uint64_t value = ticks_now(pm) & (pm->timer_32bit ? UINT32_MAX : 0xffffff);

    return value >> (8 * (offset & 3)) & mask_bytes(size);
}

static void timer_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    /* read-only */
}

static uint8_t reset_read(void *dev, unsigned reg)
{
    struct acpi_pm *pm = dev;
    uint8_t value;

    pthread_mutex_lock(&pm->lock);
    value = pm->s.reset;
    pthread_mutex_unlock(&pm->lock);
    return value;
}

/* As port 0xcf9 of PC chip sets: setting bit 2 resets, whichever way bits 1 and 3 say. */
static void reset_write(void *dev, unsigned reg, uint8_t value)
{
    struct acpi_pm *pm = dev;

    pthread_mutex_lock(&pm->lock);
    pm->s.reset = value & RESET_KEPT;
    pthread_mutex_unlock(&pm->lock);
    if (value & RESET_CPU)
        pm->ops.reset(pm->ops.user);
}

#define DEFINE_REGION(name)                                                                        \
    static uint64_t name##_region_read(void *dev, uint64_t offset, unsigned size)                  \
    {                                                                                              \
        return bytewise_read(name##_read, dev, offset, size);                                      \
    }                                                                                              \
    static void name##_region_write(void *dev, uint64_t offset, unsigned size, uint64_t value)     \
    {                                                                                              \
        bytewise_write(name##_write, dev, offset, size, value);                                    \
    }                                                                                              \
    static const struct dev_region_ops name##_ops = {name##_region_read, name##_region_write};
DEFINE_REGION(event)
DEFINE_REGION(control)
DEFINE_REGION(reset)
#undef DEFINE_REGION
static const struct dev_region_ops timer_ops = {timer_value, timer_write};

void acpi_pm_init(struct acpi_pm *pm, const struct dev_irq *sci, const struct dev_clock *clock,
                  struct dev_timer *timer, bool timer_32bit, const struct acpi_pm_ops *ops)
{
    memset(pm, 0, sizeof(*pm));
    pthread_mutex_init(&pm->lock, NULL);
    pm->ops = *ops;
    pm->sci = *sci;
    pm->clock = *clock;
    pm->timer = timer;
    pm->timer_32bit = timer_32bit;
    timer->fire = acpi_pm_fire;
    timer->dev = pm;
    pm->s.ticks = ticks_now(pm);
}

void acpi_pm_destroy(struct acpi_pm *pm)
{
    pthread_mutex_destroy(&pm->lock);
}

int acpi_pm_add(struct acpi_pm *pm, struct dev_bus *ports, const struct acpi_pm_ports *where)
{
    int err = dev_bus_add(ports, where->event, ACPI_PM_EVENT_PORTS, &event_ops, pm);

    if (!err)
        err = dev_bus_add(ports, where->control, ACPI_PM_CONTROL_PORTS, &control_ops, pm);
    if (!err)
        err = dev_bus_add(ports, where->timer, ACPI_PM_TIMER_PORTS, &timer_ops, pm);
    if (!err)
        err = dev_bus_add(ports, where->reset, 1, &reset_ops, pm);
    return err;
}

bool acpi_pm_power_button(struct acpi_pm *pm)
{
    bool heard;

    pthread_mutex_lock(&pm->lock);
    pm->s.status |= PM1_POWER_BUTTON;
    heard = pm->s.enable & PM1_POWER_BUTTON;
    pm_update(pm);
    pthread_mutex_unlock(&pm->lock);
    return heard;
}

void acpi_pm_save(struct acpi_pm *pm, struct acpi_pm_state *out)
{
    pthread_mutex_lock(&pm->lock);
    pm_update(pm);
    *out = pm->s;
    pthread_mutex_unlock(&pm->lock);
}

int acpi_pm_restore(struct acpi_pm *pm, const struct acpi_pm_state *in)
{
    if ((in->status & ~PM1_STATUS_BITS) || (in->enable & ~PM1_ENABLE_BITS) ||
        (in->control & ~CONTROL_KEPT) || (in->reset & ~RESET_KEPT))
        return err_set(EINVAL, "ACPI registers: the saved state is not one that they can have");
    pthread_mutex_lock(&pm->lock);
    pm->s = *in;
    pm->s.pad = 0;
    if ((in->enable & PM1_TIMER) && !(in->status & PM1_TIMER))
        pm->timer->arm(pm->timer, dev_clock_now(&pm->clock)); /* finds out by itself */
    else
        pm->timer->arm(pm->timer, DEV_TIMER_OFF);
    pthread_mutex_unlock(&pm->lock);
    return 0;
}
