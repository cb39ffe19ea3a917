/*
 * The decoder works on a copy of at most 16 bytes, padded with zeros, so that
 * nothing on the way checks a bound and another CPU that writes to the code
 * cannot change a byte between two looks. `n` counts the bytes looked at; only
 * when all is done it is compared with what was there. That holds for
 * rejections too: one that rests on a byte past the end is "more bytes".
 *
 * One attribute word an opcode says what follows it (SDM Vol. 2D appendix A).
 */
#include "x86/decode.h"

#include "base/bits.h"
#include "x86/decode_tables.h"

#include <errno.h>

/* The longest walk: 14 prefixes, 4 bytes of VEX and opcode, ModRM, SIB, disp32, 8 of immediate. */
#define WINDOW 32

struct cursor {
    uint8_t code[WINDOW];
    unsigned n;
    enum x86_mode mode;
    unsigned flags; /* X86_* */
    uint8_t rex;    /* 0100WRXB, or VEX's bits in the same places; 0 outside 64-bit mode */
    uint8_t seg;    /* override, SEG_COUNT when there is none */
    uint16_t attr;  /* of the opcode */
};

#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

static unsigned next_byte(struct cursor *c)
{
    return c->code[c->n++];
}

/* Bit `bit` of the REX prefix as bit 3 of a register number. */
static unsigned rex_bit(const struct cursor *c, unsigned bit)
{
    return c->rex & bit ? 8 : 0;
}

/*
 * Reads prefixes and the byte after them, which it returns. REX counts only
 * right before the opcode (SDM Vol. 2A 2.2.1); of several prefixes of a group
 * the last one counts.
 */
static unsigned decode_prefixes(struct cursor *c)
{
    for (;;) {
        unsigned b = next_byte(c);
        uint16_t attr = x86_attr[X86_MAP_1B][b];

        if (likely(!(attr & A_PREFIX)) || c->n > X86_INSN_MAX) {
            c->attr = attr;
            return b;
        }
        if ((b & 0xf0) == 0x40) {
            if (c->mode != X86_MODE64) {
                c->attr = attr;
                return b;
            }
            c->rex = (uint8_t)b;
            continue;
        }
        const struct x86_prefix *p = &x86_prefixes[ATTR_GROUP(attr)];

        c->rex = 0;
        if (p->seg != SEG_COUNT) {
            if (c->mode == X86_MODE64 && p->seg < SEG_FS)
                continue;
            c->seg = p->seg;
        }
        c->flags = (c->flags & ~(unsigned)p->clear) | p->set;
    }
}

/* VEX2 and VEX3 (SDM Vol. 2A 2.3.5); `b` is C4 or C5. Returns the opcode or -EILSEQ. */
static int decode_vex(struct cursor *c, unsigned b, struct x86_insn *out)
{
    unsigned rxb = next_byte(c), map = X86_MAP_0F, last = rxb & 0x7f;

    if (c->rex || (c->flags & (X86_LOCK | X86_REP | X86_REPNE | X86_OPSIZE)))
        return -EILSEQ;
    if (b == 0xc4) {
        map = rxb & 0x1f;
        if (map < X86_MAP_0F || map > X86_MAP_0F3A)
            return -EILSEQ;
        last = next_byte(c);
    } else {
        rxb |= 0x60; /* X and B clear, in their inverted form */
    }
    c->flags |= X86_VEX | (last & 0x80 ? X86_W : 0) | (last & 4 ? X86_L : 0);
    out->vvvv = (uint8_t)((~last >> 3) & 15);
    out->pp = (uint8_t)(last & 3);
    out->map = (uint8_t)map;
    if (c->mode == X86_MODE64) {
        c->rex = (uint8_t)((last & 0x80 ? REX_W : 0) | ((~rxb >> 5) & 7));
    } else {
        out->vvvv &= 7;
    }

    unsigned opcode = next_byte(c);

    c->attr = x86_attr[map][opcode];
    return c->attr & A_VEX ? (int)opcode : -EILSEQ;
}

/* What follows an A_ESC byte. Returns the last opcode byte or -EILSEQ. */
static int decode_escape(struct cursor *c, unsigned b, struct x86_insn *out)
{
    if (b != 0x0f) {
        /* A register form of LES and LDS, which do not exist, means VEX. */
        if (c->mode == X86_MODE64 || c->code[c->n] >= 0xc0)
            return decode_vex(c, b, out);
        return (int)b;
    }
    out->map = X86_MAP_0F;
    b = next_byte(c);
    if (b == 0x38 || b == 0x3a) {
        out->map = b == 0x38 ? X86_MAP_0F38 : X86_MAP_0F3A;
        b = next_byte(c);
    }
    c->attr = x86_attr[out->map][b];
    return (int)b;
}

/*
 * Operand size (SDM Vol. 2A 2.2.1.2, table 3-4 of Vol. 1). `d64` and `f64`:
 * 64 bits by default, or always, in 64-bit mode.
 */
static unsigned operand_size(const struct cursor *c, bool d64, bool f64)
{
    bool opsize = c->flags & X86_OPSIZE;

    if (c->mode != X86_MODE64) {
        if (c->flags & X86_VEX)
            return 4;
        return (c->mode == X86_MODE32) != opsize ? 4 : 2;
    }
    if (f64 || (c->rex & REX_W))
        return 8;
    if (opsize)
        return 2;
    return d64 ? 8 : 4;
}

/* 16-bit addressing forms (SDM Vol. 2A table 2-1). */
static void decode_mem16(struct cursor *c, struct x86_insn *out, unsigned mod, unsigned rm)
{
    static const uint8_t base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const uint8_t index[4] = {RSI, RDI, RSI, RDI};

    out->base = base[rm];
    if (rm < 4)
        out->index = index[rm];
    if (mod == 1) {
        out->disp = (int8_t)next_byte(c);
    } else if (mod == 2 || rm == 6) {
        if (mod == 0)
            out->base = X86_NONE_SLOT;
        out->disp = (int16_t)le16_get(c->code + c->n);
        c->n += 2;
    }
    out->seg = out->base == RBP ? SEG_SS : SEG_DS;
}

/* 32- and 64-bit addressing forms (SDM Vol. 2A tables 2-2, 2-3, 2-7). */
static void decode_mem32(struct cursor *c, struct x86_insn *out, unsigned mod, unsigned rm)
{
    unsigned base = rm;

    if (rm == 4) {
        unsigned sib = next_byte(c), index = ((sib >> 3) & 7) | rex_bit(c, REX_X);

        base = sib & 7;
        if (index != RSP || (c->flags & X86_VSIB)) {
            out->index = (uint8_t)index;
            out->scale = (uint8_t)(sib >> 6);
        }
    }
    if (mod == 0 && base == RBP) {
        base = rm == RBP && c->mode == X86_MODE64 ? X86_RIP_SLOT : X86_NONE_SLOT;
        mod = 2;
    } else {
        base |= rex_bit(c, REX_B);
    }
    out->base = (uint8_t)base;
    out->seg = base == RSP || base == RBP ? SEG_SS : SEG_DS;
    if (mod == 1) {
        out->disp = (int8_t)next_byte(c);
    } else if (mod == 2) {
        out->disp = (int32_t)le32_get(c->code + c->n);
        c->n += 4;
    }
}

/* ModRM, SIB and displacement; and the operand size that a group's opcode extension changes. */
static int decode_modrm(struct cursor *c, struct x86_insn *out)
{
    out->modrm_off = (uint8_t)c->n;
    out->modrm = (uint8_t)next_byte(c);
    c->flags |= X86_MODRM;

    unsigned mod = out->modrm >> 6, reg = (out->modrm >> 3) & 7, rm = out->modrm & 7;
    const struct x86_group *group = &x86_groups[ATTR_GROUP(c->attr)];

    if (ATTR_GROUP(c->attr)) {
        if (!(((mod == 3 ? group->reg : group->mem) >> reg) & 1))
            return -EILSEQ;
        if ((group->d64 | group->f64) >> reg & 1)
            out->osize = (uint8_t)operand_size(c, true, group->f64 >> reg & 1);
    }
    out->reg = (uint8_t)(reg | rex_bit(c, REX_R));
    if (c->attr & A_VSIB && c->flags & X86_VEX) {
        if (mod == 3 || rm != 4 || out->asize == 2)
            return -EILSEQ;
        c->flags |= X86_VSIB;
    }
    if (mod == 3 || (c->attr & A_REGS)) {
        out->rm = (uint8_t)(rm | rex_bit(c, REX_B));
        if (c->attr & A_REGS)
            out->osize = c->mode == X86_MODE64 ? 8 : 4;
        return 0;
    }
    c->flags |= X86_RM_MEM;
    if (out->asize == 2)
        decode_mem16(c, out, mod, rm);
    else
        decode_mem32(c, out, mod, rm);
    return 0;
}

static void read_imm(struct cursor *c, struct x86_insn *out, unsigned size, bool is_signed)
{
    unsigned shift = 64 - size * 8;
    uint64_t v = le64_get(c->code + c->n) << shift;

    out->imm = is_signed ? (uint64_t)((int64_t)v >> shift) : v >> shift;
    out->imm_size = (uint8_t)size;
    c->n += size;
}

/* The field after the immediate proper: a far pointer's selector, ENTER's level. */
static void read_imm2(struct cursor *c, struct x86_insn *out, unsigned size)
{
    out->imm2 = size == 1 ? c->code[c->n] : le16_get(c->code + c->n);
    out->imm_size = (uint8_t)(out->imm_size + size);
    c->n += size;
}

/* Immediates that are more than a size and a sign. */
static int decode_imm_special(struct cursor *c, struct x86_insn *out, unsigned kind)
{
    switch (kind) {
    case IMM_MOFFS: read_imm(c, out, out->asize, false); break;
    case IMM_ENTER:
        read_imm(c, out, 2, false);
        read_imm2(c, out, 1);
        break;
    case IMM_FAR:
        read_imm(c, out, out->osize, false);
        read_imm2(c, out, 2);
        break;
    case IMM_TEST_B: /* F6, F7: only TEST, /0 and /1, has one */
        if ((out->modrm & 0x30) == 0)
            read_imm(c, out, 1, true);
        break;
    case IMM_TEST_Z:
        if ((out->modrm & 0x30) == 0)
            read_imm(c, out, MIN(out->osize, 4), true);
        break;
    default: /* IMM_SSE4A: 66 and F2 0F 78, EXTRQ and INSERTQ, with two immediates */
        if (out->pp & 1)
            return -EILSEQ;
    }
    return 0;
}

/* LOCK: a read-modify-write of memory only (SDM Vol. 2A, LOCK). */
static bool lock_allowed(const struct cursor *c, const struct x86_insn *out)
{
    unsigned op = out->opcode, reg = (out->modrm >> 3) & 7;

    if (!(c->flags & X86_RM_MEM))
        return false;
    if (out->map == X86_MAP_0F)
        return op == 0xab || op == 0xb3 || op == 0xbb || (op == 0xba && reg >= 5) || op == 0xb0 ||
               op == 0xb1 || op == 0xc0 || op == 0xc1 || (op == 0xc7 && reg == 1);
    if (out->map != X86_MAP_1B)
        return false;
    if (op < 0x38)
        return (op & 7) < 2;
    switch (op) {
    case 0x80 ... 0x83: return reg != 7;
    case 0x86 ... 0x87: return true;
    case 0xf6 ... 0xf7: return reg == 2 || reg == 3;
    case 0xfe ... 0xff: return reg < 2;
    default: return false;
    }
}

/* Everything but the length check: 0 or -EILSEQ, c->n bytes looked at. */
static int decode(struct cursor *c, struct x86_insn *out)
{
    int opcode = (int)decode_prefixes(c);

    if (c->n > X86_INSN_MAX)
        return 0;
    out->pp = c->flags & X86_REP ? 2 : c->flags & X86_REPNE ? 3 : c->flags & X86_OPSIZE ? 1 : 0;
    if (c->rex)
        c->flags |= c->rex & REX_W ? X86_REX | X86_W : X86_REX;
    if (c->attr & A_ESC) {
        opcode = decode_escape(c, (unsigned)opcode, out);
        if (opcode < 0)
            return -EILSEQ;
    }
    if (c->attr & A_UD || (c->attr & A_NO64 && c->mode == X86_MODE64))
        return -EILSEQ;
    out->opcode = (uint8_t)opcode;
    out->osize = (uint8_t)operand_size(c, c->attr & A_D64, c->attr & A_F64);
    out->asize = x86_address_size[c->mode][!!(c->flags & X86_ADSIZE)];
    if (c->attr & A_MODRM) {
        if (decode_modrm(c, out))
            return -EILSEQ;
    } else {
        out->rm = (uint8_t)((opcode & 7) | rex_bit(c, REX_B));
    }
    if (unlikely(c->flags & X86_LOCK) && !lock_allowed(c, out))
        return -EILSEQ;
    if (c->seg != SEG_COUNT)
        out->seg = c->seg;

    unsigned kind = ATTR_IMM(c->attr);

    if (kind >= IMM_MOFFS)
        return decode_imm_special(c, out, kind);
    if (kind)
        read_imm(c, out, x86_imm_size[kind][out->osize >> 2], kind >= IMM_SB);
    return 0;
}

int x86_decode(const uint8_t *code, size_t avail, enum x86_mode mode, struct x86_insn *out)
{
    struct cursor c = {.mode = mode, .seg = SEG_COUNT};

    if (likely(avail >= 16))
        memcpy(c.code, code, 16);
    else
        memcpy(c.code, code, avail);
    *out = (struct x86_insn){.base = X86_NONE_SLOT, .index = X86_NONE_SLOT, .seg = SEG_DS};

    int err = decode(&c, out);

    if (unlikely(c.n > MIN(avail, (size_t)X86_INSN_MAX)))
        return avail < X86_INSN_MAX ? -EAGAIN : -E2BIG;
    if (unlikely(err))
        return err;
    out->flags = (uint16_t)c.flags;
    out->len = (uint8_t)c.n;
    return (int)c.n;
}
