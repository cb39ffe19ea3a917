/* The debug-exit port. */
#include "dev/chip/debug_exit.h"

#include "chip.h"

static struct debug_exit debug;

static void ended(void *user, uint32_t status)
{
    check(status & 1);
    read_back();
}

static void start(void)
{
    debug_exit_init(&debug, ended, NULL);
    region(DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS, &debug_exit_ops, &debug);
}

static void stop(void)
{
}

static const struct chip chip = {.start = start, .stop = stop};
