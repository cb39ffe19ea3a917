/*
 * The guest-physical map: memory slots backed by host memory, holes between
 * them. This is the one way from a gpa to host memory; whoever needs guest
 * memory goes through guest_mem_at, guest_mem_read or guest_mem_write, which
 * check the whole range once.
 *
 * The map changes only while no vCPU runs (see docs/architecture.md, safe
 * points), so look-ups take no lock.
 */
#ifndef MOTE_MEM_GUEST_MEM_H
#define MOTE_MEM_GUEST_MEM_H

#include "mem/gpa.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MEM_READ = 1,
    MEM_WRITE = 2,
    MEM_EXEC = 4,
    MEM_RWX = MEM_READ | MEM_WRITE | MEM_EXEC,
};

struct mem_slot {
    gpa_t gpa;       /* page-aligned */
    uint64_t size;   /* bytes, a multiple of the page size */
    uint8_t *hva;    /* page-aligned host address of the first byte; not owned */
    unsigned rights; /* MEM_* that the guest has */
};

#define GUEST_MEM_SLOTS 64

struct guest_mem {
    unsigned count;
    struct mem_slot slot[GUEST_MEM_SLOTS]; /* sorted by gpa, no overlaps */
    /*
     * Called after someone other than a vCPU wrote guest memory (an assist, a
     * device's DMA, a loader), so that an engine drops what it derived from
     * the old bytes. NULL when nobody cares.
     */
    void (*written)(void *user, gpa_t gpa, uint64_t len);
    void *user;
};

void guest_mem_init(struct guest_mem *mem);

/*
 * Add a slot. -EINVAL: not page-aligned, empty, or past 2^52; -EEXIST: overlaps
 * a slot; -ENOSPC: GUEST_MEM_SLOTS are in use.
 */
int guest_mem_map(struct guest_mem *mem, gpa_t gpa, uint64_t size, void *hva, unsigned rights);

/* Remove the slot that starts at gpa. -ENOENT: there is none. */
int guest_mem_unmap(struct guest_mem *mem, gpa_t gpa);

/* The slot that holds gpa, or NULL in a hole. */
const struct mem_slot *guest_mem_find(const struct guest_mem *mem, gpa_t gpa);

/* Host address of [gpa, gpa+len), or NULL unless one slot holds all of it and
 * grants `rights`. */
void *guest_mem_at(const struct guest_mem *mem, gpa_t gpa, uint64_t len, unsigned rights);

/* Copy out of or into guest memory with the guest's rights, across slots that touch. -EFAULT:
 * part of the range is a hole, or for a write read-only; nothing is copied then. A write ends in
 * guest_mem_written. */
int guest_mem_read(const struct guest_mem *mem, gpa_t gpa, void *buf, uint64_t len);
int guest_mem_write(struct guest_mem *mem, gpa_t gpa, const void *buf, uint64_t len);

/* What the firmware of a PC does for its ROM: write though the guest may not. For ranges that the
 * board chose, never for a guest's. -EFAULT: not all in one slot that can be read. */
int guest_mem_fill_rom(struct guest_mem *mem, gpa_t gpa, const void *buf, uint64_t len);

/* Tell the engine that [gpa, gpa+len) changed under it. */
void guest_mem_written(struct guest_mem *mem, gpa_t gpa, uint64_t len);

#endif
