/* Random operands that stay where they may. */
#include "generate.h"

unsigned gen_below(struct gen *g, unsigned n)
{
    return (unsigned)((seq_random(&g->rng) >> 32) * n >> 32);
}

bool gen_one_in(struct gen *g, unsigned n)
{
    return gen_below(g, n) == 0;
}

unsigned gen_pick(struct gen *g, uint32_t mask)
{
    unsigned n = gen_below(g, (unsigned)__builtin_popcount(mask));

    while (n--)
        mask &= mask - 1;
    return (unsigned)__builtin_ctz(mask);
}

unsigned gen_size(struct gen *g, bool bytes)
{
    static const uint8_t sizes[] = {8, 4, 8, 4, 2, 1, 1};

    return sizes[gen_below(g, bytes ? 7 : 5)];
}

uint64_t seq_value(uint64_t *state)
{
    static const uint64_t corner[] = {
        0,
        1,
        2,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        0x100000000,
        0x7fffffffffffffff,
        0x8000000000000000,
        0xffffffffffffffff,
        0xfffffffffffffffe,
        0xffffffff80000000,
        0x3ff0000000000000, /* 1.0 */
        0x7ff0000000000000, /* infinity */
        0x7ff8000000000001, /* quiet NaN */
        0x7ff0000000000001, /* signalling NaN */
        0x0000000000000003, /* denormal */
        0x3f800000bf000000, /* 1.0f, -0.5f */
        0x7f800000ff800001, /* infinity, signalling NaN */
    };
    uint64_t x = seq_random(state);

    if ((x & 3) == 0)
        return corner[(x >> 8) % (sizeof(corner) / sizeof(corner[0]))];
    return (x & 7) == 1 ? x >> 56 : (x & 7) == 2 ? (uint64_t)((int64_t)x >> (x >> 8 & 63)) : x;
}

uint64_t gen_imm(struct gen *g)
{
    return seq_value(&g->rng);
}

uint8_t gen_new_group(struct gen *g)
{
    return ++g->last_group;
}

/* An address in the data pages, sometimes one where the access crosses a page. */
static uint32_t data_address(struct gen *g, unsigned size, bool aligned)
{
    uint32_t offset = 0x100 + gen_below(g, 0x2d00);

    if (aligned)
        return ROW_DATA + (offset & ~31u);
    if (gen_one_in(g, 4) && size > 1)
        return ROW_DATA + 0x1000 + gen_below(g, 2) * 0x1000 - gen_below(g, size);
    return ROW_DATA + offset;
}

/*
 * A pointer is at least 0x800 from the ends of the data pages, and more from the upper one, an
 * index below 256 (run.c), so these sums stay inside.
 */
struct mem gen_mem(struct gen *g, unsigned size, uint32_t regs, bool aligned)
{
    struct mem m = {.index = X86_NONE_SLOT, .kind = MEM_BASE};
    uint32_t pointers = g->s->pointers & regs, indexes = g->s->indexes & regs;
    unsigned kind = gen_below(g, 16);

    m.a32 = gen_one_in(g, 12);
    if (!pointers && kind < 10)
        kind = 10 + gen_below(g, 2);
    if (indexes && !aligned && (kind == 12 || kind == 13 || (kind < 10 && gen_one_in(g, 2)))) {
        m.index = (uint8_t)gen_pick(g, indexes);
        m.scale = (uint8_t)gen_below(g, 4);
    }
    if (kind < 10) {
        m.base = (uint8_t)gen_pick(g, pointers);
        m.disp = gen_one_in(g, 4) ? 0 : (int32_t)gen_below(g, gen_one_in(g, 2) ? 0x800 : 0x100);
        m.disp = gen_one_in(g, 2) ? -(m.disp / 2) : m.disp / 2;
        if (aligned)
            m.disp &= ~31;
        return m;
    }
    if (kind >= 14 && !aligned) {
        m.base = RSP;
        m.disp = (int32_t)(g->pushed + (gen_below(g, gen_one_in(g, 3) ? 0x200 : 0x40) & ~7u));
        return m;
    }
    if (kind >= 12) { /* FS or GS, with or without an index */
        m.kind = m.index == X86_NONE_SLOT ? MEM_ABS : MEM_INDEX;
        m.seg = gen_one_in(g, 2) ? 0x64 : 0x65;
        m.disp = (int32_t)gen_below(g, 0x400);
        if (aligned)
            m.disp &= ~31;
        return m;
    }
    m.kind = kind == 10 ? MEM_ABS : MEM_RIP;
    m.address = data_address(g, size, aligned);
    m.disp = (int32_t)m.address;
    return m;
}

struct mem gen_wild_mem(struct gen *g, unsigned size)
{
    static const uint32_t at[] = {
        ROW_RO + 0x100,  /* a write faults */
        ROW_NONE - 3,    /* crosses into nothing */
        ROW_NONE + 0x18, /* nothing */
        ROW_RO - 2,      /* a write crosses into what is read-only */
        ROW_DATA - 1,    /* begins in nothing */
        0x18,
    };
    struct mem m = {.index = X86_NONE_SLOT};

    m.kind = gen_one_in(g, 2) ? MEM_ABS : MEM_RIP;
    m.address = at[gen_below(g, sizeof(at) / sizeof(at[0]))];
    m.disp = (int32_t)m.address;
    return m;
}

uint32_t gen_regs(struct gen *g, unsigned size)
{
    return size == 1 && gen_one_in(g, 3) ? LOW_REGS : ANY_REGS;
}

unsigned gen_reg(struct gen *g, struct insn *in, unsigned size, uint32_t from, uint32_t *regs)
{
    unsigned reg;

    if (size == 1 && *regs == LOW_REGS && from & 0xf)
        return gen_pick(g, from & 0xf) + 4; /* AH, CH, DH, BH */
    reg = gen_pick(g, from & *regs ? from & *regs : from);
    if (size == 1 && reg >= 4)
        in->force_rex = true;
    return reg;
}

void gen_rm(struct gen *g, struct insn *in, unsigned size, bool written, uint32_t regs)
{
    in->modrm = true;
    in->mem = gen_one_in(g, 2);
    if (in->mem)
        in->m = gen_mem(g, size, regs, false);
    else
        in->rm = (uint8_t)gen_reg(g, in, size, written ? g->free : ANY_REGS, &regs);
}
