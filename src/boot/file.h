/*
 * A whole file. Only what is asked for is read, into the caller's memory (large
 * parts straight into the guest's), so that no copy of it stays and a file that
 * shrinks meanwhile is an error.
 */
#ifndef MOTE_BOOT_FILE_H
#define MOTE_BOOT_FILE_H

#include "base/steps.h"

#include <stdint.h>

struct file {
    const char *path;
    const uint8_t *data; /* not on_disk: the file, in somebody's memory */
    uint64_t size;
    bool on_disk;
    int fd;               /* on_disk */
    enum step read, load; /* on_disk: what reading it is, and what is done with it */
};

/*
 * Open the file at path; what ("a kernel image") is named in errors. Refuses
 * everything but a readable regular file that is not empty, without blocking
 * on a FIFO. -errno with a sentence. file->read and load are set before.
 */
int file_open(struct file *file, const char *path, const char *what);

/* Fit for a file that was not opened, too. */
void file_close(struct file *file);

/*
 * Bytes of the file, which lie in it; to may overlap file->data. -EIO: it has
 * become shorter. The time is the step file->read's, what was before file->load's.
 */
int file_read(const struct file *file, uint64_t offset, void *to, uint64_t len);

/* As file_read, for a header: too little to be a step of its own. */
int file_peek(const struct file *file, uint64_t offset, void *to, uint64_t len);

#endif
