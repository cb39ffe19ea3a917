/*
 * i8042 keyboard controller with a keyboard that answers and is never typed on,
 * and without a mouse: what an operating system needs to probe it at once, and
 * the ways to reset the machine that go through it. Commands as in the IBM PS/2
 * Hardware Interface Technical Reference.
 *
 * The mouse port answers every test with a failure and the loopback command
 * without the mark of the mouse port, so that drivers give it up without
 * waiting for a time-out.
 *
 * Locking: one lock, held while irq is driven and not while reset is called.
 */
#ifndef MOTE_DEV_CHIP_I8042_H
#define MOTE_DEV_CHIP_I8042_H

#include "dev/dev.h"

#include <pthread.h>
#include <stdbool.h>

#define I8042_DATA_PORT    0x60
#define I8042_COMMAND_PORT 0x64
#define I8042_RAM          32
#define I8042_QUEUE        8

struct i8042_state {
    uint8_t ram[I8042_RAM]; /* 0 is the command byte */
    uint8_t status;         /* output buffer full, system, command, mouse, time-out */
    uint8_t output;         /* the output buffer */
    uint8_t output_port;
    uint8_t command;          /* controller command that waits for its byte, 0: none */
    uint8_t keyboard_command; /* likewise of the keyboard */
    uint8_t scan_set;
    uint8_t queue_count;
    uint8_t pad;
    uint8_t queue[I8042_QUEUE]; /* of the keyboard, oldest first */
};

struct i8042 {
    pthread_mutex_t lock;
    struct dev_irq irq;
    void (*reset)(void *user);
    void *user;
    struct i8042_state s;
};

/* One port each; dev is the struct i8042. */
extern const struct dev_region_ops i8042_data_ops, i8042_command_ops;

/* irq is the keyboard's, ISA 1. The state is as firmware leaves it. */
void i8042_init(struct i8042 *k, const struct dev_irq *irq, void (*reset)(void *user), void *user);
void i8042_destroy(struct i8042 *k);

void i8042_save(struct i8042 *k, struct i8042_state *out);
/* -EINVAL: nothing is changed. The line is not driven. */
int i8042_restore(struct i8042 *k, const struct i8042_state *in);

#endif
