/*
 * Ways out of a block: direct jumps, by a link or a look-up, and indirect ones, by the jump cache;
 * with looks at the attention word, and counting where that is wanted.
 */
#include "accel/soft/translate/tr.h"
#include "emu/host.h"

#include <errno.h>

/* ---- to an offset of the page ------------------------------------------------------------- */

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
    if (avail == X86_INSN_MAX)
        return true;
    host_copy(copy, tr->page + target, avail);
    return x86_decode(copy, avail, (enum x86_mode)tr->s->cpu.mode, &i) != -EAGAIN;
}

void tr_count(struct tr *tr, const struct emu_op *op)
{
    if (!tr_counting(tr->t))
        return;
    tr->counted = true;
    asm_load(&tr->a, S0, mem_gs(GS_CPU(retired)));
    asm_lea(&tr->a, S0, mem_at(S0, (int32_t)(op - tr->b->op) + 1));
    asm_store(&tr->a, mem_gs(GS_CPU(retired)), S0);
}

void tr_leave(struct tr *tr, int64_t target, uint32_t link)
{
    tr_rip(tr, S1, target);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xc7,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_TR(link)),
                                         .imm = link,
                                         .imm_size = 4});
    asm_jmp_to(&tr->a, tr->t->code.rw + (tr->t->leave_at - tr->t->code.rx));
}

void link_here(struct tr *tr, uint8_t *from, int64_t target)
{
    struct translate_link l = {.at = tr_offset(tr, from),
                               .exit = tr_offset(tr, tr->a.p),
                               .target = align_down(tr->b->gpa, PAGE_SIZE) + (uint64_t)target,
                               .mmu = (uint8_t)tr->mmu};
    bool made = !tr->a.full && link_new(tr->t, &l);

    asm_land(&tr->a, from);
    tr_leave(tr, target, made ? tr->t->link_count : 0);
}

static struct host_mem attention(void)
{
    return mem_gs((int32_t)offsetof(struct soft_vcpu, attention));
}

static struct tr_cold *cold_at(struct tr *tr, uint8_t *from, unsigned kind, int64_t target)
{
    struct tr_cold *c = tr_cold_new(tr, from);

    c->kind = kind;
    c->target = target;
    return c;
}

void tr_poll(struct tr *tr, int64_t target, bool counted)
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
        tr_poll(tr, target, true);
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

void cold_exit(struct tr *tr, const struct tr_cold *c)
{
    asm_land(&tr->a, c->from);
    tr_count(tr, c->op);
    if (linkable(tr, c->target))
        link_here(tr, asm_jmp(&tr->a), c->target);
    else
        look_up(tr, c->target);
}

void cold_run(struct tr *tr, const struct tr_cold *c)
{
    const uint8_t *again = begin_of(tr, c->vectors);

    asm_land(&tr->a, c->from);
    tr->vectors = c->vectors;
    if (tr_run(tr, again, c->resume)) {
        tr_leave(tr, c->target, 0);
        tr->t->stats.runs++;
    } else if (!tr->a.full) {
        asm_aim(c->from, again);
    }
}

void cold_leave(struct tr *tr, const struct tr_cold *c)
{
    asm_land(&tr->a, c->from);
    if (c->kind == COLD_LEAVE_S1)
        asm_mov(&tr->a, RCX, S1);
    if (c->uncounted)
        tr_count(tr, c->op);
    tr_leave(tr, c->target, 0);
}

void tr_exit_if(struct tr *tr, unsigned cc, int64_t target)
{
    if (is_polled(tr, target)) {
        uint8_t *not_taken = asm_jcc(&tr->a, cc ^ 1);

        jump_polled(tr, target);
        asm_land(&tr->a, not_taken);
    } else {
        cold_at(tr, asm_jcc(&tr->a, cc),
                linkable(tr, target) && !tr_counting(tr->t) ? COLD_LINK : COLD_EXIT, target);
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

/* ---- to a linear address ------------------------------------------------------------------- */

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
    miss = tr_cold_new(tr, asm_jmp(&tr->a));
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
