#include "board/ram.h"

#include "base/bits.h"
#include "base/err.h"
#include "board/layout.h"
#include "host/hostinfo.h"

#include <errno.h>
#include <sys/mman.h>

#define SMALL_PAGES (UINT64_C(2) << 20)

static unsigned long long mib(uint64_t bytes)
{
    return bytes >> 20;
}

int ram_alloc(struct ram *ram, uint64_t size)
{
    struct host_memory host;
    void *p;

    host_memory(&host);
    if (host.total && size > host.total + host.swap)
        return err_set(ENOMEM, "--memory: %lluM is more than the host has (%lluM with swap)",
                       mib(size), mib(host.total + host.swap));
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
             0);
    if (p == MAP_FAILED)
        return err_sys(errno, "--memory: cannot get %lluM from the host", mib(size));
    /*
     * Fewer faults and TLB misses; where refused, no harm. Tables, command line and
     * small guests are at the bottom, and would pay for zeroing 2 MiB.
     */
    if (size > SMALL_PAGES)
        madvise((uint8_t *)p + SMALL_PAGES, size - SMALL_PAGES, MADV_HUGEPAGE);
    *ram = (struct ram){p, size};
    return 0;
}

uint64_t ram_resident(const struct ram *ram)
{
    unsigned char page[4096]; /* of as many pages, 16 MiB */
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < ram->size; at += sizeof(page) * PAGE_SIZE) {
        uint64_t len = MIN(ram->size - at, sizeof(page) * PAGE_SIZE);

        if (mincore(ram->hva + at, len, page))
            return 0;
        for (uint64_t i = 0; i < len / PAGE_SIZE; i++)
            bytes += (page[i] & 1) * PAGE_SIZE;
    }
    return bytes;
}

void ram_free(struct ram *ram)
{
    if (ram->hva)
        munmap(ram->hva, ram->size);
    *ram = (struct ram){NULL, 0};
}

unsigned ram_pieces(uint64_t size, struct ram_piece piece[2])
{
    uint64_t low = MIN(size, PC_HOLE);

    piece[0] = (struct ram_piece){0, low, 0};
    piece[1] = (struct ram_piece){PC_HOLE_END, size - low, low};
    return size > low ? 2 : 1;
}

unsigned ram_e820(uint64_t size, struct boot_e820 *map)
{
    struct ram_piece piece[2];
    unsigned n = 0, pieces = ram_pieces(size, piece);

    map[n++] = (struct boot_e820){0, PC_EBDA, E820_RAM};
    map[n++] = (struct boot_e820){PC_EBDA, PC_HIGH_BASE - PC_EBDA, E820_RESERVED};
    map[n++] = (struct boot_e820){PC_HIGH_BASE, piece[0].size - PC_HIGH_BASE, E820_RAM};
    if (pieces == 2)
        map[n++] = (struct boot_e820){piece[1].gpa, piece[1].size, E820_RAM};
    return n;
}
