/* LOOP, LOOPE, LOOPNE, JRCXZ: no flags are written. */
#include "accel/soft/translate/integer.h"

/* A jump if RCX, or ECX, is 0, or if it is not. */
static uint8_t *if_zero(struct tr *tr, bool zero)
{
    uint8_t *is_zero, *over, *jump;

    if (tr->op->i.asize == 4)
        ASM(&tr->a, 0x67);
    is_zero = asm_jrcxz(&tr->a);
    if (!zero) {
        jump = asm_jmp(&tr->a);
        asm_land_short(&tr->a, is_zero);
        return jump;
    }
    ASM(&tr->a, 0xeb, 0); /* jmp */
    over = tr->a.p;
    asm_land_short(&tr->a, is_zero);
    jump = asm_jmp(&tr->a);
    asm_land_short(&tr->a, over);
    return jump;
}

bool tr_loop(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    int64_t target = (int64_t)tr_next(tr) + (int64_t)i->imm;
    uint8_t *stay;

    if (i->map != X86_MAP_1B || i->opcode < 0xe0 || i->opcode > 0xe3 || i->osize != 8)
        return false;
    if (i->opcode != 0xe3)
        asm_rm(&tr->a, i->asize == 8, 0x8d, RCX, mem_at(RCX, -1));
    stay = if_zero(tr, i->opcode != 0xe3);
    if (i->opcode < 0xe2)
        tr_exit_if(tr, i->opcode == 0xe1 ? CC_E : CC_NE, target);
    else
        tr_exit(tr, target);
    tr->ended = false;
    asm_land(&tr->a, stay);
    return true;
}
