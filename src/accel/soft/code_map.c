#include "accel/soft/code_map.h"

#include "emu/host.h"

#include <errno.h>
#include <stdlib.h>

/* ---- slots ----------------------------------------------------------------------- */

static bool is_aliased(const struct code_map *map)
{
    for (unsigned n = 0; n < map->count; n++) {
        const struct code_map_slot *a = &map->slot[n];

        for (unsigned i = 0; i < n; i++) {
            const struct code_map_slot *b = &map->slot[i];

            if (a->hva < b->hva + b->size && b->hva < a->hva + a->size)
                return true;
        }
    }
    return false;
}

int code_map_add(struct code_map *map, uint64_t gpa, uint64_t size, const uint8_t *hva)
{
    size_t pages = size / PAGE_SIZE;
    struct code_map_slot s = {gpa, size, hva, calloc(pages, sizeof(*s.cachers)),
                              calloc((pages + 63) / 64, sizeof(*s.settled))};

    if (!s.cachers || !s.settled || map->count == ARRAY_SIZE(map->slot)) {
        free((void *)s.cachers);
        free((void *)s.settled);
        return -ENOMEM;
    }
    map->slot[map->count++] = s;
    map->aliased = is_aliased(map);
    return 0;
}

static void slot_free(struct code_map_slot *s)
{
    free((void *)s->cachers);
    free((void *)s->settled);
}

void code_map_remove(struct code_map *map, uint64_t gpa)
{
    for (unsigned n = 0; n < map->count; n++) {
        if (map->slot[n].gpa != gpa)
            continue;
        slot_free(&map->slot[n]);
        map->slot[n] = map->slot[--map->count];
        map->aliased = is_aliased(map);
        return;
    }
}

void code_map_free(struct code_map *map)
{
    while (map->count)
        slot_free(&map->slot[--map->count]);
}

/* ---- pages ----------------------------------------------------------------------- */

/* The slot that holds gpa, and which of its pages; NULL: not RAM. */
static const struct code_map_slot *page_of(const struct code_map *map, uint64_t gpa, uint64_t *page)
{
    for (unsigned n = 0; n < map->count; n++) {
        const struct code_map_slot *s = &map->slot[n];

        if (gpa - s->gpa < s->size) {
            *page = (gpa - s->gpa) / PAGE_SIZE;
            return s;
        }
    }
    return NULL;
}

bool code_map_find(const struct code_map *map, const uint8_t *host, uint64_t *gpa)
{
    for (unsigned n = 0; n < map->count; n++) {
        const struct code_map_slot *s = &map->slot[n];

        if ((uintptr_t)host - (uintptr_t)s->hva < s->size) {
            *gpa = s->gpa + (uint64_t)(host - s->hva);
            return true;
        }
    }
    return false;
}

uint64_t code_map_home(const struct code_map *map, uint64_t gpa)
{
    const struct code_map_slot *s;
    uint64_t page, home = gpa;

    if (likely(!map->aliased))
        return gpa;
    s = page_of(map, gpa, &page);
    if (s)
        code_map_find(map, s->hva + (gpa - s->gpa), &home);
    return home;
}

static uint64_t cachers_of(const struct code_map *map, uint64_t gpa)
{
    uint64_t page;
    const struct code_map_slot *s = page_of(map, gpa, &page);

    return s ? atomic_load_explicit(&s->cachers[page], memory_order_relaxed) : 0;
}

bool code_map_test(const struct code_map *map, uint64_t gpa)
{
    return cachers_of(map, code_map_home(map, gpa));
}

/* ---- inboxes ---------------------------------------------------------------------- */

static void merge(struct code_request *into, const struct code_request *r)
{
    if (r->host)
        into->host = r->host;
    if (r->begin == r->end)
        return;
    if (into->begin == into->end) {
        into->begin = r->begin;
        into->end = r->end;
    } else {
        into->begin = MIN(into->begin, r->begin);
        into->end = MAX(into->end, r->end);
    }
}

static void put(struct code_peer *p, const struct code_request *r)
{
    unsigned count, n = 0;

    pthread_mutex_lock(&p->lock);
    count = atomic_load_explicit(&p->count, memory_order_relaxed);
    while (n < count && p->inbox[n].page != r->page)
        n++;
    if (n < count) {
        merge(&p->inbox[n], r);
    } else if (n < CODE_REQUESTS) {
        p->inbox[n] = *r;
        atomic_store(&p->count, n + 1);
    } else {
        atomic_fetch_or(&p->more, CODE_LOST);
    }
    pthread_mutex_unlock(&p->lock);
}

static void call(struct code_peer *p)
{
    atomic_fetch_or(p->attention, p->bit);
}

/* So much was written that to say of each page takes longer than to look at what is used again. */
#define MUCH (1ULL << 30)

static void doubt_all(struct code_map *map, const struct code_peer *by)
{
    for (unsigned i = 0; i < CODE_PEERS; i++) {
        struct code_peer *p = map->peer[i];

        if (!p || p == by)
            continue;
        atomic_fetch_or(&p->more, CODE_DOUBT);
        call(p);
    }
}

/* The fence: either a page's new cacher reads the bytes that were written, or it is seen here. */
void code_map_written(struct code_map *map, const struct code_peer *by, uint64_t gpa, uint64_t len)
{
    host_fence();
    if (len >= MUCH) {
        doubt_all(map, by);
        return;
    }
    for (uint64_t at = gpa, left = len, part; left; at += part, left -= part) {
        uint64_t offset = at & PAGE_MASK, home = code_map_home(map, at);
        uint64_t who = cachers_of(map, home);
        struct code_request r = {.page = home - offset, .begin = (uint16_t)offset};

        part = MIN(left, PAGE_SIZE - offset);
        r.end = (uint16_t)(offset + part);
        if (by)
            who &= ~BIT(by->id);
        for (; who; who &= who - 1) {
            struct code_peer *p = map->peer[__builtin_ctzll(who)];

            put(p, &r);
            call(p);
        }
    }
}

/* ---- peers ------------------------------------------------------------------------- */

void code_peer_init(struct code_peer *p, struct code_map *map, unsigned id, struct emu_cpu *cpu,
                    _Atomic unsigned *attention, unsigned bit)
{
    p->map = map;
    p->id = id;
    p->cpu = cpu;
    p->attention = attention;
    p->bit = bit;
    atomic_init(&p->seen, CODE_OUTSIDE);
    pthread_mutex_init(&p->lock, NULL);
    map->peer[id] = p;
}

void code_peer_free(struct code_peer *p)
{
    p->map->peer[p->id] = NULL;
    pthread_mutex_destroy(&p->lock);
}

/* First inside, then a look at the inbox: who reads "outside" had put its request there before. */
void code_peer_enter(struct code_peer *p)
{
    atomic_store(&p->seen, 0);
}

void code_peer_leave(struct code_peer *p)
{
    atomic_store_explicit(&p->seen, CODE_OUTSIDE, memory_order_release);
}

unsigned code_peer_take(struct code_peer *p, struct code_request out[CODE_REQUESTS], unsigned *more,
                        uint64_t *epoch)
{
    unsigned count;

    *more = 0;
    *epoch = atomic_load(&p->map->epoch);
    if (!atomic_load(&p->count) && !atomic_load(&p->more))
        return 0;
    pthread_mutex_lock(&p->lock);
    count = atomic_load_explicit(&p->count, memory_order_relaxed);
    memcpy(out, p->inbox, count * sizeof(*out));
    *more = atomic_exchange(&p->more, 0);
    atomic_store(&p->count, 0);
    pthread_mutex_unlock(&p->lock);
    return count;
}

void code_peer_acknowledge(struct code_peer *p, uint64_t epoch)
{
    atomic_store_explicit(&p->seen, epoch, memory_order_release);
}

/* ---- becoming a cacher ----------------------------------------------------------------- */

/*
 * Ask those who may write to the page without noticing. First the requests, then the epoch,
 * so that who has seen the epoch has done them; the call comes last, so that nobody who has
 * answered it is still to see the epoch.
 */
static void ask(struct code_peer *p, struct code_watch *w, const struct code_request *r)
{
    w->waiting = 0;
    for (unsigned n = 0; n < CODE_PEERS; n++) {
        struct code_peer *other = p->map->peer[n];

        if (!other || other == p || !emu_tlb_may_write(other->cpu, r->host))
            continue;
        put(other, r);
        w->waiting |= BIT(n);
    }
    if (!w->waiting)
        return;
    w->epoch = atomic_fetch_add(&p->map->epoch, 1) + 1;
    for (uint64_t who = w->waiting; who; who &= who - 1)
        call(p->map->peer[__builtin_ctzll(who)]);
}

/* Has everyone answered? */
static bool answered(struct code_peer *p, struct code_watch *w)
{
    for (uint64_t who = w->waiting; who; who &= who - 1) {
        const struct code_peer *other = p->map->peer[__builtin_ctzll(who)];

        if (atomic_load(&other->seen) >= w->epoch) /* or is outside */
            w->waiting &= ~BIT(other->id);
    }
    return !w->waiting;
}

bool code_page_watch(struct code_peer *p, struct code_watch *w, uint64_t gpa, const uint8_t *host)
{
    uint64_t page, bit;
    const struct code_map_slot *s = page_of(p->map, gpa, &page);
    struct code_request r = {.page = align_down(gpa, PAGE_SIZE), .host = host};

    if (w->on && !w->waiting)
        return true;
    if (!s)
        return false;
    bit = BIT(page % 64);
    if (!w->on) {
        w->on = true;
        atomic_fetch_or(&s->cachers[page], BIT(p->id));
        if (atomic_load(&s->settled[page / 64]) & bit)
            return true;
        if (emu_tlb_may_write(p->cpu, host))
            emu_tlb_drop_writes(p->cpu, &host, 1);
        ask(p, w, &r);
    }
    if (!answered(p, w))
        return false;
    atomic_fetch_or(&s->settled[page / 64], bit);
    return true;
}

/* Whoever settled a page unsettles it before it leaves, so a page without cachers is not
 * settled, and one that is has had a cacher all the time since. */
void code_page_unwatch(struct code_peer *p, struct code_watch *w, uint64_t gpa)
{
    uint64_t page;
    const struct code_map_slot *s = page_of(p->map, gpa, &page);

    if (w->on && s) {
        atomic_fetch_and(&s->settled[page / 64], ~BIT(page % 64));
        atomic_fetch_and(&s->cachers[page], ~BIT(p->id));
    }
    *w = (struct code_watch){0};
}
