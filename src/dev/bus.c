#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "dev/dev.h"

#include <errno.h>
#include <inttypes.h>

void dev_bus_init(struct dev_bus *bus, const char *name)
{
    memset(bus, 0, sizeof(*bus));
    bus->name = name;
}

/* Index of the first region that ends above addr; bus->count when there is none. */
static unsigned region_after(const struct dev_bus *bus, uint64_t addr)
{
    unsigned low = 0, high = bus->count;

    while (low < high) {
        unsigned mid = (low + high) / 2;
        const struct dev_region *r = &bus->region[mid];

        if (addr >= r->base && addr - r->base >= r->size)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int dev_bus_add(struct dev_bus *bus, uint64_t base, uint64_t size, const struct dev_region_ops *ops,
                void *dev)
{
    unsigned i;
    uint64_t last;

    if (size == 0 || __builtin_add_overflow(base, size - 1, &last))
        return err_set(EINVAL, "%s 0x%" PRIx64 ": %" PRIu64 " bytes are no range", bus->name, base,
                       size);
    i = region_after(bus, base);
    if (i < bus->count && bus->region[i].base <= last)
        return err_set(EEXIST, "%s 0x%" PRIx64 "-0x%" PRIx64 " overlaps the device at 0x%" PRIx64,
                       bus->name, base, last, bus->region[i].base);
    if (bus->count == DEV_BUS_REGIONS)
        return err_set(ENOSPC, "%s 0x%" PRIx64 ": all %d regions are in use", bus->name, base,
                       DEV_BUS_REGIONS);
    memmove(&bus->region[i + 1], &bus->region[i], (bus->count - i) * sizeof(bus->region[0]));
    bus->region[i] = (struct dev_region){.base = base, .size = size, .ops = ops, .dev = dev};
    bus->count++;
    return 0;
}

/*
 * The region that holds all of [addr, addr + size). NULL otherwise, and then
 * *touched says whether a part of the access meets a region.
 */
static struct dev_region *region_find(struct dev_bus *bus, uint64_t addr, unsigned size,
                                      bool *touched)
{
    unsigned i = region_after(bus, addr);
    struct dev_region *r = &bus->region[i];

    *touched = false;
    if (i == bus->count)
        return NULL;
    if (addr >= r->base && range_in(addr - r->base, size, r->size))
        return r;
    *touched = addr >= r->base || r->base - addr < size;
    return NULL;
}

/* Several vCPUs' threads may access at once. */
static void count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

uint64_t dev_bus_read(struct dev_bus *bus, uint64_t addr, unsigned size)
{
    bool touched;
    struct dev_region *r = region_find(bus, addr, size, &touched);
    uint64_t value = 0;

    if (r) {
        count(&r->counts.reads);
        return r->ops->read(r->dev, addr - r->base, size) & mask_bytes(size);
    }
    if (!touched || size == 1) {
        count(&bus->unassigned.reads);
        trace(TRACE_UNASSIGNED, "%s read of %u at 0x%" PRIx64, bus->name, size, addr);
        return mask_bytes(size);
    }
    for (unsigned i = 0; i < size && i < 8; i++)
        value |= dev_bus_read(bus, addr + i, 1) << (8 * i);
    return value;
}

void dev_bus_write(struct dev_bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
    bool touched;
    struct dev_region *r = region_find(bus, addr, size, &touched);

    value &= mask_bytes(size);
    if (r) {
        count(&r->counts.writes);
        r->ops->write(r->dev, addr - r->base, size, value);
        return;
    }
    if (!touched || size == 1) {
        count(&bus->unassigned.writes);
        trace(TRACE_UNASSIGNED, "%s write of %u at 0x%" PRIx64 ": 0x%" PRIx64, bus->name, size,
              addr, value);
        return;
    }
    for (unsigned i = 0; i < size && i < 8; i++)
        dev_bus_write(bus, addr + i, 1, value >> (8 * i));
}
