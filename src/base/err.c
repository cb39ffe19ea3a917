#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static __thread char text[512];

int err_set(int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return -err;
}

int err_sys(int err, const char *fmt, ...)
{
    va_list ap;
    char reason[128];
    size_t len;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    len = strlen(text);
    snprintf(text + len, sizeof(text) - len, ": %s", strerror_r(err, reason, sizeof(reason)));
    return -err;
}

const char *err_text(void)
{
    return text;
}

void err_clear(void)
{
    text[0] = '\0';
}
