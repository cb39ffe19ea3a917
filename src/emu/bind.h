/*
 * From a decoded instruction to the handler that performs it. Each topic
 * claims its opcodes; what nobody claims is #UD. Binding happens once per
 * cached instruction, so handlers can be as specialised as pays.
 */
#ifndef MOTE_EMU_BIND_H
#define MOTE_EMU_BIND_H

#include "emu/cpu.h"

/*
 * Set op->fn (and op->ends) for op->i, or return false: not this topic's. A
 * binder may depend on the CPU's mode as far as a block's key holds it
 * (c->mode, long_mode, protected_mode, vm86, cpl == 3, vectors) and on c->features.
 * Serialising instructions end their block: what another vCPU wrote behind them
 * must be seen (SDM Vol. 3A 8.1.3).
 */
bool bind_alu(const struct emu_cpu *c, struct emu_op *op); /* integer, bits, BMI */
bool bind_bits(const struct emu_cpu *c,
               struct emu_op *op); /* shifts, bit tests, counts, BMI, BCD */
bool bind_move(const struct emu_cpu *c, struct emu_op *op);    /* mov, stack, exchange, convert */
bool bind_string(const struct emu_cpu *c, struct emu_op *op);  /* string and port instructions */
bool bind_branch(const struct emu_cpu *c, struct emu_op *op);  /* near jumps, calls, returns */
bool bind_segment(const struct emu_cpu *c, struct emu_op *op); /* segment registers, far transfers,
                                                                  INT, IRET */
bool bind_system(const struct emu_cpu *c, struct emu_op *op);  /* control registers, MSRs, CPUID,
                                                                  SYSCALL, flags, HLT ... */
bool bind_x87(const struct emu_cpu *c, struct emu_op *op);     /* D8-DF, WAIT */
bool bind_xsave(const struct emu_cpu *c, struct emu_op *op);   /* FXSAVE, XSAVE, LDMXCSR ... */
bool bind_vector(const struct emu_cpu *c, struct emu_op *op);  /* MMX, SSE to AVX2 */

/* Bind op->i to whoever claims it, or to #UD. */
void emu_bind(const struct emu_cpu *c, struct emu_op *op);

/* Did somebody claim it? */
bool emu_is_bound(const struct emu_op *op);

#endif
