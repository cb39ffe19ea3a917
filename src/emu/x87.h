/* What the files of the x87 instructions share. */
#ifndef MOTE_EMU_X87_H
#define MOTE_EMU_X87_H

#include "emu/cpu.h"

/* FLDENV, FNSTENV, FRSTOR, FNSAVE (SDM Vol. 1 8.1.10): memory image of the
 * guest's mode and operand size. */
void x87_fldenv(struct emu_cpu *c, const struct emu_op *op);
void x87_fnstenv(struct emu_cpu *c, const struct emu_op *op);
void x87_frstor(struct emu_cpu *c, const struct emu_op *op);
void x87_fnsave(struct emu_cpu *c, const struct emu_op *op);

#endif
