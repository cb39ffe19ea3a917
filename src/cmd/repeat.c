#include "cmd/repeat.h"

#include "base/log.h"
#include "cmd/cmd.h"

#include <inttypes.h>
#include <stddef.h>

bool repeat_report(unsigned runs, const struct host_process *settled,
                   const struct host_process *last)
{
    const char *what = NULL;

    log_warn("after run 2 and run %u: resident %" PRIu64 " and %" PRIu64
             " KiB, descriptors %u and %u, threads %u and %u, mappings %u and %u",
             runs, settled->rss >> 10, last->rss >> 10, settled->fds, last->fds, settled->threads,
             last->threads, settled->maps, last->maps);
    if (last->rss > settled->rss + REPEAT_SLACK)
        what = "resident memory";
    if (last->maps > settled->maps)
        what = "the number of mappings";
    if (last->threads > settled->threads)
        what = "the number of threads";
    if (last->fds > settled->fds)
        what = "the number of descriptors";
    if (what)
        cmd_fail(STATUS_FAILED, "%s grew from run 2 to run %u", what, runs);
    return !what;
}
