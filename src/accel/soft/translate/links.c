/* Links between blocks: jumps that were patched to lead there, until the block is dropped. */
#include "accel/soft/translate/tr.h"

static void link_aim(struct translator *t, const struct translate_link *l, uint32_t to)
{
    asm_aim(t->code.rw + l->at, t->code.rw + to);
}

bool link_new(struct translator *t, const struct translate_link *l)
{
    if (t->link_count == TRANSLATE_LINKS)
        return false;
    t->links[t->link_count++] = *l;
    return true;
}

/*
 * While code is doubted again and again: a link holds until the next doubt, and to make it and cut
 * it takes the host longer than some ways through C.
 */
#define LINK_TAKEN 8

static bool link_pays(struct soft_vcpu *s, struct translate_link *l, struct block *b)
{
    struct translator *t = &s->tr;
    uint16_t doubt = (uint16_t)s->blocks.doubts;

    if (l->doubt != doubt) {
        l->doubt = doubt;
        l->taken = 0;
    }
    if (++l->taken < LINK_TAKEN)
        return false;
    if (!b->links) {
        if (t->cut_count == TRANSLATE_CUTS)
            return false;
        t->cuts[t->cut_count++] = b;
    }
    return true;
}

void link_to(struct soft_vcpu *s, uint32_t n, struct block *b, unsigned mmu)
{
    struct translator *t = &s->tr;
    struct translate_link *l = &t->links[n];

    if (l->target != b->gpa || l->mmu != mmu || b->crosses)
        return;
    if (unlikely(s->blocks.doubts) && !link_pays(s, l, b))
        return;
    link_aim(t, l, b->code[mmu]);
    l->next = b->links;
    b->links = n + 1;
    t->stats.links++;
}

static void links_cut(struct translator *t, struct block *b)
{
    for (uint32_t n = b->links, next; n; n = next) {
        struct translate_link *l = &t->links[n - 1];

        next = l->next;
        link_aim(t, l, l->exit);
        l->next = 0;
    }
    b->links = 0;
}

void translate_doubt(struct soft_vcpu *s)
{
    struct translator *t = &s->tr;

    if (!t->on)
        return;
    t->link = 0;
    for (unsigned n = 0; n < t->cut_count; n++)
        links_cut(t, t->cuts[n]);
    t->cut_count = 0;
    translate_forget(s, BIT(0) | BIT(1));
}

/* Those who come by link are sent out; those who come by the jump cache fall into the same hole. */
void translate_drop(struct soft_vcpu *s, struct block *b)
{
    struct translator *t = &s->tr;

    links_cut(t, b);
    for (unsigned mmu = 0; mmu < TRANSLATE_MMUS; mmu++) {
        if (!b->code[mmu])
            continue;
        t->code.rw[b->code[mmu]] = 0xe9;
        asm_aim(t->code.rw + b->code[mmu] + 5, t->code.rw + b->gone[mmu]);
        b->code[mmu] = 0;
    }
}
