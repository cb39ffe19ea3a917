/* The keyboard controller. */
#include "dev/chip/i8042.h"

#include "chip.h"

static struct i8042 i8042;

static void reset(void *user)
{
    read_back();
}

static void start(void)
{
    i8042_init(&i8042, &LINE, reset, NULL);
    region(I8042_DATA_PORT, 1, &i8042_data_ops, &i8042);
    region(I8042_COMMAND_PORT, 1, &i8042_command_ops, &i8042);
}

static void stop(void)
{
    i8042_destroy(&i8042);
}

static void save(void *state)
{
    i8042_save(&i8042, state);
}

static int restore(const void *state)
{
    return i8042_restore(&i8042, state);
}

static const struct chip chip = {
    .start = start,
    .stop = stop,
    .state_size = sizeof(struct i8042_state),
    .save = save,
    .restore = restore,
};
