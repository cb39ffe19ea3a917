#include "host/clock.h"

#include "base/clock.h"

uint64_t host_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}
