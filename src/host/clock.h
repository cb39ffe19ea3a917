/* Host time: the monotonic clock, and the machine's clock on top of it. */
#ifndef MOTE_HOST_CLOCK_H
#define MOTE_HOST_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC in ns. */
uint64_t host_now_ns(void);

/* A machine's clock: CLOCK_MONOTONIC less the moment the machine was made. */
struct host_clock {
    uint64_t origin; /* host_now_ns() at 0 */
};

static inline void host_clock_start(struct host_clock *c)
{
    c->origin = host_now_ns();
}

static inline uint64_t host_clock_now(const struct host_clock *c)
{
    return host_now_ns() - c->origin;
}

/* A deadline on the machine's clock as one of CLOCK_MONOTONIC; UINT64_MAX (never) stays. */
static inline uint64_t host_clock_deadline(const struct host_clock *c, uint64_t deadline)
{
    return deadline > UINT64_MAX - c->origin ? UINT64_MAX : deadline + c->origin;
}

#endif
