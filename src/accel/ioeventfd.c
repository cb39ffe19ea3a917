#include "accel/ioeventfd.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* Never changed once it is in machine.ioeventfds. */
struct ioeventfd_table {
    unsigned count;
    struct machine_ioeventfd entry[]; /* sorted by mmio and address */
};

/* ---- looking up ---- */

static int compare(const struct machine_ioeventfd *e, bool mmio, uint64_t address)
{
    if (e->mmio != mmio)
        return e->mmio < mmio ? -1 : 1;
    return (e->address > address) - (e->address < address);
}

/* The first entry at that address or behind it. */
static unsigned find(const struct ioeventfd_table *t, bool mmio, uint64_t address)
{
    unsigned low = 0, high = t->count;

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (compare(&t->entry[mid], mmio, address) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* There is at most one, as add refuses another. */
static const struct machine_ioeventfd *find_match(const struct ioeventfd_table *t, bool mmio,
                                                  uint64_t address, unsigned size, uint64_t data)
{
    for (unsigned i = find(t, mmio, address); i < t->count && !compare(&t->entry[i], mmio, address);
         i++) {
        const struct machine_ioeventfd *e = &t->entry[i];

        if ((!e->size || e->size == size) && (!e->match || e->data == data))
            return e;
    }
    return NULL;
}

/*
 * `rings` is set before the table is loaded, and whoever replaces the table stores it
 * before reading `rings`: either this sees the new table, or that waits.
 */
static const struct ioeventfd_table *look(struct vcpu *v)
{
    if (!atomic_load_explicit(&v->machine->ioeventfds, memory_order_relaxed))
        return NULL;
    atomic_store(&v->rings, true);
    return atomic_load(&v->machine->ioeventfds);
}

static void look_away(struct vcpu *v)
{
    atomic_store_explicit(&v->rings, false, memory_order_release);
}

bool ioeventfds_ring_one(struct vcpu *v, bool mmio, uint64_t address, unsigned size, uint64_t data)
{
    const struct ioeventfd_table *t = look(v);
    const struct machine_ioeventfd *e = t ? find_match(t, mmio, address, size, data) : NULL;

    if (e)
        eventfd_write(e->fd, 1);
    look_away(v);
    return e != NULL;
}

static bool is_there(struct vcpu *v, bool mmio, uint64_t address)
{
    const struct ioeventfd_table *t = look(v);
    unsigned i = t ? find(t, mmio, address) : 0;
    bool found = t && i < t->count && !compare(&t->entry[i], mmio, address);

    look_away(v);
    return found;
}

static int answer_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    return write && ioeventfds_ring_one(user, false, port, size, *data) ? 0 : -ENOENT;
}

static int answer_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    return write && ioeventfds_ring_one(user, true, gpa.v, size, *data) ? 0 : -ENOENT;
}

/*
 * The value is known only to an assist, which is tried where no other access can follow:
 * were a second one not ours, the first would be repeated. So nothing that may be the
 * first part of a larger store or go on in the next page; that comes by vcpu_assist.
 */
bool ioeventfds_answer_exit(struct vcpu *v, const struct vcpu_exit *exit)
{
    const struct accel_bus_ops ops = {answer_io, answer_mmio, v};
    bool mmio = exit->reason == VCPU_EXIT_MMIO, single;

    if (mmio)
        single = exit->mem.write && exit->mem.size && exit->mem.size <= 4 &&
                 (exit->mem.gpa.v & PAGE_MASK) + exit->mem.size < PAGE_SIZE;
    else
        single = exit->reason == VCPU_EXIT_IO && !exit->io.in && !exit->io.string;
    return single && is_there(v, mmio, mmio ? exit->mem.gpa.v : exit->io.port) &&
           !v->accel->assist(v, &ops);
}

/* ---- changing ---- */

void ioeventfds_free(struct machine *m)
{
    free(atomic_load(&m->ioeventfds));
}

void ioeventfds_join(struct vcpu *v)
{
    pthread_mutex_lock(&v->machine->lock);
    v->next = v->machine->vcpus;
    v->machine->vcpus = v;
    pthread_mutex_unlock(&v->machine->lock);
}

void ioeventfds_leave(struct vcpu *v)
{
    struct vcpu **link = &v->machine->vcpus;

    pthread_mutex_lock(&v->machine->lock);
    while (*link != v)
        link = &(*link)->next;
    *link = v->next;
    pthread_mutex_unlock(&v->machine->lock);
}

/* Lock held. The old table goes when every vCPU has been seen not to look at it. */
static void replace(struct machine *m, struct ioeventfd_table *t)
{
    struct ioeventfd_table *old = atomic_exchange(&m->ioeventfds, t);

    for (const struct vcpu *v = m->vcpus; v; v = v->next) {
        while (atomic_load(&v->rings))
            sched_yield(); /* it writes to an eventfd at most */
    }
    free(old);
}

static int check(const struct machine_ioeventfd *e)
{
    unsigned size = e->size;
    uint64_t end = e->mmio ? UINT64_MAX : 0xffff;

    if (size > (e->mmio ? 8 : 4) || (size & (size - 1)) || (!size && e->match) ||
        e->address > end || MAX(size, 1u) - 1 > end - e->address ||
        (e->match && (e->data & ~mask_bytes(size))))
        return err_set(EINVAL, "no doorbell of %u bytes at %s 0x%" PRIx64, size,
                       e->mmio ? "address" : "port", e->address);
    return 0;
}

static bool collide(const struct machine_ioeventfd *a, const struct machine_ioeventfd *b)
{
    if (compare(a, b->mmio, b->address))
        return false;
    if (!a->size || !b->size)
        return true;
    return a->size == b->size && (!a->match || !b->match || a->data == b->data);
}

static bool is_same(const struct machine_ioeventfd *a, const struct machine_ioeventfd *b)
{
    return !compare(a, b->mmio, b->address) && a->size == b->size && a->match == b->match &&
           (!a->match || a->data == b->data) && a->fd == b->fd;
}

static int check_room(const struct ioeventfd_table *t, const struct machine_ioeventfd *e)
{
    for (unsigned i = 0; i < t->count; i++) {
        if (collide(&t->entry[i], e))
            return err_set(EEXIST, "there is a doorbell at %s 0x%" PRIx64 " already",
                           e->mmio ? "address" : "port", e->address);
    }
    if (t->count == MACHINE_IOEVENTFDS)
        return err_set(ENOSPC, "there are %d doorbells already", MACHINE_IOEVENTFDS);
    return 0;
}

/* Lock held. A table with `more` entries' room than there are now; NULL: none. */
static struct ioeventfd_table *copy(struct machine *m, unsigned more)
{
    static const struct ioeventfd_table empty;
    const struct ioeventfd_table *old = atomic_load(&m->ioeventfds);
    struct ioeventfd_table *t;

    old = old ? old : &empty;
    t = malloc(sizeof(*t) + (old->count + more) * sizeof(t->entry[0]));
    if (t)
        memcpy(t, old, sizeof(*t) + old->count * sizeof(t->entry[0]));
    else
        err_set(ENOMEM, "out of memory");
    return t;
}

static int tell(struct machine *m, const struct machine_ioeventfd *e, bool add)
{
    return m->caps & ACCEL_CAP_IOEVENTFD ? m->accel->ioeventfd(m, e, add) : 0;
}

static int add(struct machine *m, const struct machine_ioeventfd *e)
{
    struct ioeventfd_table *t = copy(m, 1);
    unsigned at;
    int err;

    if (!t)
        return -ENOMEM;
    err = check_room(t, e);
    if (!err)
        err = tell(m, e, true);
    if (err) {
        free(t);
        return err;
    }
    at = find(t, e->mmio, e->address);
    memmove(&t->entry[at + 1], &t->entry[at], (t->count - at) * sizeof(t->entry[0]));
    t->entry[at] = *e;
    t->count++;
    replace(m, t);
    return 0;
}

int machine_ioeventfd_add(struct machine *m, const struct machine_ioeventfd *e)
{
    int err = check(e);

    if (err)
        return err;
    pthread_mutex_lock(&m->lock);
    err = add(m, e);
    pthread_mutex_unlock(&m->lock);
    return err;
}

static int remove_entry(struct machine *m, const struct machine_ioeventfd *e)
{
    struct ioeventfd_table *t = copy(m, 0);
    unsigned i = 0;
    int err;

    if (!t)
        return -ENOMEM;
    while (i < t->count && !is_same(&t->entry[i], e))
        i++;
    if (i == t->count)
        err = err_set(ENOENT, "no such doorbell at %s 0x%" PRIx64, e->mmio ? "address" : "port",
                      e->address);
    else
        err = tell(m, e, false);
    if (err) {
        free(t);
        return err;
    }
    t->count--;
    memmove(&t->entry[i], &t->entry[i + 1], (t->count - i) * sizeof(t->entry[0]));
    if (!t->count) {
        free(t);
        t = NULL;
    }
    replace(m, t);
    return 0;
}

int machine_ioeventfd_remove(struct machine *m, const struct machine_ioeventfd *e)
{
    int err;

    pthread_mutex_lock(&m->lock);
    err = remove_entry(m, e);
    pthread_mutex_unlock(&m->lock);
    return err;
}
