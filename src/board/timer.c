#include "board/timer.h"

static void arm(struct dev_timer *dev, uint64_t deadline)
{
    struct board_timer *t = dev->host;

    loop_timer_arm(&t->loop, host_clock_deadline(t->clock, deadline));
}

static void fire(void *user)
{
    struct board_timer *t = user;

    t->dev.fire(t->dev.dev);
}

int board_timer_init(struct board_timer *t, struct loop *loop, struct host_clock *clock)
{
    t->dev.arm = arm;
    t->dev.host = t;
    t->clock = clock;
    return loop_timer_init(loop, &t->loop, fire, t);
}

void board_timer_destroy(struct board_timer *t, struct loop *loop)
{
    loop_timer_destroy(loop, &t->loop);
}

static uint64_t now(void *user)
{
    return host_clock_now(user);
}

struct dev_clock board_clock(struct host_clock *clock)
{
    return (struct dev_clock){now, clock};
}
