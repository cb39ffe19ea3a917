/* Sleeping on a word of memory until it changes (futex(2)). */
#ifndef MOTE_BASE_FUTEX_H
#define MOTE_BASE_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FUTEX_FOREVER UINT64_MAX

/*
 * Sleep while *word is value, or until `deadline` in ns of CLOCK_MONOTONIC. It may return
 * early. False: the deadline has passed.
 */
bool futex_wait(atomic_uint *word, unsigned value, uint64_t deadline);

/* Wake the one thread that may sleep on it. *word was changed before. */
void futex_wake(atomic_uint *word);

/* ditto, all threads */
void futex_wake_all(atomic_uint *word);

#endif
