/*
 * The local APIC by memory and MSRs, with messages from outside and a processor
 * that takes its interrupts; a second one shares the bus and only listens.
 */
#include "dev/chip/apic_bus.h"

#include "chip.h"

#include <errno.h>

#define TSC_KHZ 2500000

static struct lapic lapic, other;
static struct fake_timer other_timer;
static struct apic_bus apics;

static void kick(void *user)
{
}

static void send(void *user, struct lapic *from, const struct apic_msg *msg)
{
    apic_bus_send(&apics, from, msg);
}

static void eoi(void *user, uint8_t vector)
{
    check(vector >= 16);
}

static uint64_t tsc_now(void *user)
{
    return now / 2 * 5; /* TSC_KHZ */
}

static const struct lapic_ops ops = {kick, send, eoi, tsc_now, NULL};

static void start(void)
{
    other_timer = FAKE_TIMER;
    apic_bus_init(&apics);
    lapic_init(&other, 5, false, &ops, &CLOCK, &other_timer.timer, TSC_KHZ);
    lapic_set_virtual_wire(&other);
    lapic_init(&lapic, 0x12, true, &ops, &CLOCK, &timer.timer, TSC_KHZ);
    lapic_set_virtual_wire(&lapic);
    check(!apic_bus_add(&apics, &other) && !apic_bus_add(&apics, &lapic));
    region(LAPIC_DEFAULT_BASE, LAPIC_MMIO_SIZE, &lapic_mmio_ops, &lapic);
}

static void stop(void)
{
    lapic_destroy(&lapic);
    lapic_destroy(&other);
}

/* The processor takes what is of the highest priority; nothing as low follows it. */
static void take_interrupt(void)
{
    int vector = lapic_pending(&lapic);

    if (vector < 0)
        return;
    check(vector >= 16 && vector <= 0xff);
    lapic_accept(&lapic, (uint8_t)vector);
    check((lapic_pending(&lapic) & 0xf0) < (vector & 0xf0) || lapic_pending(&lapic) < 0);
}

static void msr_access(bool write)
{
    uint8_t reg = (uint8_t)take(1);
    uint32_t msr = reg == 0xff ? 0x1b : reg == 0xfe ? 0x6e0 : reg == 0xfd ? 0x1a : 0x800 + reg;
    uint64_t value;
    int err = write ? lapic_wrmsr(&lapic, msr, take(8)) : lapic_rdmsr(&lapic, msr, &value);

    check(err == -EINVAL || (!err && lapic_owns_msr(msr)));
}

/* Registers by number, since most accesses to the page hit nothing. */
static void register_access(bool write)
{
    uint8_t reg = (uint8_t)take(1);

    if (write)
        dev_bus_write(&bus, LAPIC_DEFAULT_BASE + reg % 64 * 16, 4, take(4));
    else
        dev_bus_read(&bus, LAPIC_DEFAULT_BASE + reg % 64 * 16, 4);
}

static void message(void)
{
    uint8_t how = (uint8_t)take(1), vector = (uint8_t)take(1);
    struct apic_msg ipi = {
        .wide = true,
        .logical = how & 8,
        .shorthand = how >> 4 & 3,
        .delivery_mode = how & 7,
        .vector = vector,
    };

    if (how & 0x40) {
        ipi.dest = (uint32_t)take(4);
        apic_bus_send(&apics, &other, &ipi);
    } else if (how & 0x80) {
        apic_bus_msi(&apics, LAPIC_DEFAULT_BASE | take(3), (uint32_t)take(2));
    } else {
        const struct apic_msg msg = {.dest = (uint8_t)take(1),
                                     .logical = how & 8,
                                     .level = how & 16,
                                     .delivery_mode = how & 7,
                                     .vector = vector};

        apic_bus_deliver(&apics, &msg);
    }
}

/* LINT0 as a level with a vector of its own, and the end of what it leads to. */
static void level_lint0(uint8_t high)
{
    dev_bus_write(&bus, LAPIC_DEFAULT_BASE + 0x350, 4, 0x8000 | take(1));
    lapic_set_lint(&lapic, 0, high);
}

/* The timer in its three modes, to be reached without luck. */
static void program_timer(uint8_t mode)
{
    dev_bus_write(&bus, LAPIC_DEFAULT_BASE + 0x320, 4, (uint32_t)mode % 4 << 17 | 0x40);
    if (mode % 4 == 2)
        lapic_wrmsr(&lapic, 0x6e0, tsc_now(NULL) + take(3));
    else
        dev_bus_write(&bus, LAPIC_DEFAULT_BASE + 0x380, 4, take(3));
}

static void event(void)
{
    uint8_t what = (uint8_t)take(1), sipi_vector;

    switch (what & 15) {
    case 0:
    case 1: msr_access(what & 1); break;
    case 2:
    case 3: register_access(what & 1); break;
    case 4:
    case 5: take_interrupt(); break;
    case 6: message(); break;
    case 7: lapic_post(&lapic, (uint8_t)take(1), what >> 7); break;
    case 8: lapic_post_events(&lapic, what >> 4, (uint8_t)take(1)); break;
    case 9: check(!(lapic_take_events(&lapic, what >> 4, &sipi_vector) & ~15u)); break;
    case 10: lapic_set_lint(&lapic, what >> 4 & 1, what >> 7); break;
    case 11:
        lapic_set_cr8(&lapic, what >> 4);
        check(lapic_cr8(&lapic) == what >> 4);
        break;
    case 12:
        if (what & 0x80)
            lapic_reset(&lapic);
        else
            lapic_set_virtual_wire(&lapic);
        break;
    case 13:
        if (what & 0x80)
            dev_bus_write(&bus, LAPIC_DEFAULT_BASE + 0xb0, 4, 0);
        else
            level_lint0(what >> 4 & 1);
        break;
    case 14: program_timer(what >> 4); break;
    case 15: lapic_wrmsr(&lapic, 0x1b, LAPIC_DEFAULT_BASE | (take(1) & 0x0d) << 8); break;
    }
}

static void save(void *state)
{
    lapic_save(&lapic, state);
}

static int restore(const void *state)
{
    return lapic_restore(&lapic, state);
}

static const struct chip chip = {
    .start = start,
    .stop = stop,
    .event = event,
    .state_size = sizeof(struct lapic_state),
    .save = save,
    .restore = restore,
};
