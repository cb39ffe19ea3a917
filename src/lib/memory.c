/* Guest-physical memory: host memory that is registered, and where the guest sees it. */
#include "lib/lib.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/paging.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static bool is_pages(uint64_t at, uint64_t size)
{
    return size && !((at | size) & PAGE_MASK) && at + size - 1 >= at;
}

int mote_hva_register(struct mote_machine *machine, void *hva, size_t size)
{
    struct lib_machine *lm;
    int err;

    if (!hva || !is_pages((uintptr_t)hva, size))
        return err_set(EINVAL, "host memory %p+0x%zx: not page-aligned or empty", hva, size);
    if (!lib_can_be_memory(hva, size))
        return err_set(EFAULT, "host memory %p+0x%zx: not all mapped readable and writable", hva,
                       size);
    err = lib_lock(machine, &lm);
    if (err)
        return err;
    for (unsigned i = 0; i < lm->ranges && !err; i++) {
        const struct lib_range *r = &lm->range[i];

        if ((uint8_t *)hva < r->hva + r->size && r->hva < (uint8_t *)hva + size)
            err = err_set(EEXIST, "host memory %p+0x%zx: overlaps what is registered", hva, size);
    }
    if (!err && lm->ranges == MOTE_RANGES_MAX)
        err = err_set(ENOSPC, "host memory %p+0x%zx: %d ranges are registered", hva, size,
                      MOTE_RANGES_MAX);
    if (!err)
        lm->range[lm->ranges++] = (struct lib_range){hva, size};
    lib_unlock(lm);
    return err;
}

static bool is_used(const struct lib_machine *lm, const struct lib_range *r)
{
    const struct guest_mem *mem = &lm->m->mem;

    for (unsigned i = 0; i < mem->count; i++) {
        if (mem->slot[i].hva < r->hva + r->size && r->hva < mem->slot[i].hva + mem->slot[i].size)
            return true;
    }
    return false;
}

int mote_hva_unregister(struct mote_machine *machine, void *hva, size_t size)
{
    struct lib_machine *lm;
    unsigned i = 0;
    int err = lib_lock(machine, &lm);

    if (err)
        return err;
    while (i < lm->ranges && (lm->range[i].hva != hva || lm->range[i].size != size))
        i++;
    if (i == lm->ranges)
        err = err_set(ENOENT, "host memory %p+0x%zx: not registered", hva, size);
    else if (is_used(lm, &lm->range[i]))
        err = err_set(EBUSY, "host memory %p+0x%zx: some of it is mapped", hva, size);
    else
        lm->range[i] = lm->range[--lm->ranges];
    lib_unlock(lm);
    return err;
}

static bool is_registered(const struct lib_machine *lm, const uint8_t *hva, uint64_t size)
{
    for (unsigned i = 0; i < lm->ranges; i++) {
        const struct lib_range *r = &lm->range[i];

        if (hva >= r->hva && range_in((uint64_t)(hva - r->hva), size, r->size))
            return true;
    }
    return false;
}

int mote_gpa_map(struct mote_machine *machine, uint64_t gpa, void *hva, size_t size,
                 unsigned rights)
{
    struct lib_machine *lm;
    int err;

    if (!is_pages(gpa, size) || (uintptr_t)hva & PAGE_MASK)
        return err_set(EINVAL, "guest memory 0x%" PRIx64 "+0x%zx: not page-aligned or empty", gpa,
                       size);
    if (!rights || rights & ~(unsigned)MOTE_RWX)
        return err_set(EINVAL, "guest memory 0x%" PRIx64 "+0x%zx: rights 0x%x", gpa, size, rights);
    err = lib_lock(machine, &lm);
    if (err)
        return err;
    if ((gpa + size - 1) >> lib_gpa_bits(lm)) {
        err = err_set(EINVAL, "guest memory 0x%" PRIx64 "+0x%zx: past 2^%u", gpa, size,
                      lib_gpa_bits(lm));
    } else if (~rights & MOTE_RWX & ~lib_rights(lm)) {
        err =
            err_set(ENOTSUP, "guest memory 0x%" PRIx64 "+0x%zx: %s cannot withhold rights but 0x%x",
                    gpa, size, lm->m->accel->name, lib_rights(lm));
    } else if (!is_registered(lm, hva, size)) {
        err = err_set(EFAULT, "host memory %p+0x%zx: not registered", hva, size);
    } else {
        lib_hold(lm);
        err = machine_map(lm->m, GPA(gpa), size, hva, rights);
        lib_go(lm);
    }
    lib_unlock(lm);
    return err;
}

/* Slots that the range [gpa, gpa+size) cuts through keep what lies outside of it. */
static int unmap_slot(struct machine *m, struct mem_slot old, uint64_t gpa, uint64_t size)
{
    uint64_t end = gpa + size, old_end = old.gpa.v + old.size;
    int err = machine_unmap(m, old.gpa);

    if (!err && old.gpa.v < gpa)
        err = machine_map(m, old.gpa, gpa - old.gpa.v, old.hva, old.rights);
    if (!err && old_end > end)
        err = machine_map(m, GPA(end), old_end - end, old.hva + (end - old.gpa.v), old.rights);
    return err;
}

static const struct mem_slot *find_in(const struct guest_mem *mem, uint64_t gpa, uint64_t size)
{
    for (unsigned i = 0; i < mem->count; i++) {
        const struct mem_slot *s = &mem->slot[i];

        if (s->gpa.v < gpa + size && gpa < s->gpa.v + s->size)
            return s;
    }
    return NULL;
}

int mote_gpa_unmap(struct mote_machine *machine, uint64_t gpa, size_t size)
{
    struct lib_machine *lm;
    const struct mem_slot *s;
    int err;

    if (!is_pages(gpa, size))
        return err_set(EINVAL, "guest memory 0x%" PRIx64 "+0x%zx: not page-aligned or empty", gpa,
                       size);
    err = lib_lock(machine, &lm);
    if (err)
        return err;
    s = find_in(&lm->m->mem, gpa, size);
    if (!s)
        err = err_set(ENOENT, "guest memory 0x%" PRIx64 "+0x%zx: nothing is mapped", gpa, size);
    else if (s->gpa.v < gpa && s->gpa.v + s->size > gpa + size &&
             lm->m->mem.count == GUEST_MEM_SLOTS)
        err = err_set(ENOSPC, "guest memory 0x%" PRIx64 "+0x%zx: too many slots", gpa, size);
    lib_hold(lm);
    while (!err && s) {
        err = unmap_slot(lm->m, *s, gpa, size);
        s = find_in(&lm->m->mem, gpa, size);
    }
    lib_go(lm);
    lib_unlock(lm);
    return err;
}

int mote_gpa_to_hva(struct mote_machine *machine, uint64_t gpa, void **hva, unsigned *rights)
{
    struct lib_machine *lm;
    const struct mem_slot *s;
    int err = lib_lock(machine, &lm);

    if (err)
        return err;
    s = guest_mem_find(&lm->m->mem, GPA(gpa));
    if (!s)
        err = err_set(ENOENT, "guest memory 0x%" PRIx64 ": nothing is mapped", gpa);
    if (s && hva)
        *hva = s->hva + (gpa - s->gpa.v);
    if (s && rights)
        *rights = s->rights;
    lib_unlock(lm);
    return err;
}

int mote_gpa_written(struct mote_machine *machine, uint64_t gpa, size_t size)
{
    struct lib_machine *lm;
    int err;

    if (size && gpa + size - 1 < gpa)
        return err_set(EINVAL, "guest memory 0x%" PRIx64 "+0x%zx: wraps", gpa, size);
    err = lib_lock(machine, &lm);
    if (err)
        return err;
    if (size)
        guest_mem_written(&lm->m->mem, GPA(gpa), size);
    lib_unlock(lm);
    return 0;
}

static int walk(struct vcpu *v, uint64_t gva, uint64_t *gpa, unsigned *rights)
{
    const struct mote_state *s = v->state;
    const struct x86_paging paging = {s->cr0, s->cr3, s->cr4, s->msr.efer};
    const struct x86_access tried[] = {
        {.no_smap = true}, {.no_smap = true, .write = true}, {.no_smap = true, .exec = true}};
    unsigned found = 0;

    if (s->msr.efer & EFER_LMA && !x86_canonical(gva))
        return -EFAULT;
    for (unsigned i = 0; i < 3; i++) {
        struct x86_access access = tried[i];
        struct x86_page page;

        access.user = (s->seg[SEG_SS].attrib & SEG_DPL) >> SEG_DPL_SHIFT == 3;
        if (x86_walk(&paging, &v->machine->mem, gva, &access, &page))
            continue;
        found |= (unsigned)MOTE_READ << i;
        *gpa = page.gpa.v + (gva & PAGE_MASK);
    }
    *rights = found;
    return found ? 0 : -EFAULT;
}

int mote_gva_to_gpa(struct mote_vcpu *vcpu, uint64_t gva, uint64_t *gpa, unsigned *rights)
{
    struct lib_vcpu *lv;
    uint64_t at = 0;
    unsigned found = 0;
    int err = lib_enter(vcpu, &lv);

    if (err)
        return err;
    err = vcpu_get(lv->v, X86_CRS | X86_MSRS | X86_SEGS);
    if (!err && walk(lv->v, gva, &at, &found))
        err = err_set(EFAULT, "linear address 0x%" PRIx64 ": not mapped", gva);
    if (!err && gpa)
        *gpa = at;
    if (!err && rights)
        *rights = found;
    lib_leave(lv);
    return err;
}
