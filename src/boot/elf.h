/* ELF executables for x86: ELF64 x86-64 and ELF32 i386, loaded by physical
 * address (System V ABI, chapters 4 and 5). */
#ifndef MOTE_BOOT_ELF_H
#define MOTE_BOOT_ELF_H

#include "boot/loader.h"

struct elf_segment {
    uint64_t offset, filesz; /* lies in the file */
    uint64_t paddr, vaddr;
    uint64_t memsz; /* at least filesz, and paddr + memsz does not wrap */
};

struct elf_image {
    const struct file *file;
    bool is64;
    bool has_pvh;
    uint32_t pvh_entry; /* of XEN_ELFNOTE_PHYS32_ENTRY */
    uint64_t entry;     /* e_entry as it stands */
    uint64_t lo, hi;    /* physical span of all segments */
    unsigned count;     /* at least 1 */
    struct elf_segment seg[LOADER_SEGMENTS];
};

/* Do the bytes start like an ELF file? */
bool elf_is(const void *data, uint64_t size);

/* Parse headers, PT_LOAD and PT_NOTE. -ENOEXEC with a sentence; errors of file_read. */
int elf_parse(struct elf_image *img, const struct file *file);

/*
 * Put the segments into guest RAM and zero what follows their file part; claim
 * the span (or, where the span is not all RAM, each segment). The file may be one
 * in guest memory at address `place` when elf_moves_down(img, place).
 * -ENOMEM: no room; errors of file_read.
 */
int elf_load(const struct elf_image *img, struct loader *ld);

/* Can the segments be moved one after the other from a file that lies at
 * guest address `place`, no move destroying the source of a later one? */
bool elf_moves_down(const struct elf_image *img, uint64_t place);

/* Is the physical address in a segment? */
bool elf_holds(const struct elf_image *img, uint64_t paddr);

/* The entry's physical address: e_entry where a segment's physical range holds
 * it, else translated through the segment whose virtual range does. -ENOEXEC. */
int elf_entry(const struct elf_image *img, uint64_t *entry);

#endif
