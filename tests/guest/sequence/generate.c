/* A sequence out of a seed: the roles of registers, then one thing after the other. */
#include "generate.h"

#include <string.h>

uint64_t gen_features;

void seq_features(uint64_t features)
{
    gen_features = features;
}

static const struct {
    void (*emit)(struct gen *g);
    unsigned weight;
} topics[] = {
    {gen_alu, 24},     {gen_shift, 9}, {gen_bits, 8},   {gen_move, 20}, {gen_multiply, 5},
    {gen_exchange, 6}, {gen_stack, 6}, {gen_string, 2}, {gen_jump, 10}, {gen_flags, 3},
    {gen_vector, 12},  {gen_x87, 2},   {gen_odd, 4},    {gen_walk, 1},
};

void gen_things(struct gen *g, unsigned n)
{
    unsigned sum = 0;

    for (unsigned t = 0; t < sizeof(topics) / sizeof(topics[0]); t++)
        sum += topics[t].weight;
    for (; n && g->budget; n--) {
        unsigned pick = gen_below(g, sum), t = 0;

        /* Structures emit up to a dozen items of their own and must find room. */
        if (g->s->count + 16 + 8 * g->depth > SEQ_ITEMS)
            return;
        g->budget--;
        if (gen_one_in(g, 700)) {
            gen_fault(g);
            continue;
        }
        while (pick >= topics[t].weight)
            pick -= topics[t++].weight;
        topics[t].emit(g);
    }
}

void seq_generate(struct seq *s, uint64_t seed)
{
    struct gen g = {.s = s, .rng = seed * UINT64_C(0x5851f42d4c957f2d) + 1};
    uint32_t others = ANY_REGS & ~(1u << RSP);
    unsigned pointers, indexes;

    memset(s, 0, offsetof(struct seq, item));
    s->seed = seed;
    s->count = 0;
    s->pointers = s->indexes = 0;
    s->rewrites = false;
    pointers = 1 + gen_below(&g, 3);
    indexes = gen_below(&g, 3);
    for (unsigned n = 0; n < pointers + indexes; n++) {
        uint32_t bit = 1u << gen_pick(&g, others);

        others &= ~bit;
        *(n < pointers ? &s->pointers : &s->indexes) |= bit;
    }
    g.free = others;
    /* Around the page's end, so that it lies inside; else anywhere near the start. */
    s->offset = gen_one_in(&g, 4) ? 0x1000 - gen_below(&g, 0x40) : gen_below(&g, 0x40) * 16;
    s->unmasked = gen_one_in(&g, 32);
    s->alignment = gen_one_in(&g, 64);
    g.budget = 1 + gen_below(&g, gen_one_in(&g, 3) ? 40 : 14);
    gen_things(&g, g.budget);
}
