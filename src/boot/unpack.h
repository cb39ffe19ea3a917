/* The compression formats of Linux kernel payloads, told apart by their first bytes. */
#ifndef MOTE_BOOT_UNPACK_H
#define MOTE_BOOT_UNPACK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Unpack the payload in[0..in_len) of file `name` straight into
 * out[0..out_max); *out_len is what it came to. An ELF file is copied as it
 * is. Bytes after the end of the compressed stream (Linux appends the unpacked
 * size) are ignored. -ENOEXEC: unknown, corrupt or truncated; -EOPNOTSUPP: its
 * library was not built in; -ENOSPC: longer than out_max; -ENOMEM.
 */
int unpack(const char *name, const uint8_t *in, uint64_t in_len, uint8_t *out, uint64_t out_max,
           uint64_t *out_len);

/* Does it begin like a format whose library was built in? */
bool unpack_knows(const uint8_t *in, uint64_t in_len);

#endif
