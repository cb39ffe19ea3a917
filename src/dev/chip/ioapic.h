/*
 * I/O APIC: the 82093AA's registers and 24 pins, with the EOI register of
 * version 0x20 (ICH family data sheets). Pin polarity is stored and ignored:
 * ioapic_set_pin is told whether the pin is asserted.
 *
 * Locking: one lock of its own, held while a message is sent: a pin that has been
 * masked sends no more. Whoever receives messages must not call back.
 */
#ifndef MOTE_DEV_CHIP_IOAPIC_H
#define MOTE_DEV_CHIP_IOAPIC_H

#include "dev/chip/lapic.h"
#include "dev/dev.h"
#include "x86/irqchip.h"

#include <pthread.h>
#include <stdbool.h>

#define IOAPIC_DEFAULT_BASE 0xfec00000u
#define IOAPIC_MMIO_SIZE    0x1000u

struct ioapic_ops {
    /* Send an interrupt message. */
    void (*deliver)(void *user, const struct apic_msg *msg);
    /*
     * The pin's entry was written, masked or not: this is what it sends from now on.
     * Before it does; may be NULL.
     */
    void (*written)(void *user, unsigned pin, const struct apic_msg *msg);
    /*
     * The interrupt of the level-triggered pin ended, before it is sent again: who drives
     * the pin may release it. Without the lock; may be NULL.
     */
    void (*ended)(void *user, unsigned pin);
    void *user;
};

struct ioapic {
    pthread_mutex_t lock;
    struct ioapic_ops ops;
    struct ioapic_state s;
    uint32_t *page; /* NULL: none; see ioapic_show */
};

/* IOAPIC_MMIO_SIZE bytes; dev is the struct ioapic. */
extern const struct dev_region_ops ioapic_mmio_ops;

void ioapic_init(struct ioapic *io, uint8_t id, const struct ioapic_ops *ops);
void ioapic_destroy(struct ioapic *io);

/*
 * From now on keep `page`, zeroed, equal to what reads of the registers would give, so that
 * a board can map it for reading: a guest reads the window some 300 times as it sets the
 * pins up and tears them down. It lives until ioapic_destroy; NULL: no more.
 */
void ioapic_show(struct ioapic *io, uint32_t *page);

/* Assert or release a pin, from any thread. A pin that does not exist is ignored. */
void ioapic_set_pin(struct ioapic *io, unsigned pin, int level);

/* A local APIC ended a level-triggered `vector`: a pin still asserted is delivered again. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

void ioapic_save(struct ioapic *io, struct ioapic_state *out);
/* -EINVAL: reserved bits; nothing is changed then. Delivers nothing, but tells all entries. */
int ioapic_restore(struct ioapic *io, const struct ioapic_state *in);

#endif
