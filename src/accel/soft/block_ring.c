/*
 * The ring of decoded instructions: the oldest segment is emptied when there is no room, and the
 * blocks that have their instructions there go, but for those that code was made of. How hot they
 * were is remembered.
 */
#include "accel/soft/block_internal.h"
#include "base/ahead.h"

/* ---- what remains of a block that is evicted ---------------------------------------- */

static struct block_heat *heat_slot(struct block_cache *b, uint64_t gpa, uint32_t key,
                                    struct block_heat *mine)
{
    uint64_t h = hash_of(gpa, key, BLOCK_HEAT_BITS + 8);

    mine->tag = (uint8_t)h;
    return &b->heat[h >> 8];
}

static void heat_put(struct block_cache *b, const struct block *block)
{
    struct block_heat mine = {.heat = (uint8_t)MIN(block->heat, UINT8_MAX)};
    struct block_heat *slot = heat_slot(b, block->gpa, block->key, &mine);

    if (slot->tag == mine.tag || slot->heat <= mine.heat)
        *slot = mine;
    else
        slot->heat--; /* it may never come back */
}

uint8_t heat_take(struct block_cache *b, uint64_t gpa, uint32_t key)
{
    struct block_heat mine = {0}, *slot = heat_slot(b, gpa, key, &mine);

    if (slot->tag != mine.tag)
        return 0;
    mine.heat = slot->heat;
    slot->heat = 0;
    return mine.heat;
}

/* ---- the ring ---------------------------------------------------------------------- */

#define OPS_MOST (sizeof(struct block_ops) + BLOCK_MAX_INSNS * sizeof(struct emu_op))

static struct block_ops *ring_at(const struct block_cache *b, unsigned segment, size_t offset)
{
    return (struct block_ops *)(b->ring + (size_t)segment * BLOCK_SEGMENT + offset);
}

/* The blocks that are dead from the page's list, of which no more is to be known. */
static void page_sweep(struct block_cache *b, uint64_t gpa)
{
    struct block_page *p = page_find(b, gpa >> PAGE_SHIFT);
    struct block **at = &p->blocks;

    while (*at) {
        struct block *block = *at;

        if (block->key != BLOCK_DEAD) {
            at = &block->page_next;
            continue;
        }
        *at = block->page_next;
        block->count = 0;
    }
    if (!p->blocks)
        page_unwatch(b, p);
}

/* No entry of the jump cache leads to these, which are dead: their heads may be others' next. */
static void jumps_sweep(struct block_cache *b, const struct block *gone)
{
    bool all = false;

    for (; gone; gone = gone->hash_next) {
        if (gone->jump == BLOCK_JUMPS)
            all = true;
        else if (gone->jump && b->jump[gone->jump - 1].block == gone)
            b->jump[gone->jump - 1].generation = 0;
    }
    if (!all)
        return;
    for (unsigned n = 0; n < ARRAY_SIZE(b->jump); n++) {
        struct block_jump *j = &b->jump[n];

        if (j->generation == b->generation[emu_half(j->linear)] && j->block->key == BLOCK_DEAD)
            j->generation = 0;
    }
}

/* One whose instructions go, and its head, too. To the list; a dropped one is in no other. */
static void evict(struct block_cache *b, struct block *block, struct block **gone)
{
    if (block->key == BLOCK_DEAD) {
        block->count = 0;
    } else {
        heat_put(b, block);
        hash_remove(b, block);
        block->key = BLOCK_DEAD;
        b->stats.evicted++;
    }
    block->hash_next = *gone;
    *gone = block;
}

static void segment_empty(struct block_cache *b, unsigned segment)
{
    struct block *gone = NULL, **end = &gone;

    for (size_t at = 0; at < b->filled[segment]; at += ring_at(b, segment, at)->bytes) {
        struct block_ops *ops = ring_at(b, segment, at);
        struct block *owner = ops->owner;

        if (owner->op != ops->op)
            continue; /* they were decoded again, elsewhere */
        owner->op = NULL;
        if (!owner->kept)
            evict(b, owner, &gone);
    }
    b->filled[segment] = 0;
    if (!gone)
        return;
    for (struct block *block = gone; block; block = block->hash_next) {
        if (block->count)
            page_sweep(b, block->gpa);
        end = &block->hash_next;
    }
    jumps_sweep(b, gone);
    *end = b->free;
    b->free = gone;
}

/*
 * At the end of the ring: what was built in this turn mostly was there before, so the guest runs
 * more code than the ring holds, again and again. A boot does not.
 */
static bool ring_grow(struct block_cache *b)
{
    bool more = b->segments < BLOCK_SEGMENTS_MAX && b->turn_back > b->turn_built / 3 * 2;

    if (more)
        b->segments = MIN(b->segments + BLOCK_SEGMENTS, BLOCK_SEGMENTS_MAX);
    b->turn_built = b->turn_back = 0;
    return more;
}

struct block_ops *ring_room(struct block_cache *b)
{
    if (!range_in(b->filled[b->segment], OPS_MOST, BLOCK_SEGMENT)) {
        if (++b->segment == b->segments && !ring_grow(b))
            b->segment = 0;
        segment_empty(b, b->segment);
        take_ahead(b->ring, RING_SIZE, (b->segment + 1) * (size_t)BLOCK_SEGMENT - 1,
                   &b->ring_ahead);
    }
    return ring_at(b, b->segment, b->filled[b->segment]);
}

void ring_take(struct block_cache *b, struct block_ops *ops, struct block *block)
{
    ops->owner = block;
    ops->bytes = sizeof(*ops) + block->count * sizeof(struct emu_op);
    block->op = ops->op;
    b->filled[b->segment] += (uint32_t)ops->bytes;
    b->stats.ring =
        MAX(b->stats.ring, (uint64_t)b->segment * BLOCK_SEGMENT + b->filled[b->segment]);
}
