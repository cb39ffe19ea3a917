/* boot_load for files that are in memory already: for tests and fuzzing. */
#ifndef MOTE_BOOT_LOAD_H
#define MOTE_BOOT_LOAD_H

#include "boot/boot.h"
#include "boot/file.h"

/* As boot_load; initrd may be NULL. file->path is only named in messages. */
int boot_load_files(const struct boot_params *params, const struct file *kernel,
                    const struct file *initrd, struct guest_mem *mem, struct mote_state *state);

#endif
