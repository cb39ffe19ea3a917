/* Numbers as people write them on a command line. Strict: the whole text counts. */
#ifndef MOTE_BASE_PARSE_H
#define MOTE_BASE_PARSE_H

#include <stdint.h>

/* Decimal, or hexadecimal after 0x. -EINVAL: no number; -ERANGE: over max. */
int parse_u64(const char *text, uint64_t max, uint64_t *value);

/*
 * A size in bytes: a number, and one of the suffixes K, M, G, T (powers of
 * 1024, either case, an optional "iB" or "B" behind). Without a suffix, bytes.
 */
int parse_size(const char *text, uint64_t *bytes);

#endif
