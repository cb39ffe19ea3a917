/*
 * Near control transfer: JMP, Jcc, LOOP, CALL, RET. A taken jump ends the block
 * under way; a conditional one that is not taken goes on in it.
 */
#include "emu/bind.h"
#include "emu/flags.h"
#include "x86/paging.h"

/* Target of a relative jump, wrapped to the operand size. */
EMU_INLINE uint64_t relative(struct emu_cpu *c, const struct x86_insn *i)
{
    return (c->r[X86_RIP_SLOT] + i->imm) & mask_bytes(i->osize);
}

EMU_INLINE void jump(struct emu_cpu *c, uint64_t target)
{
    if (likely(c->code64 && x86_canonical(target))) {
        c->r[X86_RIP_SLOT] = target;
        c->end = NULL;
        return;
    }
    emu_jump(c, target);
}

static void op_jmp(struct emu_cpu *c, const struct emu_op *op)
{
    jump(c, relative(c, &op->i));
}

#define JCC(n)                                                                                     \
    static void op_j##n(struct emu_cpu *c, const struct emu_op *op)                                \
    {                                                                                              \
        if (condition(c, n))                                                                       \
            jump(c, relative(c, &op->i));                                                          \
    }
JCC(0)
JCC(1)
JCC(2)
JCC(3)
JCC(4)
JCC(5)
JCC(6)
JCC(7)
JCC(8)
JCC(9)
JCC(10)
JCC(11)
JCC(12)
JCC(13)
JCC(14)
JCC(15)

static const emu_fn op_jcc[16] = {
    op_j0, op_j1, op_j2,  op_j3,  op_j4,  op_j5,  op_j6,  op_j7,
    op_j8, op_j9, op_j10, op_j11, op_j12, op_j13, op_j14, op_j15,
};

/* E0 LOOPNE, E1 LOOPE, E2 LOOP: count in rCX of the address size. */
static void op_loop(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t count = (c->r[RCX] - 1) & mask_bytes(i->asize);
    bool zf = c->rflags & FLAG_ZF;

    if (count && (i->opcode == 0xe2 || zf == (i->opcode == 0xe1)))
        jump(c, relative(c, i));
    emu_set_reg(c, RCX, i->asize, count);
}

static void op_jcxz(struct emu_cpu *c, const struct emu_op *op)
{
    if (!(c->r[RCX] & mask_bytes(op->i.asize)))
        jump(c, relative(c, &op->i));
}

/* The target is checked before the return address is stored. */
EMU_INLINE void call(struct emu_cpu *c, unsigned size, uint64_t target)
{
    uint64_t from = c->r[X86_RIP_SLOT], sp = emu_stack_at(c, -(int64_t)size);

    if (unlikely(!c->code64 || !x86_canonical(target))) {
        emu_jump(c, target);
        c->r[X86_RIP_SLOT] = from; /* the store may fault: not there yet */
    }
    fast_store(c, SEG_SS, sp, size, from);
    emu_set_sp(c, sp);
    c->r[X86_RIP_SLOT] = target;
    c->end = NULL;
}

static void op_call(struct emu_cpu *c, const struct emu_op *op)
{
    call(c, op->i.osize, relative(c, &op->i));
}

static void op_call_rm(struct emu_cpu *c, const struct emu_op *op)
{
    call(c, op->i.osize, emu_get_rm(c, &op->i, op->i.osize));
}

static void op_jmp_rm(struct emu_cpu *c, const struct emu_op *op)
{
    jump(c, emu_get_rm(c, &op->i, op->i.osize));
}

static void op_ret(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = op->i.osize;
    uint64_t target = emu_load(c, SEG_SS, emu_stack_at(c, 0), size);
    uint64_t extra = op->i.opcode == 0xc2 ? (uint16_t)op->i.imm : 0;

    jump(c, target);
    emu_set_sp(c, c->r[RSP] + size + extra);
}

static emu_fn bind_one_byte(struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    switch (i->opcode) {
    case 0x70 ... 0x7f: return op_jcc[i->opcode & 15];
    case 0xe0 ... 0xe2: return op_loop;
    case 0xe3: return op_jcxz;
    default: break;
    }
    op->ends = true;
    switch (i->opcode) {
    case 0xc2:
    case 0xc3: return op_ret;
    case 0xe8: return op_call;
    case 0xe9:
    case 0xeb: return op_jmp;
    case 0xff:
        if ((i->modrm >> 3 & 7) == 2)
            return op_call_rm;
        return (i->modrm >> 3 & 7) == 4 ? op_jmp_rm : NULL;
    default: return NULL;
    }
}

bool bind_branch(const struct emu_cpu *c, struct emu_op *op)
{
    op->fn = NULL;
    if (op->i.map == X86_MAP_1B)
        op->fn = bind_one_byte(op);
    else if (op->i.map == X86_MAP_0F && (op->i.opcode & 0xf0) == 0x80)
        op->fn = op_jcc[op->i.opcode & 15];
    if (!op->fn)
        op->ends = false;
    return op->fn != NULL;
}
