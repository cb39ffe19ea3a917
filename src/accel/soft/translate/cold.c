/* Code out of line: what there is to be, noted while a block is emitted, which goes first. */
#include "accel/soft/translate/tr.h"

struct tr_cold *tr_cold_new(struct tr *tr, uint8_t *from)
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
    tr_cold_new(tr, from)->kind = COLD_INTERPRET;
}

void tr_cold_group(struct tr *tr, uint8_t *from)
{
    tr_cold_new(tr, from)->kind = COLD_GROUP;
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
    struct tr_cold *c = tr_cold_new(tr, from);

    c->kind = COLD_SLOT;
    c->slot = slot;
    c->access = (uint8_t)access;
    c->size = (uint16_t)size;
    c->align = (uint8_t)align;
    c->resume = tr->a.p;
}

void tr_cold_vectors(struct tr *tr, uint8_t *from)
{
    struct tr_cold *c = tr_cold_new(tr, from);

    c->kind = COLD_VECTORS;
    c->resume = tr->a.p;
}
