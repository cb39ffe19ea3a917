/* Blocks into host code: the translator's life, and the driver that emits a block. */
#include "accel/soft/translate/tr.h"
#include "base/ahead.h"
#include "base/err.h"
#include "emu/bind.h"

#include <errno.h>
#include <sys/mman.h>

#define LINKS_SIZE (TRANSLATE_LINKS * sizeof(struct translate_link))

/* More than a block can take: what does not fit is not translated. */
#define BLOCK_CODE (64u << 10)

/* ---- life ------------------------------------------------------------------------ */

int translate_init(struct soft_vcpu *s)
{
    struct translator *t = &s->tr;
    int err;

    if (!tr_host_suffices())
        return err_set(ENOTSUP, "the host's processor lacks BMI2, or what came with it");
    t->links = mmap(NULL, LINKS_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (t->links == MAP_FAILED) {
        t->links = NULL;
        return err_set(ENOMEM, "no memory for links of translated code");
    }
    err = code_mem_init(&t->code, TRANSLATE_CODE);
    if (err)
        return err_set(-err, "no memory for translated code");
    err = tr_stubs(s);
    if (err) {
        code_mem_free(&t->code);
        return err_set(-err, "no memory for translated code");
    }
    t->stubs = t->code.used;
    slots_init(s);
    jumps_empty(t);
    t->on = true;
    return 0;
}

void translate_free(struct soft_vcpu *s)
{
    code_mem_free(&s->tr.code);
    counts_free(s->tr.counts);
    if (s->tr.links)
        munmap(s->tr.links, LINKS_SIZE);
    s->tr.links = NULL;
    s->tr.on = false;
}

void translate_count(struct soft_vcpu *s)
{
    if (s->tr.on)
        s->tr.counts = counts_new();
}

static uint64_t jumps_resident(const struct translator *t)
{
    unsigned char page[sizeof(t->jumps) / PAGE_SIZE];
    uint64_t bytes = 0;

    if (mincore((void *)t->jumps, sizeof(t->jumps), page))
        return 0;
    for (unsigned n = 0; n < ARRAY_SIZE(page); n++)
        bytes += page[n] & 1 ? PAGE_SIZE : 0;
    return bytes;
}

unsigned translate_stats(const struct soft_vcpu *s, struct accel_stat *stats, unsigned room)
{
    const struct translate_stats *t = &s->tr.stats;
    const struct accel_stat all[] = {
        {"blocks translated", t->translated},
        {"bytes of translated code", t->bytes},
        {"loops that run by pages", t->runs},
        {"bytes of jump caches", jumps_resident(&s->tr)},
        {"entries into translated code", t->entered},
        {"pages looked up from translated code", t->filled},
        {"instructions interpreted from translated code", t->interpreted},
        {"... as their checks failed", t->missed},
    };
    unsigned n = s->tr.on && room >= ARRAY_SIZE(all) ? ARRAY_SIZE(all) : 0;

    if (!s->tr.counts) /* misses are not told from others */
        n = MIN(n, ARRAY_SIZE(all) - 1);
    memcpy(stats, all, n * sizeof(all[0]));
    return s->tr.counts ? n + counts_stats(s->tr.counts, stats + n, room - n) : n;
}

void translate_reset(struct soft_vcpu *s)
{
    struct translator *t = &s->tr;

    if (!t->on || t->code.used == t->stubs)
        return;
    code_mem_reset(&t->code, t->stubs);
    t->link_count = 0;
    t->link = 0;
    t->cut_count = 0;
    t->stats.flushes++;
    translate_forget(s, BIT(0) | BIT(1));
    slots_reset(s);
    far_reset(s);
}

/* ---- the interpreter, for one instruction ----------------------------------------------- */

/* S0 = op's copy, which code may call for as long as it lasts. */
static void load_op(struct tr *tr, const struct emu_op *op)
{
    uint32_t *kept = &tr->kept[op->number];

    if (!*kept)
        *kept = block_keep(&tr->s->blocks, op);
    tr->a.full |= !*kept;
    asm_mov_imm(&tr->a, S0, *kept);
}

static void interpret(struct tr *tr)
{
    if (tr->op->ends) {
        tr_count(tr, tr->op);
        load_op(tr, tr->op);
        asm_jmp_to(&tr->a, tr_rw(tr, tr_is_system_call(tr->op) ? tr->t->system_call
                                                               : tr->t->interpret_end));
        tr->ended = true;
    } else {
        load_op(tr, tr->op);
        asm_call_to(&tr->a, tr_rw(tr, tr->t->interpret));
    }
    tr->vectors = false;
}

/* The interpreter for an instruction whose check failed. */
static void call_missed(struct tr *tr, const struct emu_op *op, bool vectors)
{
    if (tr_counting(tr->t))
        asm_insn(&tr->a, &(struct host_insn){.opcode = 0xc7,
                                             .is_mem = true,
                                             .mem = mem_gs(GS_TR(missing)),
                                             .imm = 1,
                                             .imm_size = 4});
    load_op(tr, op);
    asm_call_to(&tr->a, tr_rw(tr, vectors ? tr->t->interpret_keep : tr->t->interpret));
}

/* A jump that is done, but leaves translated code; unless its target is bad. */
static void go_away(struct tr *tr, const struct tr_cold *c)
{
    uint8_t *good, *bad;

    asm_call_to(&tr->a, tr_rw(tr, tr->t->jump_away[c->mmu]));
    good = asm_jrcxz(&tr->a);
    bad = asm_jmp(&tr->a);
    asm_land_short(&tr->a, good);
    asm_jmp_to(&tr->a, c->check);
    asm_land(&tr->a, bad);
    asm_load(&tr->a, RCX, mem_gs(GS_TR(tmp_rcx)));
}

static void cold_interpret(struct tr *tr, const struct tr_cold *c)
{
    asm_land(&tr->a, c->from);
    if (c->kind == COLD_MISS)
        go_away(tr, c);
    else
        tr_fill(tr, c);
    tr->saved = c->saved;
    tr_flags_restore(tr);
    if (c->uncounted)
        tr_count(tr, c->op);
    call_missed(tr, c->op, c->vectors);
    if (!c->op->ends)
        asm_jmp_to(&tr->a, c->resume);
}

/* ---- a block ------------------------------------------------------------------------------ */

/* The first bytes are a jump once the block is dropped (translate_drop): no link lies there, which
 * may still be aimed elsewhere then. */
static void clear_of_start(struct tr *tr)
{
    static const uint8_t nops[][4] = {
        {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}, {0x0f, 0x1f, 0x40, 0x00}};
    ptrdiff_t used = tr->a.p - tr->a.start;

    if (used < 4)
        asm_bytes(&tr->a, nops[3 - used], (unsigned)(4 - used));
}

/*
 * A kernel's groups whose check failed are called for one by one, since code that checks each of
 * them again was a quarter of all code, and next to none of it ever ran. Programs' may lie in two
 * pages for long. What loads vector registers must do that, as the group's code does.
 */
static bool is_called(const struct tr *tr)
{
    unsigned n = tr->op->number;
    const struct tr_group *g = &tr->group[n];

    return tr->alone && tr->mmu != EMU_MMU_USER && (g->member || g->last > n) && !tr->op->ends &&
           !tr_vector_uses(tr, tr->op);
}

static void one(struct tr *tr)
{
    bool branch = tr_is_branch(tr->op);

    tr->first_cold = tr->colds;
    tr->counted = false;
    if (tr->shadow == 1 && branch)
        tr_shadow_end(tr);
    if (tr_jumps(tr->op))
        clear_of_start(tr);
    if (is_called(tr))
        call_missed(tr, tr->op, tr->vectors);
    else if (!emu_is_bound(tr->op) ||
             !(tr_branch(tr) || tr_stack(tr) || tr_system(tr) || tr_integer(tr) || tr_vector(tr)))
        interpret(tr);
    tr_flags_track(tr);
    for (unsigned n = tr->first_cold; n < tr->colds; n++) {
        if (tr->cold[n].kind == COLD_GROUP)
            tr->leader = n;
        else if (!tr->cold[n].resume)
            tr->cold[n].resume = tr->a.p;
    }
    if (tr->shadow == 1 && !tr->ended) {
        if (!branch)
            tr_shadow_end(tr);
        tr_poll(tr, tr->op->next, false);
    }
    tr->shadow /= 2;
}

/* Fill the slot; what fails again goes on to the cold code behind this. */
static void cold_slot(struct tr *tr, struct tr_cold *c)
{
    asm_land(&tr->a, c->from);
    asm_mov_imm(&tr->a, S1, c->slot);
    tr_fill_push(tr, c->size, c->align);
    asm_call_to(&tr->a, tr_rw(tr, tr->t->slot_miss[c->access][c->vectors]));
    asm_alu_imm(&tr->a, true, 7, S0, (int32_t)(PAGE_SIZE - c->size));
    asm_aim(asm_jcc(&tr->a, CC_BE), c->resume);
    c[1].from = asm_jmp(&tr->a);
}

static void cold_vectors(struct tr *tr, const struct tr_cold *c)
{
    asm_land(&tr->a, c->from);
    asm_mov(&tr->a, S1, RCX);
    asm_call_to(&tr->a, tr_rw(tr, tr->t->vectors_in));
    asm_mov(&tr->a, RCX, S1);
    asm_jmp_to(&tr->a, c->resume);
}

/* The group of the leader before ends here, if one does. */
static void group_ends(struct tr *tr)
{
    struct tr_cold *c = &tr->cold[tr->leader];

    if (tr->colds && c->kind == COLD_GROUP && !c->resume &&
        tr->group[c->op - tr->b->op].last == tr->op - tr->b->op)
        c->resume = tr->a.p;
}

/* A slot that misses often is told the interpreter, which the code of a group may never call: here
 * it does the leader. Where to jump then, NULL: nowhere. */
static uint8_t *tell_missed(struct tr *tr, const struct tr_cold *c)
{
    uint8_t *seldom, *done;

    if (c == tr->cold || c[-1].kind != COLD_SLOT)
        return NULL;
    asm_cmp_imm8(&tr->a, mem_gs(GS_TR(slots.hot)), 0);
    seldom = asm_jcc(&tr->a, CC_E);
    tr->saved = c->saved;
    tr_flags_restore(tr);
    load_op(tr, c->op);
    asm_call_to(&tr->a, tr_rw(tr, c->vectors ? tr->t->interpret_keep : tr->t->interpret));
    done = asm_jmp(&tr->a);
    asm_land(&tr->a, seldom);
    return done;
}

/* Its check failed, and nothing is done yet. */
static void cold_group(struct tr *tr, const struct tr_cold *c)
{
    const struct tr_group *g = &tr->group[c->op - tr->b->op];
    uint8_t *led;

    asm_land(&tr->a, c->from);
    tr_fill(tr, c);
    led = tell_missed(tr, c);
    if (c->also)
        asm_land(&tr->a, c->also);
    tr->saved = c->saved;
    tr->vectors = c->vectors;
    tr->shadow = c->shadow;
    tr->op = c->op;
    tr_flags_restore(tr);
    tr->flags_by.op = NULL;
    tr->alone = true;
    tr->ended = false;
    for (; tr->op <= tr->b->op + g->last && !tr->ended; tr->op++) {
        one(tr);
        if (tr->op == c->op && led)
            asm_land(&tr->a, led);
    }
    if (!tr->ended)
        asm_jmp_to(&tr->a, c->resume);
}

/* Where a dropped block's code leads to: out, at its own start. */
static void gone(struct tr *tr)
{
    tr->b->gone[tr->s->cpu.mmu] = tr_offset(tr, tr->a.p);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xc7,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_TR(fars.stale)),
                                         .imm = 1,
                                         .imm_size = 4});
    tr_leave(tr, (int64_t)(tr->b->gpa & PAGE_MASK), 0);
}

static bool is_start(const struct tr *tr, int64_t target)
{
    return target == (int64_t)(tr->b->gpa & PAGE_MASK);
}

/* A loop whose rounds need vector registers asks for them once, in front of it. */
static void begin(struct tr *tr)
{
    const struct block *b = tr->b;
    bool vectors = false;

    for (unsigned n = 0; n < b->count; n++) {
        const struct emu_op *op = &b->op[n];

        vectors = vectors || tr_vector_uses(tr, op);
        if (vectors && tr_jumps(op) && is_start(tr, op->next + (int64_t)op->i.imm)) {
            tr_vector_begin(tr);
            break;
        }
    }
    tr->again = tr->a.p;
}

static void emit(struct tr *tr)
{
    struct block *b = tr->b;

    tr_liveness(tr);
    tr_run_find(tr);
    tr_groups(tr);
    tr->op = b->op;
    begin(tr);
    for (unsigned n = 0; n < b->count && !tr->ended; n++) {
        tr->op = &b->op[n];
        one(tr);
        group_ends(tr);
    }
    if (!tr->ended) {
        clear_of_start(tr);
        tr_exit(tr, tr->op->next);
    }
    for (unsigned n = 0; n < tr->colds; n++) { /* they grow */
        struct tr_cold *c = &tr->cold[n];

        tr->mmu = c->mmu;
        switch (c->kind) {
        case COLD_INTERPRET:
        case COLD_MISS: cold_interpret(tr, c); break;
        case COLD_GROUP: cold_group(tr, c); break;
        case COLD_SLOT: cold_slot(tr, c); break;
        case COLD_VECTORS: cold_vectors(tr, c); break;
        case COLD_LINK: link_here(tr, c->from, c->target); break;
        case COLD_LEAVE:
        case COLD_LEAVE_S1: cold_leave(tr, c); break;
        case COLD_EXIT: cold_exit(tr, c); break;
        case COLD_RUN: cold_run(tr, c); break;
        }
    }
    gone(tr);
}

/* The page that b is of, as the host has it. */
bool translate_block(struct soft_vcpu *s, struct block *b)
{
    static _Thread_local struct tr tr;
    struct translator *t = &s->tr;
    size_t begin = align_up(t->code.used, 16);
    uint32_t links = t->link_count;

    if (!range_in(begin, BLOCK_CODE, t->code.size))
        return false;
    memset(&tr, 0, offsetof(struct tr, cold));
    tr.s = s;
    tr.t = t;
    tr.b = b;
    tr.mmu = s->cpu.mmu;
    tr.page = block_page_bytes(&s->blocks, &s->cpu, b);
    tr.a = (struct host_asm){.start = t->code.rw + begin,
                             .p = t->code.rw + begin,
                             .end = t->code.rw + begin + BLOCK_CODE};
    emit(&tr);
    block_looked(&s->blocks, b);
    if (tr.a.full) {
        t->link_count = links;
        return false;
    }
    b->kept = true;
    b->code[s->cpu.mmu] = (uint32_t)begin;
    t->code.used = (size_t)(tr.a.p - t->code.rw);
    take_ahead(t->code.rw, t->code.size, t->code.used, &t->code.ahead);
    t->stats.translated++;
    t->stats.bytes += t->code.used - begin;
    return true;
}
