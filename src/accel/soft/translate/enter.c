/*
 * Between C and translated code: entering it, and what it calls C for, which is the interpreter for
 * one instruction, or a system call.
 */
#include "accel/soft/translate/tr.h"
#include "emu/fpu.h"

/* Translated code has the guest's MXCSR, and must not raise exceptions on the host. */
static bool masked(const struct emu_cpu *c)
{
    return (c->fpu.mxcsr & MXCSR_MASKS) == MXCSR_MASKS;
}

bool translate_allowed(const struct emu_cpu *c)
{
    return c->code64 && c->mmu < TRANSLATE_MMUS && (!c->cpl || c->cpl == 3) && masked(c);
}

/* Status flags from and to where translated code has them. */
static void flags_in(struct translator *t, const struct emu_cpu *c)
{
    t->flags_ax = (uint32_t)(c->rflags & 0xd5) << 8 | (uint32_t)(c->rflags >> 11 & 1);
}

static void flags_out(const struct translator *t, struct emu_cpu *c)
{
    c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | (t->flags_ax >> 8 & 0xd5) |
                (uint64_t)(t->flags_ax & 1) << 11;
}

/* Where b's code for mmu begins, in the executable view. */
static const uint8_t *code_of(const struct translator *t, const struct block *b, unsigned mmu)
{
    return t->code.rx + b->code[mmu];
}

void translate_run(struct soft_vcpu *s, struct block *b)
{
    struct translator *t = &s->tr;
    struct emu_cpu *c = &s->cpu;
    uint64_t linear = c->r[X86_RIP_SLOT];
    unsigned mmu = c->mmu;

    t->cold = NULL;
    if (unlikely(t->vectors != c->vectors)) { /* the jump cache and links don't look at it */
        translate_forget(s, BIT(0) | BIT(1));
        t->link = 0;
        t->vectors = c->vectors;
    }
    if (unlikely(t->fars.stale))
        far_flush(s);
    if (t->lockstep) {
        t->link = 0;
    } else if (t->link) {
        uint32_t link = t->link - 1;

        t->link = 0;
        link_to(s, link, b, mmu);
    } else {
        jump_fill(t, mmu, linear, code_of(t, b, mmu));
    }
    t->rip_page = align_down(linear, PAGE_SIZE);
    t->stats.entered++;
    flags_in(t, c);
    t->enter(s, code_of(t, b, mmu));
    flags_out(t, c);
}

static void interpret_op(struct soft_vcpu *s, const struct emu_op *op)
{
    struct emu_cpu *c = &s->cpu;
    struct translator *t = &s->tr;
    bool shadow = c->intr.shadow;

    flags_out(t, c);
    if (unlikely(t->slots.hot))
        slots_missed(s);
    c->first = NULL;
    c->op = op;
    c->end = op;
    c->r[X86_RIP_SLOT] = t->rip_page + op->next;
    t->link = 0;
    t->stats.interpreted++;
    t->interpreting = op;
    if (t->counts) {
        counts_add(t->counts, &op->i, t->missing);
        t->stats.missed += t->missing;
        parts_switch(&s->parts, t->missing ? PART_MISSED : PART_INTERPRETED, c->retired);
        t->missing = 0;
    }
    op->fn(c, op);
    if (t->counts)
        parts_switch(&s->parts, PART_CODE, c->retired);
    t->interpreting = NULL;
    if (unlikely(shadow) && !(c->hit & EMU_HIT_EXIT))
        c->intr.shadow = 0;
    c->op = NULL;
}

void translate_unwound(struct soft_vcpu *s)
{
    struct translator *t = &s->tr;

    if (t->interpreting && t->interpreting->ends && tr_counting(t))
        s->cpu.retired--; /* it was counted beforehand */
    else if (t->interpreting && t->lockstep)
        s->cpu.retired += t->interpreting->number;
    t->interpreting = NULL;
}

/* In lockstep, the block is left here. What ends it was counted beforehand. */
static void count_to(struct soft_vcpu *s, const struct emu_op *op)
{
    if (s->tr.lockstep && !op->ends)
        s->cpu.retired += op->number + 1u;
}

bool tr_interpret(struct soft_vcpu *s, uint32_t kept)
{
    const struct emu_op *op = block_kept(&s->blocks, kept);
    struct emu_cpu *c = &s->cpu;
    unsigned mmu = c->mmu;

    interpret_op(s, op);
    flags_in(&s->tr, c);
    if (!op->ends && c->end && !c->hit && c->mmu == mmu && c->vectors == s->tr.vectors && masked(c))
        return false;
    count_to(s, op);
    return true;
}

/* What the run loop would do, when there is nothing to look at and the code is known. */
static const uint8_t *go_on(struct soft_vcpu *s)
{
    struct emu_cpu *c = &s->cpu;
    struct translator *t = &s->tr;
    const struct translate_jump *j;

    if (atomic_load_explicit(&s->attention, memory_order_relaxed) ||
        (c->rflags & FLAG_TF) | c->intr.shadow | c->singly | c->hit || !translate_allowed(c) ||
        c->vectors != t->vectors)
        return NULL;
    j = jump_of(t, c->mmu, c->r[X86_RIP_SLOT]);
    if (j->minus != -c->r[X86_RIP_SLOT])
        return NULL;
    t->rip_page = j->page;
    return j->code;
}

const uint8_t *tr_interpret_end(struct soft_vcpu *s, uint32_t kept)
{
    interpret_op(s, block_kept(&s->blocks, kept));
    flags_in(&s->tr, &s->cpu);
    return go_on(s);
}

const uint8_t *tr_system_call(struct soft_vcpu *s, uint32_t kept)
{
    const struct emu_op *op = block_kept(&s->blocks, kept);
    struct emu_cpu *c = &s->cpu;

    if (unlikely(c->intr.shadow))
        return TR_REFUSED;
    flags_out(&s->tr, c);
    c->r[X86_RIP_SLOT] = s->tr.rip_page + op->next;
    if (op->i.opcode == 0x05 ? !emu_syscall64(c) : !emu_sysret64(c))
        return TR_REFUSED;
    s->tr.link = 0;
    flags_in(&s->tr, c);
    return go_on(s);
}
