/* The compression formats of Linux kernel payloads, told apart by their first bytes. */
#ifndef MOTE_BOOT_UNPACK_H
#define MOTE_BOOT_UNPACK_H

#include "boot/file.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Unpack the payload, which is len bytes of the file from offset, piece by piece
 * straight into out[0..out_max); *out_len is what it came to. An ELF file is
 * read as it is. Bytes after the end of the compressed stream (Linux appends the
 * unpacked size) are ignored. What of out lies behind *out_len may be written to.
 * -ENOEXEC: unknown, corrupt or truncated; -EOPNOTSUPP: its library was not
 * built in; -ENOSPC: longer than out_max; -ENOMEM; others as of file_read.
 */
int unpack(const struct file *file, uint64_t offset, uint64_t len, uint8_t *out, uint64_t out_max,
           uint64_t *out_len);

/* Does it begin like a format whose library was built in? */
bool unpack_knows(const struct file *file, uint64_t offset, uint64_t len);

#endif
