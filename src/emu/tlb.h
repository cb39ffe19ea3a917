/*
 * Where one page of a linear address lies: what the software TLB does not say, looked up by a page
 * walk that fills it. For mmu.c and fetch.c; whoever else accesses guest memory does it by
 * access.h and cpu.h.
 */
#ifndef MOTE_EMU_TLB_H
#define MOTE_EMU_TLB_H

#include "emu/cpu.h"

/* host NULL: nothing but devices there. */
struct place {
    uint8_t *host; /* of the byte itself */
    gpa_t gpa;     /* ditto */
    bool watched;
};

/* Walk for one access, fill the TLB where RAM is. Faults by unwinding; seg only decides between
 * #GP and #SS for an address that is not canonical. */
void place_find(struct emu_cpu *c, struct place *at, unsigned mmu, unsigned seg,
                enum emu_access access, uint64_t linear);

/* What was done meanwhile was a device's: memory may be elsewhere now, or have come or gone. The
 * page tables were walked before. */
void place_again(struct emu_cpu *c, struct place *at, bool write);

#endif
