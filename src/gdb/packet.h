/*
 * Packets of gdb's remote serial protocol (GDB manual, appendix E): "$", the
 * payload, "#" and a checksum. In a payload the bytes $ # } * are escaped.
 */
#ifndef MOTE_GDB_PACKET_H
#define MOTE_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GDB_PAYLOAD 16384                 /* bytes of a packet's content at most */
#define GDB_FRAME   (2 * GDB_PAYLOAD + 4) /* ... with every byte escaped, and its frame */

/* ---- in ---- */

enum gdb_input {
    GDB_INPUT_NONE,      /* more is needed, or noise between packets */
    GDB_INPUT_PACKET,    /* payload[0..len) */
    GDB_INPUT_BAD,       /* a packet whose checksum is wrong */
    GDB_INPUT_TOO_LONG,  /* a packet above GDB_PAYLOAD; its content is lost */
    GDB_INPUT_INTERRUPT, /* Ctrl-C */
    GDB_INPUT_NAK,       /* send the last packet again */
};

struct gdb_receiver {
    uint8_t state; /* private, zero at first */
    bool escaped, too_long;
    uint8_t sum, claimed;
    unsigned len;
    char payload[GDB_PAYLOAD + 1]; /* unescaped, a NUL behind it */
};

/* Take one byte. A payload lasts until the next call. */
enum gdb_input gdb_receive(struct gdb_receiver *r, uint8_t byte);

/* ---- out ---- */

struct gdb_reply {
    unsigned len;
    bool overflow; /* something did not fit */
    char payload[GDB_PAYLOAD];
};

void gdb_put(struct gdb_reply *r, const void *data, size_t len);
void gdb_puts(struct gdb_reply *r, const char *text);
void gdb_put_number(struct gdb_reply *r, uint64_t value);            /* hex, as short as it gets */
void gdb_put_hex(struct gdb_reply *r, const void *data, size_t len); /* two digits a byte */

/* The reply as it is sent; returns its length. */
size_t gdb_frame(const struct gdb_reply *r, char frame[GDB_FRAME]);

/* ---- reading a payload ---- */

/* What is left of a payload. */
struct gdb_text {
    const char *at, *end;
};

/* Does the text begin with this? Then it is taken. */
bool gdb_take(struct gdb_text *t, const char *prefix);

/* A hexadecimal number up to 64 bits. false: there is none; nothing is taken. */
bool gdb_take_number(struct gdb_text *t, uint64_t *value);

/* Exactly `len` bytes as hex digits. false: they are not there. */
bool gdb_take_hex(struct gdb_text *t, void *out, size_t len);

static inline size_t gdb_left(const struct gdb_text *t)
{
    return (size_t)(t->end - t->at);
}

#endif
