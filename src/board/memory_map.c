#include "board/memory_map.h"

#include "base/bits.h"
#include "board/layout.h"
#include "mem/guest_mem.h"

/* Below the hole gpa and offset are the same, so host huge pages fit guest ones. */
unsigned memory_pieces(uint64_t size, struct memory_piece piece[MEMORY_PIECES_MAX])
{
    uint64_t low = MIN(size, PC_HOLE);
    unsigned n = 0;

    piece[n++] = (struct memory_piece){0, PC_BASE_END, 0, MEM_RWX};
    piece[n++] = (struct memory_piece){PC_ROM, PC_HIGH_BASE - PC_ROM, PC_ROM, MEM_READ | MEM_EXEC};
    piece[n++] = (struct memory_piece){PC_HIGH_BASE, low - PC_HIGH_BASE, PC_HIGH_BASE, MEM_RWX};
    if (size > low)
        piece[n++] = (struct memory_piece){PC_HOLE_END, size - low, low, MEM_RWX};
    return n;
}

unsigned memory_e820(uint64_t size, struct boot_e820 map[MEMORY_E820_MAX])
{
    struct memory_piece piece[MEMORY_PIECES_MAX];
    unsigned n = 0, pieces = memory_pieces(size, piece);

    map[n++] = (struct boot_e820){0, PC_EBDA, E820_RAM};
    map[n++] = (struct boot_e820){PC_EBDA, PC_BASE_END - PC_EBDA, E820_RESERVED};
    map[n++] = (struct boot_e820){PC_ROM, PC_HIGH_BASE - PC_ROM, E820_RESERVED};
    for (unsigned i = 2; i < pieces; i++)
        map[n++] = (struct boot_e820){piece[i].gpa, piece[i].size, E820_RAM};
    return n;
}
