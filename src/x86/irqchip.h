/*
 * Saved state of the interrupt chips and timers, fixed-width and the same
 * whether the chip lives in the kernel or in mote. Conversions to the kernel's
 * structures are in src/accel/kvm.
 */
#ifndef MOTE_X86_IRQCHIP_H
#define MOTE_X86_IRQCHIP_H

#include <stdint.h>

/* Local APIC register page: register R of SDM Vol. 3A table 10-1 at R / 16. */
struct lapic_state {
    uint32_t reg[64];
    uint64_t apic_base;    /* MSR 0x1b */
    uint64_t tsc_deadline; /* MSR 0x6e0, 0 when disarmed */
    uint64_t timer_left;   /* ns until the one-shot or periodic timer fires, 0 when stopped */
};

#define IOAPIC_PINS 24
struct ioapic_state {
    uint64_t redir[IOAPIC_PINS];
    uint32_t irr; /* pins that are asserted */
    uint32_t id;
    uint32_t ioregsel;
    uint32_t pad;
};

struct pic_state { /* one 8259A */
    uint8_t irr, imr, isr, last_irr;
    uint8_t irq_base, priority_add, read_isr, poll;
    uint8_t special_mask, auto_eoi, rotate_on_auto_eoi, special_fully_nested;
    uint8_t init_state, init4, elcr, elcr_mask;
};

struct pit_channel_state { /* one 8254 counter */
    uint32_t count;        /* 1 to 65536 */
    uint16_t latched_count;
    uint8_t count_latched, status_latched, status;
    uint8_t read_state, write_state, write_latch;
    uint8_t rw_mode, mode, bcd, gate;
    uint64_t loaded_ns; /* when the count was loaded, on the machine's clock */
};

struct pit_state {
    struct pit_channel_state channel[3];
    uint8_t speaker; /* port 0x61 bits 0-1 */
    uint8_t pad[7];
};

/* The chips that a machine has one of. */
struct irqchip_state {
    struct pic_state pic[2]; /* master, slave */
    struct ioapic_state ioapic;
    struct pit_state pit;
};

#endif
