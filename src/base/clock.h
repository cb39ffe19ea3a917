/* The host's clocks (clock_gettime(2)) as one number. */
#ifndef MOTE_BASE_CLOCK_H
#define MOTE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* In ns. `id`: one of those that every Linux has, CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID ... */
static inline uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

#endif
