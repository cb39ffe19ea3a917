/* Bit tests of memory: the bit's offset, in a register, may lie far from the operand. */
#include "accel/soft/translate/integer.h"

static unsigned log2_bits(unsigned size)
{
    return size == 8 ? 6 : size == 4 ? 5 : 4;
}

/* S0 = address of the operand that has the bit, checked; flags are saved, not restored. */
static void address(struct tr *tr, bool write)
{
    const struct x86_insn *i = &tr->op->i;
    uint8_t scale = i->osize == 8 ? 3 : i->osize == 4 ? 2 : 1;
    uint8_t offset;

    tr_flags_save(tr);
    tr_linear(tr);
    offset = tr_get(tr, i->reg, S1);
    if (i->osize == 2)
        asm_insn(&tr->a,
                 &(struct host_insn){
                     .w = true, .map = X86_MAP_0F, .opcode = 0xbf, .reg = S1, .rm = offset});
    else if (i->osize == 4)
        asm_rr(&tr->a, true, 0x63, S1, offset);
    else if (offset != S1)
        asm_mov(&tr->a, S1, offset);
    asm_shift_imm(&tr->a, true, 7, S1, (uint8_t)log2_bits(i->osize));
    asm_lea(&tr->a, S0, (struct host_mem){.base = S0, .index = S1, .scale = scale});
    tr_check(tr, write ? EMU_WRITE : EMU_READ, i->osize, 0);
}

/* The offset within the operand to S1, and flags. */
static void offset_in(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    uint8_t offset = tr_get(tr, i->reg, S1);

    if (offset != S1)
        asm_rr(&tr->a, false, 0x8b, S1, offset);
    asm_alu_imm(&tr->a, false, 4, S1, 8 * i->osize - 1);
    if (tr->saved.how == TR_IN_HOST)
        return;
    asm_store(&tr->a, mem_gs(GS_TR(tmp)), S1);
    tr_flags_restore(tr);
    asm_load(&tr->a, S1, mem_gs(GS_TR(tmp)));
}

bool tr_bit_string(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    struct host_insn h = {
        .opsize = i->osize == 2,
        .lock = i->flags & X86_LOCK,
        .w = i->osize == 8,
        .map = i->map,
        .opcode = i->opcode,
        .rm = S0,
    };

    if (i->map != X86_MAP_0F || !(i->flags & X86_RM_MEM) || i->asize != 8)
        return false;
    switch (i->opcode) {
    case 0xa3: /* the host's own form with memory is slow */
        address(tr, false);
        tr_extend_mem(tr, S0, mem_at(S0, 0), i->osize, false);
        tr_flags_restore(tr);
        h.reg = tr_get(tr, i->reg, S1);
        break;
    case 0xab:
    case 0xb3:
    case 0xbb:
        address(tr, true);
        offset_in(tr);
        h.reg = S1;
        h.is_mem = true;
        h.mem = mem_at(S0, 0);
        break;
    default: return false;
    }
    asm_insn(&tr->a, &h);
    return true;
}
