/* String instructions, with registers that keep them where they may go. */
#include "generate.h"

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
