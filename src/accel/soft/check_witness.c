/* --engine-check: the witness does what the vCPU did. */
#include "accel/soft/check_internal.h"
#include "emu/event.h"
#include "x86/paging.h"

/* To the witness the devices answer as they did. */
static void replay(struct soft_check *k, bool write, uint64_t *data)
{
    uint64_t was = check_log_get(&k->in);

    if (write)
        k->foreign |= was != *data;
    else
        *data = was;
}

static int replay_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    replay(user, write, data);
    return 0;
}

static int replay_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    replay(user, write, data);
    return 0;
}

bool check_is_string(const struct x86_insn *i)
{
    return i->map == X86_MAP_1B && (i->flags & (X86_REP | X86_REPNE)) &&
           ((i->opcode >= 0xa4 && i->opcode <= 0xa7) || (i->opcode >= 0xaa && i->opcode <= 0xaf) ||
            (i->opcode >= 0x6c && i->opcode <= 0x6f));
}

static void do_op(struct emu_cpu *ref, const struct emu_op *op)
{
    ref->op = op;
    ref->r[X86_RIP_SLOT] += op->i.len;
    ref->end = op;
    ref->intr.shadow = 0; /* that of the instruction before */
    op->fn(ref, op);
    ref->r[X86_RIP_SLOT] &= ref->rip_mask;
    ref->op = NULL;
    ref->hit &= (uint16_t)~EMU_HIT_STEP;
}

/* Say that the witness stored to [linear, linear + len). */
static void tell_stored(struct soft_check *k, uint64_t linear, uint64_t len)
{
    const struct emu_cpu *ref = &k->ref;
    const struct x86_paging paging = {ref->cr0, ref->cr3, ref->cr4, ref->msr.efer};
    const struct x86_access access = {.no_smap = true};
    struct x86_page page;

    for (uint64_t part; len; linear += part, len -= part) {
        part = MIN(len, PAGE_SIZE - (linear & PAGE_MASK));
        if (x86_walk(&paging, ref->mem, linear, &access, &page) == 0)
            check_stored(k, gpa_add(page.gpa, linear & PAGE_MASK), part);
    }
}

/* Long copies and fills go by pages. */
static bool is_bulk(const struct emu_cpu *ref, const struct x86_insn *i)
{
    return i->opcode != 0xa6 && i->opcode != 0xa7 && i->opcode >= 0xa4 && i->opcode <= 0xab &&
           ref->code64 && i->asize == 8 && ref->r[RCX] > 16 && !(ref->rflags & FLAG_DF);
}

static void bulk_over(struct soft_check *k)
{
    if (!k->bulk)
        return;
    k->bulk = false;
    emu_tlb_flush(&k->ref);
    tell_stored(k, k->bulk_from, k->ref.r[RDI] - k->bulk_from);
}

/* It may unwind with `bulk` set: bulk_over is to follow. */
static void do_bulk(struct soft_check *k, const struct emu_op *op)
{
    struct emu_cpu *ref = &k->ref;
    uint64_t start = ref->r[X86_RIP_SLOT];

    k->bulk = true;
    k->bulk_from = ref->r[RDI];
    do
        do_op(ref, op);
    while (ref->r[X86_RIP_SLOT] == start);
    bulk_over(k);
}

/* A repeated instruction may have stopped in the middle: element by element until there. */
static void do_string(struct soft_vcpu *s, const struct emu_op *op, bool last)
{
    struct emu_cpu *c = &s->cpu, *ref = &s->check->ref;
    uint64_t start = ref->r[X86_RIP_SLOT];
    bool midway = last && c->r[X86_RIP_SLOT] == start;
    uint64_t left = midway ? c->r[RCX] : 0;

    if (is_bulk(ref, &op->i) && left < ref->r[RCX]) {
        ref->r[RCX] -= left;
        do_bulk(s->check, op);
        ref->r[RCX] = left;
        if (midway)
            ref->r[X86_RIP_SLOT] = start;
        return;
    }
    ref->debug_step = true;
    do
        do_op(ref, op);
    while (ref->r[X86_RIP_SLOT] == start && !(midway && left == ref->r[RCX]));
    ref->debug_step = false;
}

/* As many instructions of the block as the vCPU did; one more if that unwound. */
static void do_block(struct soft_vcpu *s, uint64_t count, bool unwound)
{
    const struct block *b = s->check->block;

    count = MIN(count + unwound, b->count);
    for (uint64_t n = 0; n < count; n++) {
        if (check_is_string(&b->op[n].i))
            do_string(s, &b->op[n], n + 1 == count && !unwound);
        else
            do_op(&s->check->ref, &b->op[n]);
    }
}

/* One instruction, fetched; a repeated one as far as the vCPU went. */
static void do_one(struct soft_vcpu *s, bool unwound)
{
    struct emu_cpu *c = &s->cpu, *ref = &s->check->ref;
    uint64_t start = ref->r[X86_RIP_SLOT];

    if (!check_is_string(&c->scratch.i)) {
        emu_one(ref);
        return;
    }
    ref->debug_step = true;
    do {
        emu_one(ref);
        ref->hit &= (uint16_t)~EMU_HIT_STEP;
    } while (ref->r[X86_RIP_SLOT] == start &&
             (unwound || c->r[X86_RIP_SLOT] != start || c->r[RCX] != ref->r[RCX]));
    ref->debug_step = false;
}

/* The unit, by the witness: 0, or the code it unwound with. */
static int do_unit(struct soft_vcpu *s, uint64_t count, int unwound)
{
    struct soft_check *k = s->check;
    const struct emu_bus bus = {replay_io, replay_mmio, k};
    int code = setjmp(k->ref.unwind);

    if (code) {
        k->ref.debug_step = false;
        k->ref.hit &= (uint16_t)~EMU_HIT_STEP;
        return code;
    }
    k->ref.first = NULL;
    k->ref.op = NULL;
    switch (k->unit) {
    case CHECK_BLOCK: do_block(s, count, unwound); break;
    case CHECK_ONE: do_one(s, unwound); break;
    case CHECK_DELIVER: emu_unwound(&k->ref, EMU_UNWIND_RAISE); break;
    case CHECK_INJECT:
        k->ref.intr.pending.kind = X86_EVENT_NONE;
        emu_inject(&k->ref, &k->event);
        break;
    case CHECK_ASSIST:
        k->ref.bus = &bus;
        emu_step(&k->ref);
        k->ref.bus = NULL;
        break;
    case CHECK_NOTHING: break;
    }
    return 0;
}

int check_witness(struct soft_vcpu *s, uint64_t count, int unwound)
{
    int code = do_unit(s, count, unwound);

    if (code)
        bulk_over(s->check);
    return code;
}
