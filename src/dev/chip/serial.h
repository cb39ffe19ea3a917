/*
 * 16550A UART (National Semiconductor PC16550D data sheet; section numbers in
 * serial.c are its). The far end of the line is a back end without speed: what
 * is sent is out at once, so the transmitter is always empty, and the receive
 * FIFO's wait of four character times has always passed, so that data below the
 * trigger level raise the timeout interrupt immediately.
 *
 * Locking: one lock. The interrupt line and backend->write are called with it
 * held and must not call back; backend->rx_ready is called without it.
 */
#ifndef MOTE_DEV_CHIP_SERIAL_H
#define MOTE_DEV_CHIP_SERIAL_H

#include "dev/dev.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define SERIAL_PORTS 8
#define SERIAL_FIFO  16

struct serial_backend {
    /* Characters the guest sends. Must take them all and not block for long. */
    void (*write)(void *user, const uint8_t *buf, size_t len);
    /* The guest has drained a FIFO that serial_receive could not fill further, or listens now. */
    void (*rx_ready)(void *user);
    void *user;
};

struct serial_state {
    uint8_t ier, fcr, lcr, mcr;
    uint8_t lsr; /* overrun only; the other bits follow from the rest */
    uint8_t msr, scr;
    uint8_t thre_pending; /* the transmitter's interrupt waits to be acknowledged */
    uint16_t divisor;
    uint8_t rx_count;
    uint8_t pad[5];
    uint8_t rx[SERIAL_FIFO]; /* oldest first */
};

struct serial {
    pthread_mutex_t lock;
    struct dev_irq irq;
    struct serial_backend backend;
    struct serial_state s;
    bool starved;   /* serial_receive left something behind */
    unsigned polls; /* reads of LSR in a row that found nothing received */
    int irq_level;
};

/* Registers for dev_bus_add: SERIAL_PORTS ports, dev is the struct serial. */
extern const struct dev_region_ops serial_ops;

/* Copies irq and backend. The modem's lines DCD, DSR and CTS are on. */
void serial_init(struct serial *s, const struct dev_irq *irq, const struct serial_backend *backend);
void serial_destroy(struct serial *s);

/*
 * Characters for the guest: takes as many as the FIFO has room for and returns
 * how many; none in loopback mode, and none while the guest neither asserts RTS
 * nor takes receive interrupts with the FIFOs on nor polls for it. When it took fewer than len,
 * rx_ready says when to offer the rest. Any thread.
 */
size_t serial_receive(struct serial *s, const uint8_t *buf, size_t len);

/* The line's level is not driven by restore; it is part of the interrupt chips' state. */
void serial_save(struct serial *s, struct serial_state *out);
/* -EINVAL: a value that no guest could have produced; nothing is changed then. */
int serial_restore(struct serial *s, const struct serial_state *in);

#endif
