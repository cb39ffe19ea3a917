/* Usage: see usage(). */
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const clock_names[CLOCKS] = {"MONOTONIC", "REALTIME", "RAW", "TSC"};

uint64_t clock_read(int clock)
{
    static const clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_MONOTONIC_RAW};
    struct timespec now;

    if (clock == TSC) {
        uint32_t low, high;
        /* In order with the reads before it, and with what comes after. */
        __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high)::"memory");
        return (uint64_t)high << 32 | low;
    }
    clock_gettime(ids[clock], &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int usage(void)
{
    fprintf(stderr, "Usage: clock guest [--broken]\n"
                    "       clock host SECONDS TOLERANCE COMMAND...\n");
    return 2;
}

int main(int argc, char **argv)
{
    if (argc >= 2 && !strcmp(argv[1], "guest"))
        return clock_guest(argc > 2 && !strcmp(argv[2], "--broken"));
    if (argc > 4 && !strcmp(argv[1], "host"))
        return clock_host(strtod(argv[2], NULL), strtod(argv[3], NULL), argv + 4);
    return usage();
}
