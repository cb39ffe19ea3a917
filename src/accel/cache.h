/*
 * Small files that may be lost at any time, one folder a user:
 * $XDG_RUNTIME_DIR/mote, $XDG_CACHE_HOME/mote or ~/.cache/mote, the first that
 * can be had. Only a folder and files of the user's own, that nobody else may
 * write, are trusted; symbolic links are not followed.
 */
#ifndef MOTE_ACCEL_CACHE_H
#define MOTE_ACCEL_CACHE_H

#include <stddef.h>

/* The file's text, NUL-terminated. -ENOENT: not there or not trusted; -EFBIG:
 * size is too small. */
int cache_read(const char *name, char *buf, size_t size);

/* Replace the file at once, mode 0600. -errno when there is no place to write to. */
int cache_write(const char *name, const char *text);

#endif
