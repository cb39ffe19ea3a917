/*
 * FXSAVE, FXRSTOR, XSAVE, XRSTOR, LDMXCSR, STMXCSR (SDM Vol. 1 10.5, 13.7-13.8;
 * 0F AE). XSAVE comes in the standard format only: no XSAVEOPT, XSAVEC, XSAVES,
 * and CPUID offers none of them. Every enabled component counts as in use.
 */
#include "emu/bind.h"
#include "emu/features.h"
#include "emu/fpu.h"
#include "emu/vector.h"

enum { OFF_MXCSR = 24, OFF_XMM = 160, OFF_HEADER = 512, OFF_YMMH = 576, XSAVE_END = 832 };

static unsigned vector_count(const struct emu_cpu *c)
{
    return c->code64 ? 16 : 8;
}

/* Without REX.W in 64-bit code the pointers are 32 bits and a selector, which 64-bit code has
 * none of. */
static void narrow_pointers(const struct emu_cpu *c, const struct x86_insn *i, uint8_t *area)
{
    if (c->code64 && !(i->flags & X86_W)) {
        le64_put(area + X87_FIP, le32_get(area + X87_FIP));
        le64_put(area + X87_FDP, le32_get(area + X87_FDP));
    }
}

static void check_area(struct emu_cpu *c, const struct x86_insn *i, uint64_t ea, unsigned align)
{
    if ((c->seg_base[i->seg] + ea) & (align - 1))
        emu_gp(c, 0);
}

static void put_x87(const struct emu_cpu *c, const struct x86_insn *i, uint8_t *area)
{
    memcpy(area, c->fpu.x87, OFF_MXCSR);
    memcpy(area + X87_ST, c->fpu.x87 + X87_ST, X87_SIZE - X87_ST);
    narrow_pointers(c, i, area);
}

static void get_x87(struct emu_cpu *c, const struct x86_insn *i, uint8_t *area)
{
    narrow_pointers(c, i, area);
    x87_from_image(&c->fpu, area);
}

static void put_xmm(const struct emu_cpu *c, uint8_t *area)
{
    for (unsigned n = 0; n < vector_count(c); n++)
        memcpy(area + OFF_XMM + 16 * n, c->fpu.ymm[n], 16);
}

/* area NULL: initial values */
static void get_halves(struct emu_cpu *c, const uint8_t *area, unsigned half)
{
    for (unsigned n = 0; n < vector_count(c); n++) {
        if (area)
            memcpy(c->fpu.ymm[n] + half, area + 16 * n, 16);
        else
            memset(c->fpu.ymm[n] + half, 0, 16);
    }
}

static void put_mxcsr(const struct emu_cpu *c, uint8_t *area)
{
    le32_put(area + OFF_MXCSR, c->fpu.mxcsr);
    le32_put(area + OFF_MXCSR + 4, MXCSR_VALID);
}

/* ---- FXSAVE, FXRSTOR --------------------------------------------------- */

static void fx_check(struct emu_cpu *c, const struct x86_insn *i, uint64_t ea)
{
    if (c->cr0 & CR0_EM)
        emu_ud(c);
    if (c->cr0 & CR0_TS)
        emu_raise(c, EXC_NM);
    check_area(c, i, ea, 16);
}

static void op_fxsave(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea = emu_ea(c, i);
    uint8_t area[512];

    fx_check(c, i, ea);
    emu_probe_write(c, i->seg, ea, sizeof(area));
    put_x87(c, i, area);
    put_mxcsr(c, area);
    put_xmm(c, area);
    emu_store_bytes(c, i->seg, ea, area, OFF_XMM + 16 * vector_count(c));
}

static void op_fxrstor(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea = emu_ea(c, i);
    uint8_t area[512];

    fx_check(c, i, ea);
    emu_load_bytes(c, i->seg, ea, area, sizeof(area));
    if (le32_get(area + OFF_MXCSR) & ~MXCSR_VALID)
        emu_gp(c, 0);
    get_x87(c, i, area);
    c->fpu.mxcsr = le32_get(area + OFF_MXCSR);
    get_halves(c, area + OFF_XMM, 0);
}

/* ---- XSAVE, XRSTOR ----------------------------------------------------- */

static uint64_t xsave_begin(struct emu_cpu *c, const struct x86_insn *i, uint64_t ea)
{
    if (!(c->cr4 & CR4_OSXSAVE))
        emu_ud(c);
    if (c->cr0 & CR0_TS)
        emu_raise(c, EXC_NM);
    check_area(c, i, ea, 64);
    return (c->r[RDX] << 32 | (uint32_t)c->r[RAX]) & c->fpu.xcr0;
}

/* Components not asked for keep their bytes in memory: each part is stored on its own, after the
 * whole was probed. */
static void op_xsave(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea = emu_ea(c, i), rfbm = xsave_begin(c, i, ea), bv;
    unsigned vectors = 16 * vector_count(c);
    uint8_t area[XSAVE_END];

    emu_probe_write(c, i->seg, ea, c->fpu.xcr0 & XCR0_AVX ? XSAVE_END : OFF_YMMH);
    bv = emu_load(c, i->seg, ea + OFF_HEADER, 8);
    if (rfbm & XCR0_X87) {
        put_x87(c, i, area);
        emu_store_bytes(c, i->seg, ea, area, OFF_MXCSR);
        emu_store_bytes(c, i->seg, ea + X87_ST, area + X87_ST, X87_SIZE - X87_ST);
    }
    if (rfbm & (XCR0_SSE | XCR0_AVX)) {
        put_mxcsr(c, area);
        emu_store_bytes(c, i->seg, ea + OFF_MXCSR, area + OFF_MXCSR, 8);
    }
    if (rfbm & XCR0_SSE) {
        put_xmm(c, area);
        emu_store_bytes(c, i->seg, ea + OFF_XMM, area + OFF_XMM, vectors);
    }
    if (rfbm & XCR0_AVX) {
        for (unsigned n = 0; n < vector_count(c); n++)
            memcpy(area + OFF_YMMH + 16 * n, c->fpu.ymm[n] + 16, 16);
        emu_store_bytes(c, i->seg, ea + OFF_YMMH, area + OFF_YMMH, vectors);
    }
    emu_store(c, i->seg, ea + OFF_HEADER, 8, (bv & ~rfbm) | rfbm);
}

static void op_xrstor(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea = emu_ea(c, i), rfbm = xsave_begin(c, i, ea), bv;
    uint8_t area[XSAVE_END] = {0};
    uint32_t mxcsr;

    emu_load_bytes(c, i->seg, ea, area, rfbm & XCR0_AVX ? XSAVE_END : OFF_YMMH);
    bv = le64_get(area + OFF_HEADER);
    mxcsr = le32_get(area + OFF_MXCSR);
    if (bv & ~c->fpu.xcr0 || le64_get(area + OFF_HEADER + 8) || le64_get(area + OFF_HEADER + 16))
        emu_gp(c, 0);
    if (rfbm & (XCR0_SSE | XCR0_AVX) && mxcsr & ~MXCSR_VALID)
        emu_gp(c, 0);
    if (rfbm & XCR0_X87 && bv & XCR0_X87) {
        get_x87(c, i, area);
    } else if (rfbm & XCR0_X87) {
        memset(c->fpu.x87, 0, X87_SIZE);
        x87_init(&c->fpu);
    }
    if (rfbm & (XCR0_SSE | XCR0_AVX))
        c->fpu.mxcsr = mxcsr;
    if (rfbm & XCR0_SSE)
        get_halves(c, bv & XCR0_SSE ? area + OFF_XMM : NULL, 0);
    if (rfbm & XCR0_AVX)
        get_halves(c, bv & XCR0_AVX ? area + OFF_YMMH : NULL, 16);
}

/* ---- MXCSR ------------------------------------------------------------- */

static void mxcsr_check(struct emu_cpu *c, const struct x86_insn *i)
{
    if (i->flags & X86_VEX)
        vec_check_avx(c);
    else
        vec_check_sse(c);
}

static void op_ldmxcsr(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t v;

    mxcsr_check(c, &op->i);
    v = emu_load(c, op->i.seg, emu_ea(c, &op->i), 4);
    if (v & ~(uint64_t)MXCSR_VALID)
        emu_gp(c, 0);
    c->fpu.mxcsr = (uint32_t)v;
}

static void op_stmxcsr(struct emu_cpu *c, const struct emu_op *op)
{
    mxcsr_check(c, &op->i);
    emu_store(c, op->i.seg, emu_ea(c, &op->i), 4, c->fpu.mxcsr);
}

/* ---- binding ----------------------------------------------------------- */

bool bind_xsave(const struct emu_cpu *c, struct emu_op *op)
{
    static const struct {
        emu_fn fn;
        uint64_t feature;
    } forms[8] = {
        {op_fxsave, EMU_F(FXSR)}, {op_fxrstor, EMU_F(FXSR)}, {op_ldmxcsr, EMU_F(SSE)},
        {op_stmxcsr, EMU_F(SSE)}, {op_xsave, EMU_F(XSAVE)},  {op_xrstor, EMU_F(XSAVE)},
    };
    const struct x86_insn *i = &op->i;
    unsigned n = i->modrm >> 3 & 7;
    uint64_t need = forms[n].feature;

    if (i->map != X86_MAP_0F || i->opcode != 0xae || !(i->flags & X86_RM_MEM) || i->pp != 0 ||
        i->flags & X86_LOCK || !forms[n].fn)
        return false;
    if (i->flags & X86_VEX) {
        if ((n != 2 && n != 3) || i->flags & X86_L || i->vvvv || !vec_vex_allowed(c))
            return false;
        need = EMU_F(AVX);
    }
    if (!(c->features & need))
        return false;
    op->fn = forms[n].fn;
    return true;
}
