/* What this process uses of the host. */
#ifndef MOTE_HOST_PROCESS_H
#define MOTE_HOST_PROCESS_H

#include <stdint.h>

/* From /proc/self; 0 where unknown. */
struct host_process {
    uint64_t rss, rss_max; /* resident memory in bytes, now and at most */
    unsigned threads;
    unsigned fds;  /* open descriptors */
    unsigned maps; /* mappings */
};

/* rss counts pages that are mapped (smaps_rollup): what status says lags behind. */
void host_process(struct host_process *p);

#endif
