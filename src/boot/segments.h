/* Entry states of the first vCPU, with the descriptor and page tables in guest
 * RAM that they refer to (boot/layout.h). */
#ifndef MOTE_BOOT_SEGMENTS_H
#define MOTE_BOOT_SEGMENTS_H

#include "boot/loader.h"

/* Selectors of the GDT at BOOT_GDT; code and data are where Linux's 64-bit boot
 * protocol wants them (__BOOT_CS, __BOOT_DS). */
#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define BOOT_TR 0x20

/*
 * All of these start from the state after RESET with caches on, the general
 * registers zero and interrupts off, and set rip and rsp.
 */

/* Real mode: addr below 64 KiB is entered as 0:addr, else as addr>>4:addr&15
 * (addr below 1 MiB). The other segments are 0, sp is BOOT_REAL_STACK. */
void segments_set_real(struct mote_state *s, uint32_t addr);

/* 32-bit protected mode, paging off: cs, ds, es, fs, gs, ss flat to 4 GiB, tr a
 * busy 32-bit TSS, no IDT. -ENOMEM: no RAM for the GDT. */
int segments_set_protected(struct loader *ld, uint32_t rip);

/* 64-bit mode, the first 4 GiB mapped to themselves with 2 MiB pages (writable,
 * executable, supervisor), no IDT. -ENOMEM: no RAM for the tables. */
int segments_set_long(struct loader *ld, uint64_t rip);

#endif
