/*
 * What the owners of an interpreter CPU (the soft engine, assists) need: its
 * life, the exchange of state, and single instructions. Handlers include
 * emu/cpu.h only.
 */
#ifndef MOTE_EMU_EMU_H
#define MOTE_EMU_EMU_H

#include "emu/cpu.h"

/* Put *c (zeroed by the caller) into the state after RESET. cpuid, mem, ops stay referenced. */
void emu_init(struct emu_cpu *c, struct guest_mem *mem, const struct x86_cpuid *cpuid,
              const struct emu_ops *ops, void *user);

/* Take over the CPUID table's features after it changed. */
void emu_set_cpuid(struct emu_cpu *c, const struct x86_cpuid *cpuid);

/* Move state groups (X86_*) between the public form and the CPU. A set flushes the TLB
 * when paging may have changed. */
void emu_set_state(struct emu_cpu *c, const struct mote_state *s, unsigned groups);
void emu_get_state(const struct emu_cpu *c, struct mote_state *s, unsigned groups);

/*
 * To be called by a run loop at its setjmp point with longjmp's code: delivers
 * the raised exception (which may unwind to the same point again). Returns true
 * to go on running, false when the run is over and c->exit holds the reason.
 */
bool emu_unwound(struct emu_cpu *c, int code);

/*
 * Execute exactly one instruction, uncached, with everything that surrounds it:
 * breakpoints and single step, the guest's and a debugger's, the end of an
 * interrupt shadow. Unwinds like a handler.
 */
void emu_one(struct emu_cpu *c);

/* Deliver an interrupt or NMI now. Unwinds when the delivery faults. */
void emu_inject(struct emu_cpu *c, const struct mote_event *event);

/* One instruction outside of any run loop, for assists, whose breakpoints have been passed:
 * true when it completed (or raised an exception that was delivered), false when c->exit
 * holds a reason. */
bool emu_step(struct emu_cpu *c);

/*
 * Complete the instruction that emu_leave undid: its effects were had outside,
 * what is left is to go on behind it.
 */
void emu_skip(struct emu_cpu *c);

/* What a debugger outside the guest wants; the exits are VCPU_EXIT_DEBUG. */
struct emu_debug {
    bool int3; /* leave at INT3, one byte long */
    bool step; /* leave after each instruction, or the exception it raised */
    struct emu_watch watch[EMU_WATCHES - EMU_DEBUGGER];
};
void emu_set_debug(struct emu_cpu *c, const struct emu_debug *debug);

/* Before and after a run: when rip is not where the debugger left it, a watch there counts again.
 */
void emu_debug_moved(struct emu_cpu *c);

/* Is the debugger to be told something before anything else happens? */
static inline bool emu_debug_due(const struct emu_cpu *c)
{
    return c->hit & (EMU_HIT_DEBUGGER | EMU_HIT_STEP);
}

/* Bytes from linear to the next instruction that a watch stops at, at most len. */
unsigned emu_unwatched(const struct emu_cpu *c, uint64_t linear, unsigned len);
/* Deliver c->intr.pending, which is not NONE, outside of any run loop. The result is emu_step's. */
bool emu_step_event(struct emu_cpu *c);

/*
 * Would emu_step do what the processor of c->cpuid does? Not if the guest has
 * switched on what the interpreter lacks, or if its #UD would only say that it
 * does not know the instruction. A pending event comes before the instruction.
 */
bool emu_knows(struct emu_cpu *c);

/* Fill the always-valid part of an exit. */
void emu_fill_exit(const struct emu_cpu *c, struct vcpu_exit *exit);

#endif
