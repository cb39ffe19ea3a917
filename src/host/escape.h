/* Ctrl-A commands among the bytes typed at the console, as in QEMU. */
#ifndef MOTE_HOST_ESCAPE_H
#define MOTE_HOST_ESCAPE_H

#include <stdbool.h>
#include <stdint.h>

#define ESCAPE_KEY 0x01 /* Ctrl-A */

enum escape_action {
    ESCAPE_NONE, /* the byte is part of a command, or of an unknown one: swallow it */
    ESCAPE_PASS, /* *out is for the guest */
    ESCAPE_QUIT,
    ESCAPE_HELP,
};

struct escape {
    bool armed; /* Ctrl-A was the last byte */
};

enum escape_action escape_feed(struct escape *e, uint8_t byte, uint8_t *out);

#endif
