/* The toy's boot loader. */
#ifndef TOY_LOAD_H
#define TOY_LOAD_H

#include <mote/mote.h>

/* Copy the segments of an ELF file to where they belong in memory, which is all zeros before, and
 * tell the entry. -errno: it cannot be read, or is no 64-bit ELF file that fits. */
int load_elf(const char *name, unsigned char *memory, uint64_t size, uint64_t *entry);

/* Let the vCPU begin at `entry` in long mode, its first GiB of linear addresses being the physical
 * ones. The page tables are in the pages from 0x1000. */
int enter_long_mode(struct mote_vcpu *vcpu, unsigned char *memory, uint64_t entry);

#endif
