/* Guest RAM of board `pc`: one host allocation, mapped below and above the hole. */
#ifndef MOTE_BOARD_RAM_H
#define MOTE_BOARD_RAM_H

#include "boot/e820.h"

#include <stddef.h>
#include <stdint.h>

struct ram {
    uint8_t *hva; /* NULL: none */
    uint64_t size;
};

/* Where a piece of the allocation is in guest-physical space. */
struct ram_piece {
    uint64_t gpa, size, offset;
};

/* Memory that is taken only as the guest touches it. -ENOMEM: more than the host has. */
int ram_alloc(struct ram *ram, uint64_t size);
/* Bytes of it that the host keeps in memory; 0 when it does not tell. */
uint64_t ram_resident(const struct ram *ram);

void ram_free(struct ram *ram);

/* The slots for `size` bytes: 1 or 2. */
unsigned ram_pieces(uint64_t size, struct ram_piece piece[2]);

/* The memory map that the guest is told for `size` bytes; how many entries, at most 4. */
unsigned ram_e820(uint64_t size, struct boot_e820 *map);

#endif
