/* Near jumps, calls and returns: links within a page, else the jump cache. */
#include "accel/soft/translate/tr.h"

static int64_t target(const struct tr *tr)
{
    return (int64_t)tr_next(tr) + (int64_t)tr->op->i.imm;
}

/* The target may be a bad address, and then the branch faults: the interpreter knows how. */
static bool may_be_bad(const struct tr *tr)
{
    return tr->b->key & BLOCK_NEAR_HOLE && align_down((uint64_t)target(tr), PAGE_SIZE);
}

/* at: the checked place on the stack. */
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
    tr_find(tr);
    asm_lea(&tr->a, HOST_SP, mem_at(HOST_SP, 8 + (int32_t)tr->op->i.imm));
    tr_go_found(tr);
}

/* S1 = the target that the r/m operand holds. */
static void load_target(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->flags & X86_RM_MEM) {
        asm_load(&tr->a, S1, tr_address(tr, EMU_READ, 8, 0));
    } else {
        uint8_t r = tr_get(tr, i->rm, S1);

        if (r != S1)
            asm_mov(&tr->a, S1, r);
    }
}

static void jump_rm(struct tr *tr)
{
    load_target(tr);
    tr_find(tr);
    tr_go_found(tr);
}

/* The stack is checked last: it takes both scratch registers. */
static void call_rm(struct tr *tr)
{
    load_target(tr);
    tr_find(tr);
    tr_keep_found(tr);
    push_return(tr, tr_stack_address(tr, EMU_WRITE, -8));
    tr_go_kept(tr);
}

/* With a displacement. */
static bool direct(struct tr *tr)
{
    if (may_be_bad(tr))
        return false;
    switch (tr->op->i.opcode) {
    case 0xe8: call(tr); break;
    case 0xe9:
    case 0xeb: tr_exit(tr, target(tr)); break;
    default: tr_exit_if(tr, tr->op->i.opcode & 15, target(tr)); break;
    }
    return true;
}

bool tr_branch(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->flags & X86_VEX || i->osize != 8)
        return false;
    if (i->map == X86_MAP_0F)
        return i->opcode >= 0x80 && i->opcode <= 0x8f && direct(tr);
    if (i->map != X86_MAP_1B)
        return false;
    switch (i->opcode) {
    case 0x70 ... 0x7f:
    case 0xe8:
    case 0xe9:
    case 0xeb: return direct(tr);
    case 0xc2:
    case 0xc3: ret(tr); return true;
    case 0xff:
        switch (i->modrm >> 3 & 7) {
        case 2: call_rm(tr); return true;
        case 4: jump_rm(tr); return true;
        default: return false;
        }
    default: return false;
    }
}
