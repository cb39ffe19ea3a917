/* Blocks into host code: the driver, the ways out of a block, links between blocks. */
#include "accel/soft/translate/tr.h"
#include "base/ahead.h"
#include "base/err.h"
#include "emu/bind.h"
#include "emu/fpu.h"
#include "emu/host.h"

#include <errno.h>
#include <sys/mman.h>

#define LINKS_SIZE (TRANSLATE_LINKS * sizeof(struct translate_link))

/* More than a block can take: what does not fit is not translated. */
#define BLOCK_CODE (64u << 10)

static bool counting(const struct translator *t)
{
    return t->counts || t->lockstep;
}

void translate_unwound(struct soft_vcpu *s)
{
    struct translator *t = &s->tr;

    if (t->interpreting && t->interpreting->ends && counting(t))
        s->cpu.retired--; /* it was counted beforehand */
    else if (t->interpreting && t->lockstep)
        s->cpu.retired += t->interpreting->number;
    t->interpreting = NULL;
}

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
    t->stats.flushes++;
    translate_forget(s, BIT(0) | BIT(1));
    slots_reset(s);
    far_reset(s);
}

/* ---- links ------------------------------------------------------------------------------ */

/* Where b's code for mmu begins, in the executable view. */
static const uint8_t *code_of(const struct translator *t, const struct block *b, unsigned mmu)
{
    return t->code.rx + b->code[mmu];
}

static void link_aim(struct translator *t, const struct translate_link *l, uint32_t to)
{
    asm_aim(t->code.rw + l->at, t->code.rw + to);
}

static bool link_new(struct translator *t, const struct translate_link *l)
{
    if (t->link_count == TRANSLATE_LINKS)
        return false;
    t->links[t->link_count++] = *l;
    return true;
}

/* Code was left by link number n, for b: from now on it goes there at once. */
static void link_to(struct translator *t, uint32_t n, struct block *b, unsigned mmu)
{
    struct translate_link *l = &t->links[n];

    if (l->target != b->gpa || l->mmu != mmu || b->crosses)
        return;
    link_aim(t, l, b->code[mmu]);
    l->next = b->links;
    b->links = n + 1;
    t->stats.links++;
}

/* Those who come by link are sent out; those who come by the jump cache fall into the same hole. */
void translate_drop(struct soft_vcpu *s, struct block *b)
{
    struct translator *t = &s->tr;

    for (uint32_t n = b->links, next; n; n = next) {
        struct translate_link *l = &t->links[n - 1];

        next = l->next;
        link_aim(t, l, l->exit);
        l->next = 0;
    }
    b->links = 0;
    for (unsigned mmu = 0; mmu < TRANSLATE_MMUS; mmu++) {
        if (!b->code[mmu])
            continue;
        t->code.rw[b->code[mmu]] = 0xe9;
        asm_aim(t->code.rw + b->code[mmu] + 5, t->code.rw + b->gone[mmu]);
        b->code[mmu] = 0;
    }
}

/* ---- ways out of a block ----------------------------------------------------------------- */

void tr_rip(struct tr *tr, uint8_t to, int64_t target)
{
    asm_load(&tr->a, to, mem_gs(GS_TR(rip_page)));
    if (target == (int32_t)target) {
        if (target)
            asm_lea(&tr->a, to, mem_at(to, (int32_t)target));
    } else { /* a displacement of 2 GiB, and some */
        asm_lea(&tr->a, to, mem_at(to, (int32_t)(target / 2)));
        asm_lea(&tr->a, to, mem_at(to, (int32_t)(target - target / 2)));
    }
}

static bool same_page(int64_t target)
{
    return target >= 0 && target < (int64_t)PAGE_SIZE;
}

/* ... and may be linked: an instruction that goes on in the next page is another one in each
 * address space, so it is looked up. */
static bool linkable(const struct tr *tr, int64_t target)
{
    unsigned avail = (unsigned)MIN(PAGE_SIZE - (uint64_t)target, X86_INSN_MAX);
    uint8_t copy[X86_INSN_MAX];
    struct x86_insn i;

    if (!same_page(target))
        return false;
    if (avail == X86_INSN_MAX || !tr->page)
        return true;
    host_copy(copy, tr->page + target, avail);
    return x86_decode(copy, avail, (enum x86_mode)tr->s->cpu.mode, &i) != -EAGAIN;
}

static struct tr_cold *cold(struct tr *tr, uint8_t *from)
{
    static struct tr_cold none;
    struct tr_cold *c = tr->colds < TR_COLDS ? &tr->cold[tr->colds++] : &none;

    if (c == &none)
        tr->a.full = true;
    *c = (struct tr_cold){.from = from,
                          .op = tr->op,
                          .uncounted = tr->op->ends && !tr->counted,
                          .saved = tr->saved,
                          .vectors = tr->vectors,
                          .shadow = (uint8_t)tr->shadow,
                          .mmu = (uint8_t)tr->mmu};
    return c;
}

void tr_cold_interpret(struct tr *tr, uint8_t *from)
{
    cold(tr, from)->kind = COLD_INTERPRET;
}

void tr_cold_group(struct tr *tr, uint8_t *from)
{
    cold(tr, from)->kind = COLD_GROUP;
}

void tr_cold_also(struct tr *tr, uint8_t *from)
{
    tr->cold[tr->colds - 1].also = from;
}

void tr_cold_fill(struct tr *tr, uint8_t *check, enum emu_access access, unsigned size,
                  unsigned align)
{
    struct tr_cold *c = &tr->cold[tr->colds - 1];

    c->check = check;
    c->access = (uint8_t)access;
    c->size = (uint16_t)size;
    c->align = (uint8_t)align;
}

void tr_cold_slot(struct tr *tr, uint8_t *from, uint32_t slot, enum emu_access access,
                  unsigned size, unsigned align)
{
    struct tr_cold *c = cold(tr, from);

    c->kind = COLD_SLOT;
    c->slot = slot;
    c->access = (uint8_t)access;
    c->size = (uint16_t)size;
    c->align = (uint8_t)align;
    c->resume = tr->a.p;
}

void tr_cold_vectors(struct tr *tr, uint8_t *from)
{
    struct tr_cold *c = cold(tr, from);

    c->kind = COLD_VECTORS;
    c->resume = tr->a.p;
}

void tr_count(struct tr *tr, const struct emu_op *op)
{
    if (!counting(tr->t))
        return;
    tr->counted = true;
    asm_load(&tr->a, S0, mem_gs(GS_CPU(retired)));
    asm_lea(&tr->a, S0, mem_at(S0, (int32_t)(op - tr->b->op) + 1));
    asm_store(&tr->a, mem_gs(GS_CPU(retired)), S0);
}

static uint32_t offset_of(const struct tr *tr, const uint8_t *p)
{
    return (uint32_t)(p - tr->t->code.rw);
}

/* Leave translated code, rip at the page's offset `target`. */
static void leave(struct tr *tr, int64_t target, uint32_t link)
{
    tr_rip(tr, S1, target);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xc7,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_TR(link)),
                                         .imm = link,
                                         .imm_size = 4});
    asm_jmp_to(&tr->a, tr->t->code.rw + (tr->t->leave_at - tr->t->code.rx));
}

/* Jumps to the same page: `from`'s displacement is the link. */
static void link_here(struct tr *tr, uint8_t *from, int64_t target)
{
    struct translate_link l = {.at = offset_of(tr, from),
                               .exit = offset_of(tr, tr->a.p),
                               .target = align_down(tr->b->gpa, PAGE_SIZE) + (uint64_t)target,
                               .mmu = (uint8_t)tr->mmu};
    bool made = !tr->a.full && link_new(tr->t, &l);

    asm_land(&tr->a, from);
    leave(tr, target, made ? tr->t->link_count : 0);
}

static struct host_mem attention(void)
{
    return mem_gs((int32_t)offsetof(struct soft_vcpu, attention));
}

static struct tr_cold *cold_at(struct tr *tr, uint8_t *from, unsigned kind, int64_t target)
{
    struct tr_cold *c = cold(tr, from);

    c->kind = kind;
    c->target = target;
    return c;
}

/* Leave for `target` if somebody wants attention. No flags. counted: tr->op has been. */
static void poll(struct tr *tr, int64_t target, bool counted)
{
    uint8_t *quiet;

    asm_mov(&tr->a, S1, RCX);
    asm_load32(&tr->a, RCX, attention());
    quiet = asm_jrcxz(&tr->a);
    cold_at(tr, asm_jmp(&tr->a), COLD_LEAVE_S1, target)->uncounted = !counted;
    asm_land_short(&tr->a, quiet);
    asm_mov(&tr->a, RCX, S1);
}

/* Each loop has a jump back, and interrupts come in behind a shadow. */
static bool is_polled(const struct tr *tr, int64_t target)
{
    return linkable(tr, target) && (target < tr->op->next || tr->shadow == 1);
}

/* Where the block begins for who has vector registers loaded, or perhaps not. */
static const uint8_t *begin_of(const struct tr *tr, bool vectors)
{
    return vectors ? tr->again : tr->a.start;
}

/*
 * A jump that polls. Flags that the target overwrites before it looks at them may be gone when
 * the code is left here.
 */
static void jump_polled(struct tr *tr, int64_t target)
{
    uint8_t *to;

    tr_count(tr, tr->op);
    if (!tr_flags_at(tr, target)) {
        asm_cmp_imm8(&tr->a, attention(), 0);
        to = asm_jcc(&tr->a, CC_E);
        cold_at(tr, asm_jmp(&tr->a), COLD_LEAVE, target);
    } else {
        poll(tr, target, true);
        to = asm_jmp(&tr->a);
    }
    if (target == (int64_t)(tr->b->gpa & PAGE_MASK) && tr->mmu == tr->s->cpu.mmu &&
        !tr->t->lockstep) {
        if (tr->run.on && !tr->alone && tr->op == &tr->b->op[tr->run.last])
            cold_at(tr, to, COLD_RUN, target);
        else if (!tr->a.full)
            asm_aim(to, begin_of(tr, tr->vectors));
    } else {
        cold_at(tr, to, COLD_LINK, target);
    }
}

/* To another page, or an instruction in two. */
static void look_up(struct tr *tr, int64_t target)
{
    if (tr_far(tr, target))
        return;
    tr_rip(tr, S1, target);
    asm_jmp_to(&tr->a, tr->t->code.rw + (tr->t->jump[tr->mmu] - tr->t->code.rx));
}

static void cold_exit(struct tr *tr, const struct tr_cold *c)
{
    asm_land(&tr->a, c->from);
    tr_count(tr, c->op);
    if (linkable(tr, c->target))
        link_here(tr, asm_jmp(&tr->a), c->target);
    else
        look_up(tr, c->target);
}

static void cold_run(struct tr *tr, const struct tr_cold *c)
{
    const uint8_t *again = begin_of(tr, c->vectors);

    asm_land(&tr->a, c->from);
    tr->vectors = c->vectors;
    if (tr_run(tr, again, c->resume)) {
        leave(tr, c->target, 0);
        tr->t->stats.runs++;
    } else if (!tr->a.full) {
        asm_aim(c->from, again);
    }
}

static void cold_leave(struct tr *tr, const struct tr_cold *c)
{
    asm_land(&tr->a, c->from);
    if (c->kind == COLD_LEAVE_S1)
        asm_mov(&tr->a, RCX, S1);
    if (c->uncounted)
        tr_count(tr, c->op);
    leave(tr, c->target, 0);
}

void tr_exit_if(struct tr *tr, unsigned cc, int64_t target)
{
    if (is_polled(tr, target)) {
        uint8_t *not_taken = asm_jcc(&tr->a, cc ^ 1);

        jump_polled(tr, target);
        asm_land(&tr->a, not_taken);
    } else {
        cold_at(tr, asm_jcc(&tr->a, cc),
                linkable(tr, target) && !counting(tr->t) ? COLD_LINK : COLD_EXIT, target);
    }
}

void tr_exit(struct tr *tr, int64_t target)
{
    tr->ended = true;
    if (is_polled(tr, target)) {
        jump_polled(tr, target);
        return;
    }
    tr_count(tr, tr->op);
    if (linkable(tr, target))
        cold_at(tr, asm_jmp(&tr->a), COLD_LINK, target);
    else
        look_up(tr, target);
}

/* The jump cache's entry whose index, times 3, is in S0. */
static struct host_mem found(const struct tr *tr, size_t field)
{
    size_t table = sizeof(tr->t->jumps[0]) * tr->mmu;

    return (struct host_mem){.base = HOST_NONE,
                             .index = S0,
                             .scale = 3,
                             .gs = true,
                             .disp = GS_TR(jumps) + (int32_t)(table + field)};
}

#define FOUND(tr, field) found((tr), offsetof(struct translate_jump, field))

/*
 * The address less that of the entry is a multiple of 64 KiB, the attention word smaller: the
 * sum is 0 when both are.
 */
void tr_find(struct tr *tr)
{
    struct tr_cold *miss;
    uint8_t *hit;

    tr_count(tr, tr->op);
    asm_store(&tr->a, mem_gs(GS_TR(tmp_rcx)), RCX);
    asm_insn(&tr->a, &(struct host_insn){.map = X86_MAP_0F, .opcode = 0xb7, .reg = S0, .rm = S1});
    asm_lea(&tr->a, S0, (struct host_mem){S0, S0, 1, false, 0});
    asm_load(&tr->a, RCX, FOUND(tr, minus));
    asm_lea(&tr->a, RCX, (struct host_mem){.base = RCX, .index = S1});
    asm_load32(&tr->a, S1, attention());
    asm_lea(&tr->a, RCX, (struct host_mem){.base = RCX, .index = S1});
    hit = asm_jrcxz(&tr->a);
    miss = cold(tr, asm_jmp(&tr->a));
    asm_land_short(&tr->a, hit);
    miss->kind = COLD_MISS;
    miss->check = tr->a.p;
    asm_load(&tr->a, RCX, mem_gs(GS_TR(tmp_rcx)));
}

void tr_go_found(struct tr *tr)
{
    asm_load(&tr->a, S1, FOUND(tr, page));
    asm_store(&tr->a, mem_gs(GS_TR(rip_page)), S1);
    asm_jmp_mem(&tr->a, FOUND(tr, code));
    tr->ended = true;
}

void tr_keep_found(struct tr *tr)
{
    asm_load(&tr->a, S1, FOUND(tr, page));
    asm_store(&tr->a, mem_gs(GS_TR(kept_page)), S1);
    asm_load(&tr->a, S1, FOUND(tr, code));
    asm_store(&tr->a, mem_gs(GS_TR(kept_code)), S1);
}

void tr_go_kept(struct tr *tr)
{
    asm_load(&tr->a, S1, mem_gs(GS_TR(kept_page)));
    asm_store(&tr->a, mem_gs(GS_TR(rip_page)), S1);
    asm_jmp_mem(&tr->a, mem_gs(GS_TR(kept_code)));
    tr->ended = true;
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
    if (counting(tr->t))
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
        poll(tr, tr->op->next, false);
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
    tr->b->gone[tr->s->cpu.mmu] = offset_of(tr, tr->a.p);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xc7,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_TR(fars.stale)),
                                         .imm = 1,
                                         .imm_size = 4});
    leave(tr, (int64_t)(tr->b->gpa & PAGE_MASK), 0);
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
static const uint8_t *page_of(struct soft_vcpu *s, const struct block *b)
{
    gpa_t page = GPA(align_down(b->gpa, PAGE_SIZE));
    const struct mem_slot *slot = guest_mem_find(s->cpu.mem, page);

    return slot ? slot->hva + (page.v - slot->gpa.v) : NULL;
}

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
    tr.page = page_of(s, b);
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

/* ---- running ------------------------------------------------------------------------------- */

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
        link_to(t, link, b, mmu);
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
