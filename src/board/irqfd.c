#include "board/irqfd.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/msi.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* ---- the software's way ---- */

static void raise_msi(struct irqfd *f)
{
    uint64_t address;
    uint32_t data;

    pthread_mutex_lock(&f->all->lock);
    address = f->address;
    data = f->data;
    pthread_mutex_unlock(&f->all->lock);
    if (address)
        intc_msi(f->all->intc, address, data);
}

static void on_signal(void *user, uint32_t events)
{
    struct irqfd *f = user;
    eventfd_t count;

    if (eventfd_read(f->inside.fd, &count))
        return;
    if (f->is_msi) {
        raise_msi(f);
        return;
    }
    irq_set(f->all->router, f->inside.gsi, 1);
    if (f->inside.resample < 0)
        irq_set(f->all->router, f->inside.gsi, 0);
}

/*
 * A vCPU's thread, at the EOI. The line falls before the device is told, so that a signal
 * it answers with is a new assertion.
 */
static void on_ended(void *user, unsigned gsi)
{
    struct irqfds *all = user;

    pthread_mutex_lock(&all->lock);
    for (struct irqfd *f = all->first; f; f = f->next) {
        if (f->is_msi || f->is_inside || f->inside.gsi != gsi || f->inside.resample < 0)
            continue;
        irq_set(all->router, gsi, 0);
        eventfd_write(f->inside.resample, 1);
    }
    pthread_mutex_unlock(&all->lock);
}

/* ---- adding and removing ---- */

void irqfds_init(struct irqfds *all, struct loop *loop, struct intc *intc,
                 struct irq_router *router)
{
    *all = (struct irqfds){.loop = loop, .intc = intc, .router = router};
    pthread_mutex_init(&all->lock, NULL);
    intc->ended = on_ended;
    intc->ended_user = all;
}

void irqfds_destroy(struct irqfds *all)
{
    pthread_mutex_destroy(&all->lock);
}

static int begin(struct irqfds *all, struct irqfd *f)
{
    int err;

    if (f->is_inside) {
        err = machine_irqfd_add(all->intc->machine, &f->inside);
    } else {
        f->watch = (struct loop_watch){f->inside.fd, on_signal, f};
        err = loop_add(all->loop, &f->watch, EPOLLIN);
    }
    if (err)
        return err;
    pthread_mutex_lock(&all->lock);
    f->next = all->first;
    all->first = f;
    pthread_mutex_unlock(&all->lock);
    return 0;
}

int irqfd_add_gsi(struct irqfds *all, struct irqfd *f, int fd, unsigned gsi, int resample)
{
    const unsigned need = ACCEL_CAP_IRQFD | ACCEL_CAP_IRQCHIP;

    if (gsi >= IRQ_GSI_COUNT || gsi == 2)
        return err_set(EINVAL, "there is no interrupt %u", gsi);
    for (const struct irqfd *other = all->first; other; other = other->next) {
        if (!other->is_msi && other->inside.gsi == gsi)
            return err_set(EEXIST, "interrupt %u has an eventfd already", gsi);
    }
    *f = (struct irqfd){.all = all,
                        .inside = {.fd = fd, .gsi = gsi, .resample = resample},
                        .is_inside = (all->intc->machine->caps & need) == need};
    return begin(all, f);
}

/* A GSI of the accelerator's for a message. 0: there is none left. */
static unsigned take_gsi(struct irqfds *all)
{
    for (unsigned gsi = IRQ_GSI_COUNT; gsi < MACHINE_GSIS; gsi++) {
        if (all->used[gsi / 8] & 1u << gsi % 8)
            continue;
        all->used[gsi / 8] |= (uint8_t)(1u << gsi % 8);
        return gsi;
    }
    return 0;
}

static void give_gsi(struct irqfds *all, unsigned gsi)
{
    all->used[gsi / 8] &= (uint8_t) ~(1u << gsi % 8);
}

int irqfd_add_msi(struct irqfds *all, struct irqfd *f, int fd)
{
    int err;

    *f = (struct irqfd){.all = all,
                        .is_msi = true,
                        .inside = {.fd = fd, .resample = -1},
                        .is_inside = all->intc->machine->caps & ACCEL_CAP_IRQFD};
    if (f->is_inside) {
        f->inside.gsi = take_gsi(all);
        if (!f->inside.gsi)
            return err_set(ENOSPC, "no more than %d interrupts", MACHINE_GSIS);
    }
    err = begin(all, f);
    if (err && f->is_inside)
        give_gsi(all, f->inside.gsi);
    return err;
}

int irqfd_set_msi(struct irqfd *f, uint64_t address, uint32_t data)
{
    struct irqfds *all = f->all;

    if (f->is_inside)
        return machine_msi_route(all->intc->machine, f->inside.gsi, address, data);
    if (address && !msi_is_address(address))
        return err_set(EINVAL, "0x%" PRIx64 " is no address of a message", address);
    pthread_mutex_lock(&all->lock);
    f->address = address;
    f->data = data;
    pthread_mutex_unlock(&all->lock);
    return 0;
}

void irqfd_remove(struct irqfd *f)
{
    struct irqfds *all = f->all;
    struct irqfd **link = &all->first;

    pthread_mutex_lock(&all->lock);
    while (*link != f)
        link = &(*link)->next;
    *link = f->next;
    pthread_mutex_unlock(&all->lock);
    if (!f->is_inside) {
        loop_remove(all->loop, &f->watch);
        if (!f->is_msi)
            irq_set(all->router, f->inside.gsi, 0);
        return;
    }
    machine_irqfd_remove(all->intc->machine, &f->inside);
    if (f->is_msi) {
        machine_msi_route(all->intc->machine, f->inside.gsi, 0, 0);
        give_gsi(all, f->inside.gsi);
    }
}
