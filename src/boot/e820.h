/* The memory map a guest is given: ranges and types as in the BIOS call
 * INT 15h, AX=E820h (ACPI 6.4, 15.3). */
#ifndef MOTE_BOOT_E820_H
#define MOTE_BOOT_E820_H

#include <stdint.h>

enum {
    E820_RAM = 1,
    E820_RESERVED = 2,
    E820_ACPI = 3, /* reclaimable once its tables were read */
    E820_NVS = 4,
};

#define E820_MAX 128 /* what the Linux zero page holds */

struct boot_e820 {
    uint64_t base, size; /* bytes; base + size does not wrap */
    uint32_t type;       /* E820_* */
};

#endif
