/*
 * x87, MMX and XSAVE state: the image of struct emu_fpu, its rules, and its
 * exchange format.
 */
#ifndef MOTE_EMU_FPU_H
#define MOTE_EMU_FPU_H

#include "emu/cpu.h"
#include "emu/features.h"

/* Offsets in emu_fpu.x87, FXSAVE64's layout (SDM Vol. 1 table 10-2). */
enum {
    X87_FCW = 0,
    X87_FSW = 2,
    X87_FTW = 4, /* one bit a physical register: not empty */
    X87_FOP = 6,
    X87_FIP = 8, /* outside 64-bit code: offset, and selector in bits 32-47 */
    X87_FDP = 16,
    X87_ST = 32, /* ST0-7, 16 bytes each */
    X87_SIZE = 160,
};

#define FCW_INIT      0x037fu
#define FSW_ES        0x0080u
#define FSW_BUSY      0x8000u
#define FSW_TOP_SHIFT 11
#define MXCSR_INIT    0x1f80u
#define MXCSR_VALID   0xffffu
#define MXCSR_MASKS   0x1f80u
#define MXCSR_FLAGS   0x003fu
#define MXCSR_FTZ     0x8000u

static inline uint16_t x87_fsw(const struct emu_fpu *f)
{
    return le16_get(f->x87 + X87_FSW);
}

/* What FNINIT leaves (SDM Vol. 1 8.1); the registers keep their contents. */
void x87_init(struct emu_fpu *f);

/*
 * Checks before an instruction on x87 or MMX registers: #UD or #NM by CR0
 * (em: what CR0.EM raises), #MF while an unmasked exception is pending. With
 * CR0.NE clear the PC's FERR# detour through IRQ 13 is not modelled: #MF too.
 */
void x87_check(struct emu_cpu *c, unsigned em);
void x87_check_pending(struct emu_cpu *c);

/*
 * An MMX instruction makes TOP 0 and all registers valid (SDM Vol. 1 9.6.2).
 * Afterwards MMn is the low half of ST slot n.
 */
void mmx_begin(struct emu_fpu *f);

/* Image of MMn once mmx_begin is done. */
static inline uint8_t *mmx_reg(struct emu_fpu *f, unsigned n)
{
    return f->x87 + X87_ST + 16 * (n & 7);
}

/* MMn was written: sign and exponent read as ones. */
static inline void mmx_written(struct emu_fpu *f, unsigned n)
{
    le16_put(mmx_reg(f, n) + 8, 0xffff);
}

/* FTW's two-bit form as FSTENV stores it (SDM Vol. 1 8.1.7), and back. */
uint16_t x87_tags(const struct emu_fpu *f);
uint8_t x87_tags_abridge(uint16_t tags);

/* Load the status word: TOP moves, physical registers stay; ES and B are recomputed. */
void x87_set_fsw(struct emu_fpu *f, uint16_t fsw);

/* Load the control word: bits that don't exist are dropped, bit 6 reads as one. */
void x87_set_fcw(struct emu_fpu *f, uint16_t fcw);

/* Take X87_SIZE bytes of an FXSAVE64 image that the guest or a file controls. */
void x87_from_image(struct emu_fpu *f, const uint8_t *image);

/* FSW.ES and B follow from the exceptions and FCW's masks. */
void x87_update_es(struct emu_fpu *f);

/* State as an XSAVE area in the standard format (SDM Vol. 1 13.4): x87, SSE, AVX. */
void emu_fpu_to_xsave(const struct emu_cpu *c, uint8_t xsave[X86_XSAVE_SIZE]);

/* The same into an area with components that the interpreter does not know: they stay. */
void emu_fpu_into_xsave(const struct emu_cpu *c, uint8_t xsave[X86_XSAVE_SIZE]);

/* Back. A component whose XSTATE_BV bit is clear is initialised. Bits of MXCSR that don't exist
 * are dropped. */
void emu_fpu_from_xsave(struct emu_cpu *c, const uint8_t *xsave);

#endif
