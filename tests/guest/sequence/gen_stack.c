/* PUSH, POP, flags on the stack, frames. */
#include "generate.h"

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
