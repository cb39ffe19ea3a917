/* Multiboot 1 (Multiboot Specification version 0.6.96). */
#ifndef MOTE_BOOT_MULTIBOOT_H
#define MOTE_BOOT_MULTIBOOT_H

#include "boot/loader.h"

/* The header, found in the file. */
struct multiboot {
    const struct file *file;
    uint64_t offset; /* of the header in the file */
    uint32_t flags;
    /* With MULTIBOOT_ADDRESSES in flags: load size bytes of the file from
     * file_offset to load_addr, zero up to bss_end, enter at entry. */
    uint64_t file_offset, size;
    uint32_t load_addr, bss_end, entry;
};

#define MULTIBOOT_ADDRESSES 0x10000u

#define MULTIBOOT_AREA 8192 /* bytes of the file in which the header lies whole */

/* Does a file that begins like this have a header with a right checksum in the first 8 KiB? */
bool multiboot_is(const void *data, uint64_t size);

/* Find and check the header. -ENOEXEC: none, flags that nobody knows, or load
 * addresses that contradict each other or the file; errors of file_read. */
int multiboot_parse(struct multiboot *mb, const struct file *file);

/*
 * Load the kernel (by the header's addresses, else as an ELF32 file), the
 * initrd as the first module and params->modules after it, and the multiboot
 * information; enter in 32-bit protected mode with EAX the magic and EBX at
 * the information. The command line is params->cmdline as it is, with no
 * kernel path before it; a module's string is its command line, or else its
 * path.
 */
int multiboot_load(struct loader *ld, const struct file *kernel, const struct file *initrd);

#endif
