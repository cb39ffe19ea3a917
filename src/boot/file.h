/*
 * A whole file. Headers are parsed in a read-only mapping, of which only the pages
 * looked at become resident. What goes to the guest is read there, so that no copy
 * of it stays and a file that shrinks meanwhile is an error.
 */
#ifndef MOTE_BOOT_FILE_H
#define MOTE_BOOT_FILE_H

#include "base/steps.h"

#include <stdint.h>

struct file {
    const char *path;
    const uint8_t *data;
    uint64_t size;        /* at least 1 */
    bool on_disk;         /* false: only data, which is somebody's memory */
    int fd;               /* on_disk */
    enum step read, load; /* on_disk: what reading it is, and what is done with it */
};

/*
 * Open and map the file at path; what ("a kernel image") is named in errors.
 * Refuses everything but a readable regular file that is not empty, without
 * blocking on a FIFO. -errno with a sentence. file->read and load are set before.
 */
int file_open(struct file *file, const char *path, const char *what);

/* Fit for a file that was not opened, too. */
void file_close(struct file *file);

/* Bytes of the file, which lie in it. -EIO: it has become shorter. */
int file_read(const struct file *file, uint64_t offset, void *to, uint64_t len);

#endif
