#include "dev/chip/debug_exit.h"

static uint64_t debug_exit_read(void *dev, uint64_t offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct debug_exit *d = dev;

    d->exit(d->user, (uint32_t)(value << 1) | 1);
}

const struct dev_region_ops debug_exit_ops = {debug_exit_read, debug_exit_write};

void debug_exit_init(struct debug_exit *d, void (*exit)(void *user, uint32_t status), void *user)
{
    d->exit = exit;
    d->user = user;
}
