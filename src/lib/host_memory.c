/* What of the process's own memory can be a guest's. */
#include "lib/lib.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Of [*at, end), what a line of /proc/self/maps (proc(5)) begins with goes. They are sorted. */
static bool take_line(const char *line, uint64_t *at, uint64_t end)
{
    uint64_t from, to;
    char rights[5];

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, rights) != 3 || to <= *at)
        return true;
    if (from > *at || rights[0] != 'r' || rights[1] != 'w')
        return false;
    *at = to;
    return to < end;
}

bool lib_can_be_memory(void *hva, uint64_t size)
{
    uint64_t at = (uintptr_t)hva, end = at + size;
    FILE *maps = fopen("/proc/self/maps", "re");
    size_t room = 0;
    char *line = NULL;

    if (!maps) /* no /proc here: rights remain unknown */
        return !msync(hva, size, MS_ASYNC);
    while (getline(&line, &room, maps) > 0 && take_line(line, &at, end))
        ;
    free(line);
    fclose(maps);
    return at >= end;
}
