/* The integer instructions' parts, by topic: true when translated, nothing was emitted when not. */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_INTEGER_H
#define MOTE_ACCEL_SOFT_TRANSLATE_INTEGER_H

#include "accel/soft/translate/tr.h"

bool tr_bmi(struct tr *tr);        /* VEX: BMI1, BMI2 */
bool tr_divide(struct tr *tr);     /* DIV, IDIV */
bool tr_bit_string(struct tr *tr); /* BT, BTS, BTR, BTC of memory by a register's bit offset */
bool tr_string(struct tr *tr);
bool tr_loop(struct tr *tr);     /* LOOP, LOOPE, LOOPNE, JRCXZ */
bool tr_flag(struct tr *tr);     /* CMC, CLC, STC, CLD, STD, LAHF, SAHF */
bool tr_move(struct tr *tr);     /* moves, exchanges and conversions without ModRM, LEA */
bool tr_selector(struct tr *tr); /* MOV from a segment register */
bool tr_nothing(struct tr *tr);  /* hints, and fences */

/* Is byte register n AH, CH, DH or BH? */
static inline bool tr_high_byte(const struct x86_insn *i, unsigned n)
{
    return n >= 4 && n < 8 && !(i->flags & X86_REX);
}

/* to = from rotated to the right, 64 bits; no flags. */
void tr_rotate(struct tr *tr, uint8_t to, uint8_t from, unsigned count);

/* `to` = `size` bytes of a host register or of memory, zero- or sign-extended to 4 or 8; no flags.
 */
void tr_extend(struct tr *tr, uint8_t to, uint8_t from, unsigned size, bool sign);
void tr_extend_mem(struct tr *tr, uint8_t to, struct host_mem from, unsigned size, bool sign);

#endif
