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

void link_to(struct translator *t, uint32_t n, struct block *b, unsigned mmu)
{
    struct translate_link *l = &t->links[n];

    if (l->target != b->gpa || l->mmu != mmu || b->crosses)
        return;
    link_aim(t, l, b->code[mmu]);
    l->next = b->links;
    b->links = n + 1;
    t->stats.links++;
}

/* Those who come by link are sent out; those who come by the jump cache fall into the same hole. */
void translate_drop(struct soft_vcpu *s, struct block *b)
{
    struct translator *t = &s->tr;

    for (uint32_t n = b->links, next; n; n = next) {
        struct translate_link *l = &t->links[n - 1];

        next = l->next;
        link_aim(t, l, l->exit);
        l->next = 0;
    }
    b->links = 0;
    for (unsigned mmu = 0; mmu < TRANSLATE_MMUS; mmu++) {
        if (!b->code[mmu])
            continue;
        t->code.rw[b->code[mmu]] = 0xe9;
        asm_aim(t->code.rw + b->code[mmu] + 5, t->code.rw + b->gone[mmu]);
        b->code[mmu] = 0;
    }
}
