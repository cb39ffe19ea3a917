#include "emu/vector.h"

#include "emu/features.h"
#include "emu/fpu.h"

/* ---- state ------------------------------------------------------------ */

static void op_emms(struct emu_cpu *c, const struct emu_op *op)
{
    x87_check(c, EXC_UD);
    c->fpu.x87[X87_FTW] = 0;
}

/* VZEROUPPER, VZEROALL: registers 8-15 only exist in 64-bit code. */
static void op_vzero(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned keep = op->i.flags & X86_L ? 0 : 16;

    vec_check_avx(c);
    for (unsigned n = 0; n < (c->code64 ? 16 : 8); n++)
        memset(c->fpu.ymm[n] + keep, 0, 32 - keep);
}

/* ---- general registers only ------------------------------------------- */

static void op_movnti(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = op->i.flags & X86_W ? 8 : 4;

    emu_store(c, op->i.seg, emu_ea(c, &op->i), size, emu_get_reg(c, op->i.reg, size));
}

__attribute__((target("sse4.2"))) static void op_crc32(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    unsigned size = i->opcode == 0xf0 ? 1 : i->osize;
    uint64_t v = size == 1 ? emu_get_rm8(c, i) : emu_get_rm(c, i, size);
    uint32_t crc = (uint32_t)c->r[i->reg];

    switch (size) {
    case 1: crc = __builtin_ia32_crc32qi(crc, (uint8_t)v); break;
    case 2: crc = __builtin_ia32_crc32hi(crc, (uint16_t)v); break;
    case 4: crc = __builtin_ia32_crc32si(crc, (uint32_t)v); break;
    default: crc = (uint32_t)__builtin_ia32_crc32di(crc, v); break;
    }
    c->r[i->reg] = crc;
}

/* ---- masked moves ----------------------------------------------------- */

/* Store those elements of src (es bytes each) whose mask element has its top bit set; the others
 * are not accessed. All or nothing. */
static void masked_store(struct emu_cpu *c, unsigned seg, uint64_t ea, uint64_t ea_mask,
                         const uint8_t *src, const uint8_t *mask, unsigned len, unsigned es)
{
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned at = 0; at < len; at += es) {
            uint64_t v = 0;

            if (!(mask[at + es - 1] & 0x80))
                continue;
            memcpy(&v, src + at, es);
            if (pass == 0)
                emu_probe_write(c, seg, (ea + at) & ea_mask, es);
            else
                emu_store(c, seg, (ea + at) & ea_mask, es, v);
        }
    }
}

/* VMASKMOVPS/PD, VPMASKMOVD/Q (SDM Vol. 2C): 2C-2F ps and pd, 8C and 8E by W; loads and stores. */
static void op_vmaskmov(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    bool store = i->opcode == 0x2e || i->opcode == 0x2f || i->opcode == 0x8e;
    unsigned es = (i->opcode < 0x80 ? i->opcode & 1 : (i->flags & X86_W) != 0) ? 8 : 4;
    unsigned len = i->flags & X86_L ? 32 : 16;
    uint64_t ea = emu_ea(c, i), ea_mask = mask_bytes(i->asize);
    const uint8_t *mask = c->fpu.ymm[i->vvvv];
    uint8_t out[32] = {0};

    vec_check_avx(c);
    if (store) {
        masked_store(c, i->seg, ea, ea_mask, c->fpu.ymm[i->reg], mask, len, es);
        return;
    }
    for (unsigned at = 0; at < len; at += es) {
        if (mask[at + es - 1] & 0x80) {
            uint64_t v = emu_load(c, i->seg, (ea + at) & ea_mask, es);

            memcpy(out + at, &v, es);
        }
    }
    memcpy(c->fpu.ymm[i->reg], out, 32);
}

static void op_maskmovdqu(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea_mask = mask_bytes(i->asize);

    if (i->flags & X86_VEX)
        vec_check_avx(c);
    else
        vec_check_sse(c);
    masked_store(c, i->seg, c->r[RDI] & ea_mask, ea_mask, c->fpu.ymm[i->reg], c->fpu.ymm[i->rm], 16,
                 1);
}

static void op_maskmovq(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea_mask = mask_bytes(i->asize);

    x87_check(c, EXC_UD);
    mmx_begin(&c->fpu);
    masked_store(c, i->seg, c->r[RDI] & ea_mask, ea_mask, mmx_reg(&c->fpu, i->reg),
                 mmx_reg(&c->fpu, i->rm), 8, 1);
}

/* ---- gathers ---------------------------------------------------------- */

/*
 * VPGATHERxx, VGATHERxPx (SDM Vol. 2C): 90, 92 index by doublewords, 91, 93 by
 * quadwords; W: elements of 8 bytes. Each element is done, and its mask
 * cleared, before the next is touched, so a fault in the middle keeps the
 * progress and the restarted instruction goes on from there.
 */
static void op_gather(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    unsigned is = i->opcode & 1 ? 8 : 4, es = i->flags & X86_W ? 8 : 4;
    unsigned count = (i->flags & X86_L ? 32 : 16) / MAX(is, es);
    uint8_t *out = c->fpu.ymm[i->reg], *mask = c->fpu.ymm[i->vvvv];
    const uint8_t *index = c->fpu.ymm[i->index & 15];
    uint64_t base = (uint64_t)(int64_t)i->disp + c->r[i->base];

    vec_check_avx(c);
    if (out == mask || out == index || mask == index)
        emu_ud(c);
    for (unsigned n = 0; n < count; n++) {
        uint64_t at = is == 8 ? le64_get(index + 8 * n) : sign_extend(le32_get(index + 4 * n), 4);

        if (mask[n * es + es - 1] & 0x80) {
            at = (base + (at << i->scale)) & mask_bytes(i->asize);
            at = emu_load(c, i->seg, at, es);
            memcpy(out + n * es, &at, es);
        }
        memset(mask + n * es, 0, es);
    }
    memset(out + count * es, 0, 32 - count * es);
    memset(mask, 0, 32);
}

/* ---- binding ---------------------------------------------------------- */

static emu_fn pick_0f(const struct x86_insn *i, uint64_t features)
{
    bool vex = i->flags & X86_VEX, mem = i->flags & X86_RM_MEM, l = i->flags & X86_L;

    switch (i->opcode) {
    case 0x77:
        if (i->pp != 0 || (vex && i->vvvv))
            return NULL;
        return !vex                    ? features & EMU_F(MMX) ? op_emms : NULL
               : features & EMU_F(AVX) ? op_vzero
                                       : NULL;
    case 0xc3: return !vex && mem && i->pp == 0 && features & EMU_F(SSE2) ? op_movnti : NULL;
    case 0xf7:
        if (mem || (vex && (l || i->vvvv)))
            return NULL;
        if (i->pp == 1)
            return features & (vex ? EMU_F(AVX) : EMU_F(SSE2)) ? op_maskmovdqu : NULL;
        return i->pp == 0 && !vex && features & EMU_F(SSE) ? op_maskmovq : NULL;
    default: return NULL;
    }
}

static emu_fn pick_0f38(const struct x86_insn *i, uint64_t features)
{
    bool vex = i->flags & X86_VEX, mem = i->flags & X86_RM_MEM, w = i->flags & X86_W;

    if ((i->opcode & 0xfe) == 0xf0)
        return !vex && i->pp == 3 && features & EMU_F(SSE42) ? op_crc32 : NULL;
    if (!vex || i->pp != 1 || !mem)
        return NULL;
    switch (i->opcode) {
    case 0x2c:
    case 0x2d:
    case 0x2e:
    case 0x2f: return !w && features & EMU_F(AVX) ? op_vmaskmov : NULL;
    case 0x8c:
    case 0x8e: return features & EMU_F(AVX2) ? op_vmaskmov : NULL;
    case 0x90:
    case 0x91:
    case 0x92:
    case 0x93:
        if (!(i->flags & X86_VSIB) || i->reg == i->vvvv || i->reg == i->index ||
            i->vvvv == i->index)
            return NULL;
        return features & EMU_F(AVX2) ? op_gather : NULL;
    default: return NULL;
    }
}

bool bind_vector_special(const struct emu_cpu *c, struct emu_op *op)
{
    emu_fn fn = op->i.map == X86_MAP_0F     ? pick_0f(&op->i, c->features)
                : op->i.map == X86_MAP_0F38 ? pick_0f38(&op->i, c->features)
                                            : NULL;

    if (fn)
        op->fn = fn;
    return fn != NULL;
}
