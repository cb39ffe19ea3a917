#include "dev/chip/boot_timer.h"

static uint64_t boot_timer_read(void *dev, uint64_t offset, unsigned size)
{
    return 0;
}

static void boot_timer_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct boot_timer *t = dev;

    if (offset == 0 && size == 1 && value == BOOT_TIMER_READY &&
        !atomic_flag_test_and_set(&t->told))
        t->ready(t->user);
}

const struct dev_region_ops boot_timer_ops = {boot_timer_read, boot_timer_write};

void boot_timer_init(struct boot_timer *t, void (*ready)(void *user), void *user)
{
    t->ready = ready;
    t->user = user;
    atomic_flag_clear(&t->told);
}
