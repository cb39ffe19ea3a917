/*
 * The interrupt controllers that a machine has one of: two 8259A and an IOAPIC, wired
 * as on a PC. The PICs' output is LINT0 of the boot processor's local APIC (virtual
 * wire), the IOAPIC sends messages over the APIC bus. What belongs to one vCPU is in
 * board/cpu_intc.h.
 *
 * The local APICs may be inside the accelerator (ACCEL_CAP_LAPIC). Then messages go
 * there. So may all of them (ACCEL_CAP_IRQCHIP): then lines go there, and the chips here
 * are no part of the machine.
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
    bool full;             /* and PICs and IOAPIC */
    struct cpu_intc *boot; /* where the PICs' output goes */
    struct machine *machine;
    /* The interrupt of a level-triggered GSI ended; may be NULL. Any thread, no locks held. */
    void (*ended)(void *user, unsigned gsi);
    void *ended_user;
    uint32_t *page; /* the IOAPIC's registers, mapped for the guest to read */
};

/* machine is set before, and ended. */
void intc_init(struct intc *ic);
void intc_destroy(struct intc *ic);

/* Their ports and the IOAPIC's page, which is a slot of guest memory too, unless they are inside.
 * No vCPU runs. */
int intc_map(struct intc *ic, struct dev_bus *ports, struct dev_bus *mmio);

/* Make the inputs of PIC and IOAPIC, or of those inside, the router's outputs. */
void intc_route(struct intc *ic, struct irq_router *router);

/*
 * A device's message, the memory write of x86/msi.h, to the local APICs wherever they are.
 * -EINVAL: no address of a message. Any thread.
 */
int intc_msi(struct intc *ic, uint64_t address, uint32_t data);

/* The end of a level-triggered interrupt, for the IOAPIC. Any thread. */
void intc_eoi(struct intc *ic, uint8_t vector);

#endif
