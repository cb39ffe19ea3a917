/*
 * The control line (--control): COM2 as a channel of text lines between the
 * guest's init and mote, so that a shell script in an unmodified kernel can do
 * what a serial console cannot.
 *
 *   guest: "size"            ask for the size of the window around the console
 *   mote:  "size ROWS COLS"  the answer; after it, again whenever the size changes
 *   guest: "exit N"          end the machine; mote ends with status N, 0 to 255
 *
 * Lines end in LF (CR is ignored). Others are ignored, so that an echo from
 * the guest's line discipline does no harm.
 */
#ifndef MOTE_BOARD_CONTROL_H
#define MOTE_BOARD_CONTROL_H

#include "board/life.h"
#include "dev/chip/serial.h"
#include "host/loop.h"

#include <stdatomic.h>

#define CONTROL_LINE 64

struct control {
    struct loop *loop;
    struct life *life;
    struct serial serial;
    struct loop_event send; /* something to send, or room to send it */
    atomic_bool asked;      /* the guest listens */
    atomic_bool changed;    /* the guest does not know the present size */
    /* vCPU's side, under the serial chip's lock */
    char line[CONTROL_LINE];
    unsigned len; /* CONTROL_LINE: too long, being skipped */
    /* loop's side */
    char out[CONTROL_LINE];
    unsigned out_len, out_sent;
};

int control_init(struct control *c, struct loop *loop, struct life *life,
                 const struct dev_irq *irq);
void control_destroy(struct control *c);

/* The window's size may have changed. Any thread. */
void control_resized(struct control *c);

/* Bytes from the guest; part of the serial back end, here for tests. */
void control_take(struct control *c, const uint8_t *buf, size_t len);

#endif
