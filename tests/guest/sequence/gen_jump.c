/* Jumps, loops, calls, indirect branches; each with its targets inside of the sequence. */
#include "generate.h"

static unsigned here(const struct gen *g)
{
    return g->s->count;
}

static void land(struct seq_item *branch, unsigned target)
{
    if (branch)
        branch->target = (uint16_t)target;
}

/* Jcc, or JRCXZ, over some things; perhaps with others where it does not jump. */
static void gen_forward(struct gen *g)
{
    uint8_t cc = (uint8_t)gen_below(g, 16);
    struct seq_item *branch, *over = NULL;
    uint8_t group = gen_new_group(g);

    g->group = group;
    if (gen_one_in(g, 6))
        branch = gen_one_in(g, 3) ? gen_branch(g, FIX_SHORT, (const uint8_t[]){0x67, 0xe3}, 2)
                                  : gen_branch(g, FIX_SHORT, (const uint8_t[]){0xe3}, 1);
    else
        branch = gen_branch(g, FIX_JCC, &cc, 1);
    g->group = 0;
    gen_things(g, 1 + gen_below(g, 4));
    if (gen_one_in(g, 3)) {
        g->group = group;
        over = gen_branch(g, FIX_JMP, NULL, 0);
        g->group = 0;
        land(branch, here(g));
        gen_things(g, 1 + gen_below(g, 3));
        land(over, here(g));
    } else {
        land(branch, here(g));
    }
}

/* A loop of 1 to 10 rounds, counted in a register that its body leaves alone. */
static void gen_loop(struct gen *g)
{
    bool rcx = g->free & 1 << RCX && gen_one_in(g, 3);
    uint8_t group = gen_new_group(g), counter = (uint8_t)(rcx ? RCX : gen_pick(g, g->free));
    struct insn set = {.opcode = 0xb8, .plus = true, .size = 4, .rm = counter, .imm_size = 4};
    struct insn step = {.size = gen_one_in(g, 2) ? 4 : 8, .modrm = true, .rm = counter};
    uint32_t before = g->free;
    struct seq_item *branch;
    unsigned top;

    set.imm = 1 + gen_below(g, g->loops ? 3 : 10);
    g->group = group;
    if (!gen_put(g, &set))
        return;
    g->group = 0;
    g->free &= ~(1u << counter);
    top = here(g);
    g->loops++;
    gen_things(g, 1 + gen_below(g, 6));
    g->loops--;
    g->group = group;
    if (rcx && gen_one_in(g, 2)) {
        branch = gen_branch(g, FIX_SHORT, (const uint8_t[]){0xe2}, 1);
    } else {
        step.opcode = gen_one_in(g, 2) ? 0xff : 0x83; /* dec; sub $1 */
        step.reg = step.opcode == 0xff ? 1 : 5;
        step.imm = 1;
        step.imm_size = step.opcode == 0xff ? 0 : 1;
        if (!gen_put(g, &step))
            return;
        branch = gen_branch(g, FIX_JCC, (const uint8_t[]){gen_one_in(g, 3) ? 0xf : 0x5}, 1);
        /* Greater, or not zero, as long as it is left. */
    }
    land(branch, top);
    g->group = 0;
    g->free = before;
}

/* CALL of a function whose body stands behind a jump over it. */
static void gen_call(struct gen *g)
{
    uint8_t group = gen_new_group(g);
    struct seq_item *call, *over;
    struct insn pop = {.opcode = 0x58, .plus = true};

    g->group = group;
    call = gen_branch(g, FIX_CALL, NULL, 0);
    over = gen_branch(g, FIX_JMP, NULL, 0);
    land(call, here(g));
    g->group = 0;
    g->pushed += 8;
    gen_things(g, 1 + gen_below(g, 4));
    g->pushed -= 8;
    g->group = group;
    if (gen_one_in(g, 4)) { /* returns by a jump */
        pop.rm = (uint8_t)gen_pick(g, g->free);
        gen_put(g, &pop);
        gen_put(g, &(struct insn){.opcode = 0xff, .modrm = true, .reg = 4, .rm = pop.rm});
    } else if (gen_one_in(g, 3)) {
        GEN_BYTES(g, 0xc2, 0, 0); /* ret $0 */
    } else {
        GEN_BYTES(g, 0xc3);
    }
    g->group = 0;
    land(over, here(g));
}

/* The address of an item that is not known yet into a register. */
static struct seq_item *load_target(struct gen *g, unsigned reg)
{
    struct insn in = {.size = 8, .reg = (uint8_t)reg, .rm = (uint8_t)reg};
    struct seq_item *item;

    if (gen_one_in(g, 2)) {
        in.opcode = 0x8d;
        in.modrm = in.mem = true;
        in.m.kind = MEM_RIP;
        in.m.address = ROW_DATA;
        item = gen_put(g, &in);
        if (item) {
            item->fix = FIX_RIP_TO;
            item->address = 0;
        }
        return item;
    }
    in.opcode = 0xb8;
    in.plus = true;
    in.imm_size = 8;
    item = gen_put(g, &in);
    if (item) {
        item->fix = FIX_ABS_TO;
        item->at = (uint8_t)(item->len - 8);
    }
    return item;
}

/* JMP by register, memory or RET to one of two places, as a flag has it. */
static void gen_indirect(struct gen *g)
{
    uint8_t group = gen_new_group(g);
    unsigned a = gen_pick(g, g->free), b = gen_pick(g, g->free);
    struct insn in = {.modrm = true, .rm = (uint8_t)a, .reg = 4, .opcode = 0xff};
    struct insn move = {.map = X86_MAP_0F, .size = 8, .modrm = true};
    struct seq_item *to[2];

    g->group = group;
    to[0] = load_target(g, a);
    to[1] = a == b ? NULL : load_target(g, b);
    if (to[1]) {
        move.opcode = 0x40 | gen_below(g, 16); /* cmov */
        move.reg = (uint8_t)a;
        move.rm = (uint8_t)b;
        gen_put(g, &move);
    }
    switch (gen_below(g, 3)) {
    case 0: break;
    case 1: /* through memory */
        move = (struct insn){.opcode = 0x89, .size = 8, .modrm = true, .reg = (uint8_t)a};
        move.mem = true;
        move.m = gen_mem(g, 8, ANY_REGS, false);
        if (!gen_put(g, &move))
            return;
        in.mem = true;
        in.m = move.m;
        break;
    default: /* push and ret */
        gen_put(g, &(struct insn){.opcode = 0x50, .plus = true, .rm = (uint8_t)a});
        in = (struct insn){.opcode = 0xc3};
        break;
    }
    gen_put(g, &in);
    g->group = 0;
    if (to[1])
        land(to[gen_below(g, 2)], here(g));
    gen_things(g, 1 + gen_below(g, 3));
    for (unsigned n = 0; n < 2; n++) {
        if (to[n] && to[n]->target == 0)
            land(to[n], here(g));
    }
}

void gen_jump(struct gen *g)
{
    if (g->group || g->depth > 3)
        return;
    g->depth++;
    switch (gen_below(g, 8)) {
    case 0:
    case 1:
    case 2: gen_forward(g); break;
    case 3:
    case 4:
        if (g->loops < 2)
            gen_loop(g);
        break;
    case 5:
    case 6: gen_call(g); break;
    default: gen_indirect(g); break;
    }
    g->group = 0;
    g->depth--;
}
