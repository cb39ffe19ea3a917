#include "dev/chip/pvpanic.h"

#define EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

static uint64_t pvpanic_read(void *dev, uint64_t offset, unsigned size)
{
    return EVENTS;
}

static void pvpanic_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct pvpanic *p = dev;

    if (value & EVENTS)
        p->report(p->user, (unsigned)value & EVENTS);
}

const struct dev_region_ops pvpanic_ops = {pvpanic_read, pvpanic_write};

void pvpanic_init(struct pvpanic *p, void (*report)(void *user, unsigned events), void *user)
{
    p->report = report;
    p->user = user;
}
