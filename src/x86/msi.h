/* The memory write that is an interrupt message (SDM Vol. 3A 10.11.1, 10.11.2). */
#ifndef MOTE_X86_MSI_H
#define MOTE_X86_MSI_H

#include <stdbool.h>
#include <stdint.h>

/* Address */
#define MSI_BASE       UINT64_C(0xfee00000)
#define MSI_DEST_SHIFT 12
#define MSI_LOGICAL    0x4u

/* Data; the vector is bits 0 to 7. */
#define MSI_MODE_SHIFT 8 /* delivery mode, bits 8 to 10 */
#define MSI_ASSERT     0x4000u
#define MSI_LEVEL      0x8000u

static inline bool msi_is_address(uint64_t address)
{
    return address >> 20 == MSI_BASE >> 20;
}

#endif
