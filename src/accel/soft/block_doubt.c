/*
 * Bytes in doubt: somebody says that any may have been written, and not which. Pages have copies of
 * what their blocks were made of then. A line of such a page is compared when it is depended on
 * for the first time since, and what was derived from bytes that are others now is dropped.
 *
 * All that blocks and translations are made of is read from the copies. So what is written without
 * a word while it is read is not seen by one of them and missed by another: it is found by the next
 * comparison.
 */
#include "accel/soft/block_internal.h"
#include "base/ahead.h"
#include "emu/host.h"

#include <sys/mman.h>

#define LINE 64u /* a bit of block_page.covered and .seen */

/* ---- copies ------------------------------------------------------------------------ */

uint8_t *copy_take(struct block_cache *b)
{
    uint8_t *copy;

    if (likely(!b->doubts))
        return NULL;
    copy = b->copies + b->copied;
    b->copied += PAGE_SIZE;
    take_ahead(b->copies, BLOCK_COPIES, b->copied, &b->copies_ahead);
    return copy;
}

bool copies_have_room(const struct block_cache *b)
{
    return b->copied + 2 * PAGE_SIZE <= BLOCK_COPIES;
}

void copies_flush(struct block_cache *b)
{
    if (b->copied)
        madvise(b->copies, b->copied, MADV_DONTNEED);
    b->copied = b->copies_ahead = 0;
}

void copy_refresh(struct block_page *p, uint64_t begin, uint64_t len)
{
    host_copy(p->copy + begin, p->host + begin, MIN(len, PAGE_SIZE - begin));
}

/* ---- comparing --------------------------------------------------------------------- */

/* From the first byte that differs to the last one: others in the line are nobody's news. */
static void line_see(struct block_cache *b, struct emu_cpu *c, struct block_page *p, uint64_t at)
{
    unsigned first = 0, last = LINE - 1;
    uint8_t now[LINE], *then = p->copy + at;

    host_copy_vector(now, p->host + at, LINE / 2);
    host_copy_vector(now + LINE / 2, p->host + at + LINE / 2, LINE / 2);
    if (likely(!memcmp(now, then, LINE)))
        return;
    while (now[first] == then[first])
        first++;
    while (now[last] == then[last])
        last--;
    memcpy(then, now, LINE);
    if (p->covered & lines(at, at + LINE))
        page_changed(b, c, p, at + first, last - first + 1);
}

/* Stores to lines that nobody depends on are not noted, so those are compared each time. */
void page_see(struct block_cache *b, struct emu_cpu *c, struct block_page *p, uint64_t begin,
              uint64_t end)
{
    uint64_t left = lines(begin, MIN(end, PAGE_SIZE));

    if (p->doubt != b->doubts) {
        p->doubt = b->doubts;
        p->seen = 0;
    }
    left &= ~(p->seen & p->covered);
    p->seen |= left;
    for (; left; left &= left - 1)
        line_see(b, c, p, (unsigned)__builtin_ctzll(left) * LINE);
}

bool block_holds(struct block_cache *b, struct emu_cpu *c, const struct block *block)
{
    struct block_page *p = page_find(b, block->gpa >> PAGE_SHIFT);
    struct block_page *p2 = block->crosses ? page_find(b, block->gpa2 >> PAGE_SHIFT) : NULL;

    page_see(b, c, p, block->look_begin, block->look_end);
    if (p2 && block->key != BLOCK_DEAD)
        page_see(b, c, p2, 0, X86_INSN_MAX);
    if (likely(block->key != BLOCK_DEAD))
        return true;
    if (!p->blocks)
        page_unwatch(b, p);
    if (p2 && !p2->blocks)
        page_unwatch(b, p2);
    return false;
}

const uint8_t *block_page_bytes(struct block_cache *b, struct emu_cpu *c, const struct block *block)
{
    struct block_page *p = page_find(b, block->gpa >> PAGE_SHIFT);

    if (unlikely(p->copy != NULL))
        page_see(b, c, p, 0, PAGE_SIZE);
    return page_bytes(p);
}

bool block_doubt(struct block_cache *b)
{
    if (!b->used)
        return false;
    if (!b->copies) {
        block_flush(b);
        b->copies = map_zeroed(BLOCK_COPIES);
        if (!b->copies)
            return true; /* so it is each time */
    }
    b->doubts++;
    block_forget(b, EMU_FLUSH_ALL, 0);
    return true;
}
