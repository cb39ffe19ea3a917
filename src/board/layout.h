/* Where everything is on board `pc`: guest-physical addresses, ports, interrupts. */
#ifndef MOTE_BOARD_LAYOUT_H
#define MOTE_BOARD_LAYOUT_H

#include "base/bits.h"

/* ---- guest-physical space ---- */

/* RAM up to here but for the extended BIOS data area, which the e820 map reserves; then
 * nothing where a PC has its video memory, then ROM, which the board fills. */
#define PC_EBDA       UINT64_C(0x9fc00)
#define PC_BASE_END   UINT64_C(0xa0000)
#define PC_ROM        UINT64_C(0xc0000) /* read-only up to PC_HIGH_BASE */
#define PC_ACPI       UINT64_C(0xe0000) /* RSDP and tables, up to PC_HIGH_BASE */
#define PC_HIGH_BASE  UINT64_C(0x100000)
#define PC_HOLE       UINT64_C(0xc0000000) /* low RAM ends here at the latest */
#define PC_BOOT_TIMER UINT64_C(0xd0000000) /* a page, as Firecracker has it; with --boot-timer */
#define PC_IOAPIC     UINT64_C(0xfec00000)
#define PC_LAPIC      UINT64_C(0xfee00000)  /* reset value of IA32_APIC_BASE */
#define PC_HOLE_END   UINT64_C(0x100000000) /* RAM that found no place below goes on here */
#define PC_MEMORY_MIN UINT64_C(0x200000)

/* ---- ports ---- */

#define PC_PORT_PIC0       0x20 /* 2 */
#define PC_PORT_PIT        0x40 /* 4 */
#define PC_PORT_I8042_DATA 0x60
#define PC_PORT_SPEAKER    0x61
#define PC_PORT_I8042_CMD  0x64
#define PC_PORT_RTC        0x70  /* 2 */
#define PC_PORT_PIC1       0xa0  /* 2 */
#define PC_PORT_DEBUG_EXIT 0xf4  /* 4, as QEMU's isa-debug-exit; with --debug-exit */
#define PC_PORT_COM2       0x2f8 /* 8 */
#define PC_PORT_COM1       0x3f8 /* 8 */
#define PC_PORT_ELCR       0x4d0 /* 2 */
#define PC_PORT_PVPANIC    0x505 /* 1, as QEMU's pvpanic */
#define PC_PORT_PM1_EVT    0x600 /* 4: status, enable */
#define PC_PORT_PM1_CNT    0x604 /* 2 */
#define PC_PORT_PM_TIMER   0x608 /* 4 */
#define PC_PORT_RESET      0x60c /* not 0xcf9, which a 4-byte write to 0xcf8 would hit */

#define PC_IOAPIC_ID   0
#define PC_PM_TIMER_32 true /* the PM timer counts 32 bits */

/* ---- interrupts, as GSI ---- */

#define PC_GSI_PIT      0
#define PC_GSI_KEYBOARD 1
#define PC_GSI_COM2     3
#define PC_GSI_COM1     4
#define PC_GSI_RTC      8
#define PC_GSI_SCI      9

#endif
