/* PUSH, POP, LEAVE: one access at the guest's stack pointer. */
#include "accel/soft/translate/tr.h"

static void move_sp(struct tr *tr, int delta)
{
    asm_lea(&tr->a, HOST_SP, mem_at(HOST_SP, delta));
}

static void push_register(struct tr *tr, unsigned n)
{
    struct host_mem at = tr_stack_address(tr, EMU_WRITE, -8);

    asm_store(&tr->a, at, tr_get(tr, n, S1));
    move_sp(tr, -8);
}

static void push_imm(struct tr *tr, uint64_t imm)
{
    struct host_mem at = tr_stack_address(tr, EMU_WRITE, -8);

    asm_insn(&tr->a,
             &(struct host_insn){
                 .w = true, .opcode = 0xc7, .is_mem = true, .mem = at, .imm = imm, .imm_size = 4});
    move_sp(tr, -8);
}

static void pop_register(struct tr *tr, unsigned n)
{
    struct host_mem at = tr_stack_address(tr, EMU_READ, 0);
    uint8_t to = tr_to(n, S1);

    if (n != RSP)
        move_sp(tr, 8);
    asm_load(&tr->a, to, at);
    tr_put(tr, n, to);
}

/* The 8 bytes at S0 to tr.tmp; flags were saved. */
static void read_tmp(struct tr *tr)
{
    tr_check(tr, EMU_READ, 8, 0);
    asm_load(&tr->a, S0, mem_at(S0, 0));
    asm_store(&tr->a, mem_gs(GS_TR(tmp)), S0);
}

static void write_tmp(struct tr *tr)
{
    tr_check(tr, EMU_WRITE, 8, 0);
    tr_flags_restore(tr);
    asm_load(&tr->a, S1, mem_gs(GS_TR(tmp)));
    asm_store(&tr->a, mem_at(S0, 0), S1);
}

static void push_mem(struct tr *tr)
{
    tr_flags_save(tr);
    tr_linear(tr);
    read_tmp(tr);
    asm_lea(&tr->a, S0, mem_at(HOST_SP, -8));
    write_tmp(tr);
    move_sp(tr, -8);
}

/* The operand's address is that behind the pop. */
static void pop_mem(struct tr *tr)
{
    tr_flags_save(tr);
    asm_mov(&tr->a, S0, HOST_SP);
    read_tmp(tr);
    tr->shift = tr->op->i.base == RSP ? 8 : 0;
    tr_linear(tr);
    tr->shift = 0;
    write_tmp(tr);
    move_sp(tr, 8);
}

static void leave(struct tr *tr)
{
    tr_flags_save(tr);
    asm_mov(&tr->a, S0, RBP);
    tr_check(tr, EMU_READ, 8, 0);
    tr_flags_restore(tr);
    asm_lea(&tr->a, HOST_SP, mem_at(RBP, 8));
    asm_load(&tr->a, RBP, mem_at(S0, 0));
}

bool tr_stack(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->map != X86_MAP_1B || i->osize != 8 || i->flags & X86_VEX)
        return false;
    switch (i->opcode) {
    case 0x50 ... 0x57: push_register(tr, i->rm); return true;
    case 0x58 ... 0x5f: pop_register(tr, i->rm); return true;
    case 0x68:
    case 0x6a: push_imm(tr, i->imm); return true;
    case 0x8f: /* POP of a register is an odd encoding */
        if (i->flags & X86_RM_MEM)
            pop_mem(tr);
        else
            pop_register(tr, i->rm);
        return true;
    case 0xc9: leave(tr); return true;
    case 0xff:
        if ((i->modrm >> 3 & 7) != 6)
            return false;
        if (i->flags & X86_RM_MEM)
            push_mem(tr);
        else
            push_register(tr, i->rm);
        return true;
    default: return false;
    }
}
