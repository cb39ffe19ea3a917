/* Moves, conversions, exchanges. */
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
        if (in.size == 2) /* reads 2 bytes or, on AMD's, 4 */
            in.size = 8;
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
