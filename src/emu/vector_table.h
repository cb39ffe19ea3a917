/*
 * What the interpreter must know of a vector instruction in order to have the
 * host execute it: operand kinds, the memory operand's size, side effects,
 * and the feature it belongs to. One row an opcode (SDM Vol. 2, appendix A).
 */
#ifndef MOTE_EMU_VECTOR_TABLE_H
#define MOTE_EMU_VECTOR_TABLE_H

#include "emu/cpu.h"
#include "emu/features.h"

/* What an operand field names when it names a register. */
enum vec_kind {
    VEC_NONE,
    VEC_X, /* XMM or YMM */
    VEC_M, /* MMX */
    VEC_G, /* general register */
};

/* Which operand is written. */
enum vec_dest {
    VEC_TO_NONE, /* flags, ECX only */
    VEC_TO_REG,
    VEC_TO_RM,
    VEC_TO_VVVV, /* without VEX: the r/m register (shifts by an immediate) */
    VEC_TO_X0,   /* XMM0, implicitly */
};

/*
 * Operand forms, destination first, in the letters of the manual's opcode map:
 * V, P, G: ModRM.reg is a vector, MMX, general register; W, Q, E: ModRM.rm is
 * one or memory; H: VEX.vvvv. Without VEX an H is the destination.
 */
#define VEC_FORMS(X)                                                                               \
    X(V_W, VEC_X, VEC_X, VEC_TO_REG, false)                                                        \
    X(V_HW, VEC_X, VEC_X, VEC_TO_REG, true)                                                        \
    X(W_V, VEC_X, VEC_X, VEC_TO_RM, false)                                                         \
    X(F_VW, VEC_X, VEC_X, VEC_TO_NONE, false)                                                      \
    X(X0_VW, VEC_X, VEC_X, VEC_TO_X0, false)                                                       \
    X(H_W, VEC_NONE, VEC_X, VEC_TO_VVVV, true)                                                     \
    X(V_E, VEC_X, VEC_G, VEC_TO_REG, false)                                                        \
    X(V_HE, VEC_X, VEC_G, VEC_TO_REG, true)                                                        \
    X(E_V, VEC_X, VEC_G, VEC_TO_RM, false)                                                         \
    X(G_W, VEC_G, VEC_X, VEC_TO_REG, false)                                                        \
    X(P_Q, VEC_M, VEC_M, VEC_TO_REG, false)                                                        \
    X(Q_P, VEC_M, VEC_M, VEC_TO_RM, false)                                                         \
    X(N_Q, VEC_NONE, VEC_M, VEC_TO_VVVV, false)                                                    \
    X(P_E, VEC_M, VEC_G, VEC_TO_REG, false)                                                        \
    X(E_P, VEC_M, VEC_G, VEC_TO_RM, false)                                                         \
    X(G_Q, VEC_G, VEC_M, VEC_TO_REG, false)                                                        \
    X(V_Q, VEC_X, VEC_M, VEC_TO_REG, false)                                                        \
    X(P_W, VEC_M, VEC_X, VEC_TO_REG, false)

enum vec_form {
#define X(name, reg, rm, dest, h) VEC_##name,
    VEC_FORMS(X)
#undef X
        VEC_FORM_COUNT
};

struct vec_operands {
    uint8_t reg, rm; /* enum vec_kind */
    uint8_t dest;    /* enum vec_dest */
    bool h;          /* VEX.vvvv is an operand */
};
extern const struct vec_operands vec_operands[VEC_FORM_COUNT];

/* vec_row.flags */
#define VEC_LX      0x00000001u /* the memory operand doubles with VEX.L */
#define VEC_WX      0x00000002u /* ... with W */
#define VEC_U       0x00000004u /* 16 bytes without VEX, yet no alignment is required */
#define VEC_VA      0x00000008u /* alignment is required with VEX too */
#define VEC_FP      0x00000010u /* reads and writes MXCSR */
#define VEC_EFL     0x00000020u /* writes the status flags */
#define VEC_X0      0x00000040u /* XMM0 is a source, implicitly */
#define VEC_IS4     0x00000080u /* immediate's bits 7-4 name a register */
#define VEC_WG      0x00000100u /* W is a general register's size: none outside 64-bit mode */
#define VEC_L0      0x00000200u /* VEX.L must be 0 */
#define VEC_L1      0x00000400u /* VEX.L must be 1 */
#define VEC_LIG     0x00000800u /* VEX.L is ignored */
#define VEC_W0      0x00001000u /* VEX.W must be 0 */
#define VEC_W1      0x00002000u /* VEX.W must be 1 */
#define VEC_NOREG   0x00004000u /* memory only */
#define VEC_HREG    0x00008000u /* VEX.vvvv is an operand of the register form only */
#define VEC_L_AVX2  0x00010000u /* VEX.L needs AVX2, VAES, VPCLMUL */
#define VEC_L_VAES  0x00020000u
#define VEC_L_VPCL  0x00040000u
#define VEC_R_AVX2  0x00080000u /* the register form needs AVX2 */
#define VEC_MOVE    0x00100000u /* memory form: moves bytes, zero-extends; register form if 16 */
#define VEC_ECX     0x00200000u /* writes ECX */
#define VEC_EAX_EDX 0x00400000u /* reads EAX and EDX */

struct vec_row {
    uint8_t map, pp, opcode;
    uint8_t ext; /* ModRM.reg, VEC_ANY: an operand */
    uint8_t form;
    uint8_t size;   /* bytes of the memory operand; 0: register only */
    uint8_t legacy; /* EMU_FBIT_* without and with VEX, VEC_NO: there is none */
    uint8_t vex;
    uint32_t flags;
};

#define VEC_ANY 8
#define VEC_NO  EMU_FBIT_FPU

extern const struct vec_row vec_rows[];
extern const unsigned vec_row_count;

/* Is VEX.vvvv an operand, with a register or memory as r/m? */
static inline bool vec_has_h(const struct vec_row *row, bool mem)
{
    return row->flags & VEC_HREG ? !mem : vec_operands[row->form].h;
}

/* The row of an instruction, NULL when there is none. Encoding rules only: VEX.L, W and vvvv
 * as the row demands, memory or register form; no features. */
const struct vec_row *vec_find(const struct x86_insn *i);

/* Does the row's form, with or without VEX, belong to what the CPU offers? */
bool vec_offered(const struct vec_row *row, const struct x86_insn *i, uint64_t features);

/* Bytes of the memory operand. code64: W counts for general registers. */
unsigned vec_mem_size(const struct vec_row *row, const struct x86_insn *i, bool code64);

#endif
