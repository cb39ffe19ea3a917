/*
 * A vCPU's side of the interrupt controllers: its local APIC, and what is to be
 * injected into it.
 *
 * The local APIC may be inside the accelerator (intc->inside). Then what is left to
 * inject is the PICs' interrupts, to the boot processor; NMIs, start-up messages, the
 * task priority and the register page are no matter of these functions.
 *
 * Unless a comment says otherwise, functions belong to the vCPU's thread.
 */
#ifndef MOTE_BOARD_CPU_INTC_H
#define MOTE_BOARD_CPU_INTC_H

#include "board/cpu_timer.h"
#include "board/intc.h"
#include "dev/chip/lapic.h"
#include "mem/gpa.h"

struct cpu_intc {
    struct intc *intc;
    atomic_int lint0;   /* inside: the level of that input */
    struct lapic lapic; /* else */
    struct cpu_timer timer;
    const _Atomic uint64_t *tsc_offset; /* guest's TSC less the host's */
    void (*wake)(void *user);           /* the vCPU has something to look at; any thread */
    void *user;
};

/*
 * intc, tsc_offset, wake and user are set before. id is the APIC ID, 0 the boot
 * processor's; tsc_khz of the guest's TSC.
 */
int cpu_intc_init(struct cpu_intc *ci, unsigned id, struct loop *loop, struct host_clock *clock,
                  uint32_t tsc_khz);
/* Before the intc's. */
void cpu_intc_destroy(struct cpu_intc *ci, struct loop *loop);

/* The PICs' output. Any thread. */
void cpu_intc_set_lint0(struct cpu_intc *ci, int level);

/* An interrupt to the APIC of that ID: mode and vector as in ICR's low half. Returns how many
 * there are, 0 or 1. Not inside. */
unsigned cpu_intc_send_ipi(struct cpu_intc *ci, uint32_t dest, uint32_t icr);

/* The local APIC's timer, as board/cpu_timer.h has it; inside it is no matter of ours. */
void cpu_intc_look(struct cpu_intc *ci);
void cpu_intc_run(struct cpu_intc *ci);
uint64_t cpu_intc_sleep(struct cpu_intc *ci);
void cpu_intc_slept(struct cpu_intc *ci);

/*
 * Is there an interrupt to inject, to a vCPU that accepts them? Inside, LINT0 may be
 * masked: the accelerator's intr_ready tells. Is an NMI pending?
 */
bool cpu_intc_pending(struct cpu_intc *ci);
bool cpu_intc_nmi_pending(struct cpu_intc *ci);

/* Acknowledge: the vector to inject, or -1 when it has vanished. */
int cpu_intc_take(struct cpu_intc *ci);
bool cpu_intc_take_nmi(struct cpu_intc *ci);

/* Is an INIT or a start-up message pending? */
bool cpu_intc_startup_pending(struct cpu_intc *ci);
/* Take them: LAPIC_EVENT_INIT resets the local APIC; page is the SIPI's vector. */
unsigned cpu_intc_take_startup(struct cpu_intc *ci, uint8_t *page);

/* The task priority is one register with two faces: CR8 and the local APIC's TPR. */
uint64_t cpu_intc_cr8(struct cpu_intc *ci);
void cpu_intc_set_cr8(struct cpu_intc *ci, uint64_t cr8);

/* An access to the local APIC's page, where it is now. false: gpa is not in it. */
bool cpu_intc_mmio(struct cpu_intc *ci, gpa_t gpa, unsigned size, bool write, uint64_t *data);

/* An MSR of the local APIC. false: not its, or #GP is due. */
bool cpu_intc_msr(struct cpu_intc *ci, uint32_t msr, bool write, uint64_t *value);

#endif
