/* The 8254 and port 0x61. */
#include "dev/chip/pit.h"

#include "chip.h"

static struct pit pit;

static void start(void)
{
    pit_init(&pit, &LINE, &CLOCK, &timer.timer);
    region(PIT_PORT, 4, &pit_ops, &pit);
    region(PIT_SPEAKER_PORT, 1, &pit_speaker_ops, &pit);
}

static void stop(void)
{
    pit_destroy(&pit);
}

static void save(void *state)
{
    pit_save(&pit, state);
}

static int restore(const void *state)
{
    return pit_restore(&pit, state);
}

static const struct chip chip = {
    .start = start,
    .stop = stop,
    .state_size = sizeof(struct pit_state),
    .save = save,
    .restore = restore,
};
