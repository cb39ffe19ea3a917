/* What there is to run guests on. */
#include "accel/accel.h"
#include "base/err.h"

#include <errno.h>
#include <mote/mote.h>
#include <stdio.h>
#include <string.h>

#define ACCELS 8

const char *mote_version(void)
{
    return MOTE_VERSION;
}

const char *mote_error(void)
{
    return err_text();
}

int mote_accel_list(struct mote_accel *list, unsigned count)
{
    struct accel_info infos[ACCELS] = {0};
    char why[256];
    const struct accel *best = accel_choose(infos, why, sizeof(why));
    unsigned n = 0;

    if (!list && count)
        return err_set(EINVAL, "no place for the list of accelerators");
    for (; accel_list[n]; n++) {
        const struct accel_info *info = &infos[n];
        struct mote_accel *a = &list[n];

        if (n >= count)
            continue;
        memset(a, 0, sizeof(*a));
        snprintf(a->name, sizeof(a->name), "%s", accel_list[n]->name);
        snprintf(a->title, sizeof(a->title), "%s", accel_list[n]->title);
        snprintf(a->reason, sizeof(a->reason), "%s", info->reason);
        a->usable = info->usable;
        a->chosen = accel_list[n] == best;
        a->mips = info->mips;
    }
    return (int)n;
}
