/* What a user's program may not do. */
#include "generate.h"

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
