#include "host/affinity.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

_Static_assert(HOST_CPUS_MAX <= CPU_SETSIZE, "cpu_set_t has room for all");

/* A number at *text, which moves behind it. */
static bool number(const char **text, unsigned *n)
{
    char *end;
    unsigned long value;

    if (!isdigit((unsigned char)**text))
        return false;
    value = strtoul(*text, &end, 10);
    *text = end;
    *n = (unsigned)value;
    return value < HOST_CPUS_MAX;
}

/* "2" or "2-3" at *text, which moves behind it. */
static bool range(const char **text, struct host_cpus *list)
{
    unsigned first, last;

    if (!number(text, &first))
        return false;
    last = first;
    if (**text == '-') {
        ++*text;
        if (!number(text, &last) || last < first)
            return false;
    }
    for (; first <= last; first++) {
        if (list->count == HOST_CPUS_MAX)
            return false;
        list->cpu[list->count++] = (uint16_t)first;
    }
    return true;
}

int host_cpus_parse(const char *text, struct host_cpus *list)
{
    list->count = 0;
    for (;;) {
        if (!range(&text, list))
            return -EINVAL;
        if (!*text)
            return 0;
        if (*text++ != ',')
            return -EINVAL;
    }
}

int host_cpus_check(const struct host_cpus *list)
{
    cpu_set_t may;

    if (!list->count)
        return 0;
    if (sched_getaffinity(0, sizeof(may), &may))
        return err_sys(errno, "cannot tell which CPUs this process may use");
    for (unsigned i = 0; i < list->count; i++) {
        if (!CPU_ISSET(list->cpu[i], &may))
            return err_set(EINVAL, "--pin: CPU %u is none that this process may use", list->cpu[i]);
    }
    return 0;
}

int host_cpus_nth(const struct host_cpus *list, unsigned n)
{
    return list->count ? list->cpu[n % list->count] : -1;
}
