/* Instructions into bytes (SDM Vol. 2A chapter 2). */
#include "generate.h"

#include <string.h>

struct bytes {
    uint8_t b[24];
    unsigned n;
};

static void byte(struct bytes *o, unsigned value)
{
    o->b[o->n++] = (uint8_t)value;
}

static void little(struct bytes *o, uint64_t value, unsigned size)
{
    for (unsigned n = 0; n < size; n++)
        byte(o, (unsigned)(value >> (8 * n)));
}

static struct seq_item *item_new(struct gen *g)
{
    struct seq_item *item;

    if (g->s->count >= SEQ_ITEMS)
        return NULL;
    item = &g->s->item[g->s->count++];
    memset(item, 0, sizeof(*item));
    item->group = g->group;
    return item;
}

static bool has_base(const struct insn *in)
{
    return in->mem && in->m.kind == MEM_BASE;
}

static bool has_index(const struct insn *in)
{
    return in->mem && (in->m.kind == MEM_BASE || in->m.kind == MEM_INDEX) &&
           in->m.index != X86_NONE_SLOT;
}

static unsigned rex_bits(const struct insn *in)
{
    unsigned rex = in->modrm && in->reg & 8 ? 4 : 0;

    if (has_index(in) && in->m.index & 8)
        rex |= 2;
    if (in->mem ? has_base(in) && in->m.base & 8 : in->rm & 8)
        rex |= 1;
    return rex;
}

static void put_prefixes(struct bytes *o, const struct insn *in)
{
    static const uint8_t mandatory[] = {0, 0x66, 0xf3, 0xf2};
    unsigned rex = rex_bits(in);
    bool w = in->w || in->size == 8;

    if (in->mem && in->m.seg)
        byte(o, in->m.seg);
    if (in->mem && in->m.a32)
        byte(o, 0x67);
    if (in->lock)
        byte(o, 0xf0);
    if (in->vex) {
        bool two = in->map == X86_MAP_0F && !(rex & 3) && !w;

        if (two) {
            byte(o, 0xc5);
            byte(o, (rex & 4 ? 0 : 0x80) | (~in->vvvv & 15) << 3 | in->l << 2 | in->pp);
        } else {
            byte(o, 0xc4);
            byte(o, (~rex & 7) << 5 | in->map);
            byte(o, w << 7 | (~in->vvvv & 15) << 3 | in->l << 2 | in->pp);
        }
        return;
    }
    if (in->size == 2)
        byte(o, 0x66);
    if (in->pp && !(in->pp == 1 && in->size == 2))
        byte(o, mandatory[in->pp]);
    if (rex || w || in->force_rex)
        byte(o, 0x40 | w << 3 | rex);
    if (in->map != X86_MAP_1B)
        byte(o, 0x0f);
    if (in->map == X86_MAP_0F38 || in->map == X86_MAP_0F3A)
        byte(o, in->map == X86_MAP_0F38 ? 0x38 : 0x3a);
}

static void put_sib(struct bytes *o, const struct mem *m, unsigned base)
{
    unsigned index = m->index == X86_NONE_SLOT ? 4 : m->index & 7;

    byte(o, (m->index == X86_NONE_SLOT ? 0 : m->scale) << 6 | index << 3 | base);
}

/* The ModRM byte of a memory operand and what follows it; offset of a RIP-relative displacement. */
static unsigned put_mem(struct bytes *o, const struct insn *in)
{
    const struct mem *m = &in->m;
    unsigned reg = (in->reg & 7u) << 3, mod;

    switch (m->kind) {
    case MEM_RIP:
        byte(o, reg | 5);
        little(o, 0, 4);
        return o->n - 4;
    case MEM_ABS:
    case MEM_INDEX:
        byte(o, reg | 4);
        put_sib(o, m, 5);
        little(o, (uint32_t)m->disp, 4);
        return 0;
    default: break;
    }
    mod = m->disp == 0 && (m->base & 7) != 5 ? 0 : m->disp == (int8_t)m->disp ? 1 : 2;
    if (m->index != X86_NONE_SLOT || (m->base & 7) == 4) {
        byte(o, mod << 6 | reg | 4);
        put_sib(o, m, m->base & 7);
    } else {
        byte(o, mod << 6 | reg | (m->base & 7));
    }
    little(o, (uint32_t)m->disp, mod == 0 ? 0 : mod == 1 ? 1 : 4);
    return 0;
}

struct seq_item *gen_put(struct gen *g, const struct insn *in)
{
    struct seq_item *item;
    struct bytes o = {.n = 0};
    unsigned at = 0;

    if (gen_one_in(g, 60)) /* a prefix without effect: CS, DS, ES, SS */
        byte(&o, 0x26 | gen_below(g, 4) << 3);
    put_prefixes(&o, in);
    byte(&o, in->plus ? in->opcode | (in->rm & 7) : in->opcode);
    if (in->modrm && in->mem)
        at = put_mem(&o, in);
    else if (in->modrm)
        byte(&o, 0xc0 | (in->reg & 7) << 3 | (in->rm & 7));
    little(&o, in->imm, in->imm_size);
    if (o.n > X86_INSN_MAX || !(item = item_new(g)))
        return NULL;
    memcpy(item->bytes, o.b, o.n);
    item->len = (uint8_t)o.n;
    if (at) {
        item->fix = FIX_RIP;
        item->at = (uint8_t)at;
        item->address = in->m.address;
    }
    return item;
}

struct seq_item *gen_bytes(struct gen *g, const void *bytes, unsigned len)
{
    struct seq_item *item = item_new(g);

    if (!item)
        return NULL;
    if (len)
        memcpy(item->bytes, bytes, len);
    item->len = (uint8_t)len;
    return item;
}

struct seq_item *gen_branch(struct gen *g, enum seq_fix fix, const void *bytes, unsigned len)
{
    struct seq_item *item = gen_bytes(g, bytes, len);

    if (item) {
        item->fix = (uint8_t)fix;
        item->target = (uint16_t)g->s->count;
        item->far = gen_one_in(g, 4);
    }
    return item;
}
