/*
 * What was found out about the host, kept for as long as it runs: small texts that
 * may be lost at any time, in one folder a user: $XDG_RUNTIME_DIR/mote,
 * $XDG_CACHE_HOME/mote or ~/.cache/mote, the first that can be had. Only a folder
 * and files of the user's own, that nobody else may write, are trusted; symbolic
 * links are not followed. What is in them is to be checked all the same.
 */
#ifndef MOTE_BASE_BOOTCACHE_H
#define MOTE_BASE_BOOTCACHE_H

#include <stddef.h>

/*
 * The text that bootcache_write kept for name and key, by this version of mote and
 * this user since the host's last boot. -ENOENT: there is none, or it is not
 * trusted; -EFBIG: size is too small; others as of read.
 */
int bootcache_read(const char *name, const char *key, char *buf, size_t size);

/* Replace it at once; one text a name. -errno when there is no place to write to, or
 * the host does not tell its boots apart. */
int bootcache_write(const char *name, const char *key, const char *text);

#endif
