/*
 * One instruction taken apart: prefixes, opcode, ModRM, SIB, displacement,
 * immediate (SDM Vol. 2A chapter 2). Pure: bytes in, fields out. What the
 * instruction does is the interpreter's and the translator's business.
 */
#ifndef MOTE_X86_DECODE_H
#define MOTE_X86_DECODE_H

#include "x86/regs.h"

#include <stddef.h>
#include <stdint.h>

#define X86_INSN_MAX 15

/* Operand and address size that the code segment gives. */
enum x86_mode {
    X86_MODE16,
    X86_MODE32,
    X86_MODE64,
};

/* Opcode maps; VEX's mmmmm uses the same numbers. */
enum {
    X86_MAP_1B,   /* one byte */
    X86_MAP_0F,   /* 0F xx */
    X86_MAP_0F38, /* 0F 38 xx */
    X86_MAP_0F3A, /* 0F 3A xx */
};

/*
 * x86_insn.flags. Of F2 and F3 only the last one given is here. X86_SEGOVR and
 * seg tell of the last override that counts: in 64-bit mode ES, CS, SS and DS
 * do not, nor do they undo an FS or GS before them.
 */
#define X86_LOCK   0x0001u /* F0 */
#define X86_REP    0x0002u /* F3 */
#define X86_REPNE  0x0004u /* F2 */
#define X86_OPSIZE 0x0008u /* 66 */
#define X86_ADSIZE 0x0010u /* 67 */
#define X86_REX    0x0020u /* any REX: byte registers 4-7 are SPL..DIL */
#define X86_W      0x0040u /* REX.W or VEX.W */
#define X86_VEX    0x0080u
#define X86_L      0x0100u /* VEX.L: 256 bits */
#define X86_MODRM  0x0200u
#define X86_RM_MEM 0x0400u /* ModRM names memory (mod != 3); base..disp are valid */
#define X86_SEGOVR 0x0800u /* a segment override prefix was given */
#define X86_VSIB   0x1000u /* index is a vector register (gathers) */

/*
 * Pseudo registers behind gpr[0..15], so that an address is always
 * disp + r[base] + (r[index] << scale): RIP's slot holds the address of the
 * next instruction, and NONE's slot is always zero.
 */
#define X86_RIP_SLOT  16
#define X86_NONE_SLOT 17
#define X86_GPR_SLOTS 18

/*
 * imm is sign-extended from its size to 64 bits, MOV r, imm included: whoever
 * writes to a narrower operand cuts it. Zero-extended are shift counts, bit
 * numbers, INT's vector, ports, AAM's and AAD's base, RET's and ENTER's sizes,
 * the controls of MMX and SSE, moffs and far offsets.
 *
 * Register numbers are raw: MMX and segment registers ignore bit 3, which
 * whoever reads them cuts. An instruction without ModRM has its opcode's low
 * three bits, extended by REX.B, in rm (PUSH, BSWAP, MOV r, imm ...).
 *
 * osize counts 66 and W even where they mean something else (pp, VEX.W of a
 * vector instruction). Near branches have 8 in 64-bit mode, with a 66 too, as
 * on Intel's processors (AMD's then branch to IP); MOV to and from CR and DR
 * has 8 or, outside 64-bit mode, 4; VEX has 4 or, in 64-bit mode with W, 8.
 * Port I/O with REX.W has 8 and moves 4 bytes.
 *
 * Outside 64-bit mode the top bits of VEX's registers are 0.
 */
struct x86_insn {
    uint64_t imm; /* immediate; moffs address; far offset */
    int32_t disp;
    uint16_t flags;       /* X86_* above */
    uint16_t imm2;        /* ENTER's level, the selector of a far pointer */
    uint8_t len;          /* bytes, 1 to 15 */
    uint8_t map;          /* X86_MAP_* */
    uint8_t opcode;       /* last opcode byte */
    uint8_t scale : 2;    /* shift: 0-3 */
    uint8_t imm_size : 4; /* bytes of the immediate in the encoding, 0 if none */
    uint8_t pp : 2;    /* mandatory prefix that applies: 0 none, 1 66, 2 F3, 3 F2 (VEX.pp's coding);
                          without VEX: F2/F3 (the last one given) outrank 66 */
    uint8_t osize;     /* operand size in bytes: 2, 4, 8; the 64-bit defaults of
                          push, pop, near branches etc. are applied; byte forms are not (see opcode) */
    uint8_t asize;     /* address size in bytes: 2, 4, 8 */
    uint8_t seg;       /* effective segment of the memory operand, SEG_* (override or default);
                          of the source where no ModRM names it: strings, moffs, XLAT, MASKMOVQ */
    uint8_t modrm;     /* raw byte */
    uint8_t reg;       /* ModRM.reg with REX.R/VEX.R: 0-15 */
    uint8_t rm;        /* ModRM.rm with REX.B/VEX.B when it names a register: 0-15 */
    uint8_t vvvv;      /* VEX.vvvv, not inverted: 0-15 */
    uint8_t base;      /* 0-15, X86_RIP_SLOT or X86_NONE_SLOT */
    uint8_t index;     /* 0-15 or X86_NONE_SLOT; with X86_VSIB a vector register */
    uint8_t modrm_off; /* offset of the ModRM byte in the encoding (for re-encoding) */
};

/*
 * Decode one instruction from `avail` bytes at `code`. Returns its length, or
 *   -EAGAIN  it goes on past `avail` (never when avail >= X86_INSN_MAX),
 *   -E2BIG   it is longer than 15 bytes (#GP),
 *   -EILSEQ  no such instruction in this mode (#UD): undefined opcode, not
 *            valid in 64-bit mode, LOCK where it is not allowed, bad VEX.
 *
 * On an error *out holds nothing of use. Of several errors the one that the
 * leading bytes decide is returned.
 *
 * Opcodes without a place in the tables but with a known ModRM layout (the
 * whole 0F, 0F38 and 0F3A maps, x87) decode; whether the CPU has them, with
 * this pp, L, W, vvvv and ModRM, is for the caller to say. In VEX's 0F map only
 * the opcodes that AVX and AVX2 define decode. XOP, EVEX, 3DNow!, TSX's XBEGIN
 * and XABORT and SSE4A's EXTRQ and INSERTQ with immediates are no instructions.
 *
 * In 16- and 32-bit mode C4/C5 are LES/LDS unless their ModRM is a register
 * form; in real and virtual-8086 mode VEX is #UD, which the caller checks.
 */
int x86_decode(const uint8_t *code, size_t avail, enum x86_mode mode, struct x86_insn *out);

#endif
