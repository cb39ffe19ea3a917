/* What of guest RAM is where in guest-physical space, and what the guest is told of it. */
#ifndef MOTE_BOARD_MEMORY_MAP_H
#define MOTE_BOARD_MEMORY_MAP_H

#include "boot/e820.h"

#include <stdint.h>

/* A slot: this part of the RAM's host memory, there, with these MEM_* for the guest. */
struct memory_piece {
    uint64_t gpa, size, offset;
    unsigned rights;
};

#define MEMORY_PIECES_MAX 4
#define MEMORY_E820_MAX   5

/* The slots for `size` bytes (PC_MEMORY_MIN or more) in rising order; how many. What the holes
 * and the ROM below 1 MiB cover counts as RAM's size, as on every PC. */
unsigned memory_pieces(uint64_t size, struct memory_piece piece[MEMORY_PIECES_MAX]);

/* The memory map that the guest is told for `size` bytes; how many entries. */
unsigned memory_e820(uint64_t size, struct boot_e820 map[MEMORY_E820_MAX]);

#endif
