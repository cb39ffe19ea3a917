/*
 * Status flags across a check, which destroys them. In the order of what it costs: none is
 * needed; the instruction that made them is done once more; one condition is kept as a byte; all
 * are kept.
 */
#include "accel/soft/translate/tr.h"

#define ZSP (FLAG_ZF | FLAG_SF | FLAG_PF)
#define CLEAR                                                                                      \
    (FLAG_CF | FLAG_OF | TR_FLAG_LT) /* of a logical operation: as of TEST with itself             \
                                      */

static bool in_host(const struct x86_insn *i, unsigned n, unsigned size)
{
    return tr_host(n) != HOST_NONE && (size > 1 || n < 4 || n >= 8 || i->flags & X86_REX);
}

static unsigned width(const struct x86_insn *i)
{
    return i->opcode & 1 ? i->osize : 1;
}

/* CMP and TEST of registers and immediates: doing them again gives all flags. */
static bool compares(const struct x86_insn *i, uint32_t *reads)
{
    unsigned op = i->opcode, size = width(i), group = i->modrm >> 3 & 7;
    bool reg = (op >= 0x38 && op <= 0x3b) || op == 0x84 || op == 0x85;
    bool imm = (op == 0x80 || op == 0x81 || op == 0x83) && group == 7;

    if (op == 0x3c || op == 0x3d || op == 0xa8 || op == 0xa9) {
        *reads = REG(RAX);
        return true;
    }
    if (op == 0x80)
        size = 1;
    imm = imm || ((op == 0xf6 || op == 0xf7) && group < 2);
    if ((!reg && !imm) || i->flags & X86_RM_MEM || !in_host(i, i->rm, size) ||
        (reg && !in_host(i, i->reg, size)))
        return false;
    *reads = REG(i->rm) | (reg ? REG(i->reg) : 0);
    return true;
}

/* Others that leave their result in a register: TEST of it gives some. HOST_NONE: none. */
static unsigned result(const struct x86_insn *i, bool *logical)
{
    unsigned op = i->opcode, group = i->modrm >> 3 & 7, n = HOST_NONE;

    *logical = false;
    if (op < 0x38 && (op & 7) < 6) {
        *logical = op >> 3 == 1 || op >> 3 == 4 || op >> 3 == 6;
        if ((op & 7) >= 4)
            return RAX;
        n = op & 2 ? i->reg : i->rm;
        if (!(op & 2) && i->flags & X86_RM_MEM)
            return HOST_NONE;
    } else if ((op == 0x81 || op == 0x83) && group != 7) {
        *logical = group == 1 || group == 4 || group == 6;
        n = i->flags & X86_RM_MEM ? HOST_NONE : i->rm;
    } else if (op == 0xff && group < 2) {
        n = i->flags & X86_RM_MEM ? HOST_NONE : i->rm;
    }
    return n != HOST_NONE && in_host(i, n, width(i)) ? n : HOST_NONE;
}

void tr_flags_track(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    struct tr_flags_by by = {.op = tr->op};
    unsigned n;

    if (tr_keeps_flags(tr->op)) {
        if (tr_writes(tr->op) & tr->flags_by.reads)
            tr->flags_by.op = NULL;
        return;
    }
    tr->flags_by.op = NULL;
    if (i->map != X86_MAP_1B || i->flags & (X86_VEX | X86_LOCK))
        return;
    if (compares(i, &by.reads)) {
        by.gives = FLAG_STATUS | TR_FLAG_LT;
        by.again = true;
    } else {
        bool logical;

        n = result(i, &logical);
        if (n == HOST_NONE)
            return;
        by.reads = REG(n);
        by.test = (uint8_t)n;
        by.gives = ZSP | (logical ? CLEAR : 0);
    }
    tr->flags_by = by;
}

static void redo(struct tr *tr, const struct tr_flags_by *by)
{
    const struct emu_op *op = tr->op;
    unsigned size = width(&by->op->i);
    uint8_t r = tr_host(by->test);

    if (by->again) {
        tr->op = by->op;
        tr_integer(tr);
        tr->op = op;
        return;
    }
    asm_insn(&tr->a, &(struct host_insn){.opsize = size == 2,
                                         .w = size == 8,
                                         .rex = size == 1,
                                         .opcode = size == 1 ? 0x84 : 0x85,
                                         .reg = r,
                                         .rm = r});
}

/* SETcc to flags_ax, and a CMP with it that gives the flag. */
static bool byte_form(unsigned needed, unsigned *cc, int8_t *with)
{
    switch (needed) {
    case FLAG_CF:
        *cc = CC_AE;
        *with = 1;
        return true; /* 0 < 1: borrows */
    case FLAG_ZF:
        *cc = CC_NE;
        *with = 0;
        return true;
    case FLAG_SF:
        *cc = CC_NS;
        *with = 1;
        return true; /* 0 - 1: negative, no overflow */
    case TR_FLAG_LT:
        *cc = CC_GE;
        *with = 1;
        return true;
    default: return false;
    }
}

void tr_flags_save(struct tr *tr)
{
    unsigned needed = tr_flags_needed(tr), cc;
    int8_t with;

    if (tr->saved.how != TR_IN_HOST || !needed)
        return;
    if (tr->flags_by.op && !(needed & ~tr->flags_by.gives)) {
        tr->saved = (struct tr_saved){.how = TR_BY_AGAIN, .by = tr->flags_by};
    } else if (byte_form(needed, &cc, &with)) {
        asm_insn(&tr->a, &(struct host_insn){.map = X86_MAP_0F,
                                             .opcode = (uint8_t)(0x90 | cc),
                                             .is_mem = true,
                                             .mem = mem_gs(GS_TR(flags_ax))});
        tr->saved = (struct tr_saved){.how = TR_IN_BYTE, .with = with};
    } else {
        asm_mov(&tr->a, S1, RAX);
        ASM(&tr->a, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto %al */
        asm_store32(&tr->a, mem_gs(GS_TR(flags_ax)), RAX);
        asm_mov(&tr->a, RAX, S1);
        tr->saved.how = TR_IN_AX;
    }
}

void tr_flags_restore(struct tr *tr)
{
    switch (tr->saved.how) {
    case TR_IN_HOST: return;
    case TR_BY_AGAIN: redo(tr, &tr->saved.by); break;
    case TR_IN_BYTE:
        asm_insn(&tr->a, &(struct host_insn){.opcode = 0x80,
                                             .reg = 7,
                                             .is_mem = true,
                                             .mem = mem_gs(GS_TR(flags_ax)),
                                             .imm = (uint8_t)tr->saved.with,
                                             .imm_size = 1});
        break;
    case TR_IN_AX:
        asm_mov(&tr->a, S1, RAX);
        asm_load32(&tr->a, RAX, mem_gs(GS_TR(flags_ax)));
        ASM(&tr->a, 0x04, 0x7f, 0x9e); /* add $127, %al; sahf */
        asm_mov(&tr->a, RAX, S1);
        break;
    }
    tr->saved.how = TR_IN_HOST;
}
