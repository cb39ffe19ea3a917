/* The I/O APIC. */
#include "dev/chip/ioapic.h"

#include "chip.h"

static struct ioapic ioapic;

static void deliver(void *user, const struct apic_msg *msg)
{
    check(msg->delivery_mode < 8);
}

/* What the guest reads without an exit. */
static uint32_t page[IOAPIC_MMIO_SIZE / 4];

static void start(void)
{
    ioapic_init(&ioapic, 0, &(struct ioapic_ops){.deliver = deliver});
    memset(page, 0, sizeof(page));
    ioapic_show(&ioapic, page);
    region(IOAPIC_DEFAULT_BASE, IOAPIC_MMIO_SIZE, &ioapic_mmio_ops, &ioapic);
}

static void stop(void)
{
    ioapic_destroy(&ioapic);
}

/* Most accesses to a page hit nothing; these are to the registers that there are. */
static void event(void)
{
    uint8_t what = (uint8_t)take(1);

    switch (what & 3) {
    case 0: ioapic_set_pin(&ioapic, what >> 3, what >> 2 & 1); break;
    case 1: ioapic_eoi(&ioapic, (uint8_t)take(1)); break;
    case 2:
        dev_bus_write(&bus, IOAPIC_DEFAULT_BASE, 4, what >> 2);
        dev_bus_write(&bus, IOAPIC_DEFAULT_BASE + 0x10, 4, take(4));
        break;
    case 3:
        dev_bus_write(&bus, IOAPIC_DEFAULT_BASE, 4, what >> 2);
        dev_bus_read(&bus, IOAPIC_DEFAULT_BASE + 0x10, 4);
        break;
    }
    check(page[0] == ioapic_mmio_ops.read(&ioapic, 0, 4));
    check(page[4] == ioapic_mmio_ops.read(&ioapic, 0x10, 4));
}

static void save(void *state)
{
    ioapic_save(&ioapic, state);
}

static int restore(const void *state)
{
    return ioapic_restore(&ioapic, state);
}

static const struct chip chip = {
    .start = start,
    .stop = stop,
    .event = event,
    .state_size = sizeof(struct ioapic_state),
    .save = save,
    .restore = restore,
};
