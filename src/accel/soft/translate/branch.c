/* Near jumps, calls and returns: links within a page, else the jump cache. */
#include "accel/soft/translate/tr.h"

static int64_t target(const struct tr *tr)
{
    return (int64_t)tr_next(tr) + (int64_t)tr->op->i.imm;
}

static void push_return(struct tr *tr, struct host_mem at)
{
    tr_rip(tr, S1, tr_next(tr));
    asm_store(&tr->a, at, S1);
    asm_lea(&tr->a, HOST_SP, mem_at(HOST_SP, -8));
}

static void call(struct tr *tr)
{
    push_return(tr, tr_stack_address(tr, EMU_WRITE, -8));
    tr_exit(tr, target(tr));
}

static void ret(struct tr *tr)
{
    asm_load(&tr->a, S1, tr_stack_address(tr, EMU_READ, 0));
    asm_lea(&tr->a, HOST_SP, mem_at(HOST_SP, 8 + (int32_t)tr->op->i.imm));
    tr_exit_s1(tr);
}

static void jump_rm(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->flags & X86_RM_MEM) {
        asm_load(&tr->a, S1, tr_address(tr, EMU_READ, 8, 0));
    } else {
        uint8_t r = tr_get(tr, i->rm, S1);

        if (r != S1)
            asm_mov(&tr->a, S1, r);
    }
    tr_exit_s1(tr);
}

bool tr_branch(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->flags & X86_VEX || i->osize != 8)
        return false;
    if (i->map == X86_MAP_0F) {
        if (i->opcode < 0x80 || i->opcode > 0x8f)
            return false;
        tr_cold_exit(tr, asm_jcc(&tr->a, i->opcode & 15), target(tr));
        return true;
    }
    if (i->map != X86_MAP_1B)
        return false;
    switch (i->opcode) {
    case 0x70 ... 0x7f: tr_cold_exit(tr, asm_jcc(&tr->a, i->opcode & 15), target(tr)); return true;
    case 0xe9:
    case 0xeb: tr_exit(tr, target(tr)); return true;
    case 0xe8: call(tr); return true;
    case 0xc2:
    case 0xc3: ret(tr); return true;
    case 0xff:
        if ((i->modrm >> 3 & 7) != 4)
            return false;
        jump_rm(tr);
        return true;
    default: return false;
    }
}
