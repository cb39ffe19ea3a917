/* The x87, D8 to DF, with operands at random. */
#include "generate.h"

/* Left out: what stores FIP, FDP and FOP, in which makers differ, and what loads whole images. */
static bool left_out(unsigned opcode, unsigned reg, bool mem)
{
    if (mem)
        return (opcode == 0xd9 && (reg == 4 || reg == 5 || reg == 6)) || /* FLDENV FLDCW FNSTENV */
               (opcode == 0xdd && (reg == 4 || reg == 5 || reg == 6)) || /* FRSTOR, FNSAVE */
               (opcode == 0xdb && (reg == 4 || reg == 6)) || (opcode == 0xd9 && reg == 1);
    return false;
}

/* Register forms that the manual lists (SDM Vol. 2 appendix A.5). */
static bool defined(unsigned opcode, unsigned reg, unsigned rm)
{
    switch (opcode) {
    case 0xd8: return true;
    case 0xd9:
        switch (reg) {
        case 2: return rm == 0;
        case 3: return false;
        case 4: return rm != 2 && rm != 3 && rm != 6 && rm != 7;
        case 5: return rm != 7;
        default: return true;
        }
    case 0xda: return reg < 4 || (reg == 5 && rm == 1);
    case 0xdb: return reg != 4 && reg != 7;
    case 0xdc: return reg != 2 && reg != 3;
    case 0xdd: return reg == 0 || (reg >= 2 && reg < 6);
    case 0xde: return reg != 2 && (reg != 3 || rm == 1);
    default: return reg == 5 || reg == 6;
    }
}

void gen_x87(struct gen *g)
{
    struct insn in = {.modrm = true};

    in.opcode = (uint8_t)(0xd8 + gen_below(g, 8));
    in.reg = (uint8_t)gen_below(g, 8);
    in.mem = gen_one_in(g, 2);
    if (in.mem)
        in.m = gen_mem(g, 10, ANY_REGS, false);
    else
        in.rm = (uint8_t)gen_below(g, 8);
    if (in.mem && g->s->alignment)
        return;
    if (left_out(in.opcode, in.reg, in.mem))
        return;
    if (!in.mem && !defined(in.opcode, in.reg, in.rm))
        return;
    gen_put(g, &in);
}

/* FNSTSW %ax, FNINIT. Not EMMS: AMD's sets TOP to 0, Intel's does not. */
void gen_x87_state(struct gen *g)
{
    if (gen_one_in(g, 2))
        GEN_BYTES(g, 0xdb, 0xe3);
    else if (g->free & 1 << RAX)
        GEN_BYTES(g, 0xdf, 0xe0);
}
