/*
 * The cache of blocks: its tables, the memory of what stays, and what is forgotten when
 * translations or bytes of code change.
 */
#include "accel/soft/block_internal.h"
#include "base/ahead.h"

#include <errno.h>
#include <sys/mman.h>

/* ---- memory ---------------------------------------------------------------------- */

void *map_zeroed(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t size)
{
    if (p)
        munmap(p, size);
}

#define HASH_SIZE  (sizeof(struct block *) << BLOCK_HASH_BITS)
#define PAGES_SIZE (sizeof(struct block_page *) << BLOCK_PAGE_BITS)

int block_cache_init(struct block_cache *b, struct code_peer *peer)
{
    b->peer = peer;
    b->generation[0] = b->generation[1] = 1;
    b->hash = map_zeroed(HASH_SIZE);
    b->pages = map_zeroed(PAGES_SIZE);
    b->arena = map_zeroed(BLOCK_ARENA);
    b->ring = map_zeroed(RING_SIZE);
    b->segments = BLOCK_SEGMENTS;
    if (b->hash && b->pages && b->arena && b->ring)
        return 0;
    block_cache_free(b);
    return -ENOMEM;
}

void block_cache_free(struct block_cache *b)
{
    unmap(b->hash, HASH_SIZE);
    unmap(b->pages, PAGES_SIZE);
    unmap(b->arena, BLOCK_ARENA);
    unmap(b->ring, RING_SIZE);
    unmap(b->copies, BLOCK_COPIES);
}

void *arena_take(struct block_cache *b, size_t size)
{
    void *p = b->arena + b->used;

    size = align_up(size, 8);
    if (!range_in(b->used, size, BLOCK_ARENA))
        return NULL;
    b->used += size;
    take_ahead(b->arena, BLOCK_ARENA, b->used, &b->arena_ahead);
    b->stats.arena = MAX(b->stats.arena, b->used);
    return p;
}

uint32_t block_keep(struct block_cache *b, const struct emu_op *op)
{
    struct emu_op *kept = arena_take(b, sizeof(*kept));

    if (!kept)
        return 0;
    *kept = *op;
    return (uint32_t)((uint8_t *)kept - b->arena); /* no block is without a page before it */
}

/* Is there room for what one more block may need, two heads and two pages? */
bool arena_has_room(const struct block_cache *b)
{
    size_t most = 2 * (sizeof(struct block) + sizeof(struct block_page)) + sizeof(struct emu_op);

    return range_in(b->used, most + 64, BLOCK_ARENA) && copies_have_room(b);
}

struct block *head_take(struct block_cache *b)
{
    struct block *head = b->free;

    if (!head)
        return arena_take(b, sizeof(*head));
    b->free = head->hash_next;
    return head;
}

void block_flush(struct block_cache *b)
{
    if (!b->used)
        return;
    for (unsigned n = 0; n < 1u << BLOCK_PAGE_BITS; n++) {
        for (struct block_page *p = b->pages[n]; p; p = p->next)
            page_unwatch(b, p);
    }
    memset(b->hash, 0, HASH_SIZE);
    memset(b->pages, 0, PAGES_SIZE);
    memset(b->filled, 0, sizeof(b->filled));
    madvise(b->arena, align_up(b->used, PAGE_SIZE), MADV_DONTNEED);
    b->used = b->arena_ahead = 0;
    b->free = NULL;
    copies_flush(b);
    if (b->flushed)
        b->flushed(b);
    b->stats.flushes++;
    block_forget(b, EMU_FLUSH_ALL, 0);
}

/* ---- what is void ---------------------------------------------------------------- */

unsigned block_forget(struct block_cache *b, enum emu_flush what, uint64_t linear)
{
    unsigned halves = BIT(0) | BIT(1);
    uint64_t bit, *word = linear_page(b, linear, &bit);

    if (what == EMU_FLUSH_PAGE)
        halves = *word & bit ? (unsigned)BIT(emu_half(linear)) : 0;
    else if (what == EMU_FLUSH_LOCAL && !b->local)
        halves = BIT(0);
    for (unsigned half = 0; half < EMU_HALVES; half++) {
        if (!(halves & BIT(half)))
            continue;
        b->generation[half]++;
        memset(b->linear_pages[half], 0, sizeof(b->linear_pages[half]));
        b->local &= !half;
    }
    return halves;
}

void hash_remove(struct block_cache *b, struct block *gone)
{
    struct block **at = hash_slot(b, gone->gpa, gone->key);

    while (*at && *at != gone)
        at = &(*at)->hash_next;
    if (*at)
        *at = gone->hash_next;
}

static void drop(struct block_cache *b, struct emu_cpu *c, struct block *block)
{
    hash_remove(b, block);
    block->key = BLOCK_DEAD;
    if (!block->count)
        return;
    if (b->dropped)
        b->dropped(b, block);
    b->stats.dropped++;
    c->end = NULL; /* it may be the block under way */
}

void block_looked(struct block_cache *b, const struct block *block)
{
    page_find(b, block->gpa >> PAGE_SHIFT)->covered |= lines_of(block);
}

static bool overlaps(const struct block *block, uint64_t begin, uint64_t len)
{
    return block->look_begin < begin + len && begin < block->look_end;
}

/* The other page's part of one that crosses has changed. */
static void drop_guarded(struct block_cache *b, struct emu_cpu *c, struct block *block)
{
    struct block_page *p = page_find(b, block->gpa >> PAGE_SHIFT);
    struct block **at = &p->blocks;

    if (block->key == BLOCK_DEAD)
        return;
    while (*at != block)
        at = &(*at)->page_next;
    *at = block->page_next;
    drop(b, c, block);
    if (!p->blocks)
        page_unwatch(b, p);
}

void page_changed(struct block_cache *b, struct emu_cpu *c, struct block_page *p, uint64_t begin,
                  uint64_t len)
{
    struct block **at = &p->blocks, *guarded = NULL;

    p->covered = 0;
    while (*at) {
        struct block *block = *at;

        if (!overlaps(block, begin, len)) {
            p->covered |= lines_of(block);
            at = &block->page_next;
            continue;
        }
        *at = block->page_next;
        drop(b, c, block);
        if (block->guards) { /* remember: its page may be this one */
            block->page_next = guarded;
            guarded = block;
        }
    }
    for (; guarded; guarded = guarded->page_next)
        drop_guarded(b, c, guarded->guards);
}

void block_written(struct block_cache *b, struct emu_cpu *c, uint64_t gpa, uint64_t len)
{
    struct block_page *p = page_find(b, gpa >> PAGE_SHIFT);
    uint64_t begin = gpa & PAGE_MASK;

    if (!p || !p->blocks || !(p->covered & lines(begin, begin + len)))
        return;
    if (unlikely(p->copy != NULL))
        copy_refresh(p, begin, len);
    page_changed(b, c, p, begin, len);
    if (!p->blocks)
        page_unwatch(b, p);
}
