#include "x86/paging.h"

#include "base/bits.h"
#include "x86/regs.h"

#define PTE_P  BIT(0)
#define PTE_W  BIT(1)
#define PTE_U  BIT(2)
#define PTE_A  BIT(5)
#define PTE_D  BIT(6)
#define PTE_PS BIT(7)
#define PTE_G  BIT(8)
#define PTE_NX BIT(63)

#define PTE_FRAME     UINT64_C(0x000ffffffffff000)
#define PTE_HIGH_RSVD (UINT64_C(0x000fffffffffffff) & ~(BIT(X86_PHYS_BITS) - 1))

#define WALK_AGAIN (-1)

/* What a walk collects on its way down. */
struct walk {
    const struct x86_paging *p;
    struct guest_mem *mem;
    const struct x86_access *access;
    bool user, writable, executable; /* so far, all levels agree */
};

static uint32_t error_code(const struct walk *w, uint32_t bits)
{
    const struct x86_paging *p = w->p;

    if (w->access->write)
        bits |= PF_W;
    if (w->access->user)
        bits |= PF_U;
    if (w->access->exec && ((p->cr4 & CR4_SMEP) || ((p->cr4 & CR4_PAE) && (p->efer & EFER_NXE))))
        bits |= PF_I;
    return bits | X86_WALK_FAULT;
}

/* An entry in a hole reads as all ones, like any read there. */
static uint64_t entry_read(struct walk *w, gpa_t at, unsigned size)
{
    void *entry = guest_mem_at(w->mem, at, size, MEM_READ);

    if (!entry)
        return UINT64_MAX;
    if (size == 4)
        return __atomic_load_n((uint32_t *)entry, __ATOMIC_RELAXED);
    return __atomic_load_n((uint64_t *)entry, __ATOMIC_RELAXED);
}

/*
 * Set A (and D) in the entry that was walked, of 4 or 8 bytes. WALK_AGAIN: another
 * processor has changed it meanwhile, so what it said is no longer true.
 */
static int entry_mark(struct walk *w, gpa_t at, unsigned size, uint64_t entry, uint64_t bits)
{
    uint64_t marked = entry | bits;
    uint32_t entry32 = (uint32_t)entry;
    bool same;
    void *p;

    if (marked == entry)
        return 0;
    p = guest_mem_at(w->mem, at, size, MEM_WRITE);
    if (!p)
        return 0;
    if (size == 4)
        same = __atomic_compare_exchange_n((uint32_t *)p, &entry32, (uint32_t)marked, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    else
        same = __atomic_compare_exchange_n((uint64_t *)p, &entry, marked, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED);
    if (!same)
        return WALK_AGAIN;
    guest_mem_written(w->mem, at, size);
    return 0;
}

/* Fold one entry in. 0 or a fault. */
static int entry_check(struct walk *w, uint64_t entry, uint64_t reserved)
{
    if (!(entry & PTE_P))
        return (int)error_code(w, 0);
    if (!(w->p->efer & EFER_NXE))
        reserved |= PTE_NX;
    if (entry & reserved)
        return (int)error_code(w, PF_P | PF_R);
    w->user &= !!(entry & PTE_U);
    w->writable &= !!(entry & PTE_W);
    w->executable &= !(entry & PTE_NX);
    return 0;
}

/* Rights by SDM Vol. 3A 4.6.1, for the kind of access asked about. */
static unsigned rights_of(const struct walk *w)
{
    const struct x86_paging *p = w->p;
    unsigned rights = 0;

    if (w->access->user) {
        if (!w->user)
            return 0;
        rights = MEM_READ | (w->writable ? MEM_WRITE : 0) | (w->executable ? MEM_EXEC : 0);
    } else {
        bool smap = (p->cr4 & CR4_SMAP) && w->user && !w->access->no_smap;

        if (!smap)
            rights = MEM_READ | (w->writable || !(p->cr0 & CR0_WP) ? MEM_WRITE : 0);
        if (w->executable && !((p->cr4 & CR4_SMEP) && w->user))
            rights |= MEM_EXEC;
    }
    return rights;
}

/* The last entry is known: check rights, set A and D, hand out the page. */
static int leaf(struct walk *w, gpa_t at, unsigned entry_size, uint64_t entry, gpa_t gpa,
                uint64_t size, struct x86_page *page)
{
    unsigned rights = rights_of(w);
    unsigned need = w->access->exec ? MEM_EXEC : w->access->write ? MEM_WRITE : MEM_READ;

    if (!(rights & need))
        return (int)error_code(w, PF_P);
    if (w->access->update &&
        entry_mark(w, at, entry_size, entry, PTE_A | (w->access->write ? PTE_D : 0)))
        return WALK_AGAIN;
    if (!w->access->write && !(entry & PTE_D))
        rights &= ~(unsigned)MEM_WRITE;
    page->gpa = gpa;
    page->size = size;
    page->rights = rights;
    page->global = (entry & PTE_G) && (w->p->cr4 & CR4_PGE);
    return 0;
}

/* 32-bit paging, with PSE and PSE-36 (SDM Vol. 3A 4.3). */
static int walk_32(struct walk *w, uint64_t linear, struct x86_page *page)
{
    gpa_t at = GPA((w->p->cr3 & 0xfffff000) + ((linear >> 22) & 0x3ff) * 4);
    uint64_t entry = entry_read(w, at, 4) & 0xffffffff;
    int err = entry_check(w, entry, 0);

    if (err)
        return err;
    if ((entry & PTE_PS) && (w->p->cr4 & CR4_PSE)) {
        uint64_t base = (entry & 0xffc00000) | ((entry & 0x001fe000) << 19);

        if (entry & BIT(21))
            return (int)error_code(w, PF_P | PF_R);
        return leaf(w, at, 4, entry, GPA(base + (linear & 0x3ff000)), BIT(22), page);
    }
    if (w->access->update && entry_mark(w, at, 4, entry, PTE_A))
        return WALK_AGAIN;
    at = GPA((entry & 0xfffff000) + ((linear >> 12) & 0x3ff) * 4);
    entry = entry_read(w, at, 4) & 0xffffffff;
    err = entry_check(w, entry, 0);
    if (err)
        return err;
    return leaf(w, at, 4, entry, GPA(entry & 0xfffff000), PAGE_SIZE, page);
}

/* PAE (SDM Vol. 3A 4.4) and 4-level paging (4.5): 8-byte entries below `level`. */
static int walk_64(struct walk *w, uint64_t linear, uint64_t table, int level,
                   struct x86_page *page)
{
    bool pae = !(w->p->efer & EFER_LMA);

    for (;; level--) {
        unsigned shift = 12 + 9 * (unsigned)level;
        uint64_t index = (linear >> shift) & (pae && level == 2 ? 3 : 511);
        gpa_t at = GPA(table + index * 8);
        uint64_t entry = entry_read(w, at, 8);
        uint64_t reserved = PTE_HIGH_RSVD;
        bool large = level && level < 3 && (entry & PTE_PS);
        int err;

        if (pae && level == 2) {
            /* A PDPTE has no rights; bits 1-2, 5-8 and 63-52 are reserved (4.4.1). */
            if (!(entry & PTE_P))
                return (int)error_code(w, 0);
            if (entry & (PTE_HIGH_RSVD | UINT64_C(0xfff00000000001e6)))
                return (int)error_code(w, PF_P | PF_R);
            table = entry & PTE_FRAME;
            continue;
        }
        if (pae)
            reserved |= UINT64_C(0x7ff0000000000000);
        if (level == 3)
            reserved |= PTE_PS;
        if (large)
            reserved |= (BIT(shift) - 1) & ~UINT64_C(0x1fff);
        err = entry_check(w, entry, reserved);
        if (err)
            return err;
        if (!level || large) {
            uint64_t offset = linear & (BIT(shift) - 1) & ~PAGE_MASK;
            uint64_t base = entry & PTE_FRAME & ~(BIT(shift) - 1);

            return leaf(w, at, 8, entry, GPA(base + offset), BIT(shift), page);
        }
        if (w->access->update && entry_mark(w, at, 8, entry, PTE_A))
            return WALK_AGAIN;
        table = entry & PTE_FRAME;
    }
}

/* Once from the top. 0, a fault or WALK_AGAIN. */
static int walk_tables(struct walk *w, uint64_t linear, struct x86_page *page)
{
    const struct x86_paging *p = w->p;

    w->user = w->writable = w->executable = true;
    if (!(p->cr4 & CR4_PAE))
        return walk_32(w, linear & 0xffffffff, page);
    if (!(p->efer & EFER_LMA))
        return walk_64(w, linear & 0xffffffff, p->cr3 & 0xffffffe0, 2, page);
    return walk_64(w, linear, p->cr3 & PTE_FRAME, 3, page);
}

int x86_walk(const struct x86_paging *p, struct guest_mem *mem, uint64_t linear,
             const struct x86_access *access, struct x86_page *page)
{
    struct walk w = {.p = p, .mem = mem, .access = access};
    int result;

    if (!(p->cr0 & CR0_PG)) {
        page->gpa = GPA(linear & 0xfffff000);
        page->size = PAGE_SIZE;
        page->rights = MEM_RWX;
        page->global = false;
        return 0;
    }
    do
        result = walk_tables(&w, linear, page);
    while (result == WALK_AGAIN);
    return result;
}
