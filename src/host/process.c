#include "host/process.h"

#include "base/bits.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* "KEY: N" of a file like /proc/self/status; 0: not there. */
static uint64_t number_of(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    unsigned long long value = 0;
    size_t len = strlen(key);
    char line[256];

    if (!f)
        return 0;
    while (fgets(line, sizeof(line), f)) {
        if (!strncmp(line, key, len) && line[len] == ':' &&
            sscanf(line + len + 1, "%llu", &value) == 1)
            break;
    }
    fclose(f);
    return value;
}

static unsigned count_lines(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned n = 0;
    int c;

    if (!f)
        return 0;
    while ((c = getc(f)) != EOF)
        n += c == '\n';
    fclose(f);
    return n;
}

/* Less "." and "..", and the descriptor of the folder itself. */
static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n > 3 ? n - 3 : 0;
}

void host_process(struct host_process *p)
{
    p->fds = count_fds();
    p->maps = count_lines("/proc/self/maps");
    p->threads = (unsigned)number_of("/proc/self/status", "Threads");
    p->rss_max = number_of("/proc/self/status", "VmHWM") * 1024;
    p->rss = number_of("/proc/self/smaps_rollup", "Rss") * 1024;
    if (!p->rss) /* before Linux 4.14 */
        p->rss = number_of("/proc/self/status", "VmRSS") * 1024;
    p->rss_max = MAX(p->rss_max, p->rss);
}
