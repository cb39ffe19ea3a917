#include "lib/handle.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/futex.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#define HANDLES (1u << 18)

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
        atomic_store_explicit(&h->kind, kind, memory_order_relaxed);
        h->object = object;
        atomic_store(&h->state, HANDLE_LIVE);
    }
    pthread_mutex_unlock(&lock);
    *out = h;
    return h ? 0 : err_set(ENOMEM, "out of memory for a handle");
}

static struct handle *find(const void *p, enum handle_kind kind)
{
    struct handle *all = atomic_load_explicit(&table, memory_order_acquire);
    uintptr_t at = (uintptr_t)p - (uintptr_t)all;
    struct handle *h;

    if (!all || at >= HANDLES * sizeof(*all) || at % sizeof(*all))
        return NULL;
    h = &all[at / sizeof(*all)];
    return atomic_load_explicit(&h->kind, memory_order_relaxed) == kind ? h : NULL;
}

/* Add `what` to the state of one that lives, unless a bit of `against` is set. */
static int take(const void *p, enum handle_kind kind, unsigned what, unsigned against,
                void **object)
{
    struct handle *h = find(p, kind);
    unsigned old = h ? atomic_load_explicit(&h->state, memory_order_relaxed) : 0;

    do {
        while (unlikely(what & HANDLE_INSIDE && old & HANDLE_HELD)) {
            futex_wait(&h->state, old, FUTEX_FOREVER);
            old = atomic_load(&h->state);
        }
        if (!(old & HANDLE_LIVE))
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

int handle_own(const void *p, enum handle_kind kind, unsigned what, void **object)
{
    int err = take(p, kind, what, HANDLE_OWNED, object);

    if (err == -EBUSY)
        return err_set(EBUSY, "the %s is in use", kind_name(kind));
    return err ? err_set(EINVAL, "no such %s, or it was destroyed", kind_name(kind)) : 0;
}

void handle_release(struct handle *h, unsigned what)
{
    if (unlikely(atomic_fetch_sub(&h->state, what) & HANDLE_HELD))
        futex_wake_all(&h->state); /* the object may be gone, the word is not */
}

void handle_enter(struct handle *h)
{
    unsigned old = atomic_load_explicit(&h->state, memory_order_relaxed);

    do {
        while (unlikely(old & HANDLE_HELD)) {
            futex_wait(&h->state, old, FUTEX_FOREVER);
            old = atomic_load(&h->state);
        }
    } while (!atomic_compare_exchange_weak(&h->state, &old, old + HANDLE_INSIDE));
}

void handle_leave(struct handle *h)
{
    handle_release(h, HANDLE_INSIDE);
}

bool handle_hold(struct handle *h)
{
    return atomic_fetch_or(&h->state, HANDLE_HELD) & HANDLE_INSIDE;
}

void handle_await(struct handle *h)
{
    unsigned old;

    while ((old = atomic_load(&h->state)) & HANDLE_INSIDE)
        futex_wait(&h->state, old, FUTEX_FOREVER);
}

void handle_go(struct handle *h)
{
    atomic_fetch_and(&h->state, ~(unsigned)HANDLE_HELD);
    futex_wake_all(&h->state);
}

int handle_pin(const void *p, enum handle_kind kind, void **object)
{
    return take(p, kind, HANDLE_PIN, 0, object);
}

void handle_unpin(struct handle *h)
{
    atomic_fetch_sub(&h->state, HANDLE_PIN);
}

void handle_destroy(struct handle *h)
{
    atomic_fetch_and(&h->state, ~(unsigned)HANDLE_LIVE);
    while (atomic_load(&h->state) >= HANDLE_PIN)
        sched_yield(); /* they are for a moment */
    h->object = NULL;
    atomic_store(&h->state, 0);
    futex_wake_all(&h->state);
}
