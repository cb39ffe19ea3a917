/* Finding the block at an address: decoding it when there is none, and when it is in two pages. */
#include "accel/soft/block_internal.h"
#include "emu/access.h"
#include "emu/bind.h"
#include "emu/emu.h"

#include <errno.h>

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

/* That of the page, of which `host` is a byte. */
static struct block_page *page_get(struct block_cache *b, uint64_t page, const uint8_t *host)
{
    struct block_page *p = page_find(b, page), **head = page_slot(b, page);

    if (p)
        return p;
    p = arena_take(b, sizeof(*p));
    *p = (struct block_page){.page = page,
                             .next = *head,
                             .copy = copy_take(b),
                             .host = host - ((uintptr_t)host & PAGE_MASK)};
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

/* In a copy the bytes from `code` on, which is `at` in the page, that a block may consist of; NULL:
 * the page is not watched any more. */
static const uint8_t *code_copy(struct block_cache *b, struct emu_cpu *c, struct block_page *page,
                                uint64_t at)
{
    page_see(b, c, page, at, at + BLOCK_MAX_INSNS * X86_INSN_MAX);
    return page->watch.on ? page->copy + at : NULL;
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
    page = page_get(b, gpa >> PAGE_SHIFT, code);
    if (!page_watch(b, c, page, code, avail))
        return NULL;
    if (unlikely(page->copy != NULL))
        code = code_copy(b, c, page, gpa & PAGE_MASK);
    if (!code)
        return NULL;
    count = block_fill(ops->op, c, gpa, code, avail, &bytes);
    if (!count) {
        if (!page->blocks)
            page_unwatch(b, page);
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
    struct block_ops *ops = ring_room(b);
    const struct block_page *page = page_find(b, block->gpa >> PAGE_SHIFT);
    const uint8_t *code = page_bytes(page) + (block->gpa & PAGE_MASK);
    uint16_t bytes;

    if (block_fill(ops->op, c, block->gpa, code, block->bytes, &bytes) == block->count &&
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

static struct block *crossing_built(struct block_cache *b, struct emu_cpu *c,
                                    const struct halves *at, uint32_t key)
{
    const struct block_page *page = page_find(b, at->gpa >> PAGE_SHIFT);

    for (struct block *block = page ? page->blocks : NULL; block; block = block->page_next) {
        if (block->crosses && block->gpa == at->gpa && block->gpa2 == at->gpa2 && block->key == key)
            return !b->doubts || block_holds(b, c, block) ? block : NULL;
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

static struct block *crossing_build(struct block_cache *b, struct emu_cpu *c, struct halves *at,
                                    uint32_t key)
{
    struct block_page *page, *page2;
    struct block *block, *guard;

    if (!arena_has_room(b))
        block_flush(b);
    page = page_get(b, at->gpa >> PAGE_SHIFT, at->host);
    page2 = page_get(b, at->gpa2 >> PAGE_SHIFT, at->host2);
    if (!page_noticed(b, page, at->host) || !page_noticed(b, page2, at->host2))
        return NULL;
    if (unlikely(page->copy != NULL)) {
        page_see(b, c, page, at->gpa & PAGE_MASK, PAGE_SIZE);
        page_see(b, c, page2, 0, X86_INSN_MAX);
        if (!page->watch.on || !page2->watch.on)
            return NULL;
        at->host = page->copy + (at->gpa & PAGE_MASK);
        at->host2 = page2->copy;
    }
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
    block = crossing_built(b, c, at, key);
    return block ? block : crossing_build(b, c, at, key);
}

static bool crosses(const struct emu_cpu *c, const uint8_t *host, unsigned avail)
{
    struct x86_insn i;

    return avail < X86_INSN_MAX && decode(c, host, avail, &i) == -EAGAIN;
}

/* ---- finding ---------------------------------------------------------------------------- */

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
    if (unlikely(b->doubts) && block && !block_holds(b, c, block))
        block = NULL;
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
