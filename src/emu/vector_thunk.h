/*
 * One vector instruction as host code: register numbers are normalised, so
 * that one thunk serves every register; operands come and go by pointer.
 */
#ifndef MOTE_EMU_VECTOR_THUNK_H
#define MOTE_EMU_VECTOR_THUNK_H

#include "emu/vector_table.h"

/* General registers and flags on their way in and out. */
struct vec_gprs {
    uint64_t rax; /* ModRM.reg, or EAX where implicit */
    uint64_t rcx; /* ModRM.rm, or ECX where implicit */
    uint64_t rdx;
    uint64_t flags;
};

/*
 * mem: the memory operand. reg, h, rm: vector or MMX register images named by
 * ModRM.reg, VEX.vvvv, ModRM.rm. x4: the implicit XMM0 or the register that the
 * immediate names. What a form doesn't have is not touched. With VEX images are
 * 32 bytes, without 16, MMX 8. Every operand is loaded before any is stored, so
 * images may be the same.
 */
typedef void (*vec_code)(void *mem, void *reg, void *h, void *rm, void *x4, struct vec_gprs *g);

/* An instruction with everything about it decided but the registers. */
struct vec_thunk {
    uint64_t key;
    vec_code code;
    const struct vec_row *row;
    uint32_t next;  /* in its hash bucket, index + 1 */
    uint8_t size;   /* bytes of the memory operand, 0: register form */
    uint8_t align;  /* mask of linear address bits that must be 0 */
    uint8_t reg_to; /* enum vec_dest, VEX.vvvv resolved */
    bool vex;
};

/*
 * The thunk of an instruction that `row` describes; made on first use, never
 * freed. NULL: no executable memory. code64: the guest's code is 64-bit.
 */
const struct vec_thunk *vec_thunk_get(const struct vec_row *row, const struct x86_insn *i,
                                      bool code64);

#endif
