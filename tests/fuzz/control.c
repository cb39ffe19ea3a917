/*
 * The control line, in pieces as a guest sends it: whatever it says, a line is
 * obeyed or not by its own text alone. Only "exit N" ends the machine.
 */
#include "board/control.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop loop;

/* The first "exit N", N a number to 255 in at most CONTROL_LINE - 1 characters; -1: none. */
static int exit_wanted(const uint8_t *data, size_t size)
{
    char line[4096];
    size_t len = 0;

    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\r')
            continue;
        if (data[i] != '\n') {
            line[len++] = (char)data[i];
            continue;
        }
        line[len] = '\0';
        if (len < CONTROL_LINE && !strncmp(line, "exit ", 5) && line[5] >= '0' && line[5] <= '9') {
            char *end;
            unsigned long n = strtoul(line + 5, &end, !strncasecmp(line + 5, "0x", 2) ? 16 : 10);

            if (!*end && n <= 255)
                return (int)n;
        }
        len = 0;
    }
    return -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct control control;
    struct life life;
    int want;

    if (size < 1 || size > 4000)
        return -1;
    if (!control.loop &&
        (loop_init(&loop) || control_init(&control, &loop, &life, &(struct dev_irq){0})))
        abort();
    life_init(&life, &loop);
    control.life = &life;
    control.len = 0;
    for (size_t at = 1, piece = data[0] % 32 + 1; at < size; at += piece)
        control_take(&control, data + at, size - at < piece ? size - at : piece);
    want = exit_wanted(data + 1, size - 1);
    if (life_running(&life) != (want < 0) || (want >= 0 && life.detail != (unsigned)want))
        abort();
    life_destroy(&life);
    return 0;
}
