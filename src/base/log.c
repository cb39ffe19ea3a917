#include "base/log.h"

#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct trace_info trace_info[TRACE_COUNT] = {
#define X(id, name, help) [TRACE_##id] = {name, help},
    TRACE_TOPICS(X)
#undef X
};

unsigned trace_mask;
static atomic_bool raw_terminal; /* the loop's thread changes it */

static void print_line(const char *prefix, const char *fmt, va_list ap)
{
    char line[640];
    int len = snprintf(line, sizeof(line) - 2, "mote: %s", prefix);

    len += vsnprintf(line + len, sizeof(line) - 2 - (size_t)len, fmt, ap);
    if (len > (int)sizeof(line) - 3)
        len = (int)sizeof(line) - 3;
    if (raw_terminal)
        line[len++] = '\r';
    line[len++] = '\n';
    while (write(STDERR_FILENO, line, (size_t)len) < 0 && errno == EINTR)
        ;
}

void log_set_raw(bool raw)
{
    raw_terminal = raw;
}

void log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_line("", fmt, ap);
    va_end(ap);
}

void trace_print(enum trace_topic topic, const char *fmt, ...)
{
    char prefix[32];
    va_list ap;

    snprintf(prefix, sizeof(prefix), "%s: ", trace_info[topic].name);
    va_start(ap, fmt);
    print_line(prefix, fmt, ap);
    va_end(ap);
}

int trace_enable(const char *topics)
{
    while (*topics) {
        size_t len = strcspn(topics, ",");
        unsigned t;

        for (t = 0; t < TRACE_COUNT; t++) {
            if (strlen(trace_info[t].name) == len && !memcmp(trace_info[t].name, topics, len))
                break;
        }
        if (t == TRACE_COUNT)
            return err_set(EINVAL, "--trace: unknown topic '%.*s'", (int)len, topics);
        trace_mask |= 1u << t;
        topics += len;
        if (*topics == ',')
            topics++;
    }
    return 0;
}
