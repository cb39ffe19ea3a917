/*
 * The two 8259A interrupt controllers of a PC (Intel 8259A data sheet), the
 * second cascaded into input 2 of the first, with the ELCR of EISA chip sets
 * instead of ICW1's level bit.
 *
 * Locking: one lock for the pair. The INTR output is driven with it held.
 */
#ifndef MOTE_DEV_CHIP_PIC_H
#define MOTE_DEV_CHIP_PIC_H

#include "dev/dev.h"
#include "x86/irqchip.h"

#include <pthread.h>
#include <stdbool.h>

#define PIC_MASTER_PORT 0x20
#define PIC_SLAVE_PORT  0xa0
#define PIC_ELCR_PORT   0x4d0

struct pic {
    pthread_mutex_t lock;
    struct dev_irq intr; /* to the boot processor: LINT0, or INTR itself */
    void (*ended)(void *user, unsigned irq);
    void *ended_user;
    struct pic_state chip[2];
    int output;
};

/* Two ports each; dev is the struct pic. */
extern const struct dev_region_ops pic_master_ops, pic_slave_ops, pic_elcr_ops;

void pic_init(struct pic *pic, const struct dev_irq *intr);
void pic_destroy(struct pic *pic);

/*
 * Have ended called when an input's interrupt ended, before it is reported again: who
 * drives a level may release it. On the thread of the guest's access, without the lock.
 * Set before the machine runs.
 */
void pic_on_ended(struct pic *pic, void (*ended)(void *user, unsigned irq), void *user);

/* Drive input 0 to 15, from any thread. Input 2 and others are ignored. */
void pic_set_irq(struct pic *pic, unsigned irq, int level);

/* Is INTR asserted? */
bool pic_pending(struct pic *pic);
/*
 * The interrupt acknowledge cycle: the vector. When the request has gone away
 * meanwhile it is the spurious one, input 7 of the master: the cascade loses a
 * slave's request in the same instant, so that a spurious IRQ 15 cannot happen.
 */
uint8_t pic_acknowledge(struct pic *pic);

/* out and in are master and slave. */
void pic_save(struct pic *pic, struct pic_state out[2]);
/* -EINVAL: nothing is changed. Otherwise INTR is driven to where it belongs. */
int pic_restore(struct pic *pic, const struct pic_state in[2]);

#endif
