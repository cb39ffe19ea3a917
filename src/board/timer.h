/* A device's clock and timer on the host's: what dev.h asks for, given by src/host. */
#ifndef MOTE_BOARD_TIMER_H
#define MOTE_BOARD_TIMER_H

#include "dev/dev.h"
#include "host/clock.h"
#include "host/loop.h"

struct board_timer {
    struct dev_timer dev;
    struct loop_timer loop;
    struct host_clock *clock;
};

/* The device sets t->dev.fire and t->dev.dev before it arms. */
int board_timer_init(struct board_timer *t, struct loop *loop, struct host_clock *clock);
void board_timer_destroy(struct board_timer *t, struct loop *loop);

struct dev_clock board_clock(struct host_clock *clock);

#endif
