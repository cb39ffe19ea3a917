/*
 * What the parts of the cache of blocks share: block.c has the tables and forgets what is void,
 * block_ring.c the memory of decoded instructions, block_doubt.c the copies of pages whose bytes
 * are doubted, block_build.c finds blocks and builds them by means of all.
 */
#ifndef MOTE_ACCEL_SOFT_BLOCK_INTERNAL_H
#define MOTE_ACCEL_SOFT_BLOCK_INTERNAL_H

#include "accel/soft/block.h"

/* ---- tables: inline, as misses of the jump cache and stores beside code look there --------- */

/* The word and the bit of the filter for linear's page. */
static inline uint64_t *linear_page(struct block_cache *b, uint64_t linear, uint64_t *bit)
{
    uint64_t n = linear >> PAGE_SHIFT & (BLOCK_LINEAR_PAGES - 1);

    *bit = BIT(n % 64);
    return &b->linear_pages[emu_half(linear)][n / 64];
}

static inline uint64_t hash_of(uint64_t gpa, uint32_t key, unsigned bits)
{
    return (gpa ^ (uint64_t)key << 40) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits);
}

static inline struct block **hash_slot(struct block_cache *b, uint64_t gpa, uint32_t key)
{
    return &b->hash[hash_of(gpa, key, BLOCK_HASH_BITS)];
}

static inline struct block_page **page_slot(struct block_cache *b, uint64_t page)
{
    return &b->pages[page & ((1u << BLOCK_PAGE_BITS) - 1)];
}

static inline struct block_page *page_find(struct block_cache *b, uint64_t page)
{
    struct block_page *p = *page_slot(b, page);

    while (p && p->page != page)
        p = p->next;
    return p;
}

/* Bits of block_page.covered. */
static inline uint64_t lines(uint64_t begin, uint64_t end)
{
    return begin < end ? UINT64_MAX << begin / 64 & UINT64_MAX >> (63 - (end - 1) / 64) : 0;
}

static inline uint64_t lines_of(const struct block *block)
{
    return lines(block->look_begin, block->look_end);
}

/* ---- memory that stays (block.c) -------------------------------------------------------- */

/* Memory until everything is dropped; NULL: the arena is full. */
void *arena_take(struct block_cache *b, size_t size);

/* Is there room for what one more block may need, two heads and two pages? */
bool arena_has_room(const struct block_cache *b);

/* A head that is free, or a new one; NULL: no room. It is not cleared. */
struct block *head_take(struct block_cache *b);

/* It is found by (gpa, key) no more. */
void hash_remove(struct block_cache *b, struct block *gone);

/* Drop the page's blocks that depend on these bytes, which are others now. */
void page_changed(struct block_cache *b, struct emu_cpu *c, struct block_page *p, uint64_t begin,
                  uint64_t len);

/* No code is cached from there any more. */
static inline void page_unwatch(struct block_cache *b, struct block_page *p)
{
    code_page_unwatch(b->peer, &p->watch, p->page << PAGE_SHIFT);
    p->seen = 0;
}

void *map_zeroed(size_t size); /* NULL: the host has none */

/* ---- pages in doubt (block_doubt.c) --------------------------------------------------------- */

/* A copy for a new page; NULL: nothing was doubted so far. */
uint8_t *copy_take(struct block_cache *b);

/* Is there room for two? */
bool copies_have_room(const struct block_cache *b);

/* Make the copy's lines of [begin, end), which begin in the page, what memory has. Blocks that
 * depend on what is another byte now are dropped; the page may have none left. The page is watched.
 */
void page_see(struct block_cache *b, struct emu_cpu *c, struct block_page *p, uint64_t begin,
              uint64_t end);

/* Its own bytes were written, which others know of; they are in the page. */
void copy_refresh(struct block_page *p, uint64_t begin, uint64_t len);

/* Is the block, which was found, still what memory has? Else it is dropped. */
bool block_holds(struct block_cache *b, struct emu_cpu *c, const struct block *block);

void copies_flush(struct block_cache *b);

/* What blocks are made of. */
static inline const uint8_t *page_bytes(const struct block_page *p)
{
    return p->copy ? p->copy : p->host;
}

/* ---- the ring (block_ring.c) ------------------------------------------------------------- */

#define RING_SIZE ((size_t)BLOCK_SEGMENT * BLOCK_SEGMENTS_ALL)

/* Where the instructions of the next block go. Blocks go, but for those that are kept. */
struct block_ops *ring_room(struct block_cache *b);

/* They, where ring_room said, are block's. */
void ring_take(struct block_cache *b, struct block_ops *ops, struct block *block);

/* How hot the block at gpa was when it was evicted, which is forgotten; 0: it was not evicted. */
uint8_t heat_take(struct block_cache *b, uint64_t gpa, uint32_t key);

#endif
