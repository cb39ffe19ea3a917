/* The host's CPUs as people list them: "0,2-3". */
#ifndef MOTE_HOST_AFFINITY_H
#define MOTE_HOST_AFFINITY_H

#include <stdint.h>

#define HOST_CPUS_MAX 1024 /* numbers below it, as many as cpu_set_t has */

struct host_cpus {
    unsigned count;
    uint16_t cpu[HOST_CPUS_MAX]; /* in the order of the list */
};

/*
 * Numbers and ranges, separated by commas; a CPU may be named twice. -EINVAL: it is no such
 * list, a range runs backwards, a number is HOST_CPUS_MAX or above, or there are too many.
 */
int host_cpus_parse(const char *text, struct host_cpus *list);

/* -EINVAL: one of them this process may not use, or the host has not; err_text names it. */
int host_cpus_check(const struct host_cpus *list);

/* The one for thread n, from the beginning again after the last; -1: the list is empty. */
int host_cpus_nth(const struct host_cpus *list, unsigned n);

#endif
