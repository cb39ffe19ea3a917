/* What the files of the vector instructions share. */
#ifndef MOTE_EMU_VECTOR_H
#define MOTE_EMU_VECTOR_H

#include "emu/cpu.h"

/* Bind the instructions that are not simply executed on the host: gathers, masked moves,
 * VZEROUPPER, EMMS, MOVNTI, CRC32. */
bool bind_vector_special(const struct emu_cpu *c, struct emu_op *op);

/* #UD or #NM by CR0, CR4, XCR0: the slow half of the checks below. */
_Noreturn void vec_refuse(struct emu_cpu *c, bool vex);

/* SDM Vol. 2A 2.4 (exception types): SSE, and VEX, instructions. */
static inline void vec_check_sse(struct emu_cpu *c)
{
    if (unlikely(!(c->vectors & EMU_VECTORS_SSE)))
        vec_refuse(c, false);
}

static inline void vec_check_avx(struct emu_cpu *c)
{
    if (unlikely(!(c->vectors & EMU_VECTORS_VEX)))
        vec_refuse(c, true);
}

/* VEX is an instruction prefix in protected mode only (not in virtual-8086 mode). */
static inline bool vec_vex_allowed(const struct emu_cpu *c)
{
    return c->protected_mode && !c->vm86;
}

#endif
