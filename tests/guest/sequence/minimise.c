/* The least that still shows a difference. */
#include "sequence.h"

static void drop(struct seq *s, unsigned n, bool dropped)
{
    uint8_t group = s->item[n].group;

    for (unsigned i = 0; i < s->count; i++) {
        if (i == n || (group && s->item[i].group == group))
            s->item[i].dropped = dropped;
    }
}

void seq_minimise(struct seq *s, struct seq_options *o)
{
    bool smaller = true;

    while (smaller) {
        smaller = false;
        for (unsigned n = s->count; n-- > 0;) {
            if (s->item[n].dropped)
                continue;
            drop(s, n, true);
            if (seq_agree(s, o))
                drop(s, n, false);
            else
                smaller = true;
        }
    }
    for (unsigned fewer = 1; fewer < o->iterations; fewer++) {
        struct seq_options less = *o;

        less.iterations = fewer;
        if (!seq_agree(s, &less)) {
            *o = less;
            return;
        }
    }
}
