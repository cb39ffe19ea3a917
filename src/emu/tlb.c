/*
 * The software TLB: flushes, misses, which walk the guest's page tables and fill it, and pages
 * that it has no right to write because decoded code is cached from them.
 */
#include "emu/tlb.h"

#include "emu/access.h"
#include "emu/debug.h"
#include "x86/paging.h"

/* ---- TLB -------------------------------------------------------------- */

/* A page of another set: page 0, which is in set 0, or page 1. So zeroed memory is empty
 * entries but for set 0, and a new TLB costs no memory. */
static uint64_t empty_tag(unsigned index)
{
    return index ? 0 : PAGE_SIZE;
}

static void entry_clear(struct emu_tlb_entry *e, unsigned index)
{
    for (unsigned a = 0; a < EMU_ACCESS_COUNT; a++)
        e->tag[a] = empty_tag(index);
}

static bool is_global(const struct emu_cpu *c, unsigned mmu, unsigned index)
{
    return c->tlb_global[mmu][index / 64] & BIT(index % 64);
}

static void large_empty(struct emu_cpu *c, unsigned half)
{
    c->large_first[half] = UINT64_MAX;
    c->large_last[half] = 0;
}

static void flushed(struct emu_cpu *c, enum emu_flush what, uint64_t linear)
{
    if (c->ops->tlb_flushed)
        c->ops->tlb_flushed(c->user, what, linear);
}

/* All entries, or those that are not global. */
static void entries_clear(struct emu_cpu *c, bool local)
{
    for (unsigned mmu = 0; mmu < EMU_MMU_COUNT; mmu++) {
        for (unsigned index = 0; index < EMU_TLB_SIZE; index++) {
            if (!local || !is_global(c, mmu, index))
                entry_clear(&c->tlb[mmu][index], index);
        }
    }
    c->tlb_fills = 0;
}

static void logged_clear(struct emu_cpu *c)
{
    for (unsigned n = 0; n < c->tlb_fills; n++) {
        unsigned mmu = c->tlb_log[n] >> EMU_TLB_BITS;
        unsigned index = c->tlb_log[n] & (EMU_TLB_SIZE - 1);

        if (!is_global(c, mmu, index))
            entry_clear(&c->tlb[mmu][index], index);
    }
    c->tlb_fills = 0;
}

void emu_tlb_flush(struct emu_cpu *c)
{
    if (c->tlb_fills <= EMU_TLB_LOG && !c->tlb_globals)
        logged_clear(c);
    else
        entries_clear(c, false);
    c->tlb_globals = false;
    for (unsigned half = 0; half < EMU_HALVES; half++)
        large_empty(c, half);
    flushed(c, EMU_FLUSH_ALL, 0);
}

void emu_tlb_flush_local(struct emu_cpu *c)
{
    if (c->tlb_fills <= EMU_TLB_LOG)
        logged_clear(c);
    else
        entries_clear(c, true);
    large_empty(c, 0); /* large pages of the upper half may have stayed */
    flushed(c, EMU_FLUSH_LOCAL, 0);
}

/* INVLPG drops a large page whole (SDM Vol. 3A 4.10.4.1), whose 4 KiB pieces are
 * strewn over the TLB: then all of it goes, as far as nothing is kept. */
void emu_tlb_flush_page(struct emu_cpu *c, uint64_t linear)
{
    unsigned index = tlb_index(linear), half = emu_half(linear);

    if (linear >= c->large_first[half] && linear <= c->large_last[half]) {
        if (half)
            emu_tlb_flush(c);
        else
            emu_tlb_flush_local(c);
        return;
    }
    for (unsigned mmu = 0; mmu < EMU_MMU_COUNT; mmu++)
        entry_clear(&c->tlb[mmu][index], index);
    flushed(c, EMU_FLUSH_PAGE, linear);
}

bool emu_tlb_is_kept(const struct emu_cpu *c, uint64_t linear)
{
    unsigned index = tlb_index(linear);

    return is_global(c, c->mmu, index) &&
           c->tlb[c->mmu][index].tag[EMU_EXEC] == align_down(linear, PAGE_SIZE);
}

void emu_tlb_init(struct emu_cpu *c)
{
    for (unsigned mmu = 0; mmu < EMU_MMU_COUNT; mmu++)
        entry_clear(&c->tlb[mmu][0], 0);
    c->tlb_fills = 0;
    c->tlb_globals = false;
    emu_tlb_flush(c);
}

/* ---- pages that may be written ------------------------------------------ */

static unsigned long host_page_bit(const uint8_t *page)
{
    return (uintptr_t)page >> PAGE_SHIFT & (EMU_WRITABLE_BITS - 1);
}

bool emu_tlb_may_write(const struct emu_cpu *c, const uint8_t *page)
{
    unsigned long bit = host_page_bit(page);

    return __atomic_load_n(&c->writable[bit / 64], __ATOMIC_SEQ_CST) & BIT(bit % 64);
}

/* Before it is asked whether a page has code: either the one who caches code from it finds
 * the bit, or we find that it has code. True: the bit is new, so ask again. */
static bool writable_note(struct emu_cpu *c, const uint8_t *page)
{
    unsigned long bit = host_page_bit(page);
    uint64_t *word = &c->writable[bit / 64], old = *word;

    if (likely(old & BIT(bit % 64)))
        return false;
    __atomic_store_n(word, old | BIT(bit % 64), __ATOMIC_SEQ_CST);
    return true;
}

static bool one_of(const uint8_t *page, const uint8_t *const pages[], unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        if (pages[n] == page)
            return true;
    }
    return false;
}

/* Of 64 entries those that are for writes, after pages[] are not: the bits. Their pages: may[]. */
static uint64_t drop_word(struct emu_tlb_entry *e, unsigned index, uint64_t bits,
                          const uint8_t *const pages[], unsigned count, uint64_t *may)
{
    uint64_t left = 0;

    for (; bits; bits &= bits - 1) {
        unsigned n = (unsigned)__builtin_ctzll(bits);
        unsigned long bit = host_page_bit(e[n].host);

        if (e[n].tag[EMU_WRITE] == empty_tag(index + n))
            continue;
        if (one_of(e[n].host, pages, count)) {
            e[n].tag[EMU_WRITE] = empty_tag(index + n);
        } else {
            may[bit / 64] |= BIT(bit % 64);
            left |= BIT(n);
        }
    }
    return left;
}

/* The scan finds out anew which bits are needed, so that they stay few. */
void emu_tlb_drop_writes(struct emu_cpu *c, const uint8_t *const pages[], unsigned count)
{
    uint64_t writable[ARRAY_SIZE(c->writable)] = {0};

    for (unsigned mmu = 0; mmu < EMU_MMU_COUNT; mmu++) {
        for (unsigned n = 0; n < EMU_TLB_SIZE / 64; n++) {
            uint64_t *bits = &c->tlb_write[mmu][n];

            if (*bits)
                *bits = drop_word(&c->tlb[mmu][n * 64], n * 64, *bits, pages, count, writable);
        }
    }
    if (c->ops->writes_dropped)
        c->ops->writes_dropped(c->user);
    for (unsigned n = 0; n < ARRAY_SIZE(writable); n++)
        __atomic_store_n(&c->writable[n], writable[n], __ATOMIC_RELEASE);
}

/* Only globals of the upper half are kept, so that a flush need not look at the lower one. */
static void fill_note(struct emu_cpu *c, unsigned mmu, unsigned index, bool global)
{
    uint64_t *word = &c->tlb_global[mmu][index / 64], bit = BIT(index % 64);

    if (global) {
        *word |= bit;
        c->tlb_globals = true;
        return;
    }
    *word &= ~bit;
    if (c->tlb_fills < EMU_TLB_LOG)
        c->tlb_log[c->tlb_fills] = (uint16_t)(mmu << EMU_TLB_BITS | index);
    c->tlb_fills += c->tlb_fills <= EMU_TLB_LOG;
}

static void tlb_fill(struct emu_cpu *c, unsigned mmu, uint64_t linear, unsigned rights,
                     uint8_t *host_page, bool global)
{
    unsigned index = tlb_index(linear);
    struct emu_tlb_entry *e = &c->tlb[mmu][index];
    uint64_t page = align_down(linear, PAGE_SIZE);

    fill_note(c, mmu, index, global && emu_half(linear));
    if (rights & MEM_WRITE)
        c->tlb_write[mmu][index / 64] |= BIT(index % 64);
    e->host = host_page;
    e->tag[EMU_READ] = rights & MEM_READ ? page : empty_tag(index);
    e->tag[EMU_WRITE] = rights & MEM_WRITE ? page : empty_tag(index);
    e->tag[EMU_EXEC] = rights & MEM_EXEC ? page : empty_tag(index);
}

/* ---- translation ------------------------------------------------------ */

static const struct x86_access kinds[EMU_MMU_COUNT] = {
    [EMU_MMU_KERNEL] = {.update = true},
    [EMU_MMU_KERNEL_AC] = {.update = true, .no_smap = true},
    [EMU_MMU_USER] = {.update = true, .user = true},
    [EMU_MMU_USER_AC] = {.update = true, .user = true},
};

static uint8_t *page_of(uint8_t *host)
{
    return (uint8_t *)align_down((uintptr_t)host, PAGE_SIZE);
}

/* Is decoded code cached from the page? host: where it is, if it may be written from now on. */
static bool has_code(struct emu_cpu *c, gpa_t page, const uint8_t *host)
{
    if (!c->ops->page_has_code)
        return false;
    if (c->ops->page_has_code(c->user, page))
        return true;
    return host && writable_note(c, host) && c->ops->page_has_code(c->user, page);
}

/* Walk for one access to a canonical address, fill the TLB where RAM is: 0, or x86_walk's fault. */
static int place_walk(struct emu_cpu *c, struct place *at, unsigned mmu, enum emu_access access,
                      uint64_t linear)
{
    struct x86_access kind = kinds[mmu];
    struct x86_paging paging = {c->cr0, c->cr3, c->cr4, c->msr.efer};
    struct x86_page page;
    const struct mem_slot *slot;
    unsigned rights;
    int fault;

    kind.write = access == EMU_WRITE;
    kind.exec = access == EMU_EXEC;
    fault = x86_walk(&paging, c->mem, linear, &kind, &page);
    if (unlikely(fault))
        return fault;

    at->gpa = gpa_add(page.gpa, linear & PAGE_MASK);
    at->watched = false;
    at->host = NULL;
    slot = guest_mem_find(c->mem, page.gpa);
    if (!slot ||
        (access != EMU_READ && !(slot->rights & (access == EMU_WRITE ? MEM_WRITE : MEM_EXEC))))
        return 0;
    at->host = slot->hva + (at->gpa.v - slot->gpa.v);
    rights = page.rights & slot->rights;
    at->watched = has_code(c, page.gpa, rights & MEM_WRITE ? page_of(at->host) : NULL);
    if (at->watched)
        rights &= ~(unsigned)MEM_WRITE;
    if (unlikely(c->watch_data) && debug_watches_page(c, align_down(linear, PAGE_SIZE)))
        rights &= MEM_EXEC;
    if (page.size > PAGE_SIZE) {
        unsigned half = emu_half(linear);

        c->large_first[half] = MIN(c->large_first[half], align_down(linear, page.size));
        c->large_last[half] = MAX(c->large_last[half], linear | (page.size - 1));
    }
    if (mmu != EMU_MMU_USER_AC)
        tlb_fill(c, mmu, linear, rights, page_of(at->host), page.global);
    return 0;
}

/* ditto, and whoever counts is told. */
static int place_look_up(struct emu_cpu *c, struct place *at, unsigned mmu, enum emu_access access,
                         uint64_t linear)
{
    unsigned token;
    int fault;

    if (likely(!c->ops->walk_begins))
        return place_walk(c, at, mmu, access, linear);
    token = c->ops->walk_begins(c->user);
    fault = place_walk(c, at, mmu, access, linear);
    c->ops->walk_done(c->user, token);
    return fault;
}

void place_find(struct emu_cpu *c, struct place *at, unsigned mmu, unsigned seg,
                enum emu_access access, uint64_t linear)
{
    int fault;

    if (c->long_mode && unlikely(!x86_canonical(linear)))
        emu_raise_error(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    fault = place_look_up(c, at, mmu, access, linear);
    if (unlikely(fault))
        emu_raise_pf(c, linear, (uint32_t)fault & ~(uint32_t)X86_WALK_FAULT);
}

void place_again(struct emu_cpu *c, struct place *at, bool write)
{
    const struct mem_slot *slot = guest_mem_find(c->mem, at->gpa);

    at->watched = false;
    at->host = NULL;
    if (!slot || (write && !(slot->rights & MEM_WRITE)))
        return;
    at->host = slot->hva + (at->gpa.v - slot->gpa.v);
    at->watched =
        has_code(c, GPA(align_down(at->gpa.v, PAGE_SIZE)), write ? page_of(at->host) : NULL);
}

bool emu_tlb_fill(struct emu_cpu *c, unsigned mmu, enum emu_access access, uint64_t linear)
{
    struct place at;

    return (!c->long_mode || x86_canonical(linear)) &&
           !place_look_up(c, &at, mmu, access, linear) && tlb_lookup(c, mmu, access, linear, 1);
}
