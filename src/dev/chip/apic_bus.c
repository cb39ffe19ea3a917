#include "dev/chip/apic_bus.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/msi.h"

#include <errno.h>

void apic_bus_init(struct apic_bus *bus)
{
    memset(bus, 0, sizeof(*bus));
}

int apic_bus_add(struct apic_bus *bus, struct lapic *l)
{
    if (bus->count == APIC_BUS_MAX)
        return err_set(ENOSPC, "local APIC %u: there are %d already", l->id, APIC_BUS_MAX);
    for (unsigned i = 0; i < bus->count; i++) {
        if (bus->lapic[i]->id == l->id)
            return err_set(EEXIST, "local APIC %u: the ID is taken", l->id);
    }
    bus->lapic[bus->count++] = l;
    return 0;
}

static bool is_meant(const struct lapic *l, const struct lapic *from, const struct apic_msg *msg)
{
    switch (from ? msg->shorthand : APIC_NO_SHORTHAND) {
    case APIC_SELF: return l == from;
    case APIC_ALL: return true;
    case APIC_ALL_BUT_SELF: return l != from;
    default: return lapic_matches(l, msg);
    }
}

unsigned apic_bus_send(struct apic_bus *bus, struct lapic *from, const struct apic_msg *msg)
{
    struct lapic *meant[APIC_BUS_MAX];
    bool lowest = msg->delivery_mode == APIC_LOWEST;
    unsigned count = 0;

    for (unsigned i = 0; i < bus->count; i++) {
        struct lapic *l = bus->lapic[i];

        if (is_meant(l, from, msg) && (!lowest || lapic_is_enabled(l)))
            meant[count++] = l;
    }
    if (lowest && count) {
        lapic_accept_msg(meant[msg->vector % count], msg);
        return 1;
    }
    for (unsigned i = 0; i < count; i++)
        lapic_accept_msg(meant[i], msg);
    return count;
}

void apic_bus_deliver(void *bus, const struct apic_msg *msg)
{
    apic_bus_send(bus, NULL, msg);
}

uint64_t apic_msg_address(const struct apic_msg *msg)
{
    return MSI_BASE | (msg->dest & 0xff) << MSI_DEST_SHIFT | (msg->logical ? MSI_LOGICAL : 0);
}

uint32_t apic_msg_data(const struct apic_msg *msg)
{
    return (uint32_t)msg->vector | (uint32_t)msg->delivery_mode << MSI_MODE_SHIFT | MSI_ASSERT |
           (msg->level ? MSI_LEVEL : 0);
}

int apic_bus_msi(struct apic_bus *bus, uint64_t addr, uint32_t data)
{
    struct apic_msg msg = {
        .dest = addr >> MSI_DEST_SHIFT & 0xff,
        .logical = addr & MSI_LOGICAL,
        .level = data & MSI_LEVEL,
        .delivery_mode = data >> MSI_MODE_SHIFT & 7,
        .vector = data & 0xff,
    };

    if (!msi_is_address(addr))
        return -EINVAL;
    if (msg.level && !(data & MSI_ASSERT))
        return 0; /* de-asserting means nothing to a local APIC */
    if (msg.delivery_mode == APIC_SIPI || msg.delivery_mode == APIC_RESERVED)
        return 0; /* not for messages */
    return (int)apic_bus_send(bus, NULL, &msg);
}
