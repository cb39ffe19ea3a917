/* Items to their places in the code area, with the branches between them. */
#include "sequence.h"

#include "base/bits.h"

#include <string.h>

extern const uint8_t seq_driver_back[];

enum { NEAR_JCC = 6, NEAR_JMP = 5, SHORT = 2 };

/* The first item from n on that was not dropped. */
static unsigned left(const struct seq *s, unsigned n)
{
    while (n < s->count && s->item[n].dropped)
        n++;
    return n;
}

static unsigned item_len(const struct seq_item *item, bool near)
{
    switch (item->fix) {
    case FIX_JCC: return near ? NEAR_JCC : SHORT;
    case FIX_JMP: return near ? NEAR_JMP : SHORT;
    case FIX_CALL: return NEAR_JMP;
    case FIX_SHORT: return item->len + 1u;
    default: return item->len;
    }
}

static void place(const struct seq *s, uint32_t *at, const bool *near)
{
    uint32_t next = SEQ_CODE + s->offset;

    for (unsigned n = 0; n < s->count; n++) {
        at[n] = next;
        if (!s->item[n].dropped)
            next += item_len(&s->item[n], near[n]);
    }
    at[s->count] = next;
}

static int64_t distance(const struct seq *s, const uint32_t *at, unsigned n, unsigned len)
{
    return (int64_t)at[left(s, s->item[n].target)] - (at[n] + len);
}

static bool reaches(int64_t distance)
{
    return distance == (int8_t)distance;
}

static void lay(struct seq *s, const uint32_t *at, const bool *near, unsigned n)
{
    struct seq_item *item = &s->item[n];
    unsigned len = item_len(item, near[n]);
    uint32_t to = at[left(s, item->target)];
    uint8_t *p = (uint8_t *)(uintptr_t)at[n];
    uint32_t rel = to - (at[n] + len);

    switch (item->fix) {
    case FIX_JCC:
        if (near[n])
            *p++ = 0x0f;
        *p++ = (uint8_t)((near[n] ? 0x80 : 0x70) | item->bytes[0]);
        break;
    case FIX_JMP: *p++ = near[n] ? 0xe9 : 0xeb; break;
    case FIX_CALL: *p++ = 0xe8; break;
    default:
        memcpy(p, item->bytes, item->len);
        if (item->fix == FIX_RIP)
            le32_put(p + item->at, item->address - (at[n] + len));
        else if (item->fix == FIX_RIP_TO)
            le32_put(p + item->at, rel + item->address);
        else if (item->fix == FIX_ABS_TO)
            le64_put(p + item->at, to);
        else if (item->fix == FIX_SHORT)
            p[item->len] = (uint8_t)rel;
        return;
    }
    if (item->fix == FIX_CALL || near[n])
        le32_put(p, rel);
    else
        *p = (uint8_t)rel;
}

void seq_assemble(struct seq *s, uint32_t at[SEQ_ITEMS + 1])
{
    bool near[SEQ_ITEMS];
    uint8_t *end;

    for (unsigned n = 0; n < s->count; n++)
        near[n] = true;
    place(s, at, near);
    for (unsigned n = 0; n < s->count; n++) {
        struct seq_item *item = &s->item[n];
        unsigned len = item_len(item, false);

        /* With some of the others short it is only nearer. */
        if (item->fix == FIX_SHORT && !reaches(distance(s, at, n, len))) {
            *item = (struct seq_item){
                .bytes = {0x90}, .len = 1, .group = item->group, .dropped = item->dropped};
        } else if (item->fix == FIX_JCC || item->fix == FIX_JMP) {
            near[n] = item->far || !reaches(distance(s, at, n, len));
        }
    }
    place(s, at, near);
    for (unsigned n = 0; n < s->count; n++) {
        if (!s->item[n].dropped)
            lay(s, at, near, n);
    }
    end = (uint8_t *)(uintptr_t)at[s->count];
    end[0] = 0xe9;
    le32_put(end + 1, (uint32_t)(uintptr_t)seq_driver_back - (at[s->count] + 5));
}

unsigned seq_instructions(const struct seq *s)
{
    unsigned count = 0;

    for (unsigned n = 0; n < s->count; n++)
        count += !s->item[n].dropped;
    return count;
}
