#include "lib/handle.h"

#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>

#define HANDLES (1u << 18)

enum {
    LIVE = 1,
    OWNED = 2,
    PIN = 4, /* and more of them above */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows, to change it */
static struct handle *_Atomic table;
static uint32_t next;

/* The next that is free, after all others since it was used. */
static struct handle *find_free(struct handle *all)
{
    for (uint32_t i = 0; i < HANDLES; i++) {
        struct handle *h = &all[next];

        next = (next + 1) % HANDLES;
        if (!atomic_load(&h->state))
            return h;
    }
    return NULL;
}

int handle_create(struct handle **out, enum handle_kind kind, void *object)
{
    struct handle *all, *h = NULL;

    pthread_mutex_lock(&lock);
    all = atomic_load(&table);
    if (!all) {
        all = mmap(NULL, HANDLES * sizeof(*all), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all == MAP_FAILED)
            all = NULL;
        atomic_store(&table, all);
    }
    if (all)
        h = find_free(all);
    if (h) {
        h->kind = kind;
        h->object = object;
        atomic_store(&h->state, LIVE);
    }
    pthread_mutex_unlock(&lock);
    *out = h;
    return h ? 0 : err_set(ENOMEM, "out of memory for a handle");
}

static struct handle *find(const void *p, enum handle_kind kind)
{
    struct handle *all = atomic_load_explicit(&table, memory_order_acquire);
    uintptr_t at = (uintptr_t)p, first = (uintptr_t)all;

    if (!all || at < first || at - first >= HANDLES * sizeof(*all) || (at - first) % sizeof(*all))
        return NULL;
    return all[(at - first) / sizeof(*all)].kind == kind ? &all[(at - first) / sizeof(*all)] : NULL;
}

/* Add `what` to the state of one that lives, unless a bit of `against` is set. */
static int take(const void *p, enum handle_kind kind, uint32_t what, uint32_t against,
                void **object)
{
    struct handle *h = find(p, kind);
    uint32_t old = h ? atomic_load(&h->state) : 0;

    do {
        if (!(old & LIVE))
            return -EINVAL;
        if (old & against)
            return -EBUSY;
    } while (!atomic_compare_exchange_weak(&h->state, &old, old + what));
    *object = h->object;
    return 0;
}

static const char *kind_name(enum handle_kind kind)
{
    return kind == HANDLE_MACHINE ? "machine" : "vCPU";
}

int handle_own(const void *p, enum handle_kind kind, void **object)
{
    int err = take(p, kind, OWNED, OWNED, object);

    if (err == -EBUSY)
        return err_set(EBUSY, "the %s is in use", kind_name(kind));
    return err ? err_set(EINVAL, "no such %s, or it was destroyed", kind_name(kind)) : 0;
}

void handle_release(const void *p)
{
    struct handle *h = (struct handle *)(uintptr_t)p;

    atomic_fetch_sub(&h->state, OWNED);
}

int handle_pin(const void *p, enum handle_kind kind, void **object)
{
    return take(p, kind, PIN, 0, object);
}

void handle_unpin(const void *p)
{
    struct handle *h = (struct handle *)(uintptr_t)p;

    atomic_fetch_sub(&h->state, PIN);
}

void handle_destroy(const void *p)
{
    struct handle *h = (struct handle *)(uintptr_t)p;

    atomic_fetch_sub(&h->state, LIVE);
    while (atomic_load(&h->state) != OWNED)
        sched_yield();
    h->object = NULL;
    atomic_store(&h->state, 0);
}
