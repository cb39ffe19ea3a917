/*
 * The guest's page tables: 32-bit, PAE and 4-level paging (SDM Vol. 3A
 * chapter 4). A pure walk over guest memory; whoever caches translations does
 * so above.
 */
#ifndef MOTE_X86_PAGING_H
#define MOTE_X86_PAGING_H

#include "mem/guest_mem.h"

#include <stdbool.h>
#include <stdint.h>

#define X86_PHYS_BITS 48 /* what CPUID 0x80000008 offers; higher PTE bits are reserved */

struct x86_paging {
    uint64_t cr0, cr3, cr4, efer;
};

struct x86_access {
    bool write;
    bool exec;
    bool user;    /* CPL 3 */
    bool no_smap; /* supervisor access that SMAP does not stop (RFLAGS.AC) */
    bool update;  /* set accessed and dirty bits, as the processor does */
};

struct x86_page {
    gpa_t gpa;       /* of the 4 KiB page that holds the address */
    uint64_t size;   /* of the page that the tables map: 4 KiB to 1 GiB */
    unsigned rights; /* MEM_* that this kind of access has there; MEM_WRITE only if dirty is set */
    bool global;     /* MOV to CR3 leaves cached translations of it alone (CR4.PGE) */
};

/*
 * Accessed and dirty bits are set by compare-and-swap against the entry that was
 * walked; when another processor changed it, the walk begins anew.
 *
 * Translate. 0 and *page filled; or the page-fault error code (PF_*, with PF_P
 * clear for a missing page) plus X86_WALK_FAULT, so that no fault is 0.
 */
#define X86_WALK_FAULT 0x10000
int x86_walk(const struct x86_paging *p, struct guest_mem *mem, uint64_t linear,
             const struct x86_access *access, struct x86_page *page);

/* Are bits 63-47 of the address all equal (48-bit linear addresses)? */
static inline bool x86_canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

#endif
