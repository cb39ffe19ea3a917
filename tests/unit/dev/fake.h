/* What a device is given, as a test sees it: a clock set by hand, timers that
 * fire when asked to, and interrupt lines that remember. */
#ifndef TEST_DEV_FAKE_H
#define TEST_DEV_FAKE_H

#include "base/bits.h"
#include "dev/dev.h"

struct fake_line {
    int level[64];
    unsigned rises[64];
};

static inline void fake_line_set(void *user, unsigned line, int level)
{
    struct fake_line *f = user;

    if (level && !f->level[line])
        f->rises[line]++;
    f->level[line] = level;
}

#define FAKE_IRQ(lines, n) ((struct dev_irq){fake_line_set, (lines), (n)})

static inline uint64_t fake_now(void *user)
{
    return *(uint64_t *)user;
}

#define FAKE_CLOCK(now) ((struct dev_clock){fake_now, (now)})

struct fake_timer {
    struct dev_timer timer;
    uint64_t deadline;
};

static inline void fake_arm(struct dev_timer *timer, uint64_t deadline)
{
    container_of(timer, struct fake_timer, timer)->deadline = deadline;
}

#define FAKE_TIMER ((struct fake_timer){{.arm = fake_arm}, DEV_TIMER_OFF})

/* Let the time pass to `to`, firing what falls due on the way. Returns how often it fired. */
static inline unsigned fake_advance(struct fake_timer *t, uint64_t *now, uint64_t to)
{
    unsigned fired = 0;

    while (t->deadline <= to) {
        *now = MAX(*now, t->deadline);
        t->deadline = DEV_TIMER_OFF;
        t->timer.fire(t->timer.dev);
        fired++;
    }
    *now = to;
    return fired;
}

static inline uint8_t in8(const struct dev_region_ops *ops, void *dev, uint64_t offset)
{
    return (uint8_t)ops->read(dev, offset, 1);
}

static inline void out8(const struct dev_region_ops *ops, void *dev, uint64_t offset, uint8_t v)
{
    ops->write(dev, offset, 1, v);
}

#endif
