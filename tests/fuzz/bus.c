/*
 * The bus of devices: regions come from the input, and each sees only accesses
 * that lie within it; an access is compared with a look at each of its bytes.
 */
#include "chip.h"

#include <errno.h>

#define ROOM 64 /* addresses, so that regions meet */

static struct {
    uint64_t base, size;
} placed[DEV_BUS_REGIONS];
static uint64_t written;

static uint64_t read_in(void *dev, uint64_t offset, unsigned size)
{
    uint64_t n = (uint64_t)(uintptr_t)dev, value = 0;

    check(size >= 1 && size <= 8 && range_in(offset, size, placed[n].size));
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)(uint8_t)(placed[n].base + offset + i) << (8 * i);
    return value;
}

static void write_in(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    uint64_t n = (uint64_t)(uintptr_t)dev;

    check(size >= 1 && size <= 8 && range_in(offset, size, placed[n].size));
    check((value & ~mask_bytes(size)) == 0);
    written += size;
}

static const struct dev_region_ops ops = {read_in, write_in};

static bool lives(uint64_t addr)
{
    for (unsigned n = 0; n < bus.count; n++) {
        if (addr - placed[n].base < placed[n].size)
            return true;
    }
    return false;
}

static bool taken(uint64_t base, uint64_t size)
{
    for (unsigned n = 0; n < bus.count; n++) {
        if (base < placed[n].base + placed[n].size && placed[n].base < base + size)
            return true;
    }
    return false;
}

static void start(void)
{
    placed[0].base = 0;
    placed[0].size = 1;
    region(0, 1, &ops, NULL);
}

static void stop(void)
{
}

static void add(void)
{
    uint64_t base = take(1) % ROOM, size = take(1) % 12;
    unsigned n = bus.count;
    int want = !size ? -EINVAL : taken(base, size) ? -EEXIST : n == DEV_BUS_REGIONS ? -ENOSPC : 0;

    if (!want) {
        placed[n].base = base;
        placed[n].size = size;
    }
    check(dev_bus_add(&bus, base, size, &ops, (void *)(uintptr_t)n) == want);
    check(dev_bus_add(&bus, UINT64_MAX - base, base + 2, &ops, NULL) == -EINVAL);
}

/* Byte for byte what its regions say, or all ones where there is none. */
static void look(void)
{
    uint64_t addr = take(1) % (2 * ROOM), want = 0, count = 0;
    unsigned size = (unsigned)take(1) % 8 + 1;

    for (unsigned i = 0; i < size; i++) {
        want |= (lives(addr + i) ? addr + i : 0xff) << (8 * i);
        count += lives(addr + i);
    }
    check(dev_bus_read(&bus, addr, size) == want);
    written = 0;
    dev_bus_write(&bus, addr, size, take(size));
    check(written == count);
}

static void event(void)
{
    if (take(1) & 1)
        add();
    else
        look();
}

static const struct chip chip = {.start = start, .stop = stop, .event = event};
