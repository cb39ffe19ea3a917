/*
 * Interrupt lines of board `pc`: one global system interrupt (GSI) reaches the
 * PICs and the IOAPIC, wired as the MADT says: GSI 0 (the PIT) is pin 2 of the
 * IOAPIC, pin 0 is unused, GSI 2 is the PICs' cascade and no input.
 */
#ifndef MOTE_BOARD_IRQ_H
#define MOTE_BOARD_IRQ_H

#include "dev/dev.h"

#define IRQ_GSI_COUNT 24

struct irq_router {
    /* set() is called with the input's number as `line`; NULL: not there. */
    struct dev_irq pic;    /* inputs 0 to 15 */
    struct dev_irq ioapic; /* pins 0 to 23 */
    struct dev_irq inside; /* GSIs, where the accelerator has PICs and IOAPIC */
};

/* Fit for a dev_irq: user is the struct irq_router, line a GSI. Any thread. */
void irq_set(void *user, unsigned gsi, int level);

/* The line of `gsi`, for a device. */
struct dev_irq irq_line(struct irq_router *router, unsigned gsi);

#endif
