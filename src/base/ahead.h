/*
 * Memory that is filled from its beginning: pages that are soon to be written are taken many at
 * once, which costs less than a fault for each.
 */
#ifndef MOTE_BASE_AHEAD_H
#define MOTE_BASE_AHEAD_H

#include "base/bits.h"

#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define AHEAD_CHUNK ((size_t)128 << 10)

/*
 * `used` of the `size` bytes at base are written; *ahead, 0 at first: those that were taken. Not in
 * the first chunk, which is all that small guests need. Where the host refuses, as before Linux
 * 5.14, faults do it.
 */
static inline void take_ahead(void *base, size_t size, size_t used, size_t *ahead)
{
    size_t from = *ahead;

    if (likely(used < from) || from >= size)
        return;
    *ahead = MIN(align_down(used, AHEAD_CHUNK) + AHEAD_CHUNK, size);
    if (from)
        madvise((uint8_t *)base + from, *ahead - from, MADV_POPULATE_WRITE);
}

#endif
