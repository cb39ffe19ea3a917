/*
 * Delivery of interrupts and exceptions (SDM Vol. 3A chapter 6; 20.1.4 for real
 * mode, 20.3 for virtual-8086 mode, 6.14 for long mode), and what becomes of an
 * exception inside a delivery.
 */
#include "emu/system.h"

struct delivery {
    unsigned vector;
    unsigned ext; /* EXT bit of error codes */
    bool software, has_error;
    uint32_t error;
    uint64_t flags; /* to be pushed */
};

static _Noreturn void raise_idt(struct emu_cpu *c, unsigned exception, const struct delivery *d)
{
    emu_raise_error(c, exception, d->vector * 8 + 2 + d->ext);
}

/* rflags in the handler: what every gate clears, and IF for interrupt gates. */
static void event_enter(struct emu_cpu *c, const struct mote_seg *cs, uint64_t rip,
                        const struct emu_stack *stack, bool clear_if)
{
    uint64_t clear = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | (clear_if ? FLAG_IF : 0);

    c->seg[SEG_CS] = *cs;
    c->cpl = cs->selector & 3;
    stack_commit(c, stack);
    c->r[X86_RIP_SLOT] = rip;
    c->intr.shadow = 0;
    emu_set_rflags(c, c->rflags & ~clear);
    emu_segments_changed(c);
}

/* Real mode: no error codes, no privilege. */
static void deliver_real(struct emu_cpu *c, const struct delivery *d)
{
    struct emu_stack stack;
    struct mote_seg cs;
    uint32_t entry;

    if (d->vector * 4 + 3 > c->idtr.limit)
        raise_idt(c, EXC_GP, d);
    entry = (uint32_t)emu_system_load(c, c->idtr.base + d->vector * 4, 4);
    cs = segment_real(c, SEG_CS, (uint16_t)(entry >> 16), false);
    stack_current(c, d->ext, &stack);
    stack_push(c, &stack, 2, d->flags);
    stack_push(c, &stack, 2, c->seg[SEG_CS].selector);
    stack_push(c, &stack, 2, c->r[X86_RIP_SLOT]);
    c->seg[SEG_CS] = cs;
    stack_commit(c, &stack);
    c->r[X86_RIP_SLOT] = entry & 0xffff;
    c->intr.shadow = 0;
    emu_set_rflags(c, c->rflags & ~(uint64_t)(FLAG_IF | FLAG_TF | FLAG_RF | FLAG_AC));
    emu_mode_changed(c);
}

/* Read and check the IDT's gate. */
static struct emu_gate event_gate(struct emu_cpu *c, const struct delivery *d)
{
    unsigned size = c->long_mode ? 16 : 8;
    uint64_t at = c->idtr.base + d->vector * size, raw, high = 0;
    struct emu_gate g;
    bool known;

    if (d->vector * size + size - 1 > c->idtr.limit)
        raise_idt(c, EXC_GP, d);
    raw = emu_system_load(c, at, 8);
    if (c->long_mode)
        high = emu_system_load(c, at + 8, 8);
    g = gate_decode(raw, high);
    known = g.type == DESC_INT32 || g.type == DESC_TRAP32;
    if (!c->long_mode)
        known |= g.type == DESC_INT16 || g.type == DESC_TRAP16 || g.type == DESC_TASK_GATE;
    if (!known || raw & BIT(44) || (d->software && g.dpl < c->cpl))
        raise_idt(c, EXC_GP, d);
    if (!g.present)
        raise_idt(c, EXC_NP, d);
    return g;
}

/* The handler's code segment; *cpl: the privilege it runs at. */
static struct mote_seg event_code(struct emu_cpu *c, const struct delivery *d,
                                  const struct emu_gate *g)
{
    unsigned error = selector_error(g->selector, d->ext);
    unsigned attrib, dpl, cpl = c->cpl;
    struct emu_desc desc;
    struct mote_seg cs;

    code_fetch(c, g->selector, d->ext, &desc);
    attrib = desc_attrib(desc.raw);
    dpl = attrib_dpl(attrib);
    if (dpl > cpl || (c->long_mode && (attrib & (SEG_L | SEG_DB)) != SEG_L))
        emu_gp(c, error);
    if (!(attrib & SEG_TYPE_EC))
        cpl = dpl;
    if (c->vm86 && cpl)
        emu_gp(c, error);
    cs = segment_code(c, &desc, g->selector, cpl, d->ext);
    code_check_target(c, &cs, g->offset, d->ext);
    return cs;
}

static void push_frame(struct emu_cpu *c, const struct delivery *d, struct emu_stack *stack,
                       unsigned size)
{
    stack_push(c, stack, size, d->flags);
    stack_push(c, stack, size, c->seg[SEG_CS].selector);
    stack_push(c, stack, size, c->r[X86_RIP_SLOT]);
    if (d->has_error)
        stack_push(c, stack, size, d->error);
}

static void deliver_protected(struct emu_cpu *c, const struct delivery *d, const struct emu_gate *g)
{
    static const uint8_t order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
    unsigned size = g->type & 8 ? 4 : 2;
    struct mote_seg cs = event_code(c, d, g);
    unsigned cpl = cs.selector & 3;
    struct emu_stack stack;

    if (cpl < c->cpl) {
        stack_inner(c, cpl, d->ext, &stack);
        for (unsigned n = 0; c->vm86 && n < ARRAY_SIZE(order); n++)
            stack_push(c, &stack, size, c->seg[order[n]].selector);
        stack_push(c, &stack, size, c->seg[SEG_SS].selector);
        stack_push(c, &stack, size, c->r[RSP]);
    } else {
        stack_current(c, d->ext, &stack);
    }
    push_frame(c, d, &stack, size);
    for (unsigned n = 0; c->vm86 && n < ARRAY_SIZE(order); n++)
        c->seg[order[n]] = segment_null(0, 0);
    event_enter(c, &cs, g->offset, &stack, !(g->type & 1));
}

static void deliver_long(struct emu_cpu *c, const struct delivery *d, const struct emu_gate *g)
{
    struct mote_seg cs = event_code(c, d, g);
    unsigned cpl = cs.selector & 3, ist = g->count & 7;
    struct emu_stack stack;
    uint64_t rsp = c->r[RSP];

    if (ist)
        rsp = tss_rsp(c, 3 + ist, d->ext);
    else if (cpl < c->cpl)
        rsp = tss_rsp(c, cpl, d->ext);
    stack_long(c, rsp, cpl, d->ext, &stack);
    stack_push(c, &stack, 8, c->seg[SEG_SS].selector);
    stack_push(c, &stack, 8, c->r[RSP]);
    push_frame(c, d, &stack, 8);
    event_enter(c, &cs, g->offset, &stack, !(g->type & 1));
}

/*
 * Faults return with RF set, so that an instruction breakpoint on the faulting
 * instruction does not fire again (SDM Vol. 3B 17.3.1.1); traps, interrupts and
 * aborts don't.
 */
static bool event_sets_rf(unsigned vector, enum emu_event_source source)
{
    return source == EMU_EVENT_FAULT && vector != EXC_DB && vector != EXC_NMI && vector != EXC_BP &&
           vector != EXC_OF && vector != EXC_DF && vector != EXC_MC;
}

void emu_deliver(struct emu_cpu *c, unsigned vector, enum emu_event_source source, bool has_error,
                 uint32_t error)
{
    struct delivery d = {
        .vector = vector,
        .ext = source != EMU_EVENT_SOFTWARE,
        .software = source == EMU_EVENT_SOFTWARE,
        .has_error = has_error,
        .error = error,
        .flags = c->rflags | (event_sets_rf(vector, source) ? FLAG_RF : 0),
    };
    struct emu_gate gate;

    /* Interrupts and INT n are benign: a fault inside is delivered as itself. */
    c->delivering = source == EMU_EVENT_FAULT ? (int)vector : -1;
    if (!c->protected_mode && !c->vm86) {
        deliver_real(c, &d);
        return;
    }
    gate = event_gate(c, &d);
    if (gate.type == DESC_TASK_GATE)
        emu_task_switch(c, gate.selector, EMU_TASK_GATE, has_error, error);
    else if (c->long_mode)
        deliver_long(c, &d, &gate);
    else
        deliver_protected(c, &d, &gate);
}

/* Classes of SDM Vol. 3A table 6-4. */
enum event_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum event_class event_class(int vector)
{
    switch (vector) {
    case EXC_DE:
    case EXC_TS:
    case EXC_NP:
    case EXC_SS:
    case EXC_GP: return CONTRIBUTORY;
    case EXC_PF: return PAGE_FAULT;
    case EXC_DF: return DOUBLE_FAULT;
    default: return BENIGN;
    }
}

bool emu_escalate(struct emu_cpu *c)
{
    enum event_class first = event_class(c->delivering), second = event_class(c->event.vector);

    if (first == BENIGN || second == BENIGN)
        return true;
    if (first == DOUBLE_FAULT)
        return false;
    if (first == CONTRIBUTORY && second == PAGE_FAULT)
        return true;
    c->event = (struct mote_event){
        .kind = X86_EVENT_EXCEPTION,
        .vector = EXC_DF,
        .has_error = 1,
    };
    return true;
}
