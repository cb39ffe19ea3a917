/* The 16550A, with input from the far end of the line. */
#include "dev/chip/serial.h"

#include "chip.h"

static struct serial serial;

static void sent(void *user, const uint8_t *buf, size_t len)
{
    check(len > 0 && len <= SERIAL_FIFO);
}

static void ready(void *user)
{
    static const uint8_t rest[3];

    serial_receive(&serial, rest, sizeof(rest));
}

static void start(void)
{
    serial_init(&serial, &LINE, &(struct serial_backend){sent, ready, NULL});
    region(0x3f8, SERIAL_PORTS, &serial_ops, &serial);
}

static void stop(void)
{
    serial_destroy(&serial);
}

static void event(void)
{
    static const uint8_t bytes[64];
    size_t len = take(1) % sizeof(bytes);

    check(serial_receive(&serial, bytes, len) <= MIN(len, SERIAL_FIFO));
}

static void save(void *state)
{
    serial_save(&serial, state);
}

static int restore(const void *state)
{
    return serial_restore(&serial, state);
}

static const struct chip chip = {
    .start = start,
    .stop = stop,
    .event = event,
    .state_size = sizeof(struct serial_state),
    .save = save,
    .restore = restore,
};
