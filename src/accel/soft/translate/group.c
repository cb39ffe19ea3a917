/*
 * Accesses that share one check: same base and index, small distances, nothing in between that
 * needs S0. The first of them, the leader, checks for all, and S0 stays. When that check fails,
 * code out of line does the instructions of the group one by one, each with its own.
 */
#include "accel/soft/translate/tr.h"
#include "emu/bind.h"

#include <stdlib.h>

/* Bytes from the first to the last of a group: a longer one crosses pages more often. */
#define GROUP_SPAN 256

/* How far base lies from where it was at the leader. */
struct walk {
    const struct tr_access *lead;
    int64_t delta;
    int64_t low, high;
    int64_t aligned; /* where one that must be aligned lies */
    bool jumped;     /* a conditional jump lies behind */
};

static bool is_plain(const struct x86_insn *i)
{
    return i->map == X86_MAP_1B && !(i->flags & (X86_VEX | X86_LOCK));
}

bool tr_moves(const struct emu_op *op, unsigned n, int64_t *by)
{
    const struct x86_insn *i = &op->i;
    unsigned group = i->modrm >> 3 & 7;

    if (!is_plain(i) || i->osize != 8)
        return false;
    switch (i->opcode) {
    case 0x05: *by = (int64_t)i->imm; return n == RAX;
    case 0x2d: *by = -(int64_t)i->imm; return n == RAX;
    case 0x50 ... 0x57:
    case 0x68:
    case 0x6a: *by = -8; return n == RSP;
    case 0x58 ... 0x5f: *by = 8; return n == RSP && i->rm != RSP;
    case 0x81:
    case 0x83:
        *by = group ? -(int64_t)i->imm : (int64_t)i->imm;
        return !(i->flags & X86_RM_MEM) && i->rm == n && (group == 0 || group == 5);
    case 0x8d:
        *by = i->disp;
        return i->reg == n && i->base == n && i->index == X86_NONE_SLOT && i->asize == 8;
    case 0xff: *by = group ? -1 : 1; return !(i->flags & X86_RM_MEM) && i->rm == n && group < 2;
    default: return false;
    }
}

/* What tr_stack and tr_branch access. */
static bool stack_access(const struct emu_op *op, struct tr_access *a)
{
    const struct x86_insn *i = &op->i;

    if (!is_plain(i) || i->osize != 8)
        return false;
    *a = (struct tr_access){.base = RSP, .index = X86_NONE_SLOT, .size = 8, .access = EMU_READ};
    switch (i->opcode) {
    case 0x50 ... 0x57:
    case 0x68:
    case 0x6a:
    case 0xe8:
        a->disp = -8;
        a->access = EMU_WRITE;
        return true;
    case 0x58 ... 0x5f:
    case 0xc2:
    case 0xc3: return true;
    default: return false;
    }
}

static bool access_of(const struct tr *tr, const struct emu_op *op, struct tr_access *a)
{
    return emu_is_bound(op) &&
           (stack_access(op, a) || tr_integer_access(op, a) || tr_vector_access(tr, op, a));
}

bool tr_plain_access(const struct tr *tr, const struct emu_op *op, struct tr_access *a)
{
    return emu_is_bound(op) && (tr_integer_access(op, a) || tr_vector_access(tr, op, a));
}

bool tr_is_quiet(const struct tr *tr, const struct emu_op *op)
{
    if (!emu_is_bound(op) || op->ends)
        return false;
    return tr_jumps(op) || tr_integer_quiet(op) || tr_vector_quiet(tr, op);
}

static bool same_place(const struct tr_access *a, const struct tr_access *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale && a->seg == b->seg;
}

/* Must it be aligned, and is it when those before are? */
static bool align_fits(struct walk *w, struct tr_group *g, unsigned align, int64_t at)
{
    if (!align)
        return true;
    if (g->align)
        return g->align == align && !((at - w->aligned) & align);
    g->align = (uint8_t)align;
    w->aligned = at;
    return true;
}

/* Take it in, if it fits. */
static bool joins(struct walk *w, struct tr_group *g, const struct tr_access *a, int64_t *at)
{
    int64_t low, high;

    *at = a->disp + w->delta - w->lead->disp;
    low = MIN(w->low, *at);
    high = MAX(w->high, *at + a->size);
    if (!same_place(a, w->lead) || high - low > GROUP_SPAN)
        return false;
    if (a->access == EMU_WRITE && g->access != EMU_WRITE) {
        if (w->jumped) /* perhaps it never writes, and the page cannot be written */
            return false;
        g->access = EMU_WRITE;
    }
    if (!align_fits(w, g, a->align, *at))
        return false;
    w->low = low;
    w->high = high;
    return true;
}

/* The group that op number n leads; its last. */
static unsigned group_from(struct tr *tr, unsigned n)
{
    const struct block *b = tr->b;
    struct tr_group *g = &tr->group[n];
    struct tr_access lead, a;
    struct walk w = {.lead = &lead};
    unsigned last = n;

    if (!access_of(tr, &b->op[n], &lead) || lead.disp != (int32_t)lead.disp ||
        llabs(lead.disp) > INT32_MAX - 2 * INT16_MAX)
        return n;
    *g = (struct tr_group){.access = lead.access};
    w.high = lead.size;
    align_fits(&w, g, lead.align, 0);
    for (unsigned m = n; m < b->count; m++) {
        const struct emu_op *op = &b->op[m];
        bool by_leader = m == n;
        int64_t by = 0, at;

        if (!by_leader && access_of(tr, op, &a)) {
            if (!joins(&w, g, &a, &at))
                break;
            tr->group[m].member = true;
            tr->group[m].at = (int16_t)at;
            last = m;
        } else if (!by_leader && !tr_is_quiet(tr, op)) {
            break;
        }
        if (op->ends || (tr->run.on && m == tr->run.last)) /* page runs go on there without S0 */
            break;
        w.jumped = w.jumped || tr_jumps(op);
        if (lead.base < 16 && tr_moves(op, lead.base, &by)) {
            w.delta += by;
            if (w.delta != (int16_t)w.delta || lead.index == lead.base)
                break;
        } else if ((lead.base < 16 && tr_writes(op) & REG(lead.base)) ||
                   (lead.index < 16 && tr_writes(op) & REG(lead.index))) {
            break;
        }
        if (lead.index < 16 && lead.index != lead.base && tr_writes(op) & REG(lead.index))
            break;
    }
    w.low -= (w.low - w.aligned) & g->align; /* so that the first byte is aligned */
    g->low = (int16_t)w.low;
    g->span = (uint16_t)(w.high - w.low);
    g->last = (uint8_t)last;
    for (unsigned m = n + 1; m <= last; m++)
        tr->group[m].at = (int16_t)(tr->group[m].at - w.low);
    return last;
}

void tr_groups(struct tr *tr)
{
    for (unsigned n = 0; n < tr->b->count; n++)
        n = group_from(tr, n);
}

struct tr_group *tr_group_led(struct tr *tr)
{
    struct tr_group *g = &tr->group[tr->op - tr->b->op];

    return tr->alone || g->member || g->last <= tr->op - tr->b->op ? NULL : g;
}
