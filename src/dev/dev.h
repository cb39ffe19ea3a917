/*
 * What a device is given, and what it gives: a device is registers plus an
 * injected interrupt line, clock and timer. It knows no machine, no
 * accelerator and no thread of its own; a board wires it.
 *
 * A device is entered by a vCPU (register access), by the I/O thread (back end
 * ready) and by a timer; each device has a lock of its own. irq->set may be
 * called with that lock held, and must therefore not call back into the device.
 */
#ifndef MOTE_DEV_DEV_H
#define MOTE_DEV_DEV_H

#include <stdint.h>

/* An interrupt line out of a device. */
struct dev_irq {
    void (*set)(void *user, unsigned line, int level);
    void *user;
    unsigned line;
};

static inline void dev_irq_set(const struct dev_irq *irq, int level)
{
    if (irq->set)
        irq->set(irq->user, irq->line, level);
}

/* The machine's clock: nanoseconds, monotonic; goes on while the vCPU is held. */
struct dev_clock {
    uint64_t (*now)(void *user);
    void *user;
};

static inline uint64_t dev_clock_now(const struct dev_clock *clock)
{
    return clock->now(clock->user);
}

/*
 * One timer of a device. arm() asks for one call of fire() at `deadline` on
 * dev_clock (soon, when it is past), replacing an earlier request; a deadline
 * of UINT64_MAX disarms. arm() may be called from any thread and with the
 * device's lock held; fire() comes from the I/O thread without locks.
 */
struct dev_timer {
    void (*arm)(struct dev_timer *timer, uint64_t deadline);
    void *host; /* the implementation's */
    void (*fire)(void *dev);
    void *dev;
};

#define DEV_TIMER_OFF UINT64_MAX

/*
 * A range of ports or guest-physical addresses. offset is relative to the
 * range; size is 1, 2, 4 or 8. Reads return the value in the low bytes.
 */
struct dev_region_ops {
    uint64_t (*read)(void *dev, uint64_t offset, unsigned size);
    void (*write)(void *dev, uint64_t offset, unsigned size, uint64_t value);
};

#define DEV_BUS_REGIONS 32

/* Accesses so far, for people who tune. */
struct dev_counts {
    uint64_t reads, writes;
};

struct dev_region {
    uint64_t base, size;
    const struct dev_region_ops *ops;
    void *dev;
    struct dev_counts counts;
};

/* An address space of devices: ports, or MMIO. */
struct dev_bus {
    const char *name; /* "port" or "mmio", for --trace unassigned */
    unsigned count;
    struct dev_region region[DEV_BUS_REGIONS]; /* sorted by base, no overlaps */
    struct dev_counts unassigned;              /* where nothing lives */
};

void dev_bus_init(struct dev_bus *bus, const char *name);

/* -EEXIST: overlaps; -ENOSPC: DEV_BUS_REGIONS are in use; -EINVAL: empty or wraps. */
int dev_bus_add(struct dev_bus *bus, uint64_t base, uint64_t size, const struct dev_region_ops *ops,
                void *dev);

/*
 * Access by the guest. Where nothing lives, reads are all ones, writes are
 * swallowed, and TRACE_UNASSIGNED says so. An access that straddles the end of
 * a region is split into bytes.
 */
uint64_t dev_bus_read(struct dev_bus *bus, uint64_t addr, unsigned size);
void dev_bus_write(struct dev_bus *bus, uint64_t addr, unsigned size, uint64_t value);

#endif
