/* LOOP, LOOPE, LOOPNE, JRCXZ: no flags are written. */
#include "accel/soft/translate/integer.h"

/* Over what comes next if RCX, or ECX, is 0. */
static uint8_t *unless_zero(struct tr *tr)
{
    if (tr->op->i.asize == 4)
        ASM(&tr->a, 0x67);
    return asm_jrcxz(&tr->a);
}

static void jrcxz(struct tr *tr, int64_t target)
{
    uint8_t *zero = unless_zero(tr), *over;

    ASM(&tr->a, 0xeb, 0); /* jmp */
    over = tr->a.p;
    asm_land_short(&tr->a, zero);
    tr_cold_exit(tr, asm_jmp(&tr->a), target);
    asm_land_short(&tr->a, over);
}

static void loop(struct tr *tr, int64_t target)
{
    const struct x86_insn *i = &tr->op->i;
    uint8_t *zero;

    asm_rm(&tr->a, i->asize == 8, 0x8d, RCX, mem_at(RCX, -1));
    zero = unless_zero(tr);
    if (i->opcode == 0xe2)
        tr_cold_exit(tr, asm_jmp(&tr->a), target);
    else
        tr_cold_exit(tr, asm_jcc(&tr->a, i->opcode == 0xe1 ? CC_E : CC_NE), target);
    asm_land_short(&tr->a, zero);
}

bool tr_loop(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    int64_t target = (int64_t)tr_next(tr) + (int64_t)i->imm;

    if (i->map != X86_MAP_1B || i->opcode < 0xe0 || i->opcode > 0xe3 || i->osize != 8)
        return false;
    if (i->opcode == 0xe3)
        jrcxz(tr, target);
    else
        loop(tr, target);
    return true;
}
