/*
 * The bus between APICs: carries IPIs, IOAPIC messages and MSIs to the local
 * APICs they mean (SDM Vol. 3A 10.6, 10.11). Without a lock: APICs are added
 * before the machine runs, delivery is lapic_accept_msg.
 */
#ifndef MOTE_DEV_CHIP_APIC_BUS_H
#define MOTE_DEV_CHIP_APIC_BUS_H

#include "dev/chip/lapic.h"

#define APIC_BUS_MAX 64

struct apic_bus {
    unsigned count;
    struct lapic *lapic[APIC_BUS_MAX];
};

void apic_bus_init(struct apic_bus *bus);
/* -ENOSPC: APIC_BUS_MAX are there; -EEXIST: the ID is taken. */
int apic_bus_add(struct apic_bus *bus, struct lapic *l);

/*
 * Deliver msg. from is the sender for shorthands, NULL for others than IPIs.
 * Returns how many APICs it was meant for. Of several destinations of a
 * lowest-priority message the vector chooses one that is enabled.
 */
unsigned apic_bus_send(struct apic_bus *bus, struct lapic *from, const struct apic_msg *msg);

/* For ioapic_ops.deliver; user is the struct apic_bus. */
void apic_bus_deliver(void *bus, const struct apic_msg *msg);

/*
 * A memory write to 0xfeexxxxx (10.11.1, 10.11.2). Returns as apic_bus_send, or
 * -EINVAL when addr is not of that range.
 */
int apic_bus_msi(struct apic_bus *bus, uint64_t addr, uint32_t data);

/* The memory write that is this message; its destination is one of 8 bits. */
uint64_t apic_msg_address(const struct apic_msg *msg);
uint32_t apic_msg_data(const struct apic_msg *msg);

#endif
