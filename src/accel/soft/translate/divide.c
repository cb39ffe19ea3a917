/*
 * DIV and IDIV. The host must not fault: what might overflow is the
 * interpreter's. IDIV of a dividend that is wider than half of the pair is too,
 * which compilers do not make.
 */
#include "accel/soft/translate/integer.h"

static bool is_signed(const struct x86_insn *i)
{
    return (i->modrm >> 3 & 7) == 7;
}

/* The host register with the divisor: S0, or its own. Narrow ones are extended. */
static uint8_t divisor(struct tr *tr, unsigned size)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->flags & X86_RM_MEM) {
        tr_extend_mem(tr, S0, tr_address(tr, EMU_READ, size, 0), size, is_signed(i));
        return S0;
    }
    if (size >= 4)
        return tr_get(tr, i->rm, S0);
    if (size == 1 && tr_high_byte(i, i->rm)) {
        tr_rotate(tr, S0, tr_host(i->rm - 4u), 8);
        tr_extend(tr, S0, S0, size, is_signed(i));
    } else {
        tr_extend(tr, S0, tr_get(tr, i->rm, S0), size, is_signed(i));
    }
    return S0;
}

/* CMP of `size` bytes. */
static void compare(struct tr *tr, unsigned size, uint8_t a, uint8_t b)
{
    asm_insn(&tr->a, &(struct host_insn){.opsize = size == 2,
                                         .w = size == 8,
                                         .opcode = size == 1 ? 0x3a : 0x3b,
                                         .reg = a,
                                         .rm = b});
}

/* The quotient fits when the dividend's high half is below the divisor. */
static void check_unsigned(struct tr *tr, unsigned size, uint8_t by)
{
    if (size == 1) {
        tr_rotate(tr, S1, RAX, 8);
        compare(tr, 1, S1, by);
    } else {
        compare(tr, size, RDX, by);
    }
    tr_cold_interpret(tr, asm_jcc(&tr->a, CC_AE));
}

/* ... when it is but the low half's sign, and the divisor neither 0 nor -1. */
static void check_signed(struct tr *tr, unsigned size, uint8_t by)
{
    tr_extend(tr, S1, RAX, size, true);
    if (size == 1) {
        compare(tr, 2, S1, RAX);
    } else {
        asm_shift_imm(&tr->a, size == 8, 7, S1, size == 8 ? 63 : 31);
        compare(tr, size, RDX, S1);
    }
    tr_cold_interpret(tr, asm_jcc(&tr->a, CC_NE));
    asm_rm(&tr->a, size == 8, 0x8d, S1, mem_at(by, 1));
    asm_alu_imm(&tr->a, size == 8, 7, S1, 1);
    tr_cold_interpret(tr, asm_jcc(&tr->a, CC_BE));
}

bool tr_divide(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned size = i->opcode & 1 ? i->osize : 1;
    uint8_t by;

    if (i->map != X86_MAP_1B || (i->opcode & 0xfe) != 0xf6 || (i->modrm >> 3 & 7) < 6)
        return false;
    by = divisor(tr, size);
    if (is_signed(i))
        check_signed(tr, size, by);
    else
        check_unsigned(tr, size, by);
    asm_insn(&tr->a, &(struct host_insn){.opsize = size == 2,
                                         .w = size == 8,
                                         .rex = true,
                                         .opcode = i->opcode,
                                         .reg = i->modrm >> 3 & 7,
                                         .rm = by});
    return true;
}
