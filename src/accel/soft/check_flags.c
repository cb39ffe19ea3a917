/* --engine-check: status flags in which the two may differ. */
#include "accel/soft/check_internal.h"

void check_follow_undefined(struct soft_check *k, uint64_t count)
{
    for (uint64_t n = 0; k->unit == CHECK_BLOCK && n < MIN(count, k->block->count); n++) {
        const struct emu_op *op = &k->block->op[n];

        k->undefined &= (uint16_t)~tr_effects(op).kills;
        k->undefined |= tr_undefined(&op->i);
    }
}

uint16_t check_dead_flags(const struct soft_check *k, uint64_t n)
{
    uint16_t undecided = FLAG_STATUS, dead = 0;

    for (; k->unit == CHECK_BLOCK && n < k->block->count; n++) {
        const struct emu_op *op = &k->block->op[n];
        struct tr_effects e = tr_effects(op);

        if (tr_is_jcc(&op->i))
            break;
        undecided &= (uint16_t)~e.reads;
        dead |= e.kills & undecided;
        undecided &= (uint16_t)~e.kills;
    }
    return dead;
}

bool check_stopped_within(const struct soft_vcpu *s, uint64_t count)
{
    const struct soft_check *k = s->check;
    uint64_t at = s->cpu.r[X86_RIP_SLOT] & PAGE_MASK;
    const struct emu_op *last;

    if (k->unit != CHECK_BLOCK || !count || count >= k->block->count)
        return false;
    last = &k->block->op[count - 1];
    return at == last->next ||
           (check_is_string(&last->i) && at == last->next - (uint64_t)last->i.len);
}
