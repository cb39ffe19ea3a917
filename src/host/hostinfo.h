/* What this host is, for `mote info` and for limits. */
#ifndef MOTE_HOST_HOSTINFO_H
#define MOTE_HOST_HOSTINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory and swap in bytes, from /proc/meminfo; 0 where unknown. */
struct host_memory {
    uint64_t total, available, swap;
    bool overcommit; /* /proc/sys/vm/overcommit_memory is 1: no request is too large */
};

void host_memory(struct host_memory *m);

/* The CPU's brand string (CPUID 0x80000002 to 4) without the padding. */
void host_cpu_name(char *buf, size_t size);

/* The CPUID signature of the hypervisor mote runs under, "" on bare metal. */
void host_hypervisor(char buf[13]);

#endif
