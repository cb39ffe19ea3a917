/*
 * What --accel auto means. No flag and no device node is believed: whatever can
 * be opened is measured, and the fastest that works is taken. The findings are
 * cached for as long as the host runs and the device node stays what it is.
 */
#include "accel/accel.h"

#include "accel/measure.h"
#include "base/bits.h"
#include "base/bootcache.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_NAME   "accel"
#define CACHE_FORMAT 2
#define ACCEL_MAX    8

/* What findings depend on. false: too long. */
static bool make_key(const struct accel_info *infos, char *key, size_t size)
{
    size_t len = (size_t)snprintf(key, size, "%d", CACHE_FORMAT);

    for (unsigned i = 0; accel_list[i]; i++) {
        struct stat st = {0};

        if (len >= size)
            return false;
        if (infos[i].device[0])
            stat(infos[i].device, &st);
        len += (size_t)snprintf(key + len, size - len, " %s,%d,%llx,%llx,%o", accel_list[i]->name,
                                infos[i].usable, (unsigned long long)st.st_rdev,
                                (unsigned long long)st.st_ino, (unsigned)st.st_mode);
    }
    return len < size;
}

/* "NAME<TAB>USABLE<TAB>THOUSAND INSN/S<TAB>REASON" */
static bool parse_info(char *line, const char *name, struct accel_info *info)
{
    char *field[4], *end;

    for (unsigned i = 0; i < 4; i++) {
        field[i] = line ? strsep(&line, "\t") : NULL;
        if (!field[i])
            return false;
    }
    if (line || strcmp(field[0], name))
        return false;
    if (strcmp(field[1], "0") && strcmp(field[1], "1"))
        return false;
    if (field[2][0] < '0' || field[2][0] > '9')
        return false;
    info->usable = field[1][0] == '1';
    info->mips = (double)strtoul(field[2], &end, 10) / 1e3;
    snprintf(info->reason, sizeof(info->reason), "%s", field[3]);
    return !*end;
}

/* Fill infos from the cache. false, and infos unchanged: not there, or not for us. */
static bool load(const char *key, struct accel_info *infos)
{
    struct accel_info found[ACCEL_MAX];
    char text[4096], *at = text, *line;

    if (bootcache_read(CACHE_NAME, key, text, sizeof(text)))
        return false;
    for (unsigned i = 0; accel_list[i]; i++) {
        found[i] = infos[i];
        line = at ? strsep(&at, "\n") : NULL;
        if (!line || !parse_info(line, accel_list[i]->name, &found[i]))
            return false;
    }
    for (unsigned i = 0; accel_list[i]; i++)
        infos[i] = found[i];
    return true;
}

static void store(const char *key, const struct accel_info *infos)
{
    char text[4096];
    size_t len = 0;

    for (unsigned i = 0; accel_list[i] && len < sizeof(text); i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\t%d\t%lu\t%s\n",
                                accel_list[i]->name, infos[i].usable,
                                (unsigned long)(infos[i].mips * 1e3), infos[i].reason);
    if (len < sizeof(text))
        bootcache_write(CACHE_NAME, key, text); /* where it cannot be kept it is measured again */
}

static void find_out(struct accel_info *infos)
{
    char key[1024];
    bool has_key;

    for (unsigned i = 0; accel_list[i]; i++)
        accel_list[i]->probe(NULL, &infos[i]);
    has_key = make_key(infos, key, sizeof(key));
    if (has_key && load(key, infos))
        return;
    for (unsigned i = 0; accel_list[i]; i++) {
        if (infos[i].usable)
            accel_measure(accel_list[i], &infos[i]);
    }
    if (has_key)
        store(key, infos);
}

/* One sentence: the choice, its speed, and what is wrong with those before it in the list. */
static void explain(const struct accel_info *infos, int best, char *why, size_t size)
{
    size_t len;

    if (!why || !size)
        return;
    len = best < 0
              ? (size_t)snprintf(why, size, "no accelerator works here")
              : (size_t)snprintf(why, size, "%s: %s", accel_list[best]->name, infos[best].reason);
    for (int i = 0; accel_list[i] && i != best && len < size; i++)
        len += (size_t)snprintf(why + len, size - len, "; not %s: %s", accel_list[i]->name,
                                infos[i].reason);
}

const struct accel *accel_choose(struct accel_info *infos, char *why, size_t why_size)
{
    struct accel_info own[ACCEL_MAX];
    int best = -1;

    if (!infos)
        infos = own;
    find_out(infos);
    for (int i = 0; accel_list[i]; i++) {
        if (infos[i].usable && (best < 0 || infos[i].mips > infos[best].mips))
            best = i;
    }
    explain(infos, best, why, why_size);
    return best < 0 ? NULL : accel_list[best];
}
