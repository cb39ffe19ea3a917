/*
 * Delivery of interrupts and exceptions through IVT or IDT, in every mode
 * (SDM Vol. 3A chapter 6), and the hardware task switch (chapter 7).
 */
#ifndef MOTE_EMU_EVENT_H
#define MOTE_EMU_EVENT_H

#include "emu/cpu.h"

/* Where an event comes from decides on its error code's EXT bit, on gate
 * privilege checks, and on which rip is pushed. */
enum emu_event_source {
    EMU_EVENT_EXTERNAL, /* interrupt, NMI: pushes rip as it is */
    EMU_EVENT_FAULT,    /* exception; rip is where it should return to */
    EMU_EVENT_SOFTWARE, /* INT n, INT3, INTO: DPL of the gate is checked */
};

/*
 * Enter the handler of `vector` from the state in *c (rip already the value to
 * be pushed). May itself raise; the caller handles nesting by emu_escalate.
 * Clears TF, RF, NT, VM and, through an interrupt gate, IF.
 */
void emu_deliver(struct emu_cpu *c, unsigned vector, enum emu_event_source source, bool has_error,
                 uint32_t error);

/*
 * An exception was raised (c->event) while c->delivering was under way:
 * turn it into what must be delivered next (SDM Vol. 3A table 6-5). Returns
 * false for a triple fault.
 */
bool emu_escalate(struct emu_cpu *c);

/* Load a segment register as MOV/POP/LDS do, with all checks (SDM Vol. 2B MOV). */
void emu_load_seg(struct emu_cpu *c, unsigned seg, uint16_t selector);

/* #GP(0) unless the guest may touch these ports (IOPL, TSS bitmap; SDM Vol. 1 19.5). */
void emu_check_io(struct emu_cpu *c, uint16_t port, unsigned size);

/* Task switch through a TSS descriptor (SDM Vol. 3A 7.3). */
enum emu_task_reason { EMU_TASK_JUMP, EMU_TASK_CALL, EMU_TASK_IRET, EMU_TASK_GATE };
void emu_task_switch(struct emu_cpu *c, uint16_t tss_selector, enum emu_task_reason reason,
                     bool has_error, uint32_t error);

#endif
