#include "accel/soft/block.h"

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

#define HASH_SIZE  (sizeof(struct block *) << BLOCK_HASH_BITS)
#define PAGES_SIZE (sizeof(struct block_page *) << BLOCK_PAGE_BITS)

int block_cache_init(struct block_cache *b, struct code_peer *peer)
{
    b->peer = peer;
    b->generation[0] = b->generation[1] = 1;
    b->hash = map_zeroed(HASH_SIZE);
    b->pages = map_zeroed(PAGES_SIZE);
    b->arena = map_zeroed(BLOCK_ARENA);
    if (b->hash && b->pages && b->arena)
        return 0;
    block_cache_free(b);
    return -ENOMEM;
}

void block_cache_free(struct block_cache *b)
{
    unmap(b->hash, HASH_SIZE);
    unmap(b->pages, PAGES_SIZE);
    unmap(b->arena, BLOCK_ARENA);
}

static void *arena_take(struct block_cache *b, size_t size)
{
    void *p = b->arena + b->used;

    size = align_up(size, 16);
    if (!range_in(b->used, size, BLOCK_ARENA))
        return NULL;
    b->used += size;
    return p;
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
    b->used = 0;
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

    *word |= bit;
    if (emu_half(linear) && !emu_tlb_is_kept(c, linear))
        b->local = true;
    *block_jump(b, linear) = (struct block_jump){linear, b->generation[emu_half(linear)], block};
}

static struct block **hash_slot(struct block_cache *b, uint64_t gpa, uint32_t key)
{
    uint64_t h = (gpa ^ (uint64_t)key << 40) * UINT64_C(0x9e3779b97f4a7c15);

    return &b->hash[h >> (64 - BLOCK_HASH_BITS)];
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

    if (!p || !p->blocks)
        return;
    at = &p->blocks;
    while (*at) {
        struct block *block = *at;

        if (!overlaps(block, gpa & PAGE_MASK, len)) {
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

/* Decode into b->op until something ends it. */
static void block_fill(struct block *b, const struct emu_cpu *c, const uint8_t *code,
                       unsigned avail)
{
    while (b->count < BLOCK_MAX_INSNS) {
        struct emu_op *op = &b->op[b->count];
        int len = decode(c, code + b->bytes, avail - b->bytes, &op->i);

        if (len < 0)
            return; /* goes on in the next page, or #UD: emu_one sorts it out */
        emu_bind(c, op);
        b->count++;
        b->bytes += (uint16_t)len;
        op->next = (uint16_t)((b->gpa & PAGE_MASK) + b->bytes);
        if (op->ends || b->bytes == avail)
            return;
    }
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
}

static struct block *block_build(struct block_cache *b, struct emu_cpu *c, uint64_t gpa,
                                 uint32_t key, const uint8_t *code, unsigned avail)
{
    size_t most = sizeof(struct block) + BLOCK_MAX_INSNS * sizeof(struct emu_op);
    struct block_page *page;
    struct block *block, **slot;

    if (b->used + most + sizeof(*page) + 64 > BLOCK_ARENA)
        block_flush(b);
    page = page_get(b, gpa >> PAGE_SHIFT);
    if (!page_watch(b, c, page, code, avail))
        return NULL;
    block = (struct block *)(b->arena + align_up(b->used, 16));
    *block = (struct block){.gpa = gpa, .key = key};
    block_fill(block, c, code, avail);
    if (!block->count) {
        if (!page->blocks)
            code_page_unwatch(b->peer, &page->watch, gpa);
        return NULL;
    }
    block->look_begin = (uint16_t)(gpa & PAGE_MASK);
    block->look_end = (uint16_t)(block->look_begin + block->bytes);
    arena_take(b, sizeof(*block) + block->count * sizeof(struct emu_op));
    slot = hash_slot(b, gpa, key);
    block->hash_next = *slot;
    *slot = block;
    page_add(page, block);
    b->stats.built++;
    return block;
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
    size_t size = sizeof(struct block) + sizeof(struct emu_op);
    struct block_page *page, *page2;
    struct block *block, *guard;

    if (b->used + 2 * size + 2 * sizeof(*page) + 64 > BLOCK_ARENA)
        block_flush(b);
    page = page_get(b, at->gpa >> PAGE_SHIFT);
    page2 = page_get(b, at->gpa2 >> PAGE_SHIFT);
    if (!page_noticed(b, page, at->host) || !page_noticed(b, page2, at->host2))
        return NULL;
    block = arena_take(b, size);
    *block =
        (struct block){.gpa = at->gpa, .key = key, .count = 1, .gpa2 = at->gpa2, .crosses = true};
    guard = arena_take(b, sizeof(*guard));
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
