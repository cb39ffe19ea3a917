/* ACPI tables for a board with PIC, PIT, LAPICs and one IOAPIC (ACPI 6.4, chapter 5). */
#ifndef MOTE_BOOT_ACPI_H
#define MOTE_BOOT_ACPI_H

#include "mem/guest_mem.h"

#include <stdbool.h>

/* Where boards usually put them: the upper part of the BIOS area. */
#define ACPI_AREA      0xe0000u
#define ACPI_AREA_SIZE 0x20000u

/*
 * Ports and interrupts as the board wired them. A port of 0: there is no such thing. The
 * tables say that there is no keyboard controller: nobody types, and probing one is long.
 */
struct acpi_config {
    unsigned cpu_count;
    const uint32_t *apic_ids; /* by processor; NULL: 0 to cpu_count - 1 */
    uint32_t lapic_base;      /* 0xfee00000 */
    uint32_t ioapic_base;     /* 0xfec00000 */
    uint8_t ioapic_id;
    uint8_t sci_irq;       /* below 16 */
    uint16_t pm1_evt_port; /* PM1a status and enable, 4 bytes */
    uint16_t pm1_cnt_port; /* PM1a control, 2 bytes */
    uint16_t pm_tmr_port;  /* PM timer, 4 bytes; 0: none */
    bool pm_tmr_32;        /* the timer counts 32 bits, not 24 */
    bool power_button;     /* the fixed power button in PM1 is there */
    uint16_t reset_port;   /* write reset_value here to reset */
    uint8_t reset_value;
    uint8_t s5_type; /* SLP_TYP of soft-off, 0 to 7 */
    uint16_t com1_port;
    uint8_t com1_irq;
    uint16_t rtc_port; /* index and data */
    uint8_t rtc_irq;
    uint16_t pvpanic_port; /* QEMU's pvpanic, 1 byte */
};

/*
 * Write RSDP, RSDT, XSDT, FADT, FACS, MADT and DSDT to [base, base+size), base
 * below 4 GiB and a multiple of 64, and set *rsdp (16-byte aligned, inside).
 * The range should be reserved in the memory map. -ENOMEM: they do not fit, or
 * there is no memory; -EINVAL: no processors, or more than the MADT's 8-bit
 * numbers and names serve (4096).
 */
int acpi_build(const struct acpi_config *config, struct guest_mem *mem, gpa_t base, uint64_t size,
               gpa_t *rsdp);

#endif
