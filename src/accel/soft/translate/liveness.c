/*
 * Which status flags are needed, instruction by instruction: from the block's end backwards, and
 * at its ways out from what the code there does with them. The bytes looked at there become part
 * of what the translation depends on.
 */
#include "accel/soft/translate/tr.h"
#include "emu/bind.h"
#include "emu/host.h"

/* Instructions looked at behind a way out, and conditional jumps on the way that are followed. */
#define LOOK_INSNS 10
#define LOOK_FORKS 2

/* JMP and CALL with a displacement. */
static bool is_direct(const struct x86_insn *i)
{
    return i->map == X86_MAP_1B && !(i->flags & X86_VEX) &&
           (i->opcode == 0xe9 || i->opcode == 0xeb || i->opcode == 0xe8);
}

bool tr_jumps(const struct emu_op *op)
{
    return tr_is_jcc(&op->i) || (is_direct(&op->i) && op->i.opcode != 0xe8);
}

/* Flags needed before op, when `after` are behind it. Signed comparisons need TR_FLAG_LT. */
static unsigned before(const struct emu_op *op, unsigned after)
{
    struct tr_effects e = tr_effects(op);
    unsigned reads = e.reads, kills = e.kills;

    if (kills & FLAG_SF && kills & FLAG_OF)
        kills |= TR_FLAG_LT;
    else if (after & TR_FLAG_LT && !tr_keeps_flags(op)) /* it may write OF alone */
        after |= FLAG_SF | FLAG_OF;
    if (reads == FLAG_STATUS)
        reads |= TR_FLAG_LT;
    else if (reads & FLAG_SF && reads & FLAG_OF)
        reads = (reads & ~(FLAG_SF | FLAG_OF)) | TR_FLAG_LT;
    return (after & ~kills) | reads;
}

unsigned tr_flags_needed(const struct tr *tr)
{
    return before(tr->op, tr->live[tr->op - tr->b->op + 1]);
}

/* The instruction at offset `at` of the block's page, for this block's binding. Its length; 0: it
 * is none, or no more is to be looked at. */
static unsigned look_insn(struct tr *tr, unsigned at, struct emu_op *op)
{
    unsigned avail = MIN(PAGE_SIZE - at, X86_INSN_MAX);
    uint8_t copy[X86_INSN_MAX];
    int len;

    host_copy(copy, tr->page + at, avail); /* others may be writing */
    *op = (struct emu_op){0};
    len = x86_decode(copy, avail, (enum x86_mode)tr->s->cpu.mode, &op->i);
    if (len < 0)
        return 0;
    emu_bind(&tr->s->cpu, op);
    op->next = (uint16_t)(at + (unsigned)len);
    tr->b->look_begin = MIN(tr->b->look_begin, (uint16_t)at);
    tr->b->look_end = MAX(tr->b->look_end, op->next);
    return (unsigned)len;
}

/* Flags that are needed at the page's offset `target`. `split`: on the way there something may
 * have written OF alone, so TR_FLAG_LT says nothing of SF and OF any more. */
static unsigned look(struct tr *tr, int64_t target, unsigned insns, unsigned forks, bool split)
{
    unsigned undecided = FLAG_STATUS | TR_FLAG_LT, needed = 0;

    if (tr->t->lockstep) /* somebody compares them behind each block */
        return undecided;
    while (insns-- && undecided) {
        struct emu_op op;
        unsigned reads;

        if (target < 0 || target >= (int64_t)PAGE_SIZE || !look_insn(tr, (unsigned)target, &op))
            break;
        reads = before(&op, 0);
        if (split && reads & TR_FLAG_LT)
            reads |= FLAG_SF | FLAG_OF;
        needed |= reads & undecided;
        split = split || !tr_keeps_flags(&op);
        target = op.next;
        if (tr_is_jcc(&op.i)) {
            if (!forks)
                break;
            needed |= look(tr, target + (int64_t)op.i.imm, insns, --forks, split) & undecided;
            continue;
        }
        undecided &= before(&op, FLAG_STATUS | TR_FLAG_LT) & ~reads;
        if (is_direct(&op.i))
            target += (int64_t)op.i.imm;
        else if (op.ends)
            break;
    }
    return needed | undecided;
}

/* Behind the last instruction. */
static unsigned at_end(struct tr *tr)
{
    const struct emu_op *op = &tr->b->op[tr->b->count - 1];

    if (is_direct(&op->i))
        return look(tr, op->next + (int64_t)op->i.imm, LOOK_INSNS, LOOK_FORKS, false);
    if (op->ends)
        return FLAG_STATUS | TR_FLAG_LT;
    return look(tr, op->next, LOOK_INSNS, LOOK_FORKS, false);
}

unsigned tr_flags_at(struct tr *tr, int64_t target)
{
    return look(tr, target, LOOK_INSNS, LOOK_FORKS, false);
}

void tr_liveness(struct tr *tr)
{
    const struct block *b = tr->b;

    tr->live[b->count] = (uint16_t)at_end(tr);
    for (unsigned n = b->count; n-- > 0;) {
        const struct emu_op *op = &b->op[n];
        unsigned live = before(op, tr->live[n + 1]);

        if (tr_is_jcc(&op->i))
            live |= look(tr, op->next + (int64_t)op->i.imm, LOOK_INSNS, LOOK_FORKS, false);
        tr->live[n] = (uint16_t)live;
    }
}
