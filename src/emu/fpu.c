#include "emu/fpu.h"

/* XSAVE area (SDM Vol. 1 13.4, table 13-1; AVX at its only offset in use) */
enum { AREA_MXCSR = 24, AREA_MASK = 28, AREA_XMM = 160, AREA_BV = 512, AREA_YMMH = 576 };

/* Let ST0 be physical register `top`; the physical registers keep what they hold. */
static void set_top(struct emu_fpu *f, unsigned top)
{
    uint16_t fsw = x87_fsw(f);
    unsigned by = (top - (fsw >> FSW_TOP_SHIFT)) & 7;
    uint8_t old[8 * 16];

    if (by) {
        memcpy(old, f->x87 + X87_ST, sizeof(old));
        memcpy(f->x87 + X87_ST, old + 16 * by, 16 * (8 - by));
        memcpy(f->x87 + X87_ST + 16 * (8 - by), old, 16 * by);
    }
    le16_put(f->x87 + X87_FSW, (uint16_t)((fsw & ~(7u << FSW_TOP_SHIFT)) | top << FSW_TOP_SHIFT));
}

void x87_set_fsw(struct emu_fpu *f, uint16_t fsw)
{
    set_top(f, fsw >> FSW_TOP_SHIFT & 7);
    le16_put(f->x87 + X87_FSW, fsw);
    x87_update_es(f);
}

void x87_init(struct emu_fpu *f)
{
    set_top(f, 0);
    memset(f->x87, 0, X87_ST);
    le16_put(f->x87 + X87_FCW, FCW_INIT);
}

void x87_check_pending(struct emu_cpu *c)
{
    if (unlikely(x87_fsw(&c->fpu) & FSW_ES))
        emu_raise(c, EXC_MF);
}

void x87_check(struct emu_cpu *c, unsigned em)
{
    if (unlikely(c->cr0 & (CR0_EM | CR0_TS)))
        emu_raise(c, c->cr0 & CR0_EM ? em : EXC_NM);
    x87_check_pending(c);
}

void mmx_begin(struct emu_fpu *f)
{
    if (unlikely(x87_fsw(f) >> FSW_TOP_SHIFT & 7))
        set_top(f, 0);
    f->x87[X87_FTW] = 0xff;
}

/* 0 valid, 1 zero, 2 special: NaN, infinity, denormal, unsupported */
static unsigned tag_of(const uint8_t *st)
{
    uint64_t mantissa = le64_get(st);
    unsigned exponent = le16_get(st + 8) & 0x7fff;

    if (exponent == 0 && mantissa == 0)
        return 1;
    return exponent == 0 || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
}

uint16_t x87_tags(const struct emu_fpu *f)
{
    unsigned top = x87_fsw(f) >> FSW_TOP_SHIFT & 7, tags = 0;

    for (unsigned r = 0; r < 8; r++) {
        bool empty = !(f->x87[X87_FTW] >> r & 1);

        tags |= (empty ? 3 : tag_of(f->x87 + X87_ST + 16 * ((r - top) & 7))) << (2 * r);
    }
    return (uint16_t)tags;
}

uint8_t x87_tags_abridge(uint16_t tags)
{
    unsigned abridged = 0;

    for (unsigned r = 0; r < 8; r++)
        abridged |= (unsigned)((tags >> (2 * r) & 3) != 3) << r;
    return (uint8_t)abridged;
}

void x87_update_es(struct emu_fpu *f)
{
    unsigned fsw = x87_fsw(f) & ~(FSW_ES | FSW_BUSY);

    if (fsw & ~le16_get(f->x87 + X87_FCW) & 0x3f)
        fsw |= FSW_ES | FSW_BUSY;
    le16_put(f->x87 + X87_FSW, (uint16_t)fsw);
}

void x87_set_fcw(struct emu_fpu *f, uint16_t fcw)
{
    le16_put(f->x87 + X87_FCW, (fcw & 0x1f3f) | 0x40);
    x87_update_es(f);
}

void x87_from_image(struct emu_fpu *f, const uint8_t *image)
{
    memcpy(f->x87, image, X87_SIZE);
    f->x87[X87_FTW + 1] = 0;
    memset(f->x87 + AREA_MXCSR, 0, 8);
    for (unsigned n = 0; n < 8; n++)
        memset(f->x87 + X87_ST + 16 * n + 10, 0, 6);
    x87_set_fcw(f, le16_get(image + X87_FCW));
}

void emu_fpu_into_xsave(const struct emu_cpu *c, uint8_t xsave[X86_XSAVE_SIZE])
{
    const struct emu_fpu *f = &c->fpu;
    uint64_t known = XCR0_X87 | XCR0_SSE | (c->features & EMU_F(AVX) ? XCR0_AVX : 0);

    memcpy(xsave, f->x87, X87_SIZE);
    le32_put(xsave + AREA_MXCSR, f->mxcsr);
    le32_put(xsave + AREA_MASK, MXCSR_VALID);
    for (unsigned n = 0; n < 16; n++) {
        memcpy(xsave + AREA_XMM + 16 * n, f->ymm[n], 16);
        memcpy(xsave + AREA_YMMH + 16 * n, f->ymm[n] + 16, 16);
    }
    le64_put(xsave + AREA_BV, le64_get(xsave + AREA_BV) | known);
}

void emu_fpu_to_xsave(const struct emu_cpu *c, uint8_t xsave[X86_XSAVE_SIZE])
{
    memset(xsave, 0, X86_XSAVE_SIZE);
    emu_fpu_into_xsave(c, xsave);
}

void emu_fpu_from_xsave(struct emu_cpu *c, const uint8_t *xsave)
{
    struct emu_fpu *f = &c->fpu;
    uint64_t bv = le64_get(xsave + AREA_BV);

    if (bv & XCR0_X87) {
        x87_from_image(f, xsave);
    } else {
        memset(f->x87, 0, X87_SIZE);
        x87_init(f);
    }
    f->mxcsr = bv & (XCR0_SSE | XCR0_AVX) ? le32_get(xsave + AREA_MXCSR) & MXCSR_VALID : MXCSR_INIT;
    memset(f->ymm, 0, sizeof(f->ymm));
    for (unsigned n = 0; n < 16; n++) {
        if (bv & XCR0_SSE)
            memcpy(f->ymm[n], xsave + AREA_XMM + 16 * n, 16);
        if (bv & XCR0_AVX)
            memcpy(f->ymm[n] + 16, xsave + AREA_YMMH + 16 * n, 16);
    }
}
