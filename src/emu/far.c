/*
 * Far transfers of control: JMP, CALL and RET between segments, through call
 * gates, TSSs and task gates (SDM Vol. 3A 5.8, Vol. 2A CALL, JMP, RET).
 */
#include "emu/debug.h"
#include "emu/system.h"

/* Where a far JMP or CALL goes. */
struct far_target {
    uint16_t selector;
    uint64_t offset;
    unsigned size; /* operand size in bytes */
    bool call;
};

/* Enter cs:offset; the stack is committed with it when there is one. */
static void far_commit(struct emu_cpu *c, const struct mote_seg *cs, uint64_t offset, unsigned cpl,
                       const struct emu_stack *stack)
{
    c->seg[SEG_CS] = *cs;
    c->cpl = (uint8_t)cpl;
    if (stack)
        stack_commit(c, stack);
    c->r[X86_RIP_SLOT] = offset;
    emu_mode_changed(c);
}

/* Push the return address, then enter cs:offset at the same privilege. */
static void far_enter(struct emu_cpu *c, const struct far_target *t, const struct mote_seg *cs,
                      uint64_t offset, unsigned size)
{
    struct emu_stack stack;

    stack_current(c, 0, &stack);
    if (t->call) {
        stack_push(c, &stack, size, c->seg[SEG_CS].selector);
        stack_push(c, &stack, size, c->r[X86_RIP_SLOT]);
    }
    far_commit(c, cs, offset, c->cpl, t->call ? &stack : NULL);
}

static void far_real(struct emu_cpu *c, const struct far_target *t)
{
    struct mote_seg cs = segment_real(c, SEG_CS, t->selector, c->vm86);

    if (t->offset > cs.limit)
        emu_gp(c, 0);
    far_enter(c, t, &cs, t->offset, t->size);
}

/* Straight to a code segment: the privilege must stay. */
static void far_code(struct emu_cpu *c, const struct far_target *t)
{
    unsigned dpl;
    struct emu_desc d;
    struct mote_seg cs;

    code_fetch(c, t->selector, 0, &d);
    dpl = attrib_dpl(desc_attrib(d.raw));
    if (desc_attrib(d.raw) & SEG_TYPE_EC ? dpl > c->cpl
                                         : dpl != c->cpl || (t->selector & 3) > c->cpl)
        emu_gp(c, selector_error(t->selector, 0));
    cs = segment_code(c, &d, t->selector, c->cpl, 0);
    code_check_target(c, &cs, t->offset, 0);
    far_enter(c, t, &cs, t->offset, t->size);
}

/* CALL through a gate to more privilege: the TSS's stack, parameters copied. */
static void gate_call_inner(struct emu_cpu *c, const struct emu_gate *g, const struct mote_seg *cs,
                            unsigned cpl, unsigned size)
{
    struct emu_stack stack;

    if (c->long_mode)
        stack_long(c, tss_rsp(c, cpl, 0), cpl, 0, &stack);
    else
        stack_inner(c, cpl, 0, &stack);
    stack_push(c, &stack, size, c->seg[SEG_SS].selector);
    stack_push(c, &stack, size, c->r[RSP]);
    for (unsigned n = c->long_mode ? 0 : g->count; n-- > 0;)
        stack_push(c, &stack, size, emu_load(c, SEG_SS, emu_stack_at(c, n * size), size));
    stack_push(c, &stack, size, c->seg[SEG_CS].selector);
    stack_push(c, &stack, size, c->r[X86_RIP_SLOT]);
    far_commit(c, cs, g->offset, cpl, &stack);
}

static void far_call_gate(struct emu_cpu *c, const struct far_target *t, const struct emu_gate *g)
{
    unsigned size = c->long_mode ? 8 : g->type & 8 ? 4 : 2;
    unsigned attrib, dpl, cpl = c->cpl;
    struct emu_desc d;
    struct mote_seg cs;

    code_fetch(c, g->selector, 0, &d);
    attrib = desc_attrib(d.raw);
    dpl = attrib_dpl(attrib);
    if (dpl > cpl || (!t->call && !(attrib & SEG_TYPE_EC) && dpl != cpl) ||
        (c->long_mode && (attrib & (SEG_L | SEG_DB)) != SEG_L))
        emu_gp(c, selector_error(g->selector, 0));
    if (!(attrib & SEG_TYPE_EC))
        cpl = dpl;
    cs = segment_code(c, &d, g->selector, cpl, 0);
    code_check_target(c, &cs, g->offset, 0);
    if (cpl < c->cpl)
        gate_call_inner(c, g, &cs, cpl, size);
    else
        far_enter(c, t, &cs, g->offset, size);
}

/* A system descriptor as the target: gate or TSS. */
static void far_system(struct emu_cpu *c, const struct far_target *t, struct emu_desc *d)
{
    enum emu_task_reason reason = t->call ? EMU_TASK_CALL : EMU_TASK_JUMP;
    unsigned attrib = desc_attrib(d->raw), type = attrib & SEG_TYPE, dpl = attrib_dpl(attrib);
    unsigned error = selector_error(t->selector, 0);
    bool call_gate = type == DESC_CALL32 || (!c->long_mode && type == DESC_CALL16);
    bool tss = !c->long_mode && (type == DESC_TSS16 || type == DESC_TSS32);
    struct emu_gate gate;

    if (!(call_gate || tss || (!c->long_mode && type == DESC_TASK_GATE)))
        emu_gp(c, error);
    if (dpl < c->cpl || dpl < (t->selector & 3u))
        emu_gp(c, error);
    if (c->long_mode && (!desc_find_high(c, t->selector, d) || d->high >> 40 & 31))
        emu_gp(c, error);
    if (!(attrib & SEG_P))
        emu_raise_error(c, EXC_NP, error);
    gate = gate_decode(d->raw, d->high);
    if (call_gate)
        far_call_gate(c, t, &gate);
    else
        emu_task_switch(c, tss ? t->selector : gate.selector, reason, false, 0);
}

static void far_transfer(struct emu_cpu *c, const struct far_target *t)
{
    struct emu_desc d;

    if (!c->protected_mode) {
        far_real(c, t);
        return;
    }
    if (selector_null(t->selector))
        emu_gp(c, 0);
    desc_fetch(c, t->selector, EXC_GP, 0, &d);
    if (desc_attrib(d.raw) & SEG_S)
        far_code(c, t);
    else
        far_system(c, t, &d);
}

/* 9A CALL ptr16:16/32, EA JMP ptr16:16/32 */
static void op_far_direct(struct emu_cpu *c, const struct emu_op *op)
{
    struct far_target t = {
        .selector = op->i.imm2,
        .offset = op->i.imm & mask_bytes(op->i.osize),
        .size = op->i.osize,
        .call = op->i.opcode == 0x9a,
    };

    far_transfer(c, &t);
}

/* FF /3 CALL m16:16/32/64, FF /5 JMP */
static void op_far_indirect(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea = emu_ea(c, i);
    struct far_target t = {.size = i->osize, .call = insn_ext(i) == 3};

    t.offset = emu_load(c, i->seg, ea, i->osize);
    t.selector = (uint16_t)emu_load(c, i->seg, (ea + i->osize) & mask_bytes(i->asize), 2);
    far_transfer(c, &t);
}

/* RETF to a less privileged level: SS:RSP come from the stack too. */
static void far_return_outer(struct emu_cpu *c, const struct mote_seg *cs, uint64_t rip,
                             unsigned size, unsigned drop)
{
    unsigned cpl = cs->selector & 3;
    uint64_t rsp = emu_load(c, SEG_SS, emu_stack_at(c, 2 * size + drop), size);
    uint16_t selector = (uint16_t)emu_load(c, SEG_SS, emu_stack_at(c, 3 * size + drop), size);
    struct emu_stack stack = {.sp = rsp + drop};

    if (selector_null(selector) && code_is_64(c, cs) && cpl < 3 && selector == cpl)
        stack.ss = segment_null(selector, cpl);
    else
        stack.ss = segment_stack(c, selector, cpl, EXC_GP, 0);
    stack.mask = code_is_64(c, cs)          ? UINT64_MAX
                 : stack.ss.attrib & SEG_DB ? UINT32_MAX
                                            : UINT16_MAX;
    far_commit(c, cs, rip, cpl, &stack);
    segments_drop_inner(c);
    emu_mode_changed(c);
}

/* CA RETF imm16, CB RETF */
static void op_far_return(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = op->i.osize, drop = op->i.opcode == 0xca ? op->i.imm & 0xffff : 0;
    uint64_t rip = emu_load(c, SEG_SS, emu_stack_at(c, 0), size);
    uint16_t selector = (uint16_t)emu_load(c, SEG_SS, emu_stack_at(c, size), size);
    unsigned rpl = selector & 3, dpl;
    struct emu_stack stack;
    struct emu_desc d;
    struct mote_seg cs;

    stack_current(c, 0, &stack);
    stack.sp += 2 * size + drop;
    if (!c->protected_mode) {
        cs = segment_real(c, SEG_CS, selector, c->vm86);
        code_check_target(c, &cs, rip, 0);
        far_commit(c, &cs, rip, c->cpl, &stack);
        return;
    }
    code_fetch(c, selector, 0, &d);
    dpl = attrib_dpl(desc_attrib(d.raw));
    if (rpl < c->cpl || (desc_attrib(d.raw) & SEG_TYPE_EC ? dpl > rpl : dpl != rpl))
        emu_gp(c, selector_error(selector, 0));
    cs = segment_code(c, &d, selector, rpl, 0);
    code_check_target(c, &cs, rip, 0);
    if (rpl == c->cpl)
        far_commit(c, &cs, rip, c->cpl, &stack);
    else
        far_return_outer(c, &cs, rip, size, drop);
}

/*
 * INT n, INT3, INTO and INT1. In virtual-8086 mode INT n is IOPL-sensitive, the
 * short forms are not (SDM Vol. 3A 20.2.7); INT1 ignores the gate's DPL like
 * hardware events (Vol. 2A INT n).
 */
static void op_int(struct emu_cpu *c, const struct emu_op *op)
{
    if (c->vm86 && iopl(c) < 3)
        emu_gp(c, 0);
    emu_deliver(c, op->i.imm & 0xff, EMU_EVENT_SOFTWARE, false, 0);
}

static void op_int3(struct emu_cpu *c, const struct emu_op *op)
{
    debug_at_int3(c);
    emu_deliver(c, EXC_BP, EMU_EVENT_SOFTWARE, false, 0);
}

static void op_into(struct emu_cpu *c, const struct emu_op *op)
{
    if (c->rflags & FLAG_OF)
        emu_deliver(c, EXC_OF, EMU_EVENT_SOFTWARE, false, 0);
}

static void op_int1(struct emu_cpu *c, const struct emu_op *op)
{
    emu_deliver(c, EXC_DB, EMU_EVENT_FAULT, false, 0);
}

/* 62 BOUND: signed index between two bounds in memory, else #BR. */
static void op_bound(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea = emu_ea(c, i);
    int64_t low = (int64_t)sign_extend(emu_load(c, i->seg, ea, i->osize), i->osize);
    int64_t high = (int64_t)sign_extend(
        emu_load(c, i->seg, (ea + i->osize) & mask_bytes(i->asize), i->osize), i->osize);
    int64_t index = (int64_t)sign_extend(c->r[i->reg], i->osize);

    if (index < low || index > high)
        emu_raise(c, EXC_BR);
}

bool bind_far(const struct emu_cpu *c, struct emu_op *op)
{
    bool memory = op->i.flags & X86_RM_MEM, legacy = c->mode != X86_MODE64;
    unsigned reg = insn_ext(&op->i);

    switch (op->i.opcode) {
    case 0x62: return legacy && memory && bind_to(op, op_bound, false);
    case 0x9a:
    case 0xea: return legacy && bind_to(op, op_far_direct, true);
    case 0xca:
    case 0xcb: return bind_to(op, op_far_return, true);
    case 0xcc: return bind_to(op, op_int3, true);
    case 0xcd: return bind_to(op, op_int, true);
    case 0xce: return legacy && bind_to(op, op_into, true);
    case 0xcf: return bind_to(op, op_iret, true);
    case 0xf1: return bind_to(op, op_int1, true);
    case 0xff: return (reg == 3 || reg == 5) && memory && bind_to(op, op_far_indirect, true);
    default: return false;
    }
}
