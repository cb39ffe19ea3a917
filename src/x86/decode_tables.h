/* The decoder's tables (decode_tables.c); for decode.c alone. */
#ifndef MOTE_X86_DECODE_TABLES_H
#define MOTE_X86_DECODE_TABLES_H

#include <stdint.h>

/* One opcode's attribute word. */
#define A_MODRM  0x0001u
#define A_D64    0x0002u /* operand size 64 by default in 64-bit mode */
#define A_F64    0x0004u /* operand size 64 whatever the prefixes say in 64-bit mode */
#define A_NO64   0x0008u /* not in 64-bit mode */
#define A_UD     0x0010u /* nowhere */
#define A_VEX    0x0020u /* exists with VEX */
#define A_PREFIX 0x0040u /* a prefix, or REX's range; the group is its row in x86_prefixes */
#define A_ESC    0x0080u /* 0F, C4, C5 */
#define A_IMM(k) ((k) << 8)
#define A_GRP(g) ((g) << 12)

/* Past the one-byte map, where no row is a prefix or an escape, those bits mean: */
#define A_REGS A_PREFIX /* ModRM is a register form whatever mod is */
#define A_VSIB A_ESC    /* a gather when VEX-encoded */

#define ATTR_IMM(a)   (((a) >> 8) & 15)
#define ATTR_GROUP(a) ((a) >> 12)

/* Kinds of immediates: zero-extended ones, sign-extended ones, those that need code. */
enum {
    IMM_NONE,
    IMM_UB,
    IMM_UW,
    IMM_SB,
    IMM_Z, /* 2 or 4 bytes by operand size */
    IMM_V, /* 2, 4 or 8 */
    IMM_MOFFS,
    IMM_ENTER,
    IMM_FAR,
    IMM_TEST_B,
    IMM_TEST_Z,
    IMM_SSE4A,
};

/* Bit masks over ModRM.reg: what exists as a memory and as a register form, operand sizes. */
struct x86_group {
    uint8_t mem, reg, d64, f64;
};

enum {
    GRP_NONE,
    GRP_MEM,   /* memory forms only */
    GRP_0,     /* /0 only: POP r/m (the rest is XOP), MOV imm (the rest is TSX or nothing) */
    GRP_4,     /* FE */
    GRP_5,     /* FF */
    GRP_7,     /* 0F 01: SGDT, SIDT, LGDT, LIDT are 64 bits wide */
    GRP_8,     /* 0F BA */
    GRP_SREG,  /* 8C: six segment registers */
    GRP_LDSEG, /* 8E: the same without CS */
    GRP_COUNT,
};

/* What a prefix does to the flags, and the segment it names or SEG_COUNT. */
struct x86_prefix {
    uint16_t set, clear;
    uint8_t seg;
};

extern const uint16_t x86_attr[4][256];
extern const struct x86_group x86_groups[GRP_COUNT];
extern const struct x86_prefix x86_prefixes[11];
extern const uint8_t x86_imm_size[IMM_MOFFS][3]; /* [kind][operand size >> 2] */
extern const uint8_t x86_address_size[3][2];     /* [mode][67 given] */

#endif
