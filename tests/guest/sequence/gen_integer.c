/* Arithmetic, logic, shifts, bits, multiplication. */
#include "generate.h"

#define UNDEFINED_MUL   (FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF)
#define UNDEFINED_COUNT (FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF)
#define UNDEFINED_SCAN  (UNDEFINED_COUNT | FLAG_CF)

#define F_BMI1 EMU_F(BMI1)
#define F_BMI2 EMU_F(BMI2)

static bool has(uint64_t features)
{
    return (gen_features & features) == features;
}

static void maybe_lock(struct gen *g, struct insn *in)
{
    in->lock = in->mem && gen_one_in(g, 6);
}

static void set_imm(struct gen *g, struct insn *in, unsigned size)
{
    in->imm_size = (uint8_t)(size == 8 ? 4 : size);
    in->imm = gen_imm(g);
}

/*
 * Behind an instruction that leaves `undefined` flags as each CPU likes (an AMD leaves those of
 * MUL as they were, which no engine needs to know): perhaps a look at the others, then all anew.
 */
static void settle(struct gen *g, uint32_t undefined)
{
    static const uint32_t read[8] = {
        FLAG_OF, FLAG_CF, FLAG_ZF,           FLAG_CF | FLAG_ZF,
        FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF, FLAG_SF | FLAG_OF | FLAG_ZF};
    struct insn look = {.map = X86_MAP_0F, .size = 1, .modrm = true};
    struct insn anew = {.size = (uint8_t)gen_size(g, false), .modrm = true};
    unsigned cc = gen_below(g, 8), op = gen_below(g, 4);
    uint32_t regs = ANY_REGS;

    if (!(read[cc] & undefined)) {
        look.opcode = (uint8_t)(0x90 | cc << 1 | gen_below(g, 2)); /* setcc */
        look.rm = (uint8_t)gen_reg(g, &look, 1, g->free, &regs);
        gen_put(g, &look);
    }
    if (op < 2 && undefined & FLAG_CF)
        op = 2;
    anew.opcode = (const uint8_t[]){0x11, 0x19, 0x39, 0x01}[op]; /* adc, sbb, cmp, add */
    anew.rm = (uint8_t)gen_pick(g, g->free);
    anew.reg = (uint8_t)gen_pick(g, ANY_REGS);
    gen_put(g, &anew);
}

/* Emit it as one with what settles its flags. */
static void put_settled(struct gen *g, const struct insn *in, uint32_t undefined)
{
    bool own = !g->group;

    if (own)
        g->group = gen_new_group(g);
    gen_put(g, in);
    if (undefined)
        settle(g, undefined);
    if (own)
        g->group = 0;
}

/* 00 to 3D: op r/m, r; op r, r/m; op AL/rAX, imm; and 80, 81, 83. TEST likewise. */
static void gen_alu2(struct gen *g)
{
    unsigned size = gen_size(g, true), op = gen_below(g, 8), form = gen_below(g, 8);
    struct insn in = {.size = (uint8_t)size, .modrm = true};
    uint32_t regs = gen_regs(g, size);
    bool compares = op == 7;

    if (form < 3) { /* to r/m */
        in.opcode = (uint8_t)(op << 3 | (size != 1));
        gen_rm(g, &in, size, !compares, regs);
        in.reg = (uint8_t)gen_reg(g, &in, size, ANY_REGS, &regs);
    } else if (form < 5) { /* from r/m */
        in.opcode = (uint8_t)(op << 3 | 2 | (size != 1));
        gen_rm(g, &in, size, false, regs);
        in.reg = (uint8_t)gen_reg(g, &in, size, compares ? ANY_REGS : g->free, &regs);
        gen_put(g, &in);
        return;
    } else if (form == 5 && g->free & 1 << RAX) {
        in.opcode = (uint8_t)(op << 3 | 4 | (size != 1));
        in.modrm = false;
        set_imm(g, &in, size);
    } else {
        in.opcode = size == 1 ? 0x80 : 0x81;
        in.reg = (uint8_t)op;
        gen_rm(g, &in, size, !compares, regs);
        set_imm(g, &in, size);
        if (size != 1 && gen_one_in(g, 2)) {
            in.opcode = 0x83;
            in.imm_size = 1;
        }
    }
    if (!compares && in.modrm)
        maybe_lock(g, &in);
    gen_put(g, &in);
}

static void gen_test(struct gen *g)
{
    unsigned size = gen_size(g, true);
    struct insn in = {.size = (uint8_t)size, .opcode = 0x84 | (size != 1)};
    uint32_t regs = gen_regs(g, size);

    gen_rm(g, &in, size, false, regs);
    if (gen_one_in(g, 2)) {
        in.opcode = 0xf6 | (size != 1);
        set_imm(g, &in, size);
    } else {
        in.reg = (uint8_t)gen_reg(g, &in, size, ANY_REGS, &regs);
    }
    gen_put(g, &in);
}

/* FE, FF /0, /1; F6, F7 /2, /3 */
static void gen_alu1(struct gen *g)
{
    unsigned size = gen_size(g, true), op = gen_below(g, 4);
    struct insn in = {.size = (uint8_t)size, .reg = (uint8_t)op};

    in.opcode = (uint8_t)((op < 2 ? 0xfe : 0xf6) | (size != 1));
    gen_rm(g, &in, size, true, gen_regs(g, size));
    maybe_lock(g, &in);
    gen_put(g, &in);
}

static void gen_adx(struct gen *g)
{
    struct insn in = {.map = X86_MAP_0F38, .opcode = 0xf6, .w = gen_one_in(g, 2)};

    in.pp = gen_one_in(g, 2) ? 1 : 2;
    gen_rm(g, &in, in.w ? 8 : 4, false, ANY_REGS);
    in.reg = (uint8_t)gen_pick(g, g->free);
    gen_put(g, &in);
}

void gen_alu(struct gen *g)
{
    unsigned kind = gen_below(g, 16);

    if (kind < 10)
        gen_alu2(g);
    else if (kind < 12)
        gen_test(g);
    else if (kind < 15)
        gen_alu1(g);
    else if (has(EMU_F(ADX)))
        gen_adx(g);
}

/* SHLD, SHRD */
static void gen_double_shift(struct gen *g)
{
    struct insn in = {.map = X86_MAP_0F, .size = (uint8_t)gen_size(g, false)};
    bool cl = gen_one_in(g, 2);

    in.opcode = (uint8_t)((gen_one_in(g, 2) ? 0xa4 : 0xac) | cl);
    gen_rm(g, &in, in.size, true, ANY_REGS);
    in.reg = (uint8_t)gen_pick(g, ANY_REGS);
    if (!cl) {
        in.imm_size = 1;
        in.imm = gen_imm(g);
    }
    gen_put(g, &in);
}

/* SARX, SHLX, SHRX, RORX */
static void gen_vex_shift(struct gen *g)
{
    struct insn in = {.vex = true, .w = gen_one_in(g, 2)};
    unsigned op = gen_below(g, 4);

    if (op == 0) {
        in.map = X86_MAP_0F3A;
        in.opcode = 0xf0;
        in.pp = 3;
        in.imm_size = 1;
        in.imm = gen_imm(g);
    } else {
        in.map = X86_MAP_0F38;
        in.opcode = 0xf7;
        in.pp = (uint8_t)op;
        in.vvvv = (uint8_t)gen_pick(g, ANY_REGS);
    }
    gen_rm(g, &in, in.w ? 8 : 4, false, ANY_REGS);
    in.reg = (uint8_t)gen_pick(g, g->free);
    gen_put(g, &in);
}

void gen_shift(struct gen *g)
{
    unsigned size = gen_size(g, true), form = gen_below(g, 8);
    struct insn in = {.size = (uint8_t)size};

    if (form == 0) {
        gen_double_shift(g);
        return;
    }
    if (form == 1 && has(F_BMI2)) {
        gen_vex_shift(g);
        return;
    }
    in.reg = (uint8_t)gen_below(g, 8);
    in.opcode = (uint8_t)((form < 4 ? 0xd2 : form < 7 ? 0xc0 : 0xd0) | (size != 1));
    gen_rm(g, &in, size, true, gen_regs(g, size));
    if (form >= 4 && form < 7) {
        in.imm_size = 1;
        in.imm = gen_one_in(g, 4) ? gen_imm(g) : gen_below(g, size * 8);
    }
    gen_put(g, &in);
}

/* BT, BTS, BTR, BTC; a bit number from a register may lie far from the operand. */
static void gen_bit_test(struct gen *g)
{
    unsigned op = gen_below(g, 4);
    struct insn in = {.map = X86_MAP_0F, .size = (uint8_t)gen_size(g, false)};

    gen_rm(g, &in, in.size, op != 0, ANY_REGS);
    if (gen_one_in(g, 2)) {
        in.opcode = 0xba;
        in.reg = (uint8_t)(4 + op);
        in.imm_size = 1;
        in.imm = gen_imm(g);
    } else {
        if (in.mem && !g->s->indexes)
            return;
        in.opcode = (uint8_t)(0xa3 | op << 3);
        in.reg = (uint8_t)gen_pick(g, in.mem ? g->s->indexes : ANY_REGS);
    }
    if (op != 0)
        maybe_lock(g, &in);
    put_settled(g, &in, UNDEFINED_COUNT);
}

/* BSF, BSR, POPCNT, TZCNT, LZCNT */
static void gen_count(struct gen *g)
{
    static const struct {
        uint8_t opcode, pp;
        uint32_t undefined;
        uint64_t need;
    } op[] = {{0xbc, 0, UNDEFINED_SCAN, 0},
              {0xbd, 0, UNDEFINED_SCAN, 0},
              {0xb8, 2, 0, EMU_F(POPCNT)},
              {0xbc, 2, UNDEFINED_COUNT, EMU_F(BMI1)},
              {0xbd, 2, UNDEFINED_COUNT, EMU_F(ABM)}};
    unsigned n = gen_below(g, sizeof(op) / sizeof(op[0]));
    struct insn in = {.map = X86_MAP_0F, .opcode = op[n].opcode, .pp = op[n].pp};

    if (!has(op[n].need))
        return;
    in.size = (uint8_t)gen_size(g, false);
    gen_rm(g, &in, in.size, false, ANY_REGS);
    in.reg = (uint8_t)gen_pick(g, g->free);
    put_settled(g, &in, op[n].undefined);
}

/* ANDN, BEXTR, BLSR, BLSMSK, BLSI, BZHI, PDEP, PEXT */
static void gen_bmi(struct gen *g)
{
    static const struct {
        uint8_t opcode, pp, ext;
        uint64_t need;
    } op[] = {{0xf2, 0, 8, F_BMI1}, {0xf7, 0, 8, F_BMI1}, {0xf3, 0, 1, F_BMI1},
              {0xf3, 0, 2, F_BMI1}, {0xf3, 0, 3, F_BMI1}, {0xf5, 0, 8, F_BMI2},
              {0xf5, 3, 8, F_BMI2}, {0xf5, 2, 8, F_BMI2}};
    unsigned n = gen_below(g, sizeof(op) / sizeof(op[0]));
    struct insn in = {.map = X86_MAP_0F38,
                      .opcode = op[n].opcode,
                      .pp = op[n].pp,
                      .vex = true,
                      .w = gen_one_in(g, 2)};

    if (!has(op[n].need))
        return;
    gen_rm(g, &in, in.w ? 8 : 4, false, ANY_REGS);
    in.reg = op[n].ext;
    in.vvvv = (uint8_t)gen_pick(g, op[n].ext == 8 ? ANY_REGS : g->free);
    if (op[n].ext == 8)
        in.reg = (uint8_t)gen_pick(g, g->free);
    gen_put(g, &in);
}

static void gen_crc32(struct gen *g)
{
    unsigned size = gen_size(g, true);
    struct insn in = {.map = X86_MAP_0F38, .opcode = 0xf0 | (size != 1), .pp = 3};
    uint32_t regs = gen_regs(g, size);

    if (!has(EMU_F(SSE42)))
        return;
    in.size = (uint8_t)size;
    gen_rm(g, &in, size, false, regs);
    in.reg = (uint8_t)gen_reg(g, &in, 4, g->free, &regs);
    gen_put(g, &in);
}

void gen_bits(struct gen *g)
{
    switch (gen_below(g, 5)) {
    case 0:
    case 1: gen_bit_test(g); break;
    case 2: gen_count(g); break;
    case 3: gen_bmi(g); break;
    default: gen_crc32(g); break;
    }
}

static void gen_mulx(struct gen *g)
{
    struct insn in = {.map = X86_MAP_0F38, .opcode = 0xf6, .pp = 3, .vex = true};

    if (!has(F_BMI2))
        return;
    in.w = gen_one_in(g, 2);
    gen_rm(g, &in, in.w ? 8 : 4, false, ANY_REGS);
    in.reg = (uint8_t)gen_pick(g, g->free);
    in.vvvv = (uint8_t)gen_pick(g, g->free);
    gen_put(g, &in);
}

/* IMUL with two and three operands */
static void gen_imul(struct gen *g)
{
    struct insn in = {.size = (uint8_t)gen_size(g, false)};
    unsigned form = gen_below(g, 3);

    if (form == 0) {
        in.map = X86_MAP_0F;
        in.opcode = 0xaf;
    } else {
        in.opcode = form == 1 ? 0x69 : 0x6b;
        set_imm(g, &in, form == 1 ? in.size : 1);
    }
    gen_rm(g, &in, in.size, false, ANY_REGS);
    in.reg = (uint8_t)gen_pick(g, g->free);
    put_settled(g, &in, UNDEFINED_MUL);
}

void gen_multiply(struct gen *g)
{
    unsigned size = gen_size(g, true), op = 4 + gen_below(g, 4), form = gen_below(g, 8);
    const uint32_t pair = 1 << RAX | 1 << RDX;
    struct insn in = {.size = (uint8_t)size, .reg = (uint8_t)op};

    if (form < 2) {
        gen_imul(g);
        return;
    }
    if (form == 2) {
        gen_mulx(g);
        return;
    }
    if ((g->free & pair) != pair)
        return;
    in.opcode = 0xf6 | (size != 1);
    gen_rm(g, &in, size, false, gen_regs(g, size));
    if (op >= 6 && !gen_one_in(g, 6)) { /* mostly without #DE */
        if (size == 1)
            GEN_BYTES(g, 0x0f, 0xb6, 0xc0); /* movzbl %al, %eax */
        else if (op == 6)
            GEN_BYTES(g, 0x31, 0xd2); /* xor %edx, %edx */
        else if (size == 2)
            GEN_BYTES(g, 0x66, 0x99); /* cwd */
        else if (size == 4)
            GEN_BYTES(g, 0x99); /* cdq */
        else
            GEN_BYTES(g, 0x48, 0x99); /* cqo */
    }
    put_settled(g, &in, op < 6 ? UNDEFINED_MUL : FLAG_STATUS);
}
