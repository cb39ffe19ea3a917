/* Moves, exchanges, the stack, strings, flags, and accesses that fault. */
#include "generate.h"

/* MOV in its forms */
static void gen_mov(struct gen *g)
{
    unsigned size = gen_size(g, true), form = gen_below(g, 8);
    struct insn in = {.size = (uint8_t)size};
    uint32_t regs = gen_regs(g, size);

    switch (form) {
    case 0:
    case 1:
    case 2:
        in.opcode = 0x88 | (size != 1);
        gen_rm(g, &in, size, true, regs);
        in.reg = (uint8_t)gen_reg(g, &in, size, ANY_REGS, &regs);
        break;
    case 3:
    case 4:
        in.opcode = 0x8a | (size != 1);
        gen_rm(g, &in, size, false, regs);
        in.reg = (uint8_t)gen_reg(g, &in, size, g->free, &regs);
        break;
    case 5:
        in.opcode = 0xc6 | (size != 1);
        gen_rm(g, &in, size, true, regs);
        in.imm_size = (uint8_t)(size == 8 ? 4 : size);
        in.imm = gen_imm(g);
        break;
    case 6:
        in.opcode = size == 1 ? 0xb0 : 0xb8;
        in.plus = true;
        in.rm = (uint8_t)gen_reg(g, &in, size, g->free, &regs);
        in.imm_size = (uint8_t)size;
        in.imm = gen_imm(g);
        break;
    default: /* moffs */
        in.opcode = (uint8_t)(0xa0 | (g->free & 1 << RAX ? gen_below(g, 2) << 1 : 2) | (size != 1));
        in.imm_size = 8;
        in.imm = ROW_DATA + 0x100 + gen_below(g, 0x2d00);
        break;
    }
    gen_put(g, &in);
}

/* MOVZX, MOVSX, MOVSXD, CBW and CWD */
static void gen_extend(struct gen *g)
{
    struct insn in = {.size = (uint8_t)gen_size(g, false)};
    unsigned form = gen_below(g, 4), from = form < 2 ? 1 + gen_below(g, 2) : 4;
    uint32_t regs = gen_regs(g, from);

    if (form == 3) {
        uint32_t written = 1u << (gen_one_in(g, 2) ? RDX : RAX);

        in.opcode = written == 1 << RAX ? 0x98 : 0x99;
        if (g->free & written)
            gen_put(g, &in);
        return;
    }
    if (form == 2) {
        in.opcode = 0x63;
    } else {
        in.map = X86_MAP_0F;
        in.opcode = (uint8_t)((gen_one_in(g, 2) ? 0xb6 : 0xbe) | (from == 2));
    }
    gen_rm(g, &in, from, false, regs);
    in.reg = (uint8_t)gen_reg(g, &in, 8, g->free, &regs);
    gen_put(g, &in);
}

/* CMOVcc, SETcc */
static void gen_conditional(struct gen *g)
{
    unsigned cc = gen_below(g, 16);
    struct insn in = {.map = X86_MAP_0F};

    if (gen_one_in(g, 2)) {
        in.opcode = (uint8_t)(0x40 | cc);
        in.size = (uint8_t)gen_size(g, false);
        gen_rm(g, &in, in.size, false, ANY_REGS);
        in.reg = (uint8_t)gen_pick(g, g->free);
    } else {
        in.opcode = (uint8_t)(0x90 | cc);
        in.size = 1;
        in.reg = (uint8_t)gen_below(g, 8); /* ignored */
        gen_rm(g, &in, 1, true, gen_regs(g, 1));
    }
    gen_put(g, &in);
}

/* LEA of anything: nothing is accessed. */
static void gen_lea(struct gen *g)
{
    struct insn in = {.opcode = 0x8d, .modrm = true, .mem = true};

    in.size = (uint8_t)gen_size(g, false);
    if (gen_one_in(g, 4)) {
        in.m = gen_mem(g, 8, ANY_REGS, false);
    } else {
        in.m.base = (uint8_t)gen_pick(g, ANY_REGS);
        in.m.index =
            gen_one_in(g, 3) ? X86_NONE_SLOT : (uint8_t)gen_pick(g, ANY_REGS & ~(1 << RSP));
        in.m.scale = (uint8_t)gen_below(g, 4);
        in.m.disp = gen_one_in(g, 4) ? (int32_t)gen_imm(g) : (int8_t)gen_imm(g);
        in.m.a32 = gen_one_in(g, 5);
        if (in.m.index != X86_NONE_SLOT && gen_one_in(g, 4))
            in.m.kind = MEM_INDEX;
    }
    in.reg = (uint8_t)gen_pick(g, g->free);
    gen_put(g, &in);
}

static void gen_movbe(struct gen *g)
{
    struct insn in = {.map = X86_MAP_0F38, .opcode = 0xf0 | gen_below(g, 2), .modrm = true};

    if (!(gen_features & EMU_F(MOVBE)))
        return;
    in.size = (uint8_t)gen_size(g, false);
    in.mem = true;
    in.m = gen_mem(g, in.size, ANY_REGS, false);
    in.reg = (uint8_t)gen_pick(g, in.opcode & 1 ? ANY_REGS : g->free);
    gen_put(g, &in);
}

/* A pointer or an index gets another such value. */
static void gen_role(struct gen *g)
{
    struct insn in = {.size = 8};

    if (g->s->indexes && gen_one_in(g, 2)) {
        in.map = X86_MAP_0F;
        in.opcode = 0xb6; /* movzb */
        in.size = (uint8_t)gen_size(g, false);
        if (in.size == 2)
            in.size = 4;
        gen_rm(g, &in, 1, false, ANY_REGS);
        if (!in.mem && in.rm >= 4)
            in.force_rex = true;
        in.reg = (uint8_t)gen_pick(g, g->s->indexes);
    } else if (g->s->pointers) {
        in.reg = in.rm = (uint8_t)gen_pick(g, g->s->pointers);
        switch (gen_below(g, 3)) {
        case 0: /* lea */
            in.opcode = 0x8d;
            in.modrm = in.mem = true;
            in.m =
                (struct mem){.kind = MEM_RIP, .address = ROW_DATA + 0x800 + gen_below(g, 0x1000)};
            break;
        case 1: /* mov */
            in.opcode = 0xb8;
            in.plus = true;
            in.size = gen_one_in(g, 2) ? 4 : 8;
            in.imm_size = in.size;
            in.imm = ROW_DATA + 0x800 + gen_below(g, 0x1000);
            break;
        default: /* add, a little: loops do it again */
            in.opcode = 0x83;
            in.modrm = true;
            in.reg = 0;
            in.imm_size = 1;
            in.imm = gen_below(g, 9) - 4;
            break;
        }
    }
    gen_put(g, &in);
}

void gen_move(struct gen *g)
{
    switch (gen_below(g, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: gen_mov(g); break;
    case 5:
    case 6:
    case 7: gen_extend(g); break;
    case 8:
    case 9:
    case 10: gen_conditional(g); break;
    case 11:
    case 12: gen_lea(g); break;
    case 13: gen_movbe(g); break;
    default: gen_role(g); break;
    }
}

/* CMPXCHG8B, CMPXCHG16B */
static void gen_cmpxchg_pair(struct gen *g)
{
    const uint32_t pair = 1 << RAX | 1 << RDX;
    struct insn in = {.map = X86_MAP_0F, .opcode = 0xc7, .reg = 1, .modrm = true, .mem = true};

    if ((g->free & pair) != pair)
        return;
    in.w = gen_one_in(g, 2);
    in.m = gen_mem(g, 16, ANY_REGS, in.w && !gen_one_in(g, 8));
    in.lock = gen_one_in(g, 2);
    gen_put(g, &in);
}

void gen_exchange(struct gen *g)
{
    unsigned size = gen_size(g, true), form = gen_below(g, 8);
    struct insn in = {.size = (uint8_t)size};
    uint32_t regs = gen_regs(g, size);

    if (form < 2) { /* XCHG */
        in.opcode = 0x86 | (size != 1);
        gen_rm(g, &in, size, true, regs);
        in.reg = (uint8_t)gen_reg(g, &in, size, g->free, &regs);
    } else if (form == 2 && g->free & 1 << RAX) { /* XCHG rAX, r */
        in.opcode = 0x90;
        in.plus = true;
        in.size = (uint8_t)gen_size(g, false);
        in.rm = (uint8_t)gen_pick(g, g->free);
    } else if (form == 3) { /* BSWAP */
        in.map = X86_MAP_0F;
        in.opcode = 0xc8;
        in.plus = true;
        in.size = gen_one_in(g, 2) ? 4 : 8;
        in.rm = (uint8_t)gen_pick(g, g->free);
    } else if (form < 5) { /* XADD */
        in.map = X86_MAP_0F;
        in.opcode = 0xc0 | (size != 1);
        gen_rm(g, &in, size, true, regs);
        in.reg = (uint8_t)gen_reg(g, &in, size, g->free, &regs);
    } else if (form < 7 && g->free & 1 << RAX) { /* CMPXCHG */
        in.map = X86_MAP_0F;
        in.opcode = 0xb0 | (size != 1);
        gen_rm(g, &in, size, true, regs);
        in.reg = (uint8_t)gen_reg(g, &in, size, ANY_REGS, &regs);
    } else {
        gen_cmpxchg_pair(g);
        return;
    }
    in.lock = in.mem && gen_one_in(g, 3);
    gen_put(g, &in);
}

/* ---- stack ------------------------------------------------------------------------- */

static void gen_push(struct gen *g, unsigned size)
{
    struct insn in = {.size = (uint8_t)size};

    switch (gen_below(g, 4)) {
    case 0:
        in.opcode = gen_one_in(g, 2) ? 0x6a : 0x68;
        in.imm_size = in.opcode == 0x6a ? 1 : in.size == 2 ? 2 : 4;
        in.imm = gen_imm(g);
        break;
    case 1:
        in.opcode = 0xff;
        in.reg = 6;
        gen_rm(g, &in, 8, false, ANY_REGS);
        break;
    default:
        in.opcode = 0x50;
        in.plus = true;
        in.rm = (uint8_t)gen_pick(g, ANY_REGS);
        break;
    }
    gen_put(g, &in);
}

/* A pop, of the size of the push before; RSP counts as raised when an address is formed. */
static void gen_pop(struct gen *g, unsigned size)
{
    struct insn in = {.size = (uint8_t)size};

    if (gen_one_in(g, 3)) {
        in.opcode = 0x8f;
        gen_rm(g, &in, 8, true, ANY_REGS);
    } else {
        in.opcode = 0x58;
        in.plus = true;
        in.rm = (uint8_t)gen_pick(g, g->free);
    }
    gen_put(g, &in);
}

/* PUSHF, and POPF of status flags. */
static void gen_pushf(struct gen *g)
{
    bool word = gen_one_in(g, 4);

    if (gen_one_in(g, 2)) {
        struct insn in = {.opcode = 0x68, .size = word ? 2 : 0, .imm_size = word ? 2 : 4};

        in.imm = gen_imm(g) & 0x8d5;
        gen_put(g, &in);
    } else {
        struct insn in = {.opcode = 0x81, .modrm = true, .mem = true, .size = word ? 2 : 4};

        GEN_BYTES(g, word ? 0x66 : 0x9c, 0x9c);
        if (!word)
            g->s->item[g->s->count - 1].len = 1;
        in.reg = 4 + (gen_one_in(g, 2) ? 2 : 0); /* and, xor */
        in.m = (struct mem){.base = RSP, .index = X86_NONE_SLOT};
        in.imm_size = word ? 2 : 4;
        in.imm = in.reg == 4 ? (gen_imm(g) & 0x8d5) | 0x202 : gen_imm(g) & 0x8d5;
        gen_put(g, &in);
    }
    if (word)
        GEN_BYTES(g, 0x66, 0x9d);
    else
        GEN_BYTES(g, 0x9d);
}

/* A frame in RBP, and LEAVE. */
static void gen_leave(struct gen *g)
{
    uint32_t before = g->free;
    uint8_t group = gen_new_group(g);

    if (!(g->free & 1 << RBP))
        return;
    g->group = group;
    if (gen_one_in(g, 3)) {
        GEN_BYTES(g, 0xc8, (uint8_t)gen_below(g, 64), 0, 0); /* enter */
    } else {
        GEN_BYTES(g, 0x55);             /* push %rbp */
        GEN_BYTES(g, 0x48, 0x89, 0xe5); /* mov %rsp, %rbp */
        if (gen_one_in(g, 2))
            GEN_BYTES(g, 0x48, 0x83, 0xec, (uint8_t)gen_below(g, 64)); /* sub $n, %rsp */
    }
    g->group = 0;
    g->free &= ~(1u << RBP);
    g->pushed += 80;
    gen_things(g, 3);
    g->pushed -= 80;
    g->free = before;
    g->group = group;
    GEN_BYTES(g, 0xc9);
    g->group = 0;
}

void gen_stack(struct gen *g)
{
    unsigned form = gen_below(g, 8), size = gen_one_in(g, 6) ? 2 : 0;
    uint8_t group;

    if (g->group || g->depth > 4)
        return;
    g->depth++;
    group = gen_new_group(g);
    g->group = group;
    if (form < 4) {
        gen_push(g, size);
        g->group = 0;
        g->pushed += 8;
        gen_things(g, gen_below(g, 4));
        g->pushed -= 8;
        g->group = group;
        gen_pop(g, size);
    } else if (form < 6) {
        gen_pushf(g);
    } else if (form == 6) {
        GEN_BYTES(g, 0x54); /* push %rsp */
        GEN_BYTES(g, 0x5c); /* pop %rsp */
    } else {
        g->group = 0;
        gen_leave(g);
    }
    g->group = 0;
    g->depth--;
}

/* ---- strings ----------------------------------------------------------------------- */

void gen_string(struct gen *g)
{
    static const uint8_t opcodes[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae};
    const uint32_t moved = 1 << RSI | 1 << RDI | 1 << RCX | 1 << RAX;
    unsigned size = gen_size(g, true), op = opcodes[gen_below(g, 5)], rep = gen_below(g, 3);
    bool compares = op == 0xa6 || op == 0xae, down = gen_one_in(g, 3);
    struct insn in = {.opcode = (uint8_t)(op | (size != 1)), .size = (uint8_t)size};
    struct insn set = {.opcode = 0xb8, .plus = true, .size = 4, .imm_size = 4};

    if ((g->free & moved) != moved || g->group)
        return;
    g->group = gen_new_group(g);
    set.rm = RSI;
    set.imm = ROW_DATA + 0x1000 - 0x40 + gen_below(g, 0x80);
    gen_put(g, &set);
    set.rm = RDI;
    set.imm = gen_one_in(g, 3) ? set.imm + gen_below(g, 16) - 8
                               : ROW_DATA + 0x2000 - 0x40 + gen_below(g, 0x80);
    gen_put(g, &set);
    set.rm = RCX;
    set.imm = gen_one_in(g, 4) ? gen_below(g, 200) : gen_below(g, 8);
    gen_put(g, &set);
    if (down)
        GEN_BYTES(g, 0xfd); /* std */
    in.pp = (uint8_t)(rep == 0 ? 0 : rep == 1 || !compares ? 2 : 3);
    gen_put(g, &in);
    if (down)
        GEN_BYTES(g, 0xfc); /* cld */
    g->group = 0;
}

/* ---- flags, and other odds and ends -------------------------------------------------- */

void gen_flags(struct gen *g)
{
    static const uint8_t op[] = {0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0x90};
    uint8_t byte = op[gen_below(g, sizeof(op))];
    struct insn in = {.map = X86_MAP_0F, .opcode = 0x1f, .size = 4, .reg = 0};

    if (byte == 0x9f && !(g->free & 1 << RAX))
        return;
    if (byte != 0x90) {
        gen_bytes(g, &byte, 1);
        return;
    }
    gen_rm(g, &in, 4, false, ANY_REGS); /* a long NOP */
    gen_put(g, &in);
}

/* An access that may fault, or a register that points nowhere. */
void gen_fault(struct gen *g)
{
    static const uint64_t nowhere[] = {0x100,       0x8000000000000000, 0x0000800000001000,
                                       0x7ffffffff, ROW_NONE,           ROW_DATA - 8};
    struct insn in = {.modrm = true, .mem = true}, set = {.opcode = 0xb8, .plus = true};
    unsigned kind = gen_below(g, 4);

    in.size = (uint8_t)gen_size(g, true);
    if (gen_one_in(g, 8)) { /* ud2, hlt, in %dx, %al */
        static const uint8_t not_for_users[][2] = {{0x0f, 0x0b}, {0x66, 0xf4}, {0x66, 0xec}};

        gen_bytes(g, not_for_users[gen_below(g, 3)], 2);
        return;
    }
    if (g->s->alignment) /* #AC or #PF first: makers differ */
        return;
    if (kind < 2) {
        in.m = gen_wild_mem(g, in.size);
    } else {
        if (g->group)
            return;
        g->group = gen_new_group(g);
        set.size = set.imm_size = 8;
        set.rm = (uint8_t)gen_pick(g, g->free);
        set.imm = nowhere[gen_below(g, sizeof(nowhere) / sizeof(nowhere[0]))];
        in.m = (struct mem){.base = set.rm, .index = X86_NONE_SLOT, .disp = (int8_t)gen_imm(g)};
        gen_put(g, &set);
    }
    switch (gen_below(g, 4)) {
    case 0: /* op r, m */
        in.opcode = (uint8_t)(gen_below(g, 7) << 3 | 2 | (in.size != 1));
        in.reg = (uint8_t)gen_reg(g, &in, in.size, g->free, &(uint32_t){ANY_REGS});
        break;
    case 1: /* op m, r */
        in.opcode = (uint8_t)(gen_below(g, 7) << 3 | (in.size != 1));
        in.reg = (uint8_t)gen_reg(g, &in, in.size, ANY_REGS, &(uint32_t){ANY_REGS});
        in.lock = gen_one_in(g, 3);
        break;
    case 2: /* mov m, r */
        in.opcode = 0x88 | (in.size != 1);
        in.reg = (uint8_t)gen_reg(g, &in, in.size, ANY_REGS, &(uint32_t){ANY_REGS});
        break;
    default: /* mov r, m */
        in.opcode = 0x8a | (in.size != 1);
        in.reg = (uint8_t)gen_reg(g, &in, in.size, g->free, &(uint32_t){ANY_REGS});
        break;
    }
    gen_put(g, &in);
    g->group = 0;
}
