/* The PVH entry (Xen's x86/HVM direct boot ABI): an ELF file whose note
 * XEN_ELFNOTE_PHYS32_ENTRY names a 32-bit entry point. */
#ifndef MOTE_BOOT_PVH_H
#define MOTE_BOOT_PVH_H

#include "boot/elf.h"

/*
 * Load the segments, the initrd as the one module, and hvm_start_info version
 * 1 with memory map, command line and RSDP; enter in 32-bit protected mode with
 * paging off and EBX at the start_info. -ENOEXEC: the file has no PVH note.
 */
int pvh_load(struct loader *ld, const struct file *kernel, const struct file *initrd);

#endif
