/*
 * Where the loader keeps its own data in guest memory: all of it in the first
 * 128 KiB, clear of the real-mode vectors and BIOS data (0 to 0xfff), of what
 * kernels load at 1 MiB, and of the extended BIOS data area (from 0x9fc00).
 * A protocol uses only some of it.
 */
#ifndef MOTE_BOOT_LAYOUT_H
#define MOTE_BOOT_LAYOUT_H

#define BOOT_GDT          0x01000u /* null, null, code, data, TSS (two slots) */
#define BOOT_TSS          0x01080u
#define BOOT_PAGE_TABLES  0x02000u /* PML4, PDPT, four page directories */
#define BOOT_TABLES_END   0x08000u
#define BOOT_INFO         0x08000u /* zero page, PVH start_info or multiboot information */
#define BOOT_MEMMAP       0x09000u /* memory map of PVH and multiboot */
#define BOOT_MODLIST      0x0a000u /* module list of PVH and multiboot */
#define BOOT_SETUP_DATA   0x0b000u /* setup_data of Linux */
#define BOOT_STRINGS      0x0c000u /* module strings, loader name: to 0xffff */
#define BOOT_STRINGS_END  0x10000u
#define BOOT_CMDLINE      0x10000u /* with its NUL, to 0x1ffff */
#define BOOT_CMDLINE_MAX  0x0ffffu /* bytes without the NUL */
#define BOOT_DATA         0x01000u /* all of the above */
#define BOOT_DATA_END     0x20000u
#define BOOT_STACK_TOP    0x9f000u  /* stack pointer of protected and long mode */
#define BOOT_REAL_STACK   0x07c00u  /* stack pointer of real mode, segment 0 */
#define BOOT_PLACE_BOTTOM 0x100000u /* initrd and modules never go below */

#endif
