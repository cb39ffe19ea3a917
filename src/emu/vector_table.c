#include "emu/vector_table.h"

#include <pthread.h>

const struct vec_operands vec_operands[VEC_FORM_COUNT] = {
#define X(name, reg, rm, dest, h) [VEC_##name] = {reg, rm, dest, h},
    VEC_FORMS(X)
#undef X
};

/* pp */
enum { NP, P66, PF3, PF2 };

#define ROW_EXT(m, p, op, e, f, sz, leg, vx, fl)                                                   \
    {                                                                                              \
        .map = X86_MAP_##m, .pp = (p), .opcode = (op), .ext = (e), .form = VEC_##f, .size = (sz),  \
        .legacy = EMU_FBIT_##leg, .vex = EMU_FBIT_##vx, .flags = (fl)                              \
    }
#define ROW(m, p, op, f, sz, leg, vx, fl) ROW_EXT(m, p, op, VEC_ANY, f, sz, leg, vx, fl)
#define EMU_FBIT_NONE                     VEC_NO

/* Integer operation of two vectors: MMX form (with the feature that brought it) and SSE form. */
#define INT2(m, op, mmx, sse)                                                                      \
    ROW(m, NP, op, P_Q, 8, mmx, NONE, 0), ROW(m, P66, op, V_HW, 16, sse, AVX, VEC_LX | VEC_L_AVX2)
/* SSE form only. */
#define INT1(m, op, sse) ROW(m, P66, op, V_HW, 16, sse, AVX, VEC_LX | VEC_L_AVX2)
/* Shift by a count in a vector: the count is 16 bytes whatever VEX.L. */
#define SHIFT(op)                                                                                  \
    ROW(0F, NP, op, P_Q, 8, MMX, NONE, 0), ROW(0F, P66, op, V_HW, 16, SSE2, AVX, VEC_L_AVX2)
/* Shift by an immediate. */
#define SHIFT_IMM1(op, e) ROW_EXT(0F, P66, op, e, H_W, 0, SSE2, AVX, VEC_L_AVX2)
#define SHIFT_IMM(op, e)  ROW_EXT(0F, NP, op, e, N_Q, 0, MMX, NONE, 0), SHIFT_IMM1(op, e)
/* ps and pd of one operation, then the scalars. */
#define PACKED(op, f, fl)                                                                          \
    ROW(0F, NP, op, f, 16, SSE, AVX, VEC_LX | (fl)),                                               \
        ROW(0F, P66, op, f, 16, SSE2, AVX, VEC_LX | (fl))
#define SCALAR(op)                                                                                 \
    ROW(0F, PF3, op, V_HW, 4, SSE, AVX, VEC_FP | VEC_LIG),                                         \
        ROW(0F, PF2, op, V_HW, 8, SSE2, AVX, VEC_FP | VEC_LIG)
#define ARITH(op) PACKED(op, V_HW, VEC_FP), SCALAR(op)
/* Sign or zero extension of `sz` bytes. */
#define EXTEND(op, sz) ROW(0F38, P66, op, V_W, sz, SSE41, AVX, VEC_LX | VEC_L_AVX2)
/* Fused multiply-add: packed, scalar. */
#define FMA_P(op) ROW(0F38, P66, op, V_HW, 16, NONE, FMA, VEC_LX | VEC_FP)
#define FMA_S(op) ROW(0F38, P66, op, V_HW, 4, NONE, FMA, VEC_WX | VEC_FP | VEC_LIG)
#define FMA_GROUP(op)                                                                              \
    FMA_P((op) + 6), FMA_P((op) + 7), FMA_P((op) + 8), FMA_S((op) + 9), FMA_P((op) + 10),          \
        FMA_S((op) + 11), FMA_P((op) + 12), FMA_S((op) + 13), FMA_P((op) + 14), FMA_S((op) + 15)
#define AVX_ONLY(m, op, f, sz, feat, fl) ROW(m, P66, op, f, sz, NONE, feat, fl)
#define SHA_ROW(op, fl)                  ROW(0F38, NP, op, V_HW, 16, SHA, NONE, fl)
#define AES_ROW(op)                      ROW(0F38, P66, op, V_HW, 16, AES, AES, VEC_LX | VEC_L_VAES)

#define MOVE_A (VEC_LX | VEC_VA | VEC_MOVE)
#define MOVE_U (VEC_LX | VEC_U | VEC_MOVE)
#define STR    (VEC_U | VEC_EFL | VEC_L0 | VEC_WG)

const struct vec_row vec_rows[] = {
    /* ---- 0F: moves ---- */
    ROW(0F, NP, 0x10, V_W, 16, SSE, AVX, MOVE_U),
    ROW(0F, P66, 0x10, V_W, 16, SSE2, AVX, MOVE_U),
    ROW(0F, PF3, 0x10, V_W, 4, SSE, AVX, VEC_MOVE | VEC_HREG | VEC_LIG),
    ROW(0F, PF2, 0x10, V_W, 8, SSE2, AVX, VEC_MOVE | VEC_HREG | VEC_LIG),
    ROW(0F, NP, 0x11, W_V, 16, SSE, AVX, MOVE_U),
    ROW(0F, P66, 0x11, W_V, 16, SSE2, AVX, MOVE_U),
    ROW(0F, PF3, 0x11, W_V, 4, SSE, AVX, VEC_MOVE | VEC_HREG | VEC_LIG),
    ROW(0F, PF2, 0x11, W_V, 8, SSE2, AVX, VEC_MOVE | VEC_HREG | VEC_LIG),
    ROW(0F, NP, 0x12, V_HW, 8, SSE, AVX, VEC_L0),
    ROW(0F, P66, 0x12, V_HW, 8, SSE2, AVX, VEC_L0 | VEC_NOREG),
    ROW(0F, PF3, 0x12, V_W, 16, SSE3, AVX, VEC_LX),
    ROW(0F, PF2, 0x12, V_W, 8, SSE3, AVX, VEC_L0),
    ROW(0F, PF2, 0x12, V_W, 32, NONE, AVX, VEC_L1),
    ROW(0F, NP, 0x13, W_V, 8, SSE, AVX, VEC_L0 | VEC_NOREG | VEC_MOVE),
    ROW(0F, P66, 0x13, W_V, 8, SSE2, AVX, VEC_L0 | VEC_NOREG | VEC_MOVE),
    PACKED(0x14, V_HW, 0),
    PACKED(0x15, V_HW, 0),
    ROW(0F, NP, 0x16, V_HW, 8, SSE, AVX, VEC_L0),
    ROW(0F, P66, 0x16, V_HW, 8, SSE2, AVX, VEC_L0 | VEC_NOREG),
    ROW(0F, PF3, 0x16, V_W, 16, SSE3, AVX, VEC_LX),
    ROW(0F, NP, 0x17, W_V, 8, SSE, AVX, VEC_L0 | VEC_NOREG),
    ROW(0F, P66, 0x17, W_V, 8, SSE2, AVX, VEC_L0 | VEC_NOREG),
    PACKED(0x28, V_W, MOVE_A),
    PACKED(0x29, W_V, MOVE_A),
    PACKED(0x2b, W_V, MOVE_A | VEC_NOREG),
    ROW(0F, NP, 0x50, G_W, 0, SSE, AVX, 0),
    ROW(0F, P66, 0x50, G_W, 0, SSE2, AVX, 0),

    /* ---- 0F: conversions between integers and floating point ---- */
    ROW(0F, NP, 0x2a, V_Q, 8, SSE, NONE, VEC_FP),
    ROW(0F, P66, 0x2a, V_Q, 8, SSE2, NONE, VEC_FP),
    ROW(0F, PF3, 0x2a, V_HE, 4, SSE, AVX, VEC_WX | VEC_WG | VEC_FP | VEC_LIG),
    ROW(0F, PF2, 0x2a, V_HE, 4, SSE2, AVX, VEC_WX | VEC_WG | VEC_FP | VEC_LIG),
    ROW(0F, NP, 0x2c, P_W, 8, SSE, NONE, VEC_FP),
    ROW(0F, P66, 0x2c, P_W, 16, SSE2, NONE, VEC_FP),
    ROW(0F, PF3, 0x2c, G_W, 4, SSE, AVX, VEC_WG | VEC_FP | VEC_LIG),
    ROW(0F, PF2, 0x2c, G_W, 8, SSE2, AVX, VEC_WG | VEC_FP | VEC_LIG),
    ROW(0F, NP, 0x2d, P_W, 8, SSE, NONE, VEC_FP),
    ROW(0F, P66, 0x2d, P_W, 16, SSE2, NONE, VEC_FP),
    ROW(0F, PF3, 0x2d, G_W, 4, SSE, AVX, VEC_WG | VEC_FP | VEC_LIG),
    ROW(0F, PF2, 0x2d, G_W, 8, SSE2, AVX, VEC_WG | VEC_FP | VEC_LIG),
    ROW(0F, NP, 0x2e, F_VW, 4, SSE, AVX, VEC_FP | VEC_EFL | VEC_LIG),
    ROW(0F, P66, 0x2e, F_VW, 8, SSE2, AVX, VEC_FP | VEC_EFL | VEC_LIG),
    ROW(0F, NP, 0x2f, F_VW, 4, SSE, AVX, VEC_FP | VEC_EFL | VEC_LIG),
    ROW(0F, P66, 0x2f, F_VW, 8, SSE2, AVX, VEC_FP | VEC_EFL | VEC_LIG),
    ROW(0F, NP, 0x5a, V_W, 8, SSE2, AVX, VEC_LX | VEC_FP),
    ROW(0F, P66, 0x5a, V_W, 16, SSE2, AVX, VEC_LX | VEC_FP),
    ROW(0F, PF3, 0x5a, V_HW, 4, SSE2, AVX, VEC_FP | VEC_LIG),
    ROW(0F, PF2, 0x5a, V_HW, 8, SSE2, AVX, VEC_FP | VEC_LIG),
    ROW(0F, NP, 0x5b, V_W, 16, SSE2, AVX, VEC_LX | VEC_FP),
    ROW(0F, P66, 0x5b, V_W, 16, SSE2, AVX, VEC_LX | VEC_FP),
    ROW(0F, PF3, 0x5b, V_W, 16, SSE2, AVX, VEC_LX | VEC_FP),
    ROW(0F, P66, 0xe6, V_W, 16, SSE2, AVX, VEC_LX | VEC_FP),
    ROW(0F, PF3, 0xe6, V_W, 8, SSE2, AVX, VEC_LX),
    ROW(0F, PF2, 0xe6, V_W, 16, SSE2, AVX, VEC_LX | VEC_FP),

    /* ---- 0F: floating-point arithmetic ---- */
    PACKED(0x51, V_W, VEC_FP),
    SCALAR(0x51),
    ROW(0F, NP, 0x52, V_W, 16, SSE, AVX, VEC_LX | VEC_FP),
    ROW(0F, PF3, 0x52, V_HW, 4, SSE, AVX, VEC_FP | VEC_LIG),
    ROW(0F, NP, 0x53, V_W, 16, SSE, AVX, VEC_LX | VEC_FP),
    ROW(0F, PF3, 0x53, V_HW, 4, SSE, AVX, VEC_FP | VEC_LIG),
    PACKED(0x54, V_HW, 0),
    PACKED(0x55, V_HW, 0),
    PACKED(0x56, V_HW, 0),
    PACKED(0x57, V_HW, 0),
    ARITH(0x58),
    ARITH(0x59),
    ARITH(0x5c),
    ARITH(0x5d),
    ARITH(0x5e),
    ARITH(0x5f),
    ROW(0F, P66, 0x7c, V_HW, 16, SSE3, AVX, VEC_LX | VEC_FP),
    ROW(0F, PF2, 0x7c, V_HW, 16, SSE3, AVX, VEC_LX | VEC_FP),
    ROW(0F, P66, 0x7d, V_HW, 16, SSE3, AVX, VEC_LX | VEC_FP),
    ROW(0F, PF2, 0x7d, V_HW, 16, SSE3, AVX, VEC_LX | VEC_FP),
    ARITH(0xc2),
    PACKED(0xc6, V_HW, 0),
    ROW(0F, P66, 0xd0, V_HW, 16, SSE3, AVX, VEC_LX | VEC_FP),
    ROW(0F, PF2, 0xd0, V_HW, 16, SSE3, AVX, VEC_LX | VEC_FP),

    /* ---- 0F: integer moves, shuffles, shifts ---- */
    ROW(0F, NP, 0x60, P_Q, 4, MMX, NONE, 0),
    INT1(0F, 0x60, SSE2),
    ROW(0F, NP, 0x61, P_Q, 4, MMX, NONE, 0),
    INT1(0F, 0x61, SSE2),
    ROW(0F, NP, 0x62, P_Q, 4, MMX, NONE, 0),
    INT1(0F, 0x62, SSE2),
    INT2(0F, 0x63, MMX, SSE2),
    INT2(0F, 0x64, MMX, SSE2),
    INT2(0F, 0x65, MMX, SSE2),
    INT2(0F, 0x66, MMX, SSE2),
    INT2(0F, 0x67, MMX, SSE2),
    INT2(0F, 0x68, MMX, SSE2),
    INT2(0F, 0x69, MMX, SSE2),
    INT2(0F, 0x6a, MMX, SSE2),
    INT2(0F, 0x6b, MMX, SSE2),
    INT1(0F, 0x6c, SSE2),
    INT1(0F, 0x6d, SSE2),
    ROW(0F, NP, 0x6e, P_E, 4, MMX, NONE, VEC_WX | VEC_WG),
    ROW(0F, P66, 0x6e, V_E, 4, SSE2, AVX, VEC_WX | VEC_WG | VEC_L0 | VEC_MOVE),
    ROW(0F, NP, 0x6f, P_Q, 8, MMX, NONE, 0),
    ROW(0F, P66, 0x6f, V_W, 16, SSE2, AVX, MOVE_A),
    ROW(0F, PF3, 0x6f, V_W, 16, SSE2, AVX, MOVE_U),
    ROW(0F, NP, 0x70, P_Q, 8, SSE, NONE, 0),
    ROW(0F, P66, 0x70, V_W, 16, SSE2, AVX, VEC_LX | VEC_L_AVX2),
    ROW(0F, PF3, 0x70, V_W, 16, SSE2, AVX, VEC_LX | VEC_L_AVX2),
    ROW(0F, PF2, 0x70, V_W, 16, SSE2, AVX, VEC_LX | VEC_L_AVX2),
    SHIFT_IMM(0x71, 2),
    SHIFT_IMM(0x71, 4),
    SHIFT_IMM(0x71, 6),
    SHIFT_IMM(0x72, 2),
    SHIFT_IMM(0x72, 4),
    SHIFT_IMM(0x72, 6),
    SHIFT_IMM(0x73, 2),
    SHIFT_IMM1(0x73, 3),
    SHIFT_IMM(0x73, 6),
    SHIFT_IMM1(0x73, 7),
    INT2(0F, 0x74, MMX, SSE2),
    INT2(0F, 0x75, MMX, SSE2),
    INT2(0F, 0x76, MMX, SSE2),
    ROW(0F, NP, 0x7e, E_P, 4, MMX, NONE, VEC_WX | VEC_WG),
    ROW(0F, P66, 0x7e, E_V, 4, SSE2, AVX, VEC_WX | VEC_WG | VEC_L0 | VEC_MOVE),
    ROW(0F, PF3, 0x7e, V_W, 8, SSE2, AVX, VEC_L0 | VEC_MOVE),
    ROW(0F, NP, 0x7f, Q_P, 8, MMX, NONE, 0),
    ROW(0F, P66, 0x7f, W_V, 16, SSE2, AVX, MOVE_A),
    ROW(0F, PF3, 0x7f, W_V, 16, SSE2, AVX, MOVE_U),
    ROW(0F, NP, 0xc4, P_E, 2, SSE, NONE, 0),
    ROW(0F, P66, 0xc4, V_HE, 2, SSE2, AVX, VEC_L0),
    ROW(0F, NP, 0xc5, G_Q, 0, SSE, NONE, 0),
    ROW(0F, P66, 0xc5, G_W, 0, SSE2, AVX, VEC_L0),

    /* ---- 0F: integer arithmetic ---- */
    SHIFT(0xd1),
    SHIFT(0xd2),
    SHIFT(0xd3),
    INT2(0F, 0xd4, SSE2, SSE2),
    INT2(0F, 0xd5, MMX, SSE2),
    ROW(0F, P66, 0xd6, W_V, 8, SSE2, AVX, VEC_L0 | VEC_MOVE),
    ROW(0F, PF3, 0xd6, V_Q, 0, SSE2, NONE, 0),
    ROW(0F, PF2, 0xd6, P_W, 0, SSE2, NONE, 0),
    ROW(0F, NP, 0xd7, G_Q, 0, SSE, NONE, 0),
    ROW(0F, P66, 0xd7, G_W, 0, SSE2, AVX, VEC_L_AVX2),
    INT2(0F, 0xd8, MMX, SSE2),
    INT2(0F, 0xd9, MMX, SSE2),
    INT2(0F, 0xda, SSE, SSE2),
    INT2(0F, 0xdb, MMX, SSE2),
    INT2(0F, 0xdc, MMX, SSE2),
    INT2(0F, 0xdd, MMX, SSE2),
    INT2(0F, 0xde, SSE, SSE2),
    INT2(0F, 0xdf, MMX, SSE2),
    INT2(0F, 0xe0, SSE, SSE2),
    SHIFT(0xe1),
    SHIFT(0xe2),
    INT2(0F, 0xe3, SSE, SSE2),
    INT2(0F, 0xe4, SSE, SSE2),
    INT2(0F, 0xe5, MMX, SSE2),
    ROW(0F, NP, 0xe7, Q_P, 8, SSE, NONE, VEC_NOREG),
    ROW(0F, P66, 0xe7, W_V, 16, SSE2, AVX, MOVE_A | VEC_NOREG),
    INT2(0F, 0xe8, MMX, SSE2),
    INT2(0F, 0xe9, MMX, SSE2),
    INT2(0F, 0xea, SSE, SSE2),
    INT2(0F, 0xeb, MMX, SSE2),
    INT2(0F, 0xec, MMX, SSE2),
    INT2(0F, 0xed, MMX, SSE2),
    INT2(0F, 0xee, SSE, SSE2),
    INT2(0F, 0xef, MMX, SSE2),
    ROW(0F, PF2, 0xf0, V_W, 16, SSE3, AVX, MOVE_U | VEC_NOREG),
    SHIFT(0xf1),
    SHIFT(0xf2),
    SHIFT(0xf3),
    INT2(0F, 0xf4, SSE2, SSE2),
    INT2(0F, 0xf5, MMX, SSE2),
    INT2(0F, 0xf6, SSE, SSE2),
    INT2(0F, 0xf8, MMX, SSE2),
    INT2(0F, 0xf9, MMX, SSE2),
    INT2(0F, 0xfa, MMX, SSE2),
    INT2(0F, 0xfb, SSE2, SSE2),
    INT2(0F, 0xfc, MMX, SSE2),
    INT2(0F, 0xfd, MMX, SSE2),
    INT2(0F, 0xfe, MMX, SSE2),

    /* ---- 0F38 ---- */
    INT2(0F38, 0x00, SSSE3, SSSE3),
    INT2(0F38, 0x01, SSSE3, SSSE3),
    INT2(0F38, 0x02, SSSE3, SSSE3),
    INT2(0F38, 0x03, SSSE3, SSSE3),
    INT2(0F38, 0x04, SSSE3, SSSE3),
    INT2(0F38, 0x05, SSSE3, SSSE3),
    INT2(0F38, 0x06, SSSE3, SSSE3),
    INT2(0F38, 0x07, SSSE3, SSSE3),
    INT2(0F38, 0x08, SSSE3, SSSE3),
    INT2(0F38, 0x09, SSSE3, SSSE3),
    INT2(0F38, 0x0a, SSSE3, SSSE3),
    INT2(0F38, 0x0b, SSSE3, SSSE3),
    AVX_ONLY(0F38, 0x0c, V_HW, 16, AVX, VEC_LX | VEC_W0),
    AVX_ONLY(0F38, 0x0d, V_HW, 16, AVX, VEC_LX | VEC_W0),
    AVX_ONLY(0F38, 0x0e, F_VW, 16, AVX, VEC_LX | VEC_W0 | VEC_EFL),
    AVX_ONLY(0F38, 0x0f, F_VW, 16, AVX, VEC_LX | VEC_W0 | VEC_EFL),
    ROW(0F38, P66, 0x10, V_HW, 16, SSE41, NONE, VEC_X0),
    AVX_ONLY(0F38, 0x13, V_W, 8, F16C, VEC_LX | VEC_W0 | VEC_FP),
    ROW(0F38, P66, 0x14, V_HW, 16, SSE41, NONE, VEC_X0),
    ROW(0F38, P66, 0x15, V_HW, 16, SSE41, NONE, VEC_X0),
    AVX_ONLY(0F38, 0x16, V_HW, 32, AVX2, VEC_L1 | VEC_W0),
    ROW(0F38, P66, 0x17, F_VW, 16, SSE41, AVX, VEC_LX | VEC_EFL),
    AVX_ONLY(0F38, 0x18, V_W, 4, AVX, VEC_W0 | VEC_R_AVX2),
    AVX_ONLY(0F38, 0x19, V_W, 8, AVX, VEC_W0 | VEC_L1 | VEC_R_AVX2),
    AVX_ONLY(0F38, 0x1a, V_W, 16, AVX, VEC_W0 | VEC_L1 | VEC_NOREG),
    ROW(0F38, NP, 0x1c, P_Q, 8, SSSE3, NONE, 0),
    ROW(0F38, P66, 0x1c, V_W, 16, SSSE3, AVX, VEC_LX | VEC_L_AVX2),
    ROW(0F38, NP, 0x1d, P_Q, 8, SSSE3, NONE, 0),
    ROW(0F38, P66, 0x1d, V_W, 16, SSSE3, AVX, VEC_LX | VEC_L_AVX2),
    ROW(0F38, NP, 0x1e, P_Q, 8, SSSE3, NONE, 0),
    ROW(0F38, P66, 0x1e, V_W, 16, SSSE3, AVX, VEC_LX | VEC_L_AVX2),
    EXTEND(0x20, 8),
    EXTEND(0x21, 4),
    EXTEND(0x22, 2),
    EXTEND(0x23, 8),
    EXTEND(0x24, 4),
    EXTEND(0x25, 8),
    INT1(0F38, 0x28, SSE41),
    INT1(0F38, 0x29, SSE41),
    ROW(0F38, P66, 0x2a, V_W, 16, SSE41, AVX, MOVE_A | VEC_NOREG | VEC_L_AVX2),
    INT1(0F38, 0x2b, SSE41),
    EXTEND(0x30, 8),
    EXTEND(0x31, 4),
    EXTEND(0x32, 2),
    EXTEND(0x33, 8),
    EXTEND(0x34, 4),
    EXTEND(0x35, 8),
    AVX_ONLY(0F38, 0x36, V_HW, 32, AVX2, VEC_L1 | VEC_W0),
    INT1(0F38, 0x37, SSE42),
    INT1(0F38, 0x38, SSE41),
    INT1(0F38, 0x39, SSE41),
    INT1(0F38, 0x3a, SSE41),
    INT1(0F38, 0x3b, SSE41),
    INT1(0F38, 0x3c, SSE41),
    INT1(0F38, 0x3d, SSE41),
    INT1(0F38, 0x3e, SSE41),
    INT1(0F38, 0x3f, SSE41),
    INT1(0F38, 0x40, SSE41),
    ROW(0F38, P66, 0x41, V_W, 16, SSE41, AVX, VEC_L0),
    AVX_ONLY(0F38, 0x45, V_HW, 16, AVX2, VEC_LX),
    AVX_ONLY(0F38, 0x46, V_HW, 16, AVX2, VEC_LX | VEC_W0),
    AVX_ONLY(0F38, 0x47, V_HW, 16, AVX2, VEC_LX),
    AVX_ONLY(0F38, 0x58, V_W, 4, AVX2, VEC_W0),
    AVX_ONLY(0F38, 0x59, V_W, 8, AVX2, VEC_W0),
    AVX_ONLY(0F38, 0x5a, V_W, 16, AVX2, VEC_W0 | VEC_L1 | VEC_NOREG),
    AVX_ONLY(0F38, 0x78, V_W, 1, AVX2, VEC_W0),
    AVX_ONLY(0F38, 0x79, V_W, 2, AVX2, VEC_W0),
    FMA_GROUP(0x90),
    FMA_GROUP(0xa0),
    FMA_GROUP(0xb0),
    SHA_ROW(0xc8, 0),
    SHA_ROW(0xc9, 0),
    SHA_ROW(0xca, 0),
    SHA_ROW(0xcb, VEC_X0),
    SHA_ROW(0xcc, 0),
    SHA_ROW(0xcd, 0),
    ROW(0F38, P66, 0xcf, V_HW, 16, GFNI, GFNI, VEC_LX | VEC_W0),
    ROW(0F38, P66, 0xdb, V_W, 16, AES, AES, VEC_L0),
    AES_ROW(0xdc),
    AES_ROW(0xdd),
    AES_ROW(0xde),
    AES_ROW(0xdf),

    /* ---- 0F3A ---- */
    AVX_ONLY(0F3A, 0x00, V_W, 32, AVX2, VEC_L1 | VEC_W1),
    AVX_ONLY(0F3A, 0x01, V_W, 32, AVX2, VEC_L1 | VEC_W1),
    AVX_ONLY(0F3A, 0x02, V_HW, 16, AVX2, VEC_LX | VEC_W0),
    AVX_ONLY(0F3A, 0x04, V_W, 16, AVX, VEC_LX | VEC_W0),
    AVX_ONLY(0F3A, 0x05, V_W, 16, AVX, VEC_LX | VEC_W0),
    AVX_ONLY(0F3A, 0x06, V_HW, 32, AVX, VEC_L1 | VEC_W0),
    ROW(0F3A, P66, 0x08, V_W, 16, SSE41, AVX, VEC_LX | VEC_FP),
    ROW(0F3A, P66, 0x09, V_W, 16, SSE41, AVX, VEC_LX | VEC_FP),
    ROW(0F3A, P66, 0x0a, V_HW, 4, SSE41, AVX, VEC_LIG | VEC_FP),
    ROW(0F3A, P66, 0x0b, V_HW, 8, SSE41, AVX, VEC_LIG | VEC_FP),
    ROW(0F3A, P66, 0x0c, V_HW, 16, SSE41, AVX, VEC_LX),
    ROW(0F3A, P66, 0x0d, V_HW, 16, SSE41, AVX, VEC_LX),
    INT1(0F3A, 0x0e, SSE41),
    INT2(0F3A, 0x0f, SSSE3, SSSE3),
    ROW(0F3A, P66, 0x14, E_V, 1, SSE41, AVX, VEC_L0),
    ROW(0F3A, P66, 0x15, E_V, 2, SSE41, AVX, VEC_L0),
    ROW(0F3A, P66, 0x16, E_V, 4, SSE41, AVX, VEC_L0 | VEC_WX | VEC_WG),
    ROW(0F3A, P66, 0x17, E_V, 4, SSE41, AVX, VEC_L0),
    AVX_ONLY(0F3A, 0x18, V_HW, 16, AVX, VEC_L1 | VEC_W0),
    AVX_ONLY(0F3A, 0x19, W_V, 16, AVX, VEC_L1 | VEC_W0),
    AVX_ONLY(0F3A, 0x1d, W_V, 8, F16C, VEC_LX | VEC_W0 | VEC_FP),
    ROW(0F3A, P66, 0x20, V_HE, 1, SSE41, AVX, VEC_L0),
    ROW(0F3A, P66, 0x21, V_HW, 4, SSE41, AVX, VEC_L0),
    ROW(0F3A, P66, 0x22, V_HE, 4, SSE41, AVX, VEC_L0 | VEC_WX | VEC_WG),
    AVX_ONLY(0F3A, 0x38, V_HW, 16, AVX2, VEC_L1 | VEC_W0),
    AVX_ONLY(0F3A, 0x39, W_V, 16, AVX2, VEC_L1 | VEC_W0),
    ROW(0F3A, P66, 0x40, V_HW, 16, SSE41, AVX, VEC_LX | VEC_FP),
    ROW(0F3A, P66, 0x41, V_HW, 16, SSE41, AVX, VEC_L0 | VEC_FP),
    INT1(0F3A, 0x42, SSE41),
    ROW(0F3A, P66, 0x44, V_HW, 16, PCLMUL, PCLMUL, VEC_LX | VEC_L_VPCL),
    AVX_ONLY(0F3A, 0x46, V_HW, 32, AVX2, VEC_L1 | VEC_W0),
    AVX_ONLY(0F3A, 0x4a, V_HW, 16, AVX, VEC_LX | VEC_W0 | VEC_IS4),
    AVX_ONLY(0F3A, 0x4b, V_HW, 16, AVX, VEC_LX | VEC_W0 | VEC_IS4),
    AVX_ONLY(0F3A, 0x4c, V_HW, 16, AVX, VEC_LX | VEC_W0 | VEC_IS4 | VEC_L_AVX2),
    ROW(0F3A, P66, 0x60, X0_VW, 16, SSE42, AVX, STR | VEC_EAX_EDX),
    ROW(0F3A, P66, 0x61, F_VW, 16, SSE42, AVX, STR | VEC_EAX_EDX | VEC_ECX),
    ROW(0F3A, P66, 0x62, X0_VW, 16, SSE42, AVX, STR),
    ROW(0F3A, P66, 0x63, F_VW, 16, SSE42, AVX, STR | VEC_ECX),
    ROW(0F3A, NP, 0xcc, V_HW, 16, SHA, NONE, 0),
    ROW(0F3A, P66, 0xce, V_HW, 16, GFNI, GFNI, VEC_LX | VEC_W1),
    ROW(0F3A, P66, 0xcf, V_HW, 16, GFNI, GFNI, VEC_LX | VEC_W1),
    ROW(0F3A, P66, 0xdf, V_W, 16, AES, AES, VEC_L0),
};
const unsigned vec_row_count = ARRAY_SIZE(vec_rows);

/* First row + 1 of each map, pp, opcode; rows of one opcode follow each other through `next`. */
static uint16_t row_first[3][4][256];
static uint16_t row_next[ARRAY_SIZE(vec_rows)];

static void index_rows(void)
{
    for (unsigned n = vec_row_count; n-- > 0;) {
        const struct vec_row *row = &vec_rows[n];
        uint16_t *first = &row_first[row->map - X86_MAP_0F][row->pp][row->opcode];

        row_next[n] = *first;
        *first = (uint16_t)(n + 1);
    }
}

static bool row_fits(const struct vec_row *row, const struct x86_insn *i)
{
    bool vex = i->flags & X86_VEX, mem = i->flags & X86_RM_MEM, l = i->flags & X86_L,
         w = i->flags & X86_W;

    if (row->ext != VEC_ANY && row->ext != (i->modrm >> 3 & 7))
        return false;
    if (mem ? row->size == 0 : (row->flags & VEC_NOREG) != 0)
        return false;
    if ((vex ? row->vex : row->legacy) == VEC_NO)
        return false;
    if (!vex)
        return true;
    return (vec_has_h(row, mem) || i->vvvv == 0) && !(row->flags & VEC_L0 && l) &&
           !(row->flags & VEC_L1 && !l) && !(row->flags & VEC_W0 && w) &&
           !(row->flags & VEC_W1 && !w);
}

const struct vec_row *vec_find(const struct x86_insn *i)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    if (i->map < X86_MAP_0F || i->map > X86_MAP_0F3A)
        return NULL;
    pthread_once(&once, index_rows);
    for (unsigned n = row_first[i->map - X86_MAP_0F][i->pp & 3][i->opcode]; n; n = row_next[n - 1])
        if (row_fits(&vec_rows[n - 1], i))
            return &vec_rows[n - 1];
    return NULL;
}

bool vec_offered(const struct vec_row *row, const struct x86_insn *i, uint64_t features)
{
    uint64_t need;

    if (!(i->flags & X86_VEX))
        return features & BIT(row->legacy);
    need = EMU_F(AVX) | BIT(row->vex);
    if (i->flags & X86_L) {
        if (row->flags & VEC_L_AVX2)
            need |= EMU_F(AVX2);
        if (row->flags & VEC_L_VAES)
            need |= EMU_F(VAES);
        if (row->flags & VEC_L_VPCL)
            need |= EMU_F(VPCLMUL);
    }
    if (row->flags & VEC_R_AVX2 && !(i->flags & X86_RM_MEM))
        need |= EMU_F(AVX2);
    return (features & need) == need;
}

unsigned vec_mem_size(const struct vec_row *row, const struct x86_insn *i, bool code64)
{
    unsigned size = row->size;
    bool w = i->flags & X86_W && (code64 || !(row->flags & VEC_WG));

    if (row->flags & VEC_LX && i->flags & X86_L)
        size *= 2;
    if (row->flags & VEC_WX && w)
        size *= 2;
    return size;
}
