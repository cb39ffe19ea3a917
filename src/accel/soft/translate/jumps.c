/* The translator's jump cache: linear address to code. */
#include "accel/soft/translate/tr.h"

#include <sys/mman.h>

struct translate_jump *jump_of(struct translator *t, unsigned mmu, uint64_t linear)
{
    return &t->jumps[mmu][linear & ((1u << TRANSLATE_JUMP_BITS) - 1)];
}

/*
 * Zeroes are an empty entry, but for address 0 and for those that the attention word's bits
 * lead to 0: their entries name addresses of others.
 */
void jumps_empty(struct translator *t)
{
    for (unsigned mmu = 0; mmu < TRANSLATE_MMUS; mmu++) {
        for (unsigned n = 0; n <= SOFT_ATTENTION; n++)
            jump_of(t, mmu, -(uint64_t)n)->minus = SOFT_ATTENTION + 1;
    }
}

static void jumps_clear(struct translator *t, unsigned half)
{
    for (unsigned n = 0; n < t->jump_fills[half]; n++) {
        uint32_t at = t->jump_log[half][n];

        jump_of(t, at >> TRANSLATE_JUMP_BITS, at)->minus = 0;
    }
    t->jump_fills[half] = 0;
}

/* Entries that are known by the log; else all, whatever they are of. */
void translate_forget(struct soft_vcpu *s, unsigned halves)
{
    struct translator *t = &s->tr;
    bool all = false;

    for (unsigned half = 0; half < EMU_HALVES; half++)
        all |= halves & BIT(half) && t->jump_fills[half] > TRANSLATE_JUMP_LOG;
    if (all) {
        madvise(t->jumps, sizeof(t->jumps), MADV_DONTNEED);
        memset(t->jump_fills, 0, sizeof(t->jump_fills));
    }
    for (unsigned half = 0; half < EMU_HALVES; half++) {
        if (halves & BIT(half))
            jumps_clear(t, half);
    }
    jumps_empty(t);
    far_flush(s);
}

void jump_fill(struct translator *t, unsigned mmu, uint64_t linear, const uint8_t *code)
{
    struct translate_jump *j = jump_of(t, mmu, linear);
    unsigned half = emu_half(linear);

    if (j->minus == -linear && j->code == code)
        return;
    if (t->jump_fills[half] < TRANSLATE_JUMP_LOG)
        t->jump_log[half][t->jump_fills[half]] = mmu << TRANSLATE_JUMP_BITS | (uint16_t)linear;
    t->jump_fills[half] += t->jump_fills[half] <= TRANSLATE_JUMP_LOG;
    *j = (struct translate_jump){-linear, code, align_down(linear, PAGE_SIZE)};
}
