/* Fetching instructions one by one: their bytes, decoded and bound, once for the same bytes. */
#include "emu/access.h"
#include "emu/bind.h"
#include "emu/tlb.h"

#include <errno.h>

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
