/*
 * Breakpoints: the guest's own (DR0-3 and TF; SDM Vol. 3B chapter 17), which
 * raise #DB, and those of a debugger outside the guest, which leave the run and
 * which the guest sees nothing of. Both are watches; c->hit notes what was hit.
 */
#ifndef MOTE_EMU_DEBUG_H
#define MOTE_EMU_DEBUG_H

#include "emu/cpu.h"

/* DR0-3 or DR7 changed: their watches follow. The TLB is the caller's to flush. */
void debug_registers_changed(struct emu_cpu *c);

/* Is data in this page watched? Then no access there takes the fast path. */
bool debug_watches_page(const struct emu_cpu *c, uint64_t page);

/* A slow-path access; what it hits is told after the instruction. */
void debug_note(struct emu_cpu *c, uint64_t linear, unsigned len, enum emu_access access);

/* Between two instructions, in this order. Each may unwind. */
void debug_traps(struct emu_cpu *c);       /* raise the guest's #DB of the last instruction */
void debug_tell(struct emu_cpu *c);        /* leave with what the debugger is to know of it */
void debug_instruction(struct emu_cpu *c); /* breakpoints at rip: the debugger's, the guest's */

/* A repeated string instruction comes back to itself for the rest: its breakpoints at rip have
 * been passed (SDM Vol. 3B 17.3.1.1). */
void debug_again(struct emu_cpu *c);

/* INT3 is about to be executed: leave if the debugger wants it. */
void debug_at_int3(struct emu_cpu *c);

#endif
