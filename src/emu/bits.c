/*
 * Shifts and rotates, double shifts, bit tests, bit counts and scans, BMI1 and
 * BMI2, and the decimal adjustments. Flags come from the host's instruction.
 */
#include "emu/bind.h"
#include "emu/features.h"
#include "emu/flags.h"

/* ---- shifts and rotates (C0, C1, D0-D3) ----------------------------------- */

/* insn with a count in CL. Rotates leave some flags alone, so all go in. */
#define ROTATE(insn, suffix, T)                                                                    \
    __asm__("pushq %[f]\n\tpopfq\n\t" insn suffix " %%cl, %[a]\n\tpushfq\n\tpopq %[f]"             \
            : [a] "+q"(*(T *)&a), [f] "+r"(flags)                                                  \
            : "c"(count)                                                                           \
            : "cc")

/* Shifts set all of them. */
#define SHIFT(insn, suffix, T)                                                                     \
    __asm__(insn suffix " %%cl, %[a]\n\t" READ_FLAGS                                               \
            : [a] "+q"(*(T *)&a), "=&a"(ax)                                                        \
            : "c"(count)                                                                           \
            : "cc")

#define SHIFT_SIZED(SHIFT, insn)                                                                   \
    do {                                                                                           \
        if (size == 1)                                                                             \
            SHIFT(insn, "b", uint8_t);                                                             \
        else if (size == 2)                                                                        \
            SHIFT(insn, "w", uint16_t);                                                            \
        else if (size == 4)                                                                        \
            SHIFT(insn, "l", uint32_t);                                                            \
        else                                                                                       \
            SHIFT(insn, "q", uint64_t);                                                            \
    } while (0)

/* The red zone is free below: the core is built with -mno-red-zone. */
EMU_INLINE uint64_t shift(struct emu_cpu *c, unsigned kind, unsigned size, uint64_t a,
                          uint8_t count)
{
    uint64_t flags = c->rflags & FLAG_STATUS;
    uint32_t ax = 0;

    if (!(count & (size == 8 ? 63 : 31)))
        return a; /* no flag changes either */
    switch (kind) {
    case 0: SHIFT_SIZED(ROTATE, "rol"); break;
    case 1: SHIFT_SIZED(ROTATE, "ror"); break;
    case 2: SHIFT_SIZED(ROTATE, "rcl"); break;
    case 3: SHIFT_SIZED(ROTATE, "rcr"); break;
    case 4:
    case 6: SHIFT_SIZED(SHIFT, "shl"); break;
    case 5: SHIFT_SIZED(SHIFT, "shr"); break;
    default: SHIFT_SIZED(SHIFT, "sar"); break;
    }
    if (kind >= 4)
        flags_from_ax(c, ax);
    else
        c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | (flags & FLAG_STATUS);
    return a;
}

/* Where the count comes from. */
EMU_INLINE uint8_t shift_count(struct emu_cpu *c, const struct x86_insn *i)
{
    if (i->opcode < 0xd0)
        return (uint8_t)i->imm;
    return i->opcode < 0xd2 ? 1 : (uint8_t)c->r[RCX];
}

EMU_INLINE void shift_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned kind, unsigned size)
{
    uint8_t count = shift_count(c, i);
    uint64_t off, before, after, result;
    struct emu_rmw m;

    if (!(i->flags & X86_RM_MEM)) {
        set_reg(c, i, i->rm, size, shift(c, kind, size, get_reg(c, i, i->rm, size), count));
        return;
    }
    off = emu_ea(c, i);
    emu_rmw_begin(c, &m, i->seg, off, size);
    before = c->rflags;
    result = shift(c, kind, size, emu_rmw_load(c, &m, i->seg, off, size), count);
    after = c->rflags;
    c->rflags = before;
    emu_rmw_store(c, &m, i->seg, off, size, result);
    c->rflags = after;
}

#define SHIFT_KIND(n)                                                                              \
    EMU_INLINE void shift_kind##n(struct emu_cpu *c, const struct x86_insn *i, unsigned size)      \
    {                                                                                              \
        shift_rm(c, i, n, size);                                                                   \
    }                                                                                              \
    HANDLERS(op_shift##n, shift_kind##n)
SHIFT_KIND(0)
SHIFT_KIND(1)
SHIFT_KIND(2)
SHIFT_KIND(3)
SHIFT_KIND(4)
SHIFT_KIND(5)
SHIFT_KIND(7)

static const emu_fn *const shift_table[8] = {
    op_shift0, op_shift1, op_shift2, op_shift3, op_shift4, op_shift5, op_shift4, op_shift7,
};

/* SHLD and SHRD (0F A4, A5, AC, AD). */
#define DOUBLE_SHIFT(insn, suffix, T)                                                              \
    __asm__("pushq %[f]\n\tpopfq\n\t" insn suffix " %%cl, %[b], %[a]\n\tpushfq\n\tpopq %[f]"       \
            : [a] "+r"(*(T *)&a), [f] "+r"(flags)                                                  \
            : [b] "r"((T)b), "c"(count)                                                            \
            : "cc")

EMU_INLINE void double_shift(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint8_t count = i->opcode & 1 ? (uint8_t)c->r[RCX] : (uint8_t)i->imm;
    uint64_t flags = c->rflags & FLAG_STATUS, a, b = get_reg(c, i, i->reg, size);
    bool right = i->opcode >= 0xa8;

    if (i->flags & X86_RM_MEM)
        emu_probe_write(c, i->seg, emu_ea(c, i), size);
    a = get_rm(c, i, size);
    if (size == 2) {
        if (right)
            DOUBLE_SHIFT("shrd", "w", uint16_t);
        else
            DOUBLE_SHIFT("shld", "w", uint16_t);
    } else if (size == 4) {
        if (right)
            DOUBLE_SHIFT("shrd", "l", uint32_t);
        else
            DOUBLE_SHIFT("shld", "l", uint32_t);
    } else {
        if (right)
            DOUBLE_SHIFT("shrd", "q", uint64_t);
        else
            DOUBLE_SHIFT("shld", "q", uint64_t);
    }
    set_rm(c, i, size, a);
    c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | (flags & FLAG_STATUS);
}
HANDLERS(op_double_shift, double_shift)

/* ---- BT, BTS, BTR, BTC ------------------------------------------------------ */

enum { BT, BTS, BTR, BTC };

EMU_INLINE uint64_t bit_apply(unsigned kind, uint64_t a, uint64_t bit)
{
    switch (kind) {
    case BTS: return a | bit;
    case BTR: return a & ~bit;
    case BTC: return a ^ bit;
    default: return a;
    }
}

/* The register form of the offset reaches outside the operand (SDM Vol. 2A BT):
 * a signed bit offset selects the word; an immediate stays within it. */
EMU_INLINE void bit_test(struct emu_cpu *c, const struct x86_insn *i, unsigned kind, unsigned size)
{
    bool by_register = i->opcode != 0xba;
    uint64_t offset = by_register ? get_reg(c, i, i->reg, size) : i->imm;
    uint64_t bit = UINT64_C(1) << (offset & (size * 8 - 1));
    uint64_t old;

    if (!(i->flags & X86_RM_MEM)) {
        old = get_reg(c, i, i->rm, size);
        if (kind != BT)
            set_reg(c, i, i->rm, size, bit_apply(kind, old, bit));
    } else {
        uint64_t at = emu_ea(c, i);
        struct emu_rmw m;

        if (by_register)
            at += (uint64_t)((int64_t)sign_extend(offset, size) >> (size_index(size) + 3)) * size;
        if (i->asize < 8)
            at &= mask_bytes(i->asize);
        if (kind == BT) {
            old = fast_load(c, i->seg, at, size);
        } else {
            emu_rmw_begin(c, &m, i->seg, at, size);
            if (m.host && (i->flags & X86_LOCK)) {
                old = LOCKED(size, m.host, bit_apply(kind, cur, bit));
                emu_rmw_end(c, &m, size);
            } else {
                old = emu_rmw_load(c, &m, i->seg, at, size);
                emu_rmw_store(c, &m, i->seg, at, size, bit_apply(kind, old, bit));
            }
        }
    }
    c->rflags = (c->rflags & ~(uint64_t)FLAG_CF) | (old & bit ? FLAG_CF : 0);
}

#define BIT_KIND(kind)                                                                             \
    EMU_INLINE void bit_##kind(struct emu_cpu *c, const struct x86_insn *i, unsigned size)         \
    {                                                                                              \
        bit_test(c, i, kind, size);                                                                \
    }                                                                                              \
    HANDLERS(op_##kind, bit_##kind)
BIT_KIND(BT)
BIT_KIND(BTS)
BIT_KIND(BTR)
BIT_KIND(BTC)

static const emu_fn *const bit_table[4] = {op_BT, op_BTS, op_BTR, op_BTC};

/* ---- scans and counts -------------------------------------------------------- */

/* insn src, dst with all status flags from the host; dst keeps its old value
 * where the instruction leaves it (BSF and BSR of zero). */
#define SCAN(insn, suffix, T)                                                                      \
    __asm__(insn suffix " %[b], %[a]\n\tpushfq\n\tpopq %[f]"                                       \
            : [a] "+r"(*(T *)&a), [f] "=r"(flags)                                                  \
            : [b] "r"((T)b)                                                                        \
            : "cc")

#define SCAN_BODY(name, insn)                                                                      \
    EMU_INLINE void name(struct emu_cpu *c, const struct x86_insn *i, unsigned size)               \
    {                                                                                              \
        uint64_t a = c->r[i->reg], b = get_rm(c, i, size), flags;                                  \
        if (size == 2)                                                                             \
            SCAN(insn, "w", uint16_t);                                                             \
        else if (size == 4)                                                                        \
            SCAN(insn, "l", uint32_t);                                                             \
        else                                                                                       \
            SCAN(insn, "q", uint64_t);                                                             \
        c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | (flags & FLAG_STATUS);                  \
        if (keeps_zero(#name) && !b)                                                               \
            return;                                                                                \
        emu_set_reg(c, i->reg, size, a);                                                           \
    }                                                                                              \
    HANDLERS(op_##name, name)

/* BSF and BSR leave the whole destination alone when the source is zero (AMD
 * APM Vol. 3; Intel's processors do so too). */
EMU_INLINE bool keeps_zero(const char *name)
{
    return name[0] == 'b';
}

SCAN_BODY(bsf, "bsf")
SCAN_BODY(bsr, "bsr")
SCAN_BODY(tzcnt, "tzcnt")
SCAN_BODY(lzcnt, "lzcnt")
SCAN_BODY(popcnt, "popcnt")

/* ---- BMI1 and BMI2 ------------------------------------------------------------- */

/* Three-operand forms; the instruction exists only at 32 and 64 bits. */
#define VEX3(insn, suffix, T, out, x, y)                                                           \
    __asm__(insn suffix " %[s2], %[s1], %[d]\n\tpushfq\n\tpopq %[f]"                               \
            : [d] "=r"(*(T *)&out), [f] "=r"(flags)                                                \
            : [s1] "r"((T)(x)), [s2] "r"((T)(y))                                                   \
            : "cc")
#define VEX2(insn, suffix, T, out, x)                                                              \
    __asm__(insn suffix " %[s1], %[d]\n\tpushfq\n\tpopq %[f]"                                      \
            : [d] "=r"(*(T *)&out), [f] "=r"(flags)                                                \
            : [s1] "r"((T)(x))                                                                     \
            : "cc")

#define BMI_FLAGS c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | (flags & FLAG_STATUS)

/* reg := insn(vvvv, r/m) with flags (ANDN) or r/m, vvvv (BEXTR, BZHI). AT&T
 * order puts the last source first. */
#define BMI3(name, insn, first, second, with_flags)                                                \
    EMU_INLINE void name(struct emu_cpu *c, const struct x86_insn *i, unsigned size)               \
    {                                                                                              \
        uint64_t rm = get_rm(c, i, size), v = get_reg(c, i, i->vvvv, size), out = 0, flags;        \
        if (size == 8)                                                                             \
            VEX3(insn, "q", uint64_t, out, first, second);                                         \
        else                                                                                       \
            VEX3(insn, "l", uint32_t, out, first, second);                                         \
        if (with_flags)                                                                            \
            BMI_FLAGS;                                                                             \
        emu_set_reg(c, i->reg, size, out);                                                         \
    }                                                                                              \
    HANDLERS(op_##name, name)

#define BMI_VVVV(name, insn)                                                                       \
    EMU_INLINE void name(struct emu_cpu *c, const struct x86_insn *i, unsigned size)               \
    {                                                                                              \
        uint64_t rm = get_rm(c, i, size), out = 0, flags;                                          \
        if (size == 8)                                                                             \
            VEX2(insn, "q", uint64_t, out, rm);                                                    \
        else                                                                                       \
            VEX2(insn, "l", uint32_t, out, rm);                                                    \
        BMI_FLAGS;                                                                                 \
        emu_set_reg(c, i->vvvv, size, out);                                                        \
    }                                                                                              \
    HANDLERS(op_##name, name)

BMI3(andn, "andn", v, rm, true)
BMI3(bextr, "bextr", rm, v, true)
BMI3(bzhi, "bzhi", rm, v, true)
BMI3(pdep, "pdep", v, rm, false)
BMI3(pext, "pext", v, rm, false)
BMI3(shlx, "shlx", rm, v, false)
BMI3(shrx, "shrx", rm, v, false)
BMI3(sarx, "sarx", rm, v, false)
BMI_VVVV(blsr, "blsr")
BMI_VVVV(blsmsk, "blsmsk")
BMI_VVVV(blsi, "blsi")

EMU_INLINE void mulx(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    unsigned __int128 r = (unsigned __int128)get_reg(c, i, RDX, size) * get_rm(c, i, size);

    emu_set_reg(c, i->vvvv, size, (uint64_t)r);
    emu_set_reg(c, i->reg, size, (uint64_t)(r >> (size * 8))); /* high half wins if both are one */
}
HANDLERS(op_mulx, mulx)

EMU_INLINE void rorx(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t a = get_rm(c, i, size);
    unsigned bits = size * 8, n = (unsigned)i->imm & (bits - 1);

    emu_set_reg(c, i->reg, size, n ? a >> n | a << (bits - n) : a);
}
HANDLERS(op_rorx, rorx)

/* ---- decimal adjustment (not in 64-bit mode), SDM Vol. 2A AAA ... --------------- */

static void set_szp(struct emu_cpu *c, uint8_t v)
{
    c->rflags &= ~(uint64_t)(FLAG_SF | FLAG_ZF | FLAG_PF);
    c->rflags |= (v & 0x80 ? FLAG_SF : 0) | (v ? 0 : FLAG_ZF) | (__builtin_parity(v) ? 0 : FLAG_PF);
}

static void set_carries(struct emu_cpu *c, bool carry, bool adjust)
{
    c->rflags &= ~(uint64_t)(FLAG_CF | FLAG_AF);
    c->rflags |= (carry ? FLAG_CF : 0) | (adjust ? FLAG_AF : 0);
}

static void op_daa_das(struct emu_cpu *c, const struct emu_op *op)
{
    bool subtract = op->i.opcode == 0x2f;
    uint8_t old = (uint8_t)c->r[RAX], al = old;
    bool carry = c->rflags & FLAG_CF, adjust = c->rflags & FLAG_AF;
    bool low = (old & 15) > 9 || adjust, high = old > 0x99 || carry;

    if (low)
        al = subtract ? al - 6 : al + 6;
    if (high)
        al = subtract ? al - 0x60 : al + 0x60;
    if (subtract && low && !high)
        high = old < 6; /* the borrow of AL - 6 */
    *(uint8_t *)&c->r[RAX] = al;
    c->rflags &= ~(uint64_t)FLAG_OF;
    set_carries(c, high, low);
    set_szp(c, al);
}

static void op_aaa_aas(struct emu_cpu *c, const struct emu_op *op)
{
    bool subtract = op->i.opcode == 0x3f;
    uint16_t ax = (uint16_t)c->r[RAX];
    bool adjust = (ax & 15) > 9 || (c->rflags & FLAG_AF);

    if (adjust)
        ax = subtract ? (uint16_t)(ax - 0x106) : (uint16_t)(ax + 0x106);
    ax &= 0xff0f;
    emu_set_reg(c, RAX, 2, ax);
    c->rflags &= ~(uint64_t)FLAG_OF;
    set_carries(c, adjust, adjust);
    set_szp(c, (uint8_t)ax);
}

static void op_aam(struct emu_cpu *c, const struct emu_op *op)
{
    uint8_t al = (uint8_t)c->r[RAX], base = (uint8_t)op->i.imm;

    if (!base)
        emu_raise(c, EXC_DE);
    emu_set_reg(c, RAX, 2, (uint64_t)(al / base) << 8 | al % base);
    c->rflags &= ~(uint64_t)FLAG_OF;
    set_carries(c, false, false);
    set_szp(c, al % base);
}

static void op_aad(struct emu_cpu *c, const struct emu_op *op)
{
    uint8_t al = (uint8_t)(c->r[RAX] + (c->r[RAX] >> 8) * op->i.imm);

    emu_set_reg(c, RAX, 2, al);
    c->rflags &= ~(uint64_t)FLAG_OF;
    set_carries(c, false, false);
    set_szp(c, al);
}

/* AL = CF ? ff : 00; without a name in the SDM, but every CPU has it (AMD APM Vol. 3 table A-1). */
static void op_salc(struct emu_cpu *c, const struct emu_op *op)
{
    *(uint8_t *)&c->r[RAX] = c->rflags & FLAG_CF ? 0xff : 0;
}

/* ---- binding ---------------------------------------------------------------------- */

static emu_fn bind_one_byte(const struct emu_cpu *c, const struct x86_insn *i)
{
    switch (i->opcode) {
    case 0xc0:
    case 0xc1:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: return shift_table[i->modrm >> 3 & 7][size_index(pair_size(i))];
    default: break;
    }
    if (c->mode == X86_MODE64)
        return NULL;
    switch (i->opcode) {
    case 0x27:
    case 0x2f: return op_daa_das;
    case 0x37:
    case 0x3f: return op_aaa_aas;
    case 0xd4: return op_aam;
    case 0xd5: return op_aad;
    case 0xd6: return op_salc;
    default: return NULL;
    }
}

static emu_fn bind_0f(const struct emu_cpu *c, const struct x86_insn *i)
{
    unsigned s = size_index(i->osize);

    switch (i->opcode) {
    case 0xa3: return bit_table[BT][s];
    case 0xab: return bit_table[BTS][s];
    case 0xb3: return bit_table[BTR][s];
    case 0xbb: return bit_table[BTC][s];
    case 0xba: return i->modrm & 0x20 ? bit_table[i->modrm >> 3 & 3][s] : NULL;
    case 0xa4:
    case 0xa5:
    case 0xac:
    case 0xad: return op_double_shift[s];
    case 0xb8: return i->pp == 2 && (c->features & EMU_F(POPCNT)) ? op_popcnt[s] : NULL;
    case 0xbc: return i->pp == 2 && (c->features & EMU_F(BMI1)) ? op_tzcnt[s] : op_bsf[s];
    case 0xbd: return i->pp == 2 && (c->features & EMU_F(ABM)) ? op_lzcnt[s] : op_bsr[s];
    default: return NULL;
    }
}

static emu_fn bind_vex(const struct emu_cpu *c, const struct x86_insn *i)
{
    unsigned s = (i->flags & X86_W) && c->mode == X86_MODE64 ? 3 : 2;
    bool bmi1 = c->features & EMU_F(BMI1), bmi2 = c->features & EMU_F(BMI2);

    if ((i->flags & X86_L) || c->vm86 || !c->protected_mode)
        return NULL;
    if (i->map == X86_MAP_0F3A)
        return i->opcode == 0xf0 && i->pp == 3 && !i->vvvv && bmi2 ? op_rorx[s] : NULL;
    if (i->map != X86_MAP_0F38)
        return NULL;
    switch (i->opcode << 4 | i->pp) {
    case 0xf20: return bmi1 ? op_andn[s] : NULL;
    case 0xf70: return bmi1 ? op_bextr[s] : NULL;
    case 0xf50: return bmi2 ? op_bzhi[s] : NULL;
    case 0xf53: return bmi2 ? op_pdep[s] : NULL;
    case 0xf52: return bmi2 ? op_pext[s] : NULL;
    case 0xf63: return bmi2 ? op_mulx[s] : NULL;
    case 0xf71: return bmi2 ? op_shlx[s] : NULL;
    case 0xf72: return bmi2 ? op_sarx[s] : NULL;
    case 0xf73: return bmi2 ? op_shrx[s] : NULL;
    case 0xf30:
        if (!bmi1)
            return NULL;
        switch (i->modrm >> 3 & 7) {
        case 1: return op_blsr[s];
        case 2: return op_blsmsk[s];
        case 3: return op_blsi[s];
        default: return NULL;
        }
    default: return NULL;
    }
}

bool bind_bits(const struct emu_cpu *c, struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    if (i->flags & X86_VEX)
        op->fn = bind_vex(c, i);
    else if (i->map == X86_MAP_1B)
        op->fn = bind_one_byte(c, i);
    else
        op->fn = i->map == X86_MAP_0F ? bind_0f(c, i) : NULL;
    return op->fn != NULL;
}
