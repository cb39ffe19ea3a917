/*
 * The interrupt controllers: two 8259A, an IOAPIC and the vCPU's local APIC, wired
 * as on a PC. The PICs' output is LINT0 of the local APIC (virtual wire), the
 * IOAPIC sends messages over the APIC bus.
 *
 * The local APIC may be inside the accelerator (ACCEL_CAP_LAPIC). Then messages go
 * there, and what is left to inject is the PICs' interrupts; NMIs, the task
 * priority and the register page are no matter of these functions.
 *
 * Unless a comment says otherwise, functions belong to the vCPU's thread.
 */
#ifndef MOTE_BOARD_INTC_H
#define MOTE_BOARD_INTC_H

#include "accel/accel.h"
#include "board/irq.h"
#include "board/timer.h"
#include "dev/chip/apic_bus.h"
#include "dev/chip/ioapic.h"
#include "dev/chip/lapic.h"
#include "dev/chip/pic.h"
#include "mem/gpa.h"

struct intc {
    struct pic pic;
    struct ioapic ioapic;
    bool inside;      /* the accelerator has the local APIC, ... */
    atomic_int lint0; /* and this is its input; else: */
    struct lapic lapic;
    struct apic_bus bus;
    struct board_timer timer; /* the local APIC's */
    struct machine *machine;
    const uint64_t *tsc_offset; /* guest's TSC less the host's */
    void (*wake)(void *user);   /* the vCPU has something to look at; any thread */
    void *user;
};

/* machine, tsc_offset, wake and user are set before. tsc_khz: of the guest's TSC. */
int intc_init(struct intc *ic, struct loop *loop, struct host_clock *clock, uint32_t tsc_khz);
void intc_destroy(struct intc *ic, struct loop *loop);

/* Their ports and the IOAPIC's page; the local APIC's page moves, see intc_mmio. */
int intc_map(struct intc *ic, struct dev_bus *ports, struct dev_bus *mmio);

/* Make the inputs of PIC and IOAPIC the router's outputs. */
void intc_route(struct intc *ic, struct irq_router *router);

/*
 * Is there an interrupt to inject, to a vCPU that accepts them? Inside, LINT0 may be
 * masked: the accelerator's intr_ready tells. Is an NMI pending?
 */
bool intc_pending(struct intc *ic);
bool intc_nmi_pending(struct intc *ic);

/* Acknowledge: the vector to inject, or -1 when it has vanished. */
int intc_take(struct intc *ic);
bool intc_take_nmi(struct intc *ic);

/* The task priority is one register with two faces: CR8 and the local APIC's TPR. */
uint64_t intc_cr8(struct intc *ic);
void intc_set_cr8(struct intc *ic, uint64_t cr8);

/* VCPU_EXIT_IOAPIC_EOI. Any thread. */
void intc_eoi(struct intc *ic, uint8_t vector);

/* An access to the local APIC's page, where it is now. false: gpa is not in it. */
bool intc_mmio(struct intc *ic, gpa_t gpa, unsigned size, bool write, uint64_t *data);

/* An MSR of the local APIC. false: not its, or #GP is due. */
bool intc_msr(struct intc *ic, uint32_t msr, bool write, uint64_t *value);

#endif
