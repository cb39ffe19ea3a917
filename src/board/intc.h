/*
 * The interrupt controllers that a machine has one of: two 8259A and an IOAPIC, wired
 * as on a PC. The PICs' output is LINT0 of the boot processor's local APIC (virtual
 * wire), the IOAPIC sends messages over the APIC bus. What belongs to one vCPU is in
 * board/cpu_intc.h.
 *
 * The local APICs may be inside the accelerator (ACCEL_CAP_LAPIC). Then messages go
 * there.
 */
#ifndef MOTE_BOARD_INTC_H
#define MOTE_BOARD_INTC_H

#include "accel/accel.h"
#include "board/irq.h"
#include "dev/chip/apic_bus.h"
#include "dev/chip/ioapic.h"
#include "dev/chip/pic.h"

struct cpu_intc;

struct intc {
    struct pic pic;
    struct ioapic ioapic;
    bool inside;           /* the accelerator has the local APICs, */
    struct apic_bus bus;   /* else they are here */
    struct cpu_intc *boot; /* where the PICs' output goes */
    struct machine *machine;
    uint32_t *page; /* the IOAPIC's registers, mapped for the guest to read */
};

/* machine is set before. */
void intc_init(struct intc *ic);
void intc_destroy(struct intc *ic);

/* Their ports and the IOAPIC's page, which is a slot of guest memory, too. No vCPU runs. */
int intc_map(struct intc *ic, struct dev_bus *ports, struct dev_bus *mmio);

/* Make the inputs of PIC and IOAPIC the router's outputs. */
void intc_route(struct intc *ic, struct irq_router *router);

/* The end of a level-triggered interrupt, for the IOAPIC. Any thread. */
void intc_eoi(struct intc *ic, uint8_t vector);

#endif
