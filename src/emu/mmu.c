/*
 * Guest memory as the interpreter sees it: segment checks, page walks, the
 * software TLB's misses, accesses across pages, MMIO, and pages watched
 * because decoded code is cached from them.
 */
#include "base/err.h"
#include "emu/access.h"
#include "emu/bind.h"
#include "emu/debug.h"
#include "x86/paging.h"

#include <errno.h>
#include <pthread.h>

/* Where one page of a linear address lies. host NULL: nothing but devices there. */
struct place {
    uint8_t *host; /* of the byte itself */
    gpa_t gpa;     /* ditto */
    bool watched;
};

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

/* ditto, any address; faults by unwinding. */
static void place_find(struct emu_cpu *c, struct place *at, unsigned mmu, unsigned seg,
                       enum emu_access access, uint64_t linear)
{
    int fault;

    if (c->long_mode && unlikely(!x86_canonical(linear)))
        emu_raise_error(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    fault = place_look_up(c, at, mmu, access, linear);
    if (unlikely(fault))
        emu_raise_pf(c, linear, (uint32_t)fault & ~(uint32_t)X86_WALK_FAULT);
}

bool emu_tlb_fill(struct emu_cpu *c, unsigned mmu, enum emu_access access, uint64_t linear)
{
    struct place at;

    return (!c->long_mode || x86_canonical(linear)) &&
           !place_look_up(c, &at, mmu, access, linear) && tlb_lookup(c, mmu, access, linear, 1);
}

/* ---- MMIO ------------------------------------------------------------- */

static void mmio(struct emu_cpu *c, gpa_t gpa, unsigned size, bool write, uint64_t *value)
{
    if (!c->bus) {
        c->exit.mem.gpa = gpa;
        c->exit.mem.size = (uint8_t)size;
        c->exit.mem.write = write;
        emu_leave(c, VCPU_EXIT_MMIO);
    }
    if (c->bus->mmio(c->bus->user, gpa, size, write, value)) {
        c->exit.fail.why = "an MMIO access was given up by its caller";
        c->exit.fail.detail[0] = gpa.v;
        emu_leave(c, VCPU_EXIT_FAIL);
    }
}

/* MMIO is done in naturally sized pieces; a power of two passes whole. */
static void mmio_bytes(struct emu_cpu *c, gpa_t gpa, uint8_t *buf, unsigned len, bool write)
{
    while (len) {
        unsigned size = len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
        uint64_t value = 0;

        if (write)
            memcpy(&value, buf, size);
        mmio(c, gpa, size, write, &value);
        if (!write)
            memcpy(buf, &value, size);
        buf += size;
        gpa = gpa_add(gpa, size);
        len -= size;
    }
}

/* ---- loads and stores -------------------------------------------------- */

/* #AC: after a possible #PF (SDM Vol. 3A table 6-2), for operands of 2, 4 and 8
 * bytes; wider ones have rules of their own and are checked by their handlers. */
static void alignment_check(struct emu_cpu *c, unsigned mmu, uint64_t linear, unsigned size)
{
    if (mmu == EMU_MMU_USER_AC && size <= 8 && !(size & (size - 1)) && (linear & (size - 1)))
        emu_raise_error(c, EXC_AC, 0);
}

/* Data breakpoints are traps: noted here, told after the instruction (SDM Vol. 3B 17.2.4). */
static void note(struct emu_cpu *c, uint64_t linear, unsigned len, enum emu_access access)
{
    if (unlikely(c->watch_data))
        debug_note(c, linear, len, access);
}

static void copy_in(struct emu_cpu *c, const struct place *at, uint8_t *buf, unsigned len)
{
    if (at->host)
        host_copy_vector(buf, at->host, len);
    else
        mmio_bytes(c, at->gpa, buf, len, false);
}

static void copy_out(struct emu_cpu *c, const struct place *at, const uint8_t *buf, unsigned len)
{
    if (!at->host) {
        mmio_bytes(c, at->gpa, (uint8_t *)buf, len, true);
        return;
    }
    host_copy_vector(at->host, buf, len);
    if (at->watched)
        c->ops->code_written(c->user, at->gpa, len);
}

/* What was done meanwhile was a device's: memory may be elsewhere now. */
static void place_again(struct emu_cpu *c, struct place *at, bool write)
{
    const struct mem_slot *slot = guest_mem_find(c->mem, at->gpa);

    at->host =
        slot && (!write || slot->rights & MEM_WRITE) ? slot->hva + (at->gpa.v - slot->gpa.v) : NULL;
    at->watched = at->watched || has_code(c, GPA(align_down(at->gpa.v, PAGE_SIZE)), NULL);
}

/* Any length up to a page: at most two pages, both translated before either is touched. */
static void transfer(struct emu_cpu *c, unsigned mmu, unsigned seg, uint64_t linear, void *buf,
                     unsigned len, bool write)
{
    enum emu_access access = write ? EMU_WRITE : EMU_READ;
    unsigned first = (unsigned)MIN(len, PAGE_SIZE - (linear & PAGE_MASK));
    struct place a, b;

    place_find(c, &a, mmu, seg, access, linear);
    if (first < len)
        place_find(c, &b, mmu, seg, access,
                   c->long_mode ? linear + first : (uint32_t)(linear + first));
    alignment_check(c, mmu, linear, len);
    note(c, linear, len, access);
    if (write) {
        copy_out(c, &a, buf, first);
        if (first < len && !a.host && b.host)
            place_again(c, &b, true);
        if (first < len)
            copy_out(c, &b, (uint8_t *)buf + first, len - first);
    } else {
        copy_in(c, &a, buf, first);
        if (first < len && !a.host && b.host)
            place_again(c, &b, false);
        if (first < len)
            copy_in(c, &b, (uint8_t *)buf + first, len - first);
    }
}

static bool crosses(uint64_t linear, unsigned size)
{
    return (linear & PAGE_MASK) > PAGE_SIZE - size;
}

uint64_t emu_load_slow(struct emu_cpu *c, unsigned mmu, unsigned seg, uint64_t linear,
                       unsigned size)
{
    uint64_t value = 0;
    struct place at;

    if (crosses(linear, size)) {
        transfer(c, mmu, seg, linear, &value, size, false);
        return value;
    }
    place_find(c, &at, mmu, seg, EMU_READ, linear);
    alignment_check(c, mmu, linear, size);
    note(c, linear, size, EMU_READ);
    if (at.host)
        return host_load(at.host, size);
    mmio(c, at.gpa, size, false, &value);
    return value & mask_bytes(size);
}

void emu_store_slow(struct emu_cpu *c, unsigned mmu, unsigned seg, uint64_t linear, unsigned size,
                    uint64_t value)
{
    struct place at;

    if (crosses(linear, size)) {
        transfer(c, mmu, seg, linear, &value, size, true);
        return;
    }
    place_find(c, &at, mmu, seg, EMU_WRITE, linear);
    alignment_check(c, mmu, linear, size);
    note(c, linear, size, EMU_WRITE);
    if (!at.host) {
        value &= mask_bytes(size);
        mmio(c, at.gpa, size, true, &value);
        return;
    }
    host_store(at.host, size, value);
    if (at.watched)
        c->ops->code_written(c->user, at.gpa, size);
}

uint64_t emu_load(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned size)
{
    switch (size) {
    case 1: return fast_load(c, seg, off, 1);
    case 2: return fast_load(c, seg, off, 2);
    case 4: return fast_load(c, seg, off, 4);
    default: return fast_load(c, seg, off, 8);
    }
}

void emu_store(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t value)
{
    switch (size) {
    case 1: fast_store(c, seg, off, 1, value); break;
    case 2: fast_store(c, seg, off, 2, value); break;
    case 4: fast_store(c, seg, off, 4, value); break;
    default: fast_store(c, seg, off, 8, value); break;
    }
}

void emu_load_bytes(struct emu_cpu *c, unsigned seg, uint64_t off, void *buf, unsigned len)
{
    uint64_t linear = fast_linear(c, seg, off, len, false);
    uint8_t *p = tlb_lookup(c, c->mmu, EMU_READ, linear, len);

    if (likely(p != NULL))
        host_copy_vector(buf, p, len);
    else
        transfer(c, c->mmu, seg, linear, buf, len, false);
}

void emu_store_bytes(struct emu_cpu *c, unsigned seg, uint64_t off, const void *buf, unsigned len)
{
    uint64_t linear = fast_linear(c, seg, off, len, true);
    uint8_t *p = tlb_lookup(c, c->mmu, EMU_WRITE, linear, len);

    if (likely(p != NULL))
        host_copy_vector(p, buf, len);
    else
        transfer(c, c->mmu, seg, linear, (void *)buf, len, true);
}

/* First byte of an access that lies in its second page: what CR2 shows. */
static uint64_t second_page(const struct emu_cpu *c, uint64_t linear, unsigned len)
{
    return align_down(linear + len - 1, 4096) & c->lin_mask;
}

void emu_probe_write(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned len)
{
    uint64_t linear = fast_linear(c, seg, off, len, true);
    struct place at;

    if (likely(tlb_lookup(c, c->mmu, EMU_WRITE, linear, len) != NULL))
        return;
    place_find(c, &at, c->mmu, seg, EMU_WRITE, linear);
    if (crosses(linear, len))
        place_find(c, &at, c->mmu, seg, EMU_WRITE, second_page(c, linear, len));
    alignment_check(c, c->mmu, linear, len);
}

/* ---- read-modify-write ------------------------------------------------------ */

/* Held from begin to end of an operand in two pages that the host has apart. */
static pthread_mutex_t strewn = PTHREAD_MUTEX_INITIALIZER;

static void rmw_gather(struct emu_rmw *m, const struct place *a, const struct place *b,
                       unsigned size)
{
    m->first = (unsigned)(PAGE_SIZE - (m->linear & PAGE_MASK));
    m->at[0] = a->host;
    m->at[1] = b->host;
    m->gpa2 = b->gpa;
    pthread_mutex_lock(&strewn);
    host_copy(m->both, a->host, m->first);
    host_copy(m->both + m->first, b->host, size - m->first);
    m->host = m->both;
    m->slow = true;
}

void emu_rmw_begin_slow(struct emu_cpu *c, struct emu_rmw *m, unsigned seg, unsigned size)
{
    unsigned first = (unsigned)MIN(size, PAGE_SIZE - (m->linear & PAGE_MASK));
    struct place a, b = {0};

    place_find(c, &a, c->mmu, seg, EMU_WRITE, m->linear);
    if (first < size)
        place_find(c, &b, c->mmu, seg, EMU_WRITE, second_page(c, m->linear, size));
    if (!a.host || (first < size && !b.host))
        return;
    alignment_check(c, c->mmu, m->linear, size);
    note(c, m->linear, size, EMU_WRITE);
    m->gpa = a.gpa;
    m->first = 0;
    if (first < size && (b.host != a.host + first || b.gpa.v != a.gpa.v + first)) {
        rmw_gather(m, &a, &b, size);
        return;
    }
    m->host = a.host;
    m->slow = a.watched || b.watched;
}

void emu_rmw_end_slow(struct emu_cpu *c, const struct emu_rmw *m, unsigned size)
{
    if (m->first) {
        host_copy(m->at[0], m->both, m->first);
        host_copy(m->at[1], m->both + m->first, size - m->first);
        pthread_mutex_unlock(&strewn);
    }
    if (!c->ops->code_written)
        return;
    c->ops->code_written(c->user, m->gpa, m->first ? m->first : size);
    if (m->first)
        c->ops->code_written(c->user, m->gpa2, size - m->first);
}

uint8_t *emu_span(struct emu_cpu *c, unsigned seg, uint64_t linear, enum emu_access access)
{
    uint8_t *p = tlb_lookup(c, c->mmu, access, linear, 1);
    struct place at;

    if (p)
        return p;
    place_find(c, &at, c->mmu, seg, access, linear);
    if (access != EMU_EXEC && (c->mmu == EMU_MMU_USER_AC || c->watch_data))
        return NULL;
    if (at.watched && access == EMU_WRITE)
        return NULL;
    return at.host;
}

/* Descriptor tables have 64-bit bases in compatibility mode too. */
static uint64_t system_linear(const struct emu_cpu *c, uint64_t linear)
{
    return c->long_mode ? linear : (uint32_t)linear;
}

uint64_t emu_system_load(struct emu_cpu *c, uint64_t linear, unsigned size)
{
    uint8_t *p = tlb_lookup(c, EMU_MMU_KERNEL, EMU_READ, linear = system_linear(c, linear), size);

    return p ? host_load(p, size) : emu_load_slow(c, EMU_MMU_KERNEL, SEG_DS, linear, size);
}

void emu_system_store(struct emu_cpu *c, uint64_t linear, unsigned size, uint64_t value)
{
    uint8_t *p = tlb_lookup(c, EMU_MMU_KERNEL, EMU_WRITE, linear = system_linear(c, linear), size);

    if (p)
        host_store(p, size, value);
    else
        emu_store_slow(c, EMU_MMU_KERNEL, SEG_DS, linear, size, value);
}

void emu_system_update(struct emu_cpu *c, uint64_t linear, uint8_t clear, uint8_t set)
{
    struct place at = {0};

    linear = system_linear(c, linear);
    at.host = tlb_lookup(c, EMU_MMU_KERNEL, EMU_WRITE, linear, 1);
    if (!at.host)
        place_find(c, &at, EMU_MMU_KERNEL, SEG_DS, EMU_WRITE, linear);
    if (!at.host) {
        uint64_t v = emu_system_load(c, linear, 1);

        emu_system_store(c, linear, 1, (v & ~(uint64_t)clear) | set);
        return;
    }
    note(c, linear, 1, EMU_WRITE);
    LOCKED(1, at.host, (cur & ~(uint64_t)clear) | set);
    if (at.watched)
        c->ops->code_written(c->user, at.gpa, 1);
}

/* ---- segments ---------------------------------------------------------- */

static bool segment_allows(const struct emu_cpu *c, const struct mote_seg *s, uint64_t off,
                           unsigned len, bool write)
{
    uint64_t last = off + len - 1;

    if (s->attrib & SEG_UNUSABLE)
        return false;
    if (c->protected_mode) {
        bool code = s->attrib & SEG_TYPE_CODE;

        if (write && (code || !(s->attrib & SEG_TYPE_RW)))
            return false;
        if (!write && code && !(s->attrib & SEG_TYPE_RW))
            return false;
        if (!code && (s->attrib & SEG_TYPE_EC)) /* expand down: above the limit is valid */
            return off > s->limit && last <= (s->attrib & SEG_DB ? 0xffffffff : 0xffff);
    }
    return last <= s->limit;
}

uint64_t emu_linear(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned len, bool write)
{
    if (!c->code64 && unlikely(!(c->seg_flat & (1u << seg)))) {
        if (!segment_allows(c, &c->seg[seg], off, len, write))
            emu_raise_error(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    }
    return (c->seg_base[seg] + off) & c->lin_mask;
}

/* ---- fetch ------------------------------------------------------------- */

/* Memory that is not for execution is no hole: whoever mapped it so wants to know. */
static void check_exec(struct emu_cpu *c, gpa_t gpa)
{
    if (!guest_mem_find(c->mem, gpa))
        return;
    c->exit.mem.gpa = gpa;
    c->exit.mem.size = 0;
    c->exit.mem.write = false;
    emu_leave(c, VCPU_EXIT_MEM_FAULT);
}

/* Copy code bytes at linear up to the page's end; a hole reads as all ones. */
static unsigned code_bytes(struct emu_cpu *c, uint64_t linear, uint8_t *buf, unsigned want)
{
    unsigned len = (unsigned)MIN(want, PAGE_SIZE - (linear & PAGE_MASK));
    unsigned mmu = c->cpl == 3 ? EMU_MMU_USER : c->mmu;
    uint8_t *p = tlb_lookup(c, mmu, EMU_EXEC, linear, 1);
    struct place at;

    if (!p) {
        place_find(c, &at, mmu, SEG_CS, EMU_EXEC, linear);
        p = at.host;
        if (!p)
            check_exec(c, at.gpa);
    }
    if (p)
        host_copy(buf, p, len);
    else
        memset(buf, 0xff, len);
    return len;
}

static struct emu_fetched *fetched_at(struct emu_cpu *c, uint64_t linear)
{
    return &c->fetched[(linear ^ linear >> PAGE_SHIFT) & (EMU_FETCHED - 1)];
}

/* Do the `have` bytes begin like its instruction? */
static bool is_fetched(const struct emu_cpu *c, const struct emu_fetched *f, unsigned have)
{
    return c->code64 && f->key == emu_bind_key(c) + 1 &&
           !memcmp(f->bytes, c->bytes, MIN(have, f->op.i.len));
}

/* More code bytes, from the next page; how many there are now. */
static unsigned code_more(struct emu_cpu *c, uint64_t linear, unsigned have)
{
    return have +
           code_bytes(c, (linear + have) & c->lin_mask, c->bytes + have, X86_INSN_MAX - have);
}

void emu_fetch(struct emu_cpu *c, struct emu_op *op)
{
    uint64_t rip = c->r[X86_RIP_SLOT] & c->rip_mask;
    uint64_t linear = (c->seg_base[SEG_CS] + rip) & c->lin_mask;
    struct emu_fetched *f = fetched_at(c, linear);
    unsigned have;
    int len;

    c->op = NULL;
    if (!c->code64 && rip > c->seg[SEG_CS].limit)
        emu_gp(c, 0);
    have = code_bytes(c, linear, c->bytes, X86_INSN_MAX);
    if (is_fetched(c, f, have)) {
        if (have < f->op.i.len)
            have = code_more(c, linear, have);
        c->bytes_len = (uint8_t)have;
        if (is_fetched(c, f, have)) {
            *op = f->op;
            return;
        }
    }
    len = x86_decode(c->bytes, have, (enum x86_mode)c->mode, &op->i);
    if (len == -EAGAIN) {
        have = code_more(c, linear, have);
        len = x86_decode(c->bytes, have, (enum x86_mode)c->mode, &op->i);
    }
    c->bytes_len = (uint8_t)have;
    if (len == -E2BIG)
        emu_gp(c, 0);
    if (len < 0)
        emu_ud(c);
    if (!c->code64 && rip + (unsigned)len - 1 > c->seg[SEG_CS].limit)
        emu_gp(c, 0);
    op->ends = false;
    emu_bind(c, op);
    memcpy(f->bytes, c->bytes, (unsigned)len);
    f->key = emu_bind_key(c) + 1;
    f->op = *op;
}
