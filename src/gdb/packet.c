#include "gdb/packet.h"

#include "base/bits.h"

#define ESCAPE     '}'
#define ESCAPE_XOR 0x20
#define INTERRUPT  0x03

enum {
    BETWEEN,
    PAYLOAD,
    SUM_HIGH,
    SUM_LOW,
};

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void begin(struct gdb_receiver *r)
{
    r->state = PAYLOAD;
    r->escaped = r->too_long = false;
    r->sum = 0;
    r->len = 0;
}

static void take_payload(struct gdb_receiver *r, uint8_t byte)
{
    r->sum = (uint8_t)(r->sum + byte);
    if (byte == ESCAPE && !r->escaped) {
        r->escaped = true;
        return;
    }
    if (r->escaped)
        byte ^= ESCAPE_XOR;
    r->escaped = false;
    if (r->len == GDB_PAYLOAD)
        r->too_long = true;
    else
        r->payload[r->len++] = (char)byte;
}

static enum gdb_input finish(struct gdb_receiver *r, uint8_t byte)
{
    int high = digit((char)r->claimed), low = digit((char)byte);

    r->state = BETWEEN;
    r->payload[r->len] = '\0';
    if (high < 0 || low < 0 || (high << 4 | low) != r->sum)
        return GDB_INPUT_BAD;
    return r->too_long ? GDB_INPUT_TOO_LONG : GDB_INPUT_PACKET;
}

enum gdb_input gdb_receive(struct gdb_receiver *r, uint8_t byte)
{
    switch (r->state) {
    case BETWEEN:
        if (byte == '$')
            begin(r);
        if (byte == INTERRUPT)
            return GDB_INPUT_INTERRUPT;
        return byte == '-' ? GDB_INPUT_NAK : GDB_INPUT_NONE;
    case PAYLOAD:
        if (byte == '$') /* the rest of that packet was lost */
            begin(r);
        else if (byte == '#')
            r->state = SUM_HIGH;
        else
            take_payload(r, byte);
        return GDB_INPUT_NONE;
    case SUM_HIGH:
        r->claimed = byte;
        r->state = SUM_LOW;
        return GDB_INPUT_NONE;
    default: return finish(r, byte);
    }
}

/* ---- out ---- */

static const char digits[] = "0123456789abcdef";

void gdb_put(struct gdb_reply *r, const void *data, size_t len)
{
    if (len > sizeof(r->payload) - r->len) {
        r->overflow = true;
        return;
    }
    memcpy(r->payload + r->len, data, len);
    r->len += (unsigned)len;
}

void gdb_puts(struct gdb_reply *r, const char *text)
{
    gdb_put(r, text, strlen(text));
}

void gdb_put_number(struct gdb_reply *r, uint64_t value)
{
    char text[16];
    unsigned at = sizeof(text);

    do {
        text[--at] = digits[value & 15];
        value >>= 4;
    } while (value);
    gdb_put(r, text + at, sizeof(text) - at);
}

void gdb_put_hex(struct gdb_reply *r, const void *data, size_t len)
{
    const uint8_t *byte = data;

    for (size_t i = 0; i < len; i++) {
        const char pair[2] = {digits[byte[i] >> 4], digits[byte[i] & 15]};

        gdb_put(r, pair, sizeof(pair));
    }
}

size_t gdb_frame(const struct gdb_reply *r, char frame[GDB_FRAME])
{
    size_t n = 0;
    uint8_t sum = 0;

    frame[n++] = '$';
    for (unsigned i = 0; i < r->len; i++) {
        char c = r->payload[i];

        if (c == '$' || c == '#' || c == ESCAPE || c == '*') {
            frame[n++] = ESCAPE;
            c ^= ESCAPE_XOR;
        }
        frame[n++] = c;
    }
    for (size_t i = 1; i < n; i++)
        sum = (uint8_t)(sum + (uint8_t)frame[i]);
    frame[n++] = '#';
    frame[n++] = digits[sum >> 4];
    frame[n++] = digits[sum & 15];
    return n;
}

/* ---- reading a payload ---- */

bool gdb_take(struct gdb_text *t, const char *prefix)
{
    size_t len = strlen(prefix);

    if (len > gdb_left(t) || memcmp(t->at, prefix, len))
        return false;
    t->at += len;
    return true;
}

bool gdb_take_number(struct gdb_text *t, uint64_t *value)
{
    const char *at = t->at;
    uint64_t v = 0;

    for (; at < t->end && digit(*at) >= 0; at++) {
        if (v >> 60)
            return false;
        v = v << 4 | (unsigned)digit(*at);
    }
    if (at == t->at)
        return false;
    t->at = at;
    *value = v;
    return true;
}

bool gdb_take_hex(struct gdb_text *t, void *out, size_t len)
{
    uint8_t *byte = out;

    if (gdb_left(t) / 2 < len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = digit(t->at[2 * i]), low = digit(t->at[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        byte[i] = (uint8_t)(high << 4 | low);
    }
    t->at += 2 * len;
    return true;
}
