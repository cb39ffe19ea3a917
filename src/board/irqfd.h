/*
 * Eventfds that raise interrupts, for devices whose work is done elsewhere (a thread, vhost,
 * another process): one way for all machines. The accelerator listens where it can
 * (ACCEL_CAP_IRQFD); else the event loop does, and what a guest sees is the same.
 *
 * An eventfd raises either an input of PICs and IOAPIC, or a message.
 *
 * An input (a GSI) is one signal's edge; or, with a second eventfd, a level: it is asserted
 * by the first one and released at its interrupt's end (EOI), whereupon the second one is
 * signalled: a device that still wants service signals the first one again. A GSI of an
 * eventfd has no other driver, and only one eventfd.
 *
 * A message is none until irqfd_set_msi; signals before that, as while it is masked, are
 * lost, and a device keeps its own pending bit.
 *
 * irqfd_add and irqfd_remove belong to the loop's thread, or come before it runs.
 * irqfd_set_msi may come from any thread.
 */
#ifndef MOTE_BOARD_IRQFD_H
#define MOTE_BOARD_IRQFD_H

#include "board/intc.h"
#include "board/irq.h"
#include "host/loop.h"

#include <pthread.h>

/* All of a machine. */
struct irqfds {
    struct loop *loop;
    struct intc *intc;
    struct irq_router *router;
    pthread_mutex_t lock; /* of what follows, and of the messages */
    struct irqfd *first;
    uint8_t used[MACHINE_GSIS / 8]; /* GSIs that are messages in the accelerator */
};

/* Kept at one address by its owner. The fields are this file's. */
struct irqfd {
    struct irqfds *all;
    struct irqfd *next;
    struct machine_irqfd inside;
    bool is_msi, is_inside;
    struct loop_watch watch;
    uint64_t address; /* of the message, 0: none */
    uint32_t data;
};

/* Before intc_init: its `ended` is taken. */
void irqfds_init(struct irqfds *all, struct loop *loop, struct intc *intc,
                 struct irq_router *router);
void irqfds_destroy(struct irqfds *all); /* all were removed */

/*
 * fd, and resample unless it is -1, are non-blocking eventfds; they stay the caller's.
 * -EINVAL: no such GSI, or 2, the cascade; -EEXIST: it has an eventfd; and the errors of
 * machine_irqfd_add or loop_add.
 */
int irqfd_add_gsi(struct irqfds *all, struct irqfd *f, int fd, unsigned gsi, int resample);

/* -ENOSPC: the accelerator has no message left; and errors as above. */
int irqfd_add_msi(struct irqfds *all, struct irqfd *f, int fd);

/*
 * What a signal sends from now on, as in x86/msi.h; address 0: nothing. -EINVAL: it is no
 * address of a message; nothing is changed then.
 */
int irqfd_set_msi(struct irqfd *f, uint64_t address, uint32_t data);

/* From here on fd raises nothing; what is signalled and was not seen yet stays in it. */
void irqfd_remove(struct irqfd *f);

#endif
