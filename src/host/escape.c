#include "host/escape.h"

enum escape_action escape_feed(struct escape *e, uint8_t byte, uint8_t *out)
{
    if (!e->armed) {
        if (byte == ESCAPE_KEY) {
            e->armed = true;
            return ESCAPE_NONE;
        }
        *out = byte;
        return ESCAPE_PASS;
    }
    e->armed = false;
    switch (byte) {
    case 'x': return ESCAPE_QUIT;
    case 'h':
    case '?': return ESCAPE_HELP;
    case 'a':
    case ESCAPE_KEY: *out = ESCAPE_KEY; return ESCAPE_PASS;
    default: return ESCAPE_NONE;
    }
}
