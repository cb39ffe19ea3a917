#include "accel/soft/block.h"

#include "base/ahead.h"
#include "emu/access.h"
#include "emu/bind.h"
#include "emu/emu.h"

#include <errno.h>
#include <sys/mman.h>

/* ---- the cache ------------------------------------------------------------------ */

static void *map_zeroed(size_t size)
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

#define RING_SIZE  ((size_t)BLOCK_SEGMENT * BLOCK_SEGMENTS_ALL)
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
}

static void *arena_take(struct block_cache *b, size_t size)
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
static bool arena_has_room(const struct block_cache *b)
{
    size_t most = 2 * (sizeof(struct block) + sizeof(struct block_page)) + sizeof(struct emu_op);

    return range_in(b->used, most + 64, BLOCK_ARENA);
}

static struct block *head_take(struct block_cache *b)
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
            code_page_unwatch(b->peer, &p->watch, p->page << PAGE_SHIFT);
    }
    memset(b->hash, 0, HASH_SIZE);
    memset(b->pages, 0, PAGES_SIZE);
    memset(b->filled, 0, sizeof(b->filled));
    madvise(b->arena, align_up(b->used, PAGE_SIZE), MADV_DONTNEED);
    b->used = b->arena_ahead = 0;
    b->free = NULL;
    if (b->flushed)
        b->flushed(b);
    b->stats.flushes++;
    block_forget(b, EMU_FLUSH_ALL, 0);
}

static uint64_t *linear_page(struct block_cache *b, uint64_t linear, uint64_t *bit)
{
    uint64_t n = linear >> PAGE_SHIFT & (BLOCK_LINEAR_PAGES - 1);

    *bit = BIT(n % 64);
    return &b->linear_pages[emu_half(linear)][n / 64];
}

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

static void jump_fill(struct block_cache *b, const struct emu_cpu *c, uint64_t linear,
                      struct block *block)
{
    uint64_t bit, *word = linear_page(b, linear, &bit);
    struct block_jump *j = block_jump(b, linear);
    uint16_t n = (uint16_t)(j - b->jump + 1);

    *word |= bit;
    if (emu_half(linear) && !emu_tlb_is_kept(c, linear))
        b->local = true;
    *j = (struct block_jump){linear, b->generation[emu_half(linear)], block};
    if (block->jump != n)
        block->jump = block->jump ? BLOCK_JUMPS : n;
}

static uint64_t hash_of(uint64_t gpa, uint32_t key, unsigned bits)
{
    return (gpa ^ (uint64_t)key << 40) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits);
}

static struct block **hash_slot(struct block_cache *b, uint64_t gpa, uint32_t key)
{
    return &b->hash[hash_of(gpa, key, BLOCK_HASH_BITS)];
}

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

/* 0: it was not evicted. */
static uint8_t heat_take(struct block_cache *b, uint64_t gpa, uint32_t key)
{
    struct block_heat mine = {0}, *slot = heat_slot(b, gpa, key, &mine);

    if (slot->tag != mine.tag)
        return 0;
    mine.heat = slot->heat;
    slot->heat = 0;
    return mine.heat;
}

static struct block_page **page_slot(struct block_cache *b, uint64_t page)
{
    return &b->pages[page & ((1u << BLOCK_PAGE_BITS) - 1)];
}

static struct block_page *page_find(struct block_cache *b, uint64_t page)
{
    struct block_page *p = *page_slot(b, page);

    while (p && p->page != page)
        p = p->next;
    return p;
}

static void hash_remove(struct block_cache *b, struct block *gone)
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

/* Bits of block_page.covered. */
static uint64_t lines(uint64_t begin, uint64_t end)
{
    return begin < end ? UINT64_MAX << begin / 64 & UINT64_MAX >> (63 - (end - 1) / 64) : 0;
}

static uint64_t lines_of(const struct block *block)
{
    return lines(block->look_begin, block->look_end);
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
        code_page_unwatch(b->peer, &p->watch, block->gpa);
}

void block_written(struct block_cache *b, struct emu_cpu *c, uint64_t gpa, uint64_t len)
{
    struct block_page *p = page_find(b, gpa >> PAGE_SHIFT);
    struct block **at, *guarded = NULL;
    uint64_t begin = gpa & PAGE_MASK;

    if (!p || !p->blocks || !(p->covered & lines(begin, begin + len)))
        return;
    p->covered = 0;
    at = &p->blocks;
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
    if (!p->blocks)
        code_page_unwatch(b->peer, &p->watch, gpa);
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
        code_page_unwatch(b->peer, &p->watch, gpa);
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

/* Where the instructions of the next block go. Blocks go, but for those that are kept. */
static struct block_ops *ring_room(struct block_cache *b)
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

/* They are block's. */
static void ring_take(struct block_cache *b, struct block_ops *ops, struct block *block)
{
    ops->owner = block;
    ops->bytes = sizeof(*ops) + block->count * sizeof(struct emu_op);
    block->op = ops->op;
    b->filled[b->segment] += (uint32_t)ops->bytes;
    b->stats.ring =
        MAX(b->stats.ring, (uint64_t)b->segment * BLOCK_SEGMENT + b->filled[b->segment]);
}

/* ---- building --------------------------------------------------------------------- */

/* May code at rip be cached without a look at CS's limit each time? */
static bool code_flat(const struct emu_cpu *c)
{
    return c->code64 || c->seg[SEG_CS].limit == 0xffffffff ||
           (c->rip_mask == 0xffff && c->seg[SEG_CS].limit >= 0xffff);
}

/* Decode the instruction at `code`, of which `avail` bytes are there, from a copy: others may
 * be writing. Its length, or what x86_decode says. */
static int decode(const struct emu_cpu *c, const uint8_t *code, unsigned avail, struct x86_insn *i)
{
    uint8_t copy[X86_INSN_MAX];

    if (likely(avail >= X86_INSN_MAX)) {
        host_copy(copy, code, X86_INSN_MAX);
        avail = X86_INSN_MAX;
    } else {
        host_copy(copy, code, avail);
    }
    return x86_decode(copy, avail, (enum x86_mode)c->mode, i);
}

/* Decode the block at gpa until something ends it: how many, and of how many bytes. */
static unsigned block_fill(struct emu_op *op, const struct emu_cpu *c, uint64_t gpa,
                           const uint8_t *code, unsigned avail, uint16_t *bytes)
{
    unsigned count = 0, done = 0;

    do {
        int len = decode(c, code + done, avail - done, &op->i);

        if (len < 0)
            break; /* goes on in the next page, or #UD: emu_one sorts it out */
        emu_bind(c, op);
        op->number = (uint8_t)count++;
        done += (unsigned)len;
        op->next = (uint16_t)((gpa & PAGE_MASK) + done);
    } while (!op++->ends && done < avail && count < BLOCK_MAX_INSNS);
    *bytes = (uint16_t)done;
    return count;
}

static struct block_page *page_get(struct block_cache *b, uint64_t page)
{
    struct block_page *p = page_find(b, page), **head = page_slot(b, page);

    if (p)
        return p;
    p = arena_take(b, sizeof(*p));
    *p = (struct block_page){.page = page, .next = *head};
    *head = p;
    return p;
}

/* Are stores to the page noticed, so that code may be cached? */
static bool page_noticed(struct block_cache *b, struct block_page *page, const uint8_t *code)
{
    if (code_page_watch(b->peer, &page->watch, page->page << PAGE_SHIFT,
                        code - ((uintptr_t)code & PAGE_MASK)))
        return true;
    b->stats.waited++;
    return false;
}

/* An instruction that never is cached is no reason to have stores noticed. */
static bool page_watch(struct block_cache *b, struct emu_cpu *c, struct block_page *page,
                       const uint8_t *code, unsigned avail)
{
    struct x86_insn first;

    if (!page->watch.on && decode(c, code, avail, &first) < 0)
        return false;
    return page_noticed(b, page, code);
}

static void page_add(struct block_page *page, struct block *block)
{
    block->page_next = page->blocks;
    page->blocks = block;
    page->covered |= lines_of(block);
}

static struct block *block_build(struct block_cache *b, struct emu_cpu *c, uint64_t gpa,
                                 uint32_t key, const uint8_t *code, unsigned avail)
{
    struct block_page *page;
    struct block_ops *ops;
    struct block *block, **slot;
    unsigned count;
    uint16_t bytes;

    if (!arena_has_room(b))
        block_flush(b);
    ops = ring_room(b);
    page = page_get(b, gpa >> PAGE_SHIFT);
    if (!page_watch(b, c, page, code, avail))
        return NULL;
    count = block_fill(ops->op, c, gpa, code, avail, &bytes);
    if (!count) {
        if (!page->blocks)
            code_page_unwatch(b->peer, &page->watch, gpa);
        return NULL;
    }
    block = head_take(b);
    *block = (struct block){.gpa = gpa,
                            .key = key,
                            .count = (uint16_t)count,
                            .bytes = bytes,
                            .look_begin = (uint16_t)(gpa & PAGE_MASK),
                            .look_end = (uint16_t)((gpa & PAGE_MASK) + bytes),
                            .heat = heat_take(b, gpa, key)};
    b->turn_built++;
    b->turn_back += block->heat > 0;
    ring_take(b, ops, block);
    slot = hash_slot(b, gpa, key);
    block->hash_next = *slot;
    *slot = block;
    page_add(page, block);
    b->stats.built++;
    return block;
}

bool block_refill(struct block_cache *b, struct emu_cpu *c, struct block *block)
{
    const struct mem_slot *slot = guest_mem_find(c->mem, GPA(block->gpa));
    struct block_ops *ops = ring_room(b);
    uint16_t bytes;

    if (slot &&
        block_fill(ops->op, c, block->gpa, slot->hva + (block->gpa - slot->gpa.v), block->bytes,
                   &bytes) == block->count &&
        bytes == block->bytes) {
        ring_take(b, ops, block);
        b->stats.again++;
        return true;
    }
    /* Another vCPU is writing there, and its news has not come yet. */
    block_written(b, c, block->gpa, 1);
    return false;
}

/* Host address and gpa of the code at linear; false outside of RAM. Unwinds on a fault. */
static bool code_place(const struct block_cache *b, struct emu_cpu *c, uint64_t linear,
                       uint8_t **host, uint64_t *gpa)
{
    uint8_t *p = emu_span(c, SEG_CS, linear, EMU_EXEC);

    if (!p)
        return false;
    *host = p;
    return code_map_find(b->peer->map, p, gpa);
}

/* ---- an instruction in two pages ------------------------------------------------------ */

struct halves {
    uint64_t gpa, gpa2;
    uint8_t *host, *host2;
    unsigned avail; /* bytes in the first page */
};

static struct block *crossing_built(struct block_cache *b, const struct halves *at, uint32_t key)
{
    const struct block_page *page = page_find(b, at->gpa >> PAGE_SHIFT);

    for (struct block *block = page ? page->blocks : NULL; block; block = block->page_next) {
        if (block->crosses && block->gpa == at->gpa && block->gpa2 == at->gpa2 && block->key == key)
            return block;
    }
    return NULL;
}

static bool crossing_decode(struct emu_cpu *c, const struct halves *at, struct emu_op *op)
{
    uint8_t copy[X86_INSN_MAX];

    host_copy(copy, at->host, at->avail);
    host_copy(copy + at->avail, at->host2, sizeof(copy) - at->avail);
    if (x86_decode(copy, sizeof(copy), (enum x86_mode)c->mode, &op->i) <= (int)at->avail)
        return false; /* they have changed meanwhile, or it is none */
    emu_bind(c, op);
    op->next = (uint16_t)((at->gpa & PAGE_MASK) + op->i.len);
    return true;
}

static struct block *crossing_build(struct block_cache *b, struct emu_cpu *c,
                                    const struct halves *at, uint32_t key)
{
    struct block_page *page, *page2;
    struct block *block, *guard;

    if (!arena_has_room(b))
        block_flush(b);
    page = page_get(b, at->gpa >> PAGE_SHIFT);
    page2 = page_get(b, at->gpa2 >> PAGE_SHIFT);
    if (!page_noticed(b, page, at->host) || !page_noticed(b, page2, at->host2))
        return NULL;
    block = head_take(b);
    *block = (struct block){.gpa = at->gpa,
                            .key = key,
                            .count = 1,
                            .gpa2 = at->gpa2,
                            .crosses = true,
                            .kept = true,
                            .op = arena_take(b, sizeof(struct emu_op))};
    guard = head_take(b);
    *guard = (struct block){.gpa = at->gpa2, .key = key, .guards = block};
    block->look_begin = (uint16_t)(at->gpa & PAGE_MASK);
    block->look_end = PAGE_SIZE;
    page_add(page, block);
    page_add(page2, guard);
    if (!crossing_decode(c, at, &block->op[0])) {
        block_written(b, c, at->gpa, 1);
        return NULL;
    }
    block->bytes = block->op[0].i.len;
    guard->look_end = (uint16_t)(block->bytes - at->avail);
    page2->covered |= lines_of(guard);
    b->stats.built++;
    return block;
}

/* The instruction at linear goes on past the page's end. */
static struct block *crossing_find(struct block_cache *b, struct emu_cpu *c, uint64_t linear,
                                   uint32_t key, struct halves *at)
{
    uint64_t bit, *word = linear_page(b, linear + at->avail, &bit);
    struct block *block;

    if (!c->code64 || c->watch_exec || !code_place(b, c, linear + at->avail, &at->host2, &at->gpa2))
        return NULL;
    *word |= bit; /* that this page is next is part of what is known of linear */
    block = crossing_built(b, at, key);
    return block ? block : crossing_build(b, c, at, key);
}

static bool crosses(const struct emu_cpu *c, const uint8_t *host, unsigned avail)
{
    struct x86_insn i;

    return avail < X86_INSN_MAX && decode(c, host, avail, &i) == -EAGAIN;
}

struct block *block_find_slow(struct block_cache *b, struct emu_cpu *c, uint64_t linear,
                              uint32_t key)
{
    /* No watched instruction is in a block, so that emu_one sees it. */
    unsigned avail = emu_unwatched(c, linear, (unsigned)(PAGE_SIZE - (linear & PAGE_MASK)));
    struct block *block;
    uint64_t gpa;
    uint8_t *host;

    c->op = NULL;
    if (!code_flat(c) || !code_place(b, c, linear, &host, &gpa)) {
        b->stats.uncached++;
        return NULL;
    }
    block = *hash_slot(b, gpa, key);
    while (block && (block->gpa != gpa || block->key != key))
        block = block->hash_next;
    if (!block && avail && crosses(c, host, avail)) {
        struct halves at = {.gpa = gpa, .host = host, .avail = avail};

        block = crossing_find(b, c, linear, key, &at);
    } else if (!block && avail) {
        block = block_build(b, c, gpa, key, host, avail);
    }
    if (!block || (!block->crosses &&
                   block->bytes > avail)) { /* built by another linear address, where none is */
        b->stats.uncached++;
        return NULL;
    }
    jump_fill(b, c, linear, block);
    return block;
}
