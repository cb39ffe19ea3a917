/* Guest RAM of board `pc`: one piece of host memory. What of it is where is memory_map.h's. */
#ifndef MOTE_BOARD_RAM_H
#define MOTE_BOARD_RAM_H

#include <stdbool.h>
#include <stdint.h>

struct ram_config {
    uint64_t size;      /* bytes; a multiple of the page's, and of hugepages if there are */
    uint64_t hugepages; /* bytes of a reserved huge page (hugetlb), 2 MiB or 1 GiB; 0: not those */
    bool prefault;      /* taken from the host at once, not as the guest touches it */
    bool shared;        /* in a memfd, so that another process can map it too */
    bool no_thp;        /* no transparent huge pages */
};

struct ram {
    uint8_t *hva; /* NULL: none */
    uint64_t size;
    int fd; /* shared: a memfd whose size is sealed, mapped from its start; else -1 */
};

/* -ENOMEM: more than the host has, or than it has reserved of huge pages. */
int ram_alloc(struct ram *ram, const struct ram_config *cfg);

/* Bytes of it that the host keeps in memory; 0 when it does not tell. */
uint64_t ram_resident(const struct ram *ram);

void ram_free(struct ram *ram);

#endif
