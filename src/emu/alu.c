/*
 * Two-operand arithmetic, increments, negation, multiplication and division:
 * opcodes 00-3D, 40-4F, 69, 6B, 80-85, A8-A9, F6, F7, FE, FF /0 /1, 0F AF, and
 * ADCX/ADOX. What each computes is in its host instruction (emu/flags.h); the
 * rest is operand forms.
 */
#include "emu/bind.h"
#include "emu/features.h"
#include "emu/flags.h"

enum alu { ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC, NEG, NOT };

/* a := insn a, b with flags into ax. */
#define BINARY(insn, suffix, T)                                                                    \
    __asm__(insn suffix " %[b], %[a]\n\t" READ_FLAGS                                               \
            : [a] "+q"(*(T *)&a), "=&a"(ax)                                                        \
            : [b] "q"((T)b)                                                                        \
            : "cc")
#define BINARY_CF(insn, suffix, T)                                                                 \
    __asm__(WRITE_CF insn suffix " %[b], %[a]\n\t" READ_FLAGS                                      \
            : [a] "+q"(*(T *)&a), "=&a"(ax)                                                        \
            : [b] "q"((T)b), [f] "q"((uint32_t)c->rflags)                                          \
            : "cc")
#define UNARY_CF(insn, suffix, T)                                                                  \
    __asm__(WRITE_CF insn suffix " %[a]\n\t" READ_FLAGS                                            \
            : [a] "+q"(*(T *)&a), "=&a"(ax)                                                        \
            : [f] "q"((uint32_t)c->rflags)                                                         \
            : "cc")

#define SIZED(M, insn)                                                                             \
    do {                                                                                           \
        if (size == 1)                                                                             \
            M(insn, "b", uint8_t);                                                                 \
        else if (size == 2)                                                                        \
            M(insn, "w", uint16_t);                                                                \
        else if (size == 4)                                                                        \
            M(insn, "l", uint32_t);                                                                \
        else                                                                                       \
            M(insn, "q", uint64_t);                                                                \
    } while (0)

/* The result in the low `size` bytes; flags set. op and size are constants. */
EMU_INLINE uint64_t alu(struct emu_cpu *c, enum alu op, unsigned size, uint64_t a, uint64_t b)
{
    uint32_t ax = 0;

    switch (op) {
    case ADD: SIZED(BINARY, "add"); break;
    case OR: SIZED(BINARY, "or"); break;
    case ADC: SIZED(BINARY_CF, "adc"); break;
    case SBB: SIZED(BINARY_CF, "sbb"); break;
    case AND: SIZED(BINARY, "and"); break;
    case SUB: SIZED(BINARY, "sub"); break;
    case XOR: SIZED(BINARY, "xor"); break;
    case CMP: SIZED(BINARY, "cmp"); break;
    case TEST: SIZED(BINARY, "test"); break;
    case INC: SIZED(UNARY_CF, "inc"); break;
    case DEC: SIZED(UNARY_CF, "dec"); break;
    case NEG: SIZED(UNARY_CF, "neg"); break;
    case NOT: return ~a;
    }
    flags_from_ax(c, ax);
    return a;
}

EMU_INLINE bool writes(enum alu op)
{
    return op != CMP && op != TEST;
}

/* r/m op= b, where r/m is memory. */
EMU_INLINE void alu_memory(struct emu_cpu *c, const struct x86_insn *i, enum alu op, unsigned size,
                           uint64_t b)
{
    uint64_t off = emu_ea(c, i);
    struct emu_rmw m;

    if (!writes(op)) {
        alu(c, op, size, fast_load(c, i->seg, off, size), b);
        return;
    }
    emu_rmw_begin(c, &m, i->seg, off, size);
    if (m.host && (i->flags & X86_LOCK)) {
        uint64_t flags = c->rflags; /* CF goes in anew at each try */

        LOCKED(size, m.host, (c->rflags = flags, alu(c, op, size, cur, b)));
        emu_rmw_end(c, &m, size);
    } else {
        uint64_t before = c->rflags, after;
        uint64_t result = alu(c, op, size, emu_rmw_load(c, &m, i->seg, off, size), b);

        after = c->rflags;
        c->rflags = before;
        emu_rmw_store(c, &m, i->seg, off, size, result);
        c->rflags = after;
    }
}

/* The operand forms of one operation at one size. */
#define ALU_FORMS(op, size)                                                                        \
    static void op##_rr##size(struct emu_cpu *c, const struct emu_op *o)                           \
    {                                                                                              \
        uint64_t b = get_reg(c, &o->i, o->i.reg, size);                                            \
        uint64_t r = alu(c, op, size, get_reg(c, &o->i, o->i.rm, size), b);                        \
        if (writes(op))                                                                            \
            set_reg(c, &o->i, o->i.rm, size, r);                                                   \
    }                                                                                              \
    static void op##_ri##size(struct emu_cpu *c, const struct emu_op *o)                           \
    {                                                                                              \
        uint64_t r = alu(c, op, size, get_reg(c, &o->i, o->i.rm, size), o->i.imm);                 \
        if (writes(op))                                                                            \
            set_reg(c, &o->i, o->i.rm, size, r);                                                   \
    }                                                                                              \
    static void op##_mr##size(struct emu_cpu *c, const struct emu_op *o)                           \
    {                                                                                              \
        alu_memory(c, &o->i, op, size, get_reg(c, &o->i, o->i.reg, size));                         \
    }                                                                                              \
    static void op##_mi##size(struct emu_cpu *c, const struct emu_op *o)                           \
    {                                                                                              \
        alu_memory(c, &o->i, op, size, o->i.imm);                                                  \
    }                                                                                              \
    static void op##_rm##size(struct emu_cpu *c, const struct emu_op *o)                           \
    {                                                                                              \
        uint64_t r = alu(c, op, size, get_reg(c, &o->i, o->i.reg, size), get_rm(c, &o->i, size));  \
        if (writes(op))                                                                            \
            set_reg(c, &o->i, o->i.reg, size, r);                                                  \
    }                                                                                              \
    static void op##_ai##size(struct emu_cpu *c, const struct emu_op *o)                           \
    {                                                                                              \
        uint64_t r = alu(c, op, size, get_reg(c, &o->i, RAX, size), o->i.imm);                     \
        if (writes(op))                                                                            \
            set_reg(c, &o->i, RAX, size, r);                                                       \
    }
#define ALU_SIZES(op) ALU_FORMS(op, 1) ALU_FORMS(op, 2) ALU_FORMS(op, 4) ALU_FORMS(op, 8)

ALU_SIZES(ADD)
ALU_SIZES(OR)
ALU_SIZES(ADC)
ALU_SIZES(SBB)
ALU_SIZES(AND)
ALU_SIZES(SUB)
ALU_SIZES(XOR)
ALU_SIZES(CMP)
ALU_SIZES(TEST)

enum form { RR, RI, MR, MI, RM, AI, FORM_COUNT };

#define ALU_ROW(op, form)                                                                          \
    {                                                                                              \
        op##_##form##1, op##_##form##2, op##_##form##4, op##_##form##8                             \
    }
#define ALU_TABLE(op)                                                                              \
    [op] = {                                                                                       \
        [RR] = ALU_ROW(op, rr), [RI] = ALU_ROW(op, ri), [MR] = ALU_ROW(op, mr),                    \
        [MI] = ALU_ROW(op, mi), [RM] = ALU_ROW(op, rm), [AI] = ALU_ROW(op, ai),                    \
    }

static const emu_fn alu_table[TEST + 1][FORM_COUNT][4] = {
    ALU_TABLE(ADD), ALU_TABLE(OR),  ALU_TABLE(ADC), ALU_TABLE(SBB),  ALU_TABLE(AND),
    ALU_TABLE(SUB), ALU_TABLE(XOR), ALU_TABLE(CMP), ALU_TABLE(TEST),
};

/* ---- INC, DEC, NEG, NOT -------------------------------------------------- */

EMU_INLINE void unary(struct emu_cpu *c, const struct x86_insn *i, enum alu op, unsigned size)
{
    if (i->flags & X86_RM_MEM)
        alu_memory(c, i, op, size, 0);
    else
        set_reg(c, i, i->rm, size, alu(c, op, size, get_reg(c, i, i->rm, size), 0));
}

#define INC_BODY(c, i, size) unary(c, i, INC, size)
#define DEC_BODY(c, i, size) unary(c, i, DEC, size)
#define NEG_BODY(c, i, size) unary(c, i, NEG, size)
#define NOT_BODY(c, i, size) unary(c, i, NOT, size)
HANDLERS(op_inc, INC_BODY)
HANDLERS(op_dec, DEC_BODY)
HANDLERS(op_neg, NEG_BODY)
HANDLERS(op_not, NOT_BODY)

/* ---- multiplication and division ------------------------------------------ */

/* One multiplication; the low half leaves RAX to make room for the flags. */
#define MULTIPLY_ONE(insn, suffix, T)                                                              \
    __asm__(insn suffix " %[b]\n\tmovq %%rax, %[lo]\n\t" READ_FLAGS                                \
            : "+a"(acc), "+d"(hi), [lo] "=&r"(lo)                                                  \
            : [b] "r"((T)b)                                                                        \
            : "cc")

/* RDX:RAX (or AX) := accumulator * r/m (SDM Vol. 2 MUL, IMUL). */
#define MULTIPLY(insn)                                                                             \
    uint64_t b = get_rm(c, i, size), acc = c->r[RAX], lo, hi = 0;                                  \
                                                                                                   \
    SIZED(MULTIPLY_ONE, insn);                                                                     \
    flags_from_ax(c, (uint32_t)acc);                                                               \
    emu_set_reg(c, RAX, size == 1 ? 2 : size, lo);                                                 \
    if (size > 1)                                                                                  \
        emu_set_reg(c, RDX, size, hi);

EMU_INLINE void mul(struct emu_cpu *c, const struct x86_insn *i, unsigned size){MULTIPLY("mul")}

EMU_INLINE void imul(struct emu_cpu *c, const struct x86_insn *i, unsigned size){MULTIPLY("imul")}

HANDLERS(op_mul, mul) HANDLERS(op_imul, imul)

    /* Dividend from the accumulator pair; #DE when the quotient does not fit. */
    EMU_INLINE void divide_unsigned(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t b = get_rm(c, i, size);
    unsigned __int128 a, q;

    if (size == 1)
        a = (uint16_t)c->r[RAX];
    else
        a = (unsigned __int128)emu_get_reg(c, RDX, size) << (size * 8) | emu_get_reg(c, RAX, size);
    if (!b || (a >> (size * 8)) >= b)
        emu_raise(c, EXC_DE);
    q = size == 8 ? a / b : (uint64_t)a / b;
    if (size == 1) {
        emu_set_reg(c, RAX, 2, (uint8_t)q | ((uint64_t)a % b) << 8);
    } else {
        emu_set_reg(c, RAX, size, (uint64_t)q);
        emu_set_reg(c, RDX, size, (uint64_t)(a - q * b));
    }
}

EMU_INLINE void divide_signed(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    int64_t b = (int64_t)sign_extend(get_rm(c, i, size), size);
    uint64_t max = UINT64_C(1) << (size * 8 - 1); /* magnitude of the most negative quotient */
    unsigned __int128 a, magnitude, q, r;
    uint64_t divisor = b < 0 ? -(uint64_t)b : (uint64_t)b;
    bool negative;

    if (size == 1)
        a = (unsigned __int128)(__int128)(int16_t)c->r[RAX];
    else if (size == 8)
        a = (unsigned __int128)c->r[RDX] << 64 | c->r[RAX];
    else
        a = (unsigned __int128)(__int128)(int64_t)sign_extend(
            emu_get_reg(c, RDX, size) << (size * 8) | emu_get_reg(c, RAX, size), size * 2);
    if (!b)
        emu_raise(c, EXC_DE);
    negative = (__int128)a < 0;
    magnitude = negative ? -a : a;
    q = magnitude / divisor;
    r = magnitude % divisor;
    if (q > (negative != (b < 0) ? max : max - 1))
        emu_raise(c, EXC_DE);
    if (negative != (b < 0))
        q = -q;
    if (negative)
        r = -r;
    if (size == 1) {
        emu_set_reg(c, RAX, 2, (uint8_t)q | (uint64_t)(uint8_t)r << 8);
    } else {
        emu_set_reg(c, RAX, size, (uint64_t)q);
        emu_set_reg(c, RDX, size, (uint64_t)r);
    }
}

HANDLERS(op_div, divide_unsigned)
HANDLERS(op_idiv, divide_signed)

/* IMUL reg, r/m[, imm]: the flags of the host's two-operand form. */
EMU_INLINE void imul_reg(struct emu_cpu *c, const struct x86_insn *i, unsigned size, uint64_t a,
                         uint64_t b)
{
    uint32_t ax;

    if (size == 2)
        BINARY("imul", "w", uint16_t);
    else if (size == 4)
        BINARY("imul", "l", uint32_t);
    else
        BINARY("imul", "q", uint64_t);
    flags_from_ax(c, ax);
    emu_set_reg(c, i->reg, size, a);
}

#define IMUL_RM(c, i, size)  imul_reg(c, i, size, get_rm(c, i, size), c->r[(i)->reg])
#define IMUL_IMM(c, i, size) imul_reg(c, i, size, get_rm(c, i, size), (i)->imm)
HANDLERS(op_imul_rm, IMUL_RM)
HANDLERS(op_imul_imm, IMUL_IMM)

/* ADCX and ADOX: add with one flag as carry, the others untouched (SDM Vol. 2A ADCX). */
EMU_INLINE void add_carry(struct emu_cpu *c, const struct x86_insn *i, unsigned size, unsigned flag)
{
    uint64_t mask = mask_bytes(size);
    uint64_t a = get_reg(c, i, i->reg, size), b = get_rm(c, i, size);
    unsigned __int128 sum = (unsigned __int128)a + b + !!(c->rflags & flag);

    c->rflags &= ~(uint64_t)flag;
    if (sum >> (size * 8))
        c->rflags |= flag;
    emu_set_reg(c, i->reg, size, (uint64_t)sum & mask);
}

#define ADCX_BODY(c, i, size) add_carry(c, i, size, FLAG_CF)
#define ADOX_BODY(c, i, size) add_carry(c, i, size, FLAG_OF)
HANDLERS(op_adcx, ADCX_BODY)
HANDLERS(op_adox, ADOX_BODY)

/* ---- binding --------------------------------------------------------------- */

static emu_fn bind_group3(const struct x86_insn *i, unsigned size)
{
    enum form form = i->flags & X86_RM_MEM ? MI : RI;
    unsigned s = size_index(size);

    switch (i->modrm >> 3 & 7) {
    case 0:
    case 1: return alu_table[TEST][form][s];
    case 2: return op_not[s];
    case 3: return op_neg[s];
    case 4: return op_mul[s];
    case 5: return op_imul[s];
    case 6: return op_div[s];
    default: return op_idiv[s];
    }
}

static emu_fn bind_one_byte(const struct x86_insn *i)
{
    unsigned size = pair_size(i), s = size_index(size);
    bool mem = i->flags & X86_RM_MEM;

    if (i->opcode < 0x40) {
        const emu_fn(*forms)[4] = alu_table[i->opcode >> 3];

        switch (i->opcode & 7) {
        case 0:
        case 1: return forms[mem ? MR : RR][s];
        case 2:
        case 3: return forms[RM][s];
        case 4:
        case 5: return forms[AI][s];
        default: return NULL;
        }
    }
    switch (i->opcode) {
    case 0x69:
    case 0x6b: return op_imul_imm[size_index(i->osize)];
    case 0x80:
    case 0x81:
    case 0x82: return alu_table[i->modrm >> 3 & 7][mem ? MI : RI][s];
    case 0x83: return alu_table[i->modrm >> 3 & 7][mem ? MI : RI][s];
    case 0x84:
    case 0x85: return alu_table[TEST][mem ? MR : RR][s];
    case 0xa8:
    case 0xa9: return alu_table[TEST][AI][s];
    case 0xf6:
    case 0xf7: return bind_group3(i, size);
    case 0xfe:
    case 0xff:
        if ((i->modrm >> 3 & 7) == 0)
            return op_inc[s];
        return (i->modrm >> 3 & 7) == 1 ? op_dec[s] : NULL;
    default: return NULL;
    }
}

bool bind_alu(const struct emu_cpu *c, struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    emu_fn fn = NULL;

    if (i->flags & X86_VEX)
        return bind_bits(c, op);
    if (i->map == X86_MAP_1B) {
        fn = bind_one_byte(i);
        if (!fn && i->opcode >= 0x40 && i->opcode < 0x50 && c->mode != X86_MODE64) {
            /* 40+r INC, 48+r DEC: as the register form of FF */
            op->i.rm = i->opcode & 7;
            fn = (i->opcode < 0x48 ? op_inc : op_dec)[size_index(i->osize)];
        }
    } else if (i->map == X86_MAP_0F && i->opcode == 0xaf) {
        fn = op_imul_rm[size_index(i->osize)];
    } else if (i->map == X86_MAP_0F38 && i->opcode == 0xf6 && (c->features & EMU_F(ADX))) {
        unsigned s = i->flags & X86_W ? 3 : 2;

        fn = i->pp == 1 ? op_adcx[s] : i->pp == 2 ? op_adox[s] : NULL;
    }
    if (!fn)
        return bind_bits(c, op);
    op->fn = fn;
    return true;
}
