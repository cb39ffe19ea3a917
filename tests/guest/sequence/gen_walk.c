/*
 * Loops over pages: copies, searches, sums, fills. Operands move by as much in each round, or
 * nearly so; a loop crosses ends of pages, and now and then ends in one that is read-only or not
 * there, or goes over the sequence's own code.
 */
#include "generate.h"

#include <stdlib.h>

#define STREAMS 3
#define ROUNDS  24 /* at least; a loop must be hot to be done by pages */

/* Operands with the same registers. */
struct stream {
    struct mem m;
    int by;       /* bytes it moves in a round */
    bool moves;   /* its own base; else there may be the loop's index, which is scaled; or both */
    bool aligned; /* in all rounds, if nothing else moves it */
    bool code;    /* over the sequence's code, which stays as it is */
};

struct walk {
    struct stream stream[STREAMS];
    unsigned streams, rounds;
    uint32_t data; /* registers for values */
    unsigned counter;
    unsigned index; /* X86_NONE_SLOT: there is none */
    int step;       /* of the index */
    uint8_t group;
};

static unsigned take(uint32_t *from, struct gen *g)
{
    unsigned reg = gen_pick(g, *from);

    *from &= ~(1u << reg);
    return reg;
}

/* Where an operand begins that comes to a page's end, of one kind or another, after some rounds. */
static int64_t begin_of(struct gen *g, const struct walk *w, struct stream *s)
{
    static const uint32_t ends[] = {ROW_DATA + 0x1000, ROW_DATA + 0x2000};
    static const uint32_t odd[] = {ROW_RO, ROW_NONE, ROW_DATA};
    unsigned span = (unsigned)abs(s->by) * w->rounds, before = gen_below(g, span);
    int64_t at = ends[gen_below(g, 2)];

    s->code = gen_one_in(g, 16) && span < 0x1000;
    if (s->code)
        at = SEQ_CODE + 0x1000;
    else if (gen_one_in(g, 24))
        at = odd[gen_below(g, 3)];
    at += s->by > 0 ? -(int64_t)before : before;
    s->aligned = gen_one_in(g, 2);
    return s->aligned ? at & ~INT64_C(15) : at;
}

static void set_to(struct gen *g, unsigned reg, uint64_t value)
{
    struct insn in = {.opcode = 0xb8, .plus = true, .rm = (uint8_t)reg};

    in.size = in.imm_size = value >> 32 ? 8 : 4;
    in.imm = value;
    gen_put(g, &in);
}

/* Bytes that one of the operands moves in a round. */
static int stride(struct gen *g)
{
    static const int16_t by[] = {1, 2, 4, 8, 8, 16, 16, 32, 3, 12, 24, 40, 48, 64, 96, 160, 256};
    int pick = by[gen_below(g, sizeof(by) / sizeof(by[0]))];

    return gen_one_in(g, 4) ? -pick : pick;
}

/* Its registers get values in front of the loop. */
static bool make_stream(struct gen *g, struct walk *w)
{
    struct stream *s = &w->stream[w->streams];
    int64_t at, base;

    *s = (struct stream){.m = {.index = X86_NONE_SLOT}, .by = stride(g)};
    s->moves = w->index == X86_NONE_SLOT || gen_one_in(g, 3);
    if (!s->moves) {
        s->m.index = (uint8_t)w->index;
        s->m.scale = (uint8_t)gen_below(g, 4);
        s->by = w->step * (1 << s->m.scale);
        s->moves = gen_one_in(g, 12);
    } else if (gen_one_in(g, 6)) { /* it stays */
        s->moves = false;
        s->by = 0;
    }
    if (__builtin_popcount(w->data) < 3)
        return false;
    s->m.base = (uint8_t)take(&w->data, g);
    at = begin_of(g, w, s);
    base = at;
    s->m.disp = gen_one_in(g, 2) ? 0 : (int32_t)gen_below(g, 0x200) - 0x100;
    if (gen_one_in(g, 8) && !s->code) {
        s->m.seg = gen_one_in(g, 2) ? 0x64 : 0x65;
        base -= s->m.seg == 0x64 ? ROW_FS : ROW_GS;
    }
    s->aligned = s->aligned && s->by % 16 == 0;
    set_to(g, s->m.base, (uint64_t)(base - s->m.disp));
    w->streams++;
    return true;
}

/* A stream's operands are not far from one another; or are they of another one? */
static struct mem operand(struct gen *g, const struct stream *s)
{
    struct mem m = s->m;

    if (!gen_one_in(g, 3))
        m.disp += (int32_t)gen_below(g, gen_one_in(g, 3) ? 160 : 24) - 8;
    m.a32 = gen_one_in(g, 24) && !m.seg;
    if (s->code)
        return m;
    if (gen_one_in(g, 24))
        m.disp += (int32_t)gen_below(g, 0x2800) - 0x1400;
    if (m.seg && gen_one_in(g, 4)) /* FS, GS */
        m.seg ^= 1;
    if (m.index != X86_NONE_SLOT && gen_one_in(g, 12))
        m.scale = (uint8_t)gen_below(g, 4);
    return m;
}

/* ---- what is done in a round -------------------------------------------------------- */

static unsigned value(struct gen *g, const struct walk *w, bool written)
{
    return gen_pick(g, written || gen_one_in(g, 2) ? w->data : ANY_REGS);
}

static void byte_too(struct insn *in, unsigned reg)
{
    if (in->size == 1 && reg >= 4)
        in->force_rex = true;
}

static void integer(struct gen *g, const struct walk *w, const struct stream *s)
{
    struct insn in = {.modrm = true, .mem = true, .m = operand(g, s)};
    bool wide;

    in.size = (uint8_t)gen_size(g, true);
    wide = in.size != 1;
    switch (gen_below(g, 9)) {
    case 0:
    case 1: /* mov r, m */
        in.opcode = 0x8a | wide;
        in.reg = (uint8_t)value(g, w, true);
        break;
    case 2: /* op r, m */
        in.opcode = (uint8_t)(gen_below(g, 8) << 3 | 2 | wide);
        in.reg = (uint8_t)value(g, w, true);
        break;
    case 3: /* movzx, movsx */
        in.map = X86_MAP_0F;
        in.opcode = (uint8_t[]){0xb6, 0xb7, 0xbe, 0xbf}[gen_below(g, 4)];
        in.size = (uint8_t)gen_size(g, false);
        in.reg = (uint8_t)value(g, w, true);
        break;
    case 4:
    case 5: /* mov m, r */
        in.opcode = 0x88 | wide;
        in.reg = (uint8_t)value(g, w, false);
        break;
    case 6: /* op m, r */
        in.opcode = (uint8_t)(gen_below(g, 8) << 3 | wide);
        in.reg = (uint8_t)value(g, w, false);
        in.lock = gen_one_in(g, 8) && in.opcode < 0x38;
        break;
    case 7: /* op m, imm8 */
        in.opcode = wide ? 0x83 : 0x80;
        in.reg = (uint8_t)gen_below(g, 8);
        in.imm_size = 1;
        in.imm = gen_imm(g);
        break;
    default: /* inc, dec */
        in.opcode = 0xfe | wide;
        in.reg = (uint8_t)gen_below(g, 2);
        break;
    }
    byte_too(&in, in.opcode == 0xfe || in.opcode == 0x80 ? 0 : in.reg);
    gen_put(g, &in);
}

/* Loads, stores and arithmetic; the latter ones of the list must be aligned. */
static void vector(struct gen *g, const struct stream *s)
{
    static const uint8_t ops[][2] = {{2, 0x6f}, {2, 0x7f}, {0, 0x10}, {0, 0x11}, {2, 0x7e},
                                     {0, 0x28}, {0, 0x29}, {1, 0xfc}, {1, 0xef}, {1, 0x74}};
    struct insn in = {.map = X86_MAP_0F, .modrm = true, .mem = true, .m = operand(g, s)};
    unsigned pick = gen_below(g, s->aligned || gen_one_in(g, 24) ? 10 : 5);

    in.pp = ops[pick][0];
    in.opcode = ops[pick][1];
    in.reg = (uint8_t)gen_below(g, 16);
    if (s->aligned && !gen_one_in(g, 24)) /* as it is where the walk begins */
        in.m.disp += (s->m.disp - in.m.disp) & 15;
    gen_put(g, &in);
}

/* Of code, nothing changes: read it, or write what is there. */
static void code(struct gen *g, const struct walk *w, const struct stream *s)
{
    struct insn in = {.opcode = 0x83, .size = 4, .modrm = true, .mem = true, .m = operand(g, s)};

    if (gen_one_in(g, 2)) { /* add, or, sub, xor $0 */
        in.reg = (uint8_t[]){0, 1, 5, 6}[gen_below(g, 4)];
        in.imm_size = 1;
    } else {
        in.opcode = 0x8b;
        in.reg = (uint8_t)value(g, w, true);
    }
    gen_put(g, &in);
}

static void registers(struct gen *g, const struct walk *w)
{
    struct insn in = {.modrm = true, .size = (uint8_t)gen_size(g, false)};

    in.opcode = (uint8_t)(gen_below(g, 7) << 3 | 3);
    in.reg = (uint8_t)value(g, w, true);
    in.rm = (uint8_t)value(g, w, false);
    if (gen_one_in(g, 4)) { /* bswap */
        in = (struct insn){.map = X86_MAP_0F, .opcode = 0xc8, .size = 8, .plus = true};
        in.rm = (uint8_t)value(g, w, true);
    } else if (gen_one_in(g, 3)) { /* lea */
        in.opcode = 0x8d;
        in.mem = true;
        in.m = (struct mem){.base = (uint8_t)value(g, w, false), .index = X86_NONE_SLOT};
        if (!gen_one_in(g, 4)) {
            in.m.index = (uint8_t)gen_pick(g, ANY_REGS & ~(1u << RSP));
            in.m.scale = (uint8_t)gen_below(g, 4);
        }
        in.m.disp = (int8_t)gen_imm(g);
    }
    gen_put(g, &in);
}

/* reg += by, one way or another. */
static void move(struct gen *g, unsigned reg, int by)
{
    struct insn in = {.size = gen_one_in(g, 16) ? 4 : 8, .modrm = true, .rm = (uint8_t)reg};
    unsigned how = gen_below(g, 4);

    if (how == 0 && by / 2) {
        move(g, reg, by / 2);
        by -= by / 2;
    }
    if ((by == 1 || by == -1) && gen_one_in(g, 2)) {
        in.opcode = 0xff;
        in.reg = by < 0;
    } else if (how == 1) {
        in.opcode = 0x8d;
        in.mem = true;
        in.reg = (uint8_t)reg;
        in.m = (struct mem){.base = (uint8_t)reg, .index = X86_NONE_SLOT, .disp = by};
        in.m.a32 = gen_one_in(g, 16);
    } else {
        in.reg = how == 2 ? 5 : 0;
        by = how == 2 ? -by : by;
        in.imm_size = by == (int8_t)by ? 1 : 4;
        in.opcode = in.imm_size == 1 ? 0x83 : 0x81;
        in.imm = (uint64_t)(int64_t)by;
    }
    gen_put(g, &in);
}

/* A register that moves, but not by as much in each round: there and back, or by another's. */
static void wobble(struct gen *g, const struct walk *w)
{
    struct insn in = {.opcode = 0x83, .size = 8, .modrm = true, .reg = 6, .imm_size = 1};
    const struct stream *s = &w->stream[gen_below(g, w->streams)];

    in.imm = 1u << gen_below(g, 6); /* xor */
    in.rm = w->index != X86_NONE_SLOT && gen_one_in(g, 2) ? (uint8_t)w->index : s->m.base;
    if (gen_one_in(g, 2))
        in.reg = (uint8_t[]){1, 4}[gen_below(g, 2)]; /* or, and */
    if (in.reg == 4)
        in.imm = ~in.imm & 0xff;
    gen_put(g, &in);
}

static void access(struct gen *g, const struct walk *w, const struct stream *s)
{
    if (s->code)
        code(g, w, s);
    else if (gen_one_in(g, 3))
        vector(g, s);
    else
        integer(g, w, s);
}

static void round_of(struct gen *g, const struct walk *w)
{
    unsigned things = 1 + gen_below(g, 4);

    for (unsigned n = 0; n < things; n++) {
        const struct stream *s = &w->stream[n < w->streams ? n : gen_below(g, w->streams)];

        if (gen_one_in(g, 3))
            registers(g, w);
        access(g, w, s);
        if (gen_one_in(g, s->by ? 6 : 2)) { /* there and back */
            move(g, s->m.base, 24);
            access(g, w, s);
            move(g, s->m.base, -24);
        }
    }
    if (gen_one_in(g, 12))
        wobble(g, w);
}

/* A way out that is taken when a value is met. */
static struct seq_item *way_out(struct gen *g, const struct walk *w)
{
    struct insn in = {.opcode = 0x80, .size = 1, .modrm = true, .mem = true, .imm_size = 1};
    const struct stream *s = &w->stream[gen_below(g, w->streams)];

    if (!gen_one_in(g, 4))
        return NULL;
    in.reg = 7;
    in.m = operand(g, s);
    in.imm = gen_imm(g);
    gen_put(g, &in);
    return gen_branch(g, FIX_JCC, (const uint8_t[]){4}, 1);
}

static void moves(struct gen *g, struct walk *w)
{
    if (w->index != X86_NONE_SLOT)
        move(g, w->index, w->step);
    for (unsigned n = 0; n < w->streams; n++) {
        if (w->stream[n].moves)
            move(g, w->stream[n].m.base, w->stream[n].by);
    }
}

static void count_down(struct gen *g, const struct walk *w)
{
    struct insn in = {.opcode = 0x83, .size = 8, .modrm = true, .reg = 5, .imm_size = 1, .imm = 1};

    if (gen_one_in(g, 3)) /* dec, else sub */
        in = (struct insn){.opcode = 0xff, .size = 4, .modrm = true, .reg = 1};
    in.rm = (uint8_t)w->counter;
    gen_put(g, &in);
}

static void loop(struct gen *g, struct walk *w)
{
    static const uint8_t zero = 4, not_zero = 5;
    bool back_always = gen_one_in(g, 4);
    struct seq_item *out[2] = {NULL}, *back;
    unsigned top = g->s->count;

    g->group = 0;
    round_of(g, w);
    g->group = w->group;
    out[0] = way_out(g, w);
    if (back_always) {
        count_down(g, w);
        out[1] = gen_branch(g, FIX_JCC, &zero, 1);
    }
    moves(g, w);
    if (back_always) {
        back = gen_branch(g, FIX_JMP, NULL, 0);
    } else {
        count_down(g, w);
        back = gen_branch(g, FIX_JCC, &not_zero, 1);
    }
    if (back)
        back->target = (uint16_t)top;
    for (unsigned n = 0; n < 2; n++) {
        if (out[n])
            out[n]->target = (uint16_t)g->s->count;
    }
}

void gen_walk(struct gen *g)
{
    struct walk w = {.index = X86_NONE_SLOT, .data = g->free};
    unsigned streams = 1 + gen_below(g, STREAMS);

    /* Set-up, a round and what ends it are less than 50 items. */
    if (g->group || g->loops || g->s->count + 64 + 8 * g->depth > SEQ_ITEMS || g->s->alignment ||
        __builtin_popcount(g->free) < 6)
        return;
    w.group = g->group = gen_new_group(g);
    w.rounds = ROUNDS + gen_below(g, gen_one_in(g, 8) ? 400 : 40);
    w.counter = take(&w.data, g);
    set_to(g, w.counter, w.rounds);
    if (gen_one_in(g, 2)) {
        w.index = take(&w.data, g);
        w.step = gen_one_in(g, 3) ? stride(g) : gen_one_in(g, 4) ? -1 : 1 << gen_below(g, 4);
        set_to(g, w.index, 0);
    }
    while (w.streams < streams && make_stream(g, &w))
        ;
    if (w.streams)
        loop(g, &w);
    g->group = 0;
}
