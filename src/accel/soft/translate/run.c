#include "accel/soft/translate/run.h"

#include "accel/soft/translate/tr.h"
#include "emu/vector_table.h"

#include <stdlib.h>

/* ---- which loops ------------------------------------------------------------------------ */

/* How general registers move in one round. */
struct movement {
    uint32_t moved;  /* by constants */
    uint32_t varied; /* otherwise */
    int64_t by[16];
};

static void follow(struct movement *m, const struct emu_op *op)
{
    uint32_t writes = tr_writes(op);
    int64_t by;

    for (unsigned n = 0; n < 16; n++) {
        if (!(writes & REG(n)))
            continue;
        if (tr_moves(op, n, &by)) {
            m->moved |= REG(n);
            m->by[n] += by;
        } else {
            m->varied |= REG(n);
        }
    }
}

static bool is_in(uint32_t set, unsigned n)
{
    return n < 16 && set & REG(n);
}

static int64_t moved_by(const struct movement *m, const struct tr_access *a)
{
    return (a->base < 16 ? m->by[a->base] : 0) +
           (a->index < 16 ? m->by[a->index] * (1 << a->scale) : 0);
}

/* Which of base and index moves; false: both do, or nobody knows how. */
static bool moving_part(const struct movement *m, const struct tr_access *a, struct tr_stream *s)
{
    bool base = is_in(m->moved, a->base), index = is_in(m->moved, a->index);

    s->moving = base ? a->base : index ? a->index : X86_NONE_SLOT;
    s->shift = base ? 0 : a->scale;
    return !is_in(m->varied, a->base) && !is_in(m->varied, a->index) && !(base && index) &&
           (s->moving == X86_NONE_SLOT || tr_host(s->moving) != HOST_NONE);
}

static struct tr_stream stream_of(const struct tr_access *a, unsigned op, int64_t at)
{
    return (struct tr_stream){.lead = (uint8_t)op,
                              .base = a->base,
                              .index = a->index,
                              .scale = a->scale,
                              .seg = a->seg,
                              .access = a->access,
                              .low = at,
                              .high = at + a->size};
}

static bool joins(struct tr_stream *s, const struct tr_access *a, int64_t at)
{
    int64_t low = MIN(s->low, at), high = MAX(s->high, at + a->size);

    if (s->base != a->base || s->index != a->index || s->scale != a->scale || s->seg != a->seg ||
        high - low > RUN_SPAN - 32)
        return false;
    if (a->access == EMU_WRITE)
        s->access = EMU_WRITE;
    s->low = low;
    s->high = high;
    return true;
}

/* Op number n accesses a, when the registers have moved as `now` says. */
static bool add_access(struct tr *tr, unsigned n, const struct tr_access *a,
                       const struct movement *round, const struct movement *now)
{
    struct tr_run *r = &tr->run;
    int64_t at = a->disp + moved_by(now, a);
    struct tr_stream new = stream_of(a, n, at);

    if (!moving_part(round, a, &new))
        return false;
    new.stride = moved_by(round, a);
    if (new.stride & a->align) /* else it is aligned in all rounds, as in the first */
        return false;
    for (unsigned m = 0; m < r->streams; m++) {
        if (joins(&r->stream[m], a, at)) {
            r->of[n] = (int8_t)m;
            return true;
        }
    }
    if (r->streams == RUN_STREAMS || llabs(at) > INT32_MAX - 2 * RUN_SPAN ||
        llabs(new.stride) > RUN_SPAN)
        return false;
    r->of[n] = (int8_t)r->streams;
    r->stream[r->streams++] = new;
    return true;
}

static bool find_streams(struct tr *tr)
{
    const struct block *b = tr->b;
    struct tr_run *r = &tr->run;
    struct movement round = {0}, now = {0};
    struct tr_access a;

    for (unsigned n = 0; n <= r->last; n++)
        follow(&round, &b->op[n]);
    for (unsigned n = 0; n <= r->last; n++) {
        r->of[n] = -1;
        if (tr_plain_access(tr, &b->op[n], &a) && !add_access(tr, n, &a, &round, &now))
            return false;
        follow(&now, &b->op[n]);
    }
    for (unsigned n = 0; n < r->streams; n++) {
        struct tr_stream *s = &r->stream[n];

        if (s->stride) {
            r->by = s->moving;
            r->step = round.by[s->moving];
        }
    }
    return r->step != 0;
}

void tr_run_find(struct tr *tr)
{
    const struct block *b = tr->b;
    int64_t start = (int64_t)(b->gpa & PAGE_MASK);

    if (b->rounds < RUN_HEAT || tr->t->lockstep || b->crosses)
        return;
    for (unsigned n = 0; n < b->count; n++) {
        const struct emu_op *op = &b->op[n];

        if (tr_jumps(op) && op->next + (int64_t)op->i.imm == start) {
            tr->run.last = (uint8_t)n;
            tr->run.on = !tr_flags_at(tr, start) && find_streams(tr);
            return;
        }
    }
}

/* ---- in front --------------------------------------------------------------------------- */

#define GS_RUN(field) mem_gs(GS_TR(run.field))

static struct host_mem at_of(unsigned n)
{
    return mem_gs(GS_TR(run.at) + 8 * (int32_t)n);
}

static void store_imm32(struct tr *tr, struct host_mem mem, uint32_t imm)
{
    asm_insn(&tr->a, &(struct host_insn){
                         .opcode = 0xc7, .is_mem = true, .mem = mem, .imm = imm, .imm_size = 4});
}

/* S0 = the stream's offset in its page, S1 = the page's address in the host; else `again`. */
static void look_up(struct tr *tr, const struct tr_stream *s, const uint8_t *again)
{
    int32_t tlb = GS_CPU(tlb) + (int32_t)(tr->mmu * sizeof(tr->s->cpu.tlb[0]));
    struct host_mem entry = {.base = S1, .index = HOST_NONE, .gs = true};
    struct tr_access a;

    tr->op = &tr->b->op[s->lead];
    tr_plain_access(tr, tr->op, &a);
    tr->shift = (int)(s->low - a.disp);
    tr_linear(tr);
    tr->shift = 0;
    asm_rr(&tr->a, false, 0x8b, S1, S0);
    asm_shift_imm(&tr->a, false, 5, S1, PAGE_SHIFT - 5);
    asm_alu_imm(&tr->a, false, 4, S1, (EMU_TLB_SIZE - 1) << 5);
    entry.disp = tlb + (int32_t)(offsetof(struct emu_tlb_entry, tag) + 8 * s->access);
    asm_rm(&tr->a, true, 0x33, S0, entry);
    asm_alu_imm(&tr->a, true, 7, S0, (int32_t)(PAGE_SIZE - (uint64_t)(s->high - s->low)));
    asm_jcc_to(&tr->a, CC_A, again);
    entry.disp = tlb + (int32_t)offsetof(struct emu_tlb_entry, host);
    asm_load(&tr->a, S1, entry);
}

/* What is added to the moving register to get the host's address. */
static void make_pointer(struct tr *tr, unsigned n)
{
    const struct tr_stream *s = &tr->run.stream[n];

    asm_rr(&tr->a, true, 0x03, S1, S0);
    if (s->moving != X86_NONE_SLOT && !s->shift)
        asm_rr(&tr->a, true, 0x2b, S1, tr_host(s->moving));
    asm_store(&tr->a, at_of(n), S1);
    if (s->moving != X86_NONE_SLOT && s->shift) {
        asm_mov(&tr->a, S1, tr_host(s->moving));
        asm_shift_imm(&tr->a, true, 4, S1, s->shift);
        asm_rm(&tr->a, true, 0x29, S1, at_of(n));
    }
}

/* How often it moves until it leaves the page; less is rounds, too. */
static void limit_rounds(struct tr *tr, const struct tr_stream *s)
{
    uint32_t stride = (uint32_t)llabs(s->stride), size = (uint32_t)(s->high - s->low);

    if (!stride)
        return;
    if (s->stride > 0) {
        asm_mov_imm(&tr->a, S1, PAGE_SIZE - size);
        asm_rr(&tr->a, false, 0x2b, S1, S0);
    } else {
        asm_rr(&tr->a, false, 0x8b, S1, S0);
    }
    if (!(stride & (stride - 1))) {
        asm_shift_imm(&tr->a, false, 5, S1, (uint8_t)__builtin_ctz(stride));
    } else {
        asm_insn(
            &tr->a,
            &(struct host_insn){
                .opcode = 0x69, .reg = S1, .rm = S1, .imm = (1u << 20) / stride, .imm_size = 4});
        asm_shift_imm(&tr->a, false, 5, S1, 20);
    }
    asm_rm(&tr->a, false, 0x3b, S1, GS_RUN(rounds));
    asm_insn(&tr->a, &(struct host_insn){.map = X86_MAP_0F, /* cmova */
                                         .opcode = 0x47,
                                         .reg = S1,
                                         .is_mem = true,
                                         .mem = GS_RUN(rounds)});
    asm_store32(&tr->a, GS_RUN(rounds), S1);
}

static void prepare(struct tr *tr, const uint8_t *again)
{
    struct tr_run *r = &tr->run;

    store_imm32(tr, GS_RUN(rounds), RUN_ROUNDS_MAX - 1);
    for (unsigned n = 0; n < r->streams; n++) {
        look_up(tr, &r->stream[n], again);
        make_pointer(tr, n);
        limit_rounds(tr, &r->stream[n]);
    }
    asm_load32(&tr->a, S1, GS_RUN(rounds));
    asm_lea(&tr->a, S1, mem_at(S1, 1));
    asm_insn(&tr->a, &(struct host_insn){.w = true,
                                         .opcode = 0x69,
                                         .reg = S1,
                                         .rm = S1,
                                         .imm = (uint64_t)r->step,
                                         .imm_size = 4});
    asm_rr(&tr->a, true, 0x03, S1, tr_host(r->by));
    asm_store(&tr->a, GS_RUN(limit), S1);
}

/* ---- the rounds ----------------------------------------------------------------------------- */

/* In S0 or S1. */
static void load_pointer(struct tr *tr, int n)
{
    uint8_t to = tr->run.stream[n].pointer;
    int *holds = &tr->run.holds[to == S1];

    if (*holds != n)
        asm_load(&tr->a, to, at_of((unsigned)n));
    *holds = n;
}

struct host_mem tr_run_address(struct tr *tr)
{
    struct tr_run *r = &tr->run;
    unsigned op = (unsigned)(tr->op - tr->b->op);
    const struct tr_stream *s;
    struct tr_access a;
    int n = r->of[op];

    if (n < 0 || !tr_plain_access(tr, tr->op, &a)) {
        r->failed = true;
        return mem_at(S0, 0);
    }
    s = &r->stream[n];
    load_pointer(tr, n);
    return (struct host_mem){
        .base = s->pointer,
        .index = s->moving == X86_NONE_SLOT ? HOST_NONE : tr_host(s->moving),
        .scale = s->shift,
        .disp = (int32_t)(a.disp - s->low),
    };
}

static bool in_memory(unsigned n)
{
    return n < 16 && tr_host(n) == HOST_NONE;
}

/* Of an access in a run, or of what is quiet: S1 is only for general registers that are in memory.
 */
static bool spares_s1(const struct tr *tr, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    const struct vec_row *row = tr_vector_uses(tr, op) ? vec_find(i) : NULL;
    bool g_reg = !row || vec_operands[row->form].reg == VEC_G;
    bool g_rm = !row || vec_operands[row->form].rm == VEC_G;

    if (row && !tr->vectors) /* they are loaded there */
        return false;
    return !(g_reg && in_memory(i->reg)) && !(g_rm && in_memory(i->rm)) && !in_memory(i->base) &&
           !in_memory(i->index);
}

/* Which pointers stay in S0 and S1 for all rounds, and where the others are loaded each time. */
static void place_pointers(struct tr *tr)
{
    struct tr_run *r = &tr->run;
    bool s0 = !tr->t->counts, s1 = true; /* counting takes S0 */

    for (unsigned n = 0; n < r->last; n++) {
        const struct emu_op *op = &tr->b->op[n];

        s0 = s0 && (r->of[n] >= 0 || tr_is_quiet(tr, op));
        s1 = s1 && s0 && spares_s1(tr, op);
    }
    r->holds[0] = r->holds[1] = -1;
    for (unsigned n = 0; n < r->streams; n++)
        r->stream[n].pointer = s1 && n ? S1 : S0;
    if (s0 && (s1 || r->streams == 1))
        load_pointer(tr, 0);
    if (s1 && r->streams == 2)
        load_pointer(tr, 1);
}

/* One round but for the jump back. */
static void round_once(struct tr *tr)
{
    struct tr_run *r = &tr->run;

    for (unsigned n = 0; n < r->last && !r->failed; n++) {
        tr->op = &tr->b->op[n];
        if (tr_jumps(tr->op) ? !tr_branch(tr) : !tr_integer(tr) && !tr_vector(tr))
            r->failed = true;
        if (r->of[n] < 0 && !tr_is_quiet(tr, tr->op))
            r->holds[0] = r->holds[1] = -1;
    }
    tr->op = &tr->b->op[r->last];
}

/* Ways out are all that may be out of line. */
static bool only_exits(const struct tr *tr, unsigned from)
{
    for (unsigned n = from; n < tr->colds; n++) {
        if (tr->cold[n].kind != COLD_LINK && tr->cold[n].kind != COLD_EXIT &&
            tr->cold[n].kind != COLD_LEAVE && tr->cold[n].kind != COLD_LEAVE_S1)
            return false;
    }
    return true;
}

bool tr_run(struct tr *tr, const uint8_t *again, const uint8_t *behind)
{
    struct tr_run *r = &tr->run;
    uint8_t *begin = tr->a.p;
    unsigned colds = tr->colds;
    const uint8_t *top;

    r->failed = false;
    r->inside = true;
    prepare(tr, again);
    place_pointers(tr);
    top = tr->a.p;
    round_once(tr);
    r->inside = false;
    if (r->failed || !only_exits(tr, colds)) {
        tr->a.p = begin;
        tr->colds = colds;
        return false;
    }
    if (!tr->op->ends)
        asm_jcc_to(&tr->a, (tr->op->i.opcode & 15u) ^ 1, behind);
    tr_count(tr, tr->op);
    asm_rm(&tr->a, true, 0x3b, tr_host(r->by), GS_RUN(limit));
    asm_jcc_to(&tr->a, CC_NE, top);
    asm_cmp_imm8(&tr->a, mem_gs((int32_t)offsetof(struct soft_vcpu, attention)), 0);
    asm_jcc_to(&tr->a, CC_E, begin);
    return true;
}
