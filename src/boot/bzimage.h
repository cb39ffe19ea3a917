/* Linux bzImage: the setup header of Documentation/arch/x86/boot.rst, and the
 * two ways to start what is in the file. */
#ifndef MOTE_BOOT_BZIMAGE_H
#define MOTE_BOOT_BZIMAGE_H

#include "boot/linux_params.h"
#include "boot/loader.h"

#define BZIMAGE_HEADER 0x1f1u /* where the setup header starts, in file and zero page */

struct bzimage {
    const struct file *file;
    uint8_t head[LINUX_HEADER_MAX]; /* the file's first bytes */
    uint64_t header_len;            /* of the setup header, from BZIMAGE_HEADER on */
    uint64_t kernel, kernel_len;    /* protected-mode part: where in the file, and how long */
    uint64_t payload, payload_len;  /* within it; 0, 0: there is none */
    uint64_t pref_address;          /* where the kernel is linked to run */
    uint64_t init_size;             /* bytes from there that it needs before it knows its memory */
    uint64_t cmdline_size;          /* bytes, without the NUL */
    uint64_t initrd_last;           /* highest address of the initrd's last byte... */
    bool initrd_anywhere; /* ...which the kernel can do without (XLF_CAN_BE_LOADED_ABOVE_4G) */
};

/* Does a file that begins like this have the header's magic? */
bool bzimage_is(const void *data, uint64_t size);

/*
 * Parse and check the setup header of a 64-bit kernel with protocol 2.12 or
 * newer (Linux 3.8). -ENOEXEC with a sentence; errors of file_read.
 */
int bzimage_parse(struct bzimage *bz, const struct file *file);

/*
 * Load kernel, initrd, zero page and command line, and set the entry state of
 * the 64-bit boot protocol. self_unpack: the protected-mode part goes to
 * pref_address and is entered at its offset 0x200. Otherwise the payload is
 * unpacked here and the ELF file in it entered at its entry point, which gets
 * the same zero page in RSI as it would from Linux's own unpacking code; it
 * runs at its link address then, without KASLR, and with 4-level paging.
 */
int bzimage_load(struct loader *ld, const struct file *kernel, const struct file *initrd,
                 bool self_unpack);

#endif
