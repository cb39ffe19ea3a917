/* MOV to and from debug registers (SDM Vol. 3B 17.2). */
#include "emu/system.h"

#define DR6_WRITABLE (DR6_BT | DR6_BS | DR6_BD | 0xfu)
#define DR7_WRITABLE 0xffff23ffu /* L, G, LE, GE, GD, R/W, LEN */

/* DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE. GD guards them all. */
static unsigned debug_register(struct emu_cpu *c, const struct x86_insn *i)
{
    unsigned n = i->reg;

    if (n == 4 || n == 5) {
        if (c->cr4 & CR4_DE)
            emu_ud(c);
        n += 2;
    }
    need_cpl0(c);
    if (c->dr[7] & DR7_GD) {
        c->dr[6] |= DR6_BD;
        c->dr[7] &= ~(uint64_t)DR7_GD;
        emu_raise(c, EXC_DB);
    }
    return n;
}

/* 0F 21 MOV r, DR */
void op_mov_from_dr(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned n = debug_register(c, &op->i);

    emu_set_reg(c, op->i.rm, c->code64 ? 8 : 4, c->dr[n]);
}

/* 0F 23 MOV DR, r. Pages with breakpoints take the slow path, so the TLB goes. */
void op_mov_to_dr(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned n = debug_register(c, &op->i);
    uint64_t value = emu_get_reg(c, op->i.rm, c->code64 ? 8 : 4);

    if (n >= 6 && value >> 32)
        emu_gp(c, 0);
    if (n == 6)
        value = (value & DR6_WRITABLE) | DR6_FIXED;
    else if (n == 7)
        value = (value & DR7_WRITABLE) | DR7_FIXED;
    c->dr[n] = value;
    if (n != 6)
        emu_tlb_flush(c);
}
