/*
 * One load in progress, and what every boot protocol shares: which guest
 * memory is taken, putting bytes into it, and finding room.
 */
#ifndef MOTE_BOOT_LOADER_H
#define MOTE_BOOT_LOADER_H

#include "boot/boot.h"
#include "boot/file.h"

#include <stdbool.h>

#define LOADER_SEGMENTS 32 /* loadable segments of one kernel */

struct loader_range {
    uint64_t base, end;
};

struct loader {
    const struct boot_params *params;
    struct guest_mem *mem;
    struct mote_state *state;
    unsigned taken_count;
    struct loader_range taken[BOOT_MODULES_MAX + LOADER_SEGMENTS + 4];
};

/* -EINVAL: the memory map is empty, too long, or wraps. */
int loader_init(struct loader *ld, const struct boot_params *params, struct guest_mem *mem,
                struct mote_state *state);

/* Bytes of RAM in the memory map. */
uint64_t loader_ram_size(const struct loader *ld);

/* The memory map's RAM for messages, such as "64 MiB": rounded up, since the BIOS area is missing.
 */
struct loader_text {
    char text[32];
};
struct loader_text loader_ram(const struct loader *ld);

/* How many bytes of RAM follow base in its range of the memory map; 0 in a hole. */
uint64_t loader_ram_at(const struct loader *ld, uint64_t base);

/*
 * Claim [base, base+size) for `what` of file `name`. -ENOMEM: it is not RAM
 * throughout, or overlaps what was claimed before.
 */
int loader_take(struct loader *ld, const char *name, const char *what, uint64_t base,
                uint64_t size);

/* Writable host address of a range that is RAM. -ENOMEM in *err_text, NULL returned. */
void *loader_at(struct loader *ld, const char *name, uint64_t base, uint64_t size);

/*
 * Put a part of the file at base. -ENOMEM: no memory there; else errors of
 * file_read.
 */
int loader_put_file(struct loader *ld, const struct file *file, uint64_t offset, uint64_t base,
                    uint64_t len);

/* Write the loader's own data (tables, command line). -ENOMEM: no memory there. */
int loader_put(struct loader *ld, uint64_t gpa, const void *buf, uint64_t len);

/*
 * Claim the highest page-aligned room of `size` bytes in free RAM at or above
 * BOOT_PLACE_BOTTOM whose last byte is at or below `last`. False: there is none.
 */
bool loader_place(struct loader *ld, uint64_t size, uint64_t last, uint64_t *base);

/*
 * Place a file (initrd, module) as loader_place does and copy it there.
 * -ENOMEM with a sentence naming `what`, its size and the memory's.
 */
int loader_place_file(struct loader *ld, const struct file *file, const char *what, uint64_t last,
                      uint64_t *base);

/* Put the command line with its NUL at BOOT_CMDLINE. -E2BIG: longer than max bytes. */
int loader_put_cmdline(struct loader *ld, uint64_t max);

#endif
