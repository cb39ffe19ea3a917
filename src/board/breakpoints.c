#include "board/breakpoints.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/paging.h"

#include <errno.h>

#define INT3 0xcc

/* ---- software breakpoints ---- */

static struct soft_break *find_soft(struct breakpoints *b, uint64_t gva)
{
    for (unsigned i = 0; i < b->count; i++) {
        if (b->soft[i].gva == gva)
            return &b->soft[i];
    }
    return NULL;
}

const struct soft_break *breakpoints_find(const struct breakpoints *b, gpa_t gpa)
{
    for (unsigned i = 0; i < b->count; i++) {
        if (b->soft[i].gpa.v == gpa.v)
            return &b->soft[i];
    }
    return NULL;
}

static int insert_soft(struct breakpoints *b, uint64_t gva, gpa_t gpa)
{
    struct soft_break *s = &b->soft[b->count];
    const struct soft_break *same = breakpoints_find(b, gpa); /* by another linear address */
    const uint8_t int3 = INT3;
    uint8_t original;
    int err;

    if (b->count == BREAKPOINTS_SOFT)
        return err_set(ENOSPC, "more than %d software breakpoints", BREAKPOINTS_SOFT);
    err = guest_mem_read(b->mem, gpa, &original, 1);
    if (!err)
        err = guest_mem_write(b->mem, gpa, &int3, 1);
    if (err)
        return err;
    *s = (struct soft_break){gva, gpa, same ? same->original : original};
    b->count++;
    return 0;
}

/* The guest may have put other code there meanwhile: then that stays. */
static void remove_soft(struct breakpoints *b, struct soft_break *s)
{
    const struct soft_break gone = *s;
    uint8_t now;

    *s = b->soft[--b->count];
    if (breakpoints_find(b, gone.gpa) || guest_mem_read(b->mem, gone.gpa, &now, 1) || now != INT3)
        return;
    guest_mem_write(b->mem, gone.gpa, &gone.original, 1);
}

/* ---- watches ---- */

static const uint8_t watch_kind[GDB_BREAK_KINDS] = {
    [GDB_BREAK_SOFT] = VCPU_WATCH_EXEC,     [GDB_BREAK_HARD] = VCPU_WATCH_EXEC,
    [GDB_WATCH_WRITE] = VCPU_WATCH_WRITE,   [GDB_WATCH_READ] = VCPU_WATCH_ACCESS,
    [GDB_WATCH_ACCESS] = VCPU_WATCH_ACCESS, /* the processor cannot tell reads apart */
};

static bool is_hard(const struct hard_break *h, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    return h->watch.kind != VCPU_WATCH_OFF && h->kind == kind && h->gva == gva && h->size == size;
}

/* The largest piece that begins at gva, is aligned, and holds no more than `left` bytes. */
static uint8_t piece_size(uint64_t gva, uint64_t left)
{
    uint8_t size = 8;

    while (gva & (size - 1u) || size > left)
        size /= 2;
    return size;
}

static bool take_watch(struct breakpoints *b, enum gdb_break kind, uint64_t gva, uint64_t size,
                       struct vcpu_watch watch)
{
    for (unsigned i = 0; i < VCPU_WATCHES; i++) {
        if (b->hard[i].watch.kind == VCPU_WATCH_OFF) {
            b->hard[i] = (struct hard_break){gva, size, kind, watch};
            return true;
        }
    }
    return false;
}

static void remove_hard(struct breakpoints *b, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    for (unsigned i = 0; i < VCPU_WATCHES; i++) {
        if (is_hard(&b->hard[i], kind, gva, size))
            b->hard[i].watch.kind = VCPU_WATCH_OFF;
    }
}

static bool has_register(const struct breakpoints *b)
{
    for (unsigned i = 0; i < VCPU_WATCHES; i++) {
        if (b->hard[i].watch.kind == VCPU_WATCH_OFF)
            return true;
    }
    return false;
}

/* Can there be an INT3? */
static bool is_memory(struct breakpoints *b, struct vcpu *v, uint64_t gva, gpa_t *gpa)
{
    return !vcpu_translate(v, gva, gpa) && guest_mem_at(b->mem, *gpa, 1, MEM_READ);
}

/* Make an INT3 of a software breakpoint that has a debug register. */
static bool free_register(struct breakpoints *b, struct vcpu *v)
{
    for (unsigned i = 0; i < VCPU_WATCHES; i++) {
        struct hard_break *h = &b->hard[i];
        gpa_t gpa;

        if (h->watch.kind == VCPU_WATCH_OFF || h->kind != GDB_BREAK_SOFT ||
            !is_memory(b, v, h->gva, &gpa) || insert_soft(b, h->gva, gpa))
            continue;
        h->watch.kind = VCPU_WATCH_OFF;
        return true;
    }
    return false;
}

static int insert_hard(struct breakpoints *b, struct vcpu *v, enum gdb_break kind, uint64_t gva,
                       uint64_t size)
{
    if (!size || !x86_canonical(gva) || size - 1 > UINT64_MAX - gva ||
        (size <= 8 * VCPU_WATCHES && !x86_canonical(gva + size - 1)))
        return err_set(EINVAL, "no address to watch");
    if (size > 8 * VCPU_WATCHES)
        return err_set(ENOSPC, "too many bytes to watch");
    for (uint64_t done = 0; done < size;) {
        struct vcpu_watch watch = {gva + done, piece_size(gva + done, size - done),
                                   watch_kind[kind]};

        if (!take_watch(b, kind, gva, size, watch) &&
            !(free_register(b, v) && take_watch(b, kind, gva, size, watch))) {
            remove_hard(b, kind, gva, size);
            return err_set(ENOSPC, "the processor has %d debug registers", VCPU_WATCHES);
        }
        done += watch.size;
    }
    return 0;
}

/* ---- both ---- */

static bool is_inserted(struct breakpoints *b, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    for (unsigned i = 0; i < VCPU_WATCHES; i++) {
        if (is_hard(&b->hard[i], kind, gva, size))
            return true;
    }
    return kind == GDB_BREAK_SOFT && find_soft(b, gva);
}

/* A breakpoint's size says nothing about x86's. */
static uint64_t real_size(enum gdb_break kind, uint64_t size)
{
    return kind == GDB_BREAK_SOFT || kind == GDB_BREAK_HARD ? 1 : size;
}

int breakpoints_insert(struct breakpoints *b, struct vcpu *v, enum gdb_break kind, uint64_t gva,
                       uint64_t size)
{
    gpa_t gpa;

    size = real_size(kind, size);
    if (is_inserted(b, kind, gva, size))
        return 0;
    if (kind == GDB_BREAK_SOFT && !has_register(b) && is_memory(b, v, gva, &gpa))
        return insert_soft(b, gva, gpa);
    return insert_hard(b, v, kind, gva, size);
}

void breakpoints_remove(struct breakpoints *b, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    struct soft_break *s = kind == GDB_BREAK_SOFT ? find_soft(b, gva) : NULL;

    if (s)
        remove_soft(b, s);
    remove_hard(b, kind, gva, real_size(kind, size));
}

void breakpoints_clear(struct breakpoints *b)
{
    while (b->count)
        remove_soft(b, &b->soft[b->count - 1]);
    for (unsigned i = 0; i < VCPU_WATCHES; i++)
        b->hard[i].watch.kind = VCPU_WATCH_OFF;
}

void breakpoints_apply(const struct breakpoints *b, struct vcpu_debug *debug)
{
    debug->breakpoints = b->count > 0;
    for (unsigned i = 0; i < VCPU_WATCHES; i++)
        debug->watch[i] = b->hard[i].watch;
}

/* ---- memory behind them ---- */

/* Does the breakpoint lie in [gpa, gpa + len)? Its offset there. */
static bool lies_in(const struct soft_break *s, gpa_t gpa, size_t len, size_t *offset)
{
    *offset = s->gpa.v - gpa.v;
    return s->gpa.v >= gpa.v && *offset < len;
}

int breakpoints_read(const struct breakpoints *b, gpa_t gpa, void *buf, size_t len)
{
    uint8_t *byte = buf;
    int err = guest_mem_read(b->mem, gpa, buf, len);
    size_t at;

    for (unsigned i = 0; !err && i < b->count; i++) {
        if (lies_in(&b->soft[i], gpa, len, &at) && byte[at] == INT3)
            byte[at] = b->soft[i].original;
    }
    return err;
}

int breakpoints_write(struct breakpoints *b, gpa_t gpa, const void *buf, size_t len)
{
    const uint8_t *byte = buf, int3 = INT3;
    int err = guest_mem_write(b->mem, gpa, buf, len);
    size_t at;

    for (unsigned i = 0; !err && i < b->count; i++) {
        if (!lies_in(&b->soft[i], gpa, len, &at))
            continue;
        b->soft[i].original = byte[at];
        err = guest_mem_write(b->mem, b->soft[i].gpa, &int3, 1);
    }
    return err;
}
