/*
 * Guest memory as the interpreter sees it, where access.h's fast path does not do: segment checks,
 * accesses across pages, MMIO, stores to pages that decoded code is cached from.
 */
#include "emu/access.h"
#include "emu/debug.h"
#include "emu/tlb.h"

#include <pthread.h>

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
        if (first < len && !a.host)
            place_again(c, &b, true);
        if (first < len)
            copy_out(c, &b, (uint8_t *)buf + first, len - first);
    } else {
        copy_in(c, &a, buf, first);
        if (first < len && !a.host)
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
