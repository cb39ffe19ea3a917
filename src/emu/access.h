/*
 * The fast path of every guest memory access: one look into the software TLB,
 * inline, so that handlers with a constant size get a handful of instructions.
 * Everything else (miss, page crossing, MMIO, watched pages) is in mmu.c, and in tlb.c.
 */
#ifndef MOTE_EMU_ACCESS_H
#define MOTE_EMU_ACCESS_H

#include "emu/cpu.h"
#include "emu/host.h"

/* Set index: translated code computes it, too, so it is as simple as can be. */
EMU_INLINE unsigned tlb_index(uint64_t linear)
{
    return (unsigned)(linear >> PAGE_SHIFT) & (EMU_TLB_SIZE - 1);
}

/* Host address for `size` bytes at linear, or NULL when the TLB does not say. */
EMU_INLINE uint8_t *tlb_lookup(struct emu_cpu *c, unsigned mmu, enum emu_access access,
                               uint64_t linear, unsigned size)
{
    const struct emu_tlb_entry *e = &c->tlb[mmu][tlb_index(linear)];

    uint64_t offset = linear ^ e->tag[access];

    return likely(offset <= PAGE_SIZE - size) ? e->host + offset : NULL;
}

/* Slow paths. seg only decides between #GP and #SS for a non-canonical address. */
uint64_t emu_load_slow(struct emu_cpu *c, unsigned mmu, unsigned seg, uint64_t linear,
                       unsigned size);
void emu_store_slow(struct emu_cpu *c, unsigned mmu, unsigned seg, uint64_t linear, unsigned size,
                    uint64_t value);

EMU_INLINE uint64_t fast_linear(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned size,
                                bool write)
{
    if (likely(c->seg_flat & (1u << seg)))
        return (c->seg_base[seg] + off) & c->lin_mask;
    return emu_linear(c, seg, off, size, write);
}

EMU_INLINE uint64_t fast_load(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned size)
{
    uint64_t linear = fast_linear(c, seg, off, size, false);
    uint8_t *p = tlb_lookup(c, c->mmu, EMU_READ, linear, size);

    return likely(p != NULL) ? host_load(p, size) : emu_load_slow(c, c->mmu, seg, linear, size);
}

EMU_INLINE void fast_store(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned size,
                           uint64_t value)
{
    uint64_t linear = fast_linear(c, seg, off, size, true);
    uint8_t *p = tlb_lookup(c, c->mmu, EMU_WRITE, linear, size);

    if (likely(p != NULL))
        host_store(p, size, value);
    else
        emu_store_slow(c, c->mmu, seg, linear, size, value);
}

/*
 * Read-modify-write: emu_rmw_begin checks for a write (so a fault says write)
 * and gives host memory to work on, or NULL for MMIO, which then goes through
 * emu_load and emu_store. With host memory nothing may unwind before
 * emu_rmw_end, which reports a store into a page with cached code.
 *
 * An operand across two pages is worked on in place when the host has them side
 * by side: the host's own split lock. Else it is gathered in `both`, under a
 * lock that all such operands of the process share, and put back at the end:
 * atomic among each other, not with narrower accesses to a part of them.
 */
struct emu_rmw {
    uint8_t *host;
    uint64_t linear;
    gpa_t gpa;
    bool slow; /* emu_rmw_end has something to do */
    /* of an operand in two pages that are strewn */
    unsigned first; /* bytes in the first page, 0: no such operand */
    gpa_t gpa2;
    uint8_t *at[2], both[8];
};
void emu_rmw_begin_slow(struct emu_cpu *c, struct emu_rmw *m, unsigned seg, unsigned size);
void emu_rmw_end_slow(struct emu_cpu *c, const struct emu_rmw *m, unsigned size);

EMU_INLINE void emu_rmw_begin(struct emu_cpu *c, struct emu_rmw *m, unsigned seg, uint64_t off,
                              unsigned size)
{
    m->linear = fast_linear(c, seg, off, size, true);
    m->slow = false;
    m->host = tlb_lookup(c, c->mmu, EMU_WRITE, m->linear, size);
    if (unlikely(!m->host))
        emu_rmw_begin_slow(c, m, seg, size);
}

EMU_INLINE void emu_rmw_end(struct emu_cpu *c, const struct emu_rmw *m, unsigned size)
{
    if (unlikely(m->slow))
        emu_rmw_end_slow(c, m, size);
}

/* The plain, unlocked way between begin and end, wherever the operand lies. The store may
 * still end the instruction, with an MMIO exit: commit nothing before it. */
EMU_INLINE uint64_t emu_rmw_load(struct emu_cpu *c, const struct emu_rmw *m, unsigned seg,
                                 uint64_t off, unsigned size)
{
    return likely(m->host != NULL) ? host_load(m->host, size) : emu_load(c, seg, off, size);
}

EMU_INLINE void emu_rmw_store(struct emu_cpu *c, const struct emu_rmw *m, unsigned seg,
                              uint64_t off, unsigned size, uint64_t value)
{
    if (unlikely(!m->host)) {
        emu_store(c, seg, off, size, value);
        return;
    }
    host_store(m->host, size, value);
    emu_rmw_end(c, m, size);
}

/*
 * Where up to a page's rest of bytes at linear lie, for bulk moves: host address
 * or NULL (MMIO, watched for writes). Faults as an access would.
 */
uint8_t *emu_span(struct emu_cpu *c, unsigned seg, uint64_t linear, enum emu_access access);

#endif
