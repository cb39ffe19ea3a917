/* A whole file, mapped read-only. */
#ifndef MOTE_BOOT_FILE_H
#define MOTE_BOOT_FILE_H

#include <stdint.h>

struct file {
    const char *path;
    const uint8_t *data;
    uint64_t size; /* at least 1 */
};

/*
 * Map the file at path; what ("a kernel image") is named in errors. Refuses
 * everything but a readable regular file that is not empty, without blocking
 * on a FIFO. -errno with a sentence.
 */
int file_map(struct file *file, const char *path, const char *what);

void file_unmap(struct file *file);

#endif
