#include "accel/soft/translate/counts.h"

#include "base/bits.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

struct translate_counts *counts_new(void)
{
    void *p = mmap(NULL, sizeof(struct translate_counts), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

void counts_free(struct translate_counts *counts)
{
    if (counts)
        munmap(counts, sizeof(*counts));
}

static unsigned key_of(const struct x86_insn *i)
{
    unsigned reg = i->flags & X86_MODRM ? i->modrm >> 3 & 7 : 0;

    return (unsigned)(i->map & 3) << 14 | (unsigned)i->opcode << 6 | (unsigned)(i->pp & 3) << 4 |
           (i->flags & X86_VEX ? 8u : 0) | reg;
}

void counts_add(struct translate_counts *counts, const struct x86_insn *i, bool missed)
{
    uint64_t *count = missed ? counts->missed : counts->untranslated;

    count[key_of(i)]++;
}

/* As manuals write it: "f3 0f ae /3". */
static void name_of(unsigned key, const char *what, char *name, size_t size)
{
    static const char *const map[] = {"", "0f ", "0f 38 ", "0f 3a "};
    static const char *const prefix[] = {"", "66 ", "f3 ", "f2 "};

    snprintf(name, size, "%s %s%s%s%02x /%u", what, key & 8 ? "vex " : "", prefix[key >> 4 & 3],
             map[key >> 14], key >> 6 & 0xff, key & 7);
}

static unsigned most(const uint64_t counts[COUNT_KEYS], const char *what, struct accel_stat *stats,
                     unsigned room)
{
    unsigned found[COUNTS_SHOWN], n = 0;

    for (unsigned key = 0; key < COUNT_KEYS; key++) {
        unsigned at = n;

        if (!counts[key])
            continue;
        while (at && counts[found[at - 1]] < counts[key])
            at--;
        if (at == COUNTS_SHOWN)
            continue;
        n += n < COUNTS_SHOWN;
        for (unsigned last = n - 1; last > at; last--)
            found[last] = found[last - 1];
        found[at] = key;
    }
    n = MIN(n, room);
    for (unsigned at = 0; at < n; at++) {
        name_of(found[at], what, stats[at].name, sizeof(stats[at].name));
        stats[at].value = counts[found[at]];
    }
    return n;
}

unsigned counts_stats(const struct translate_counts *counts, struct accel_stat *stats,
                      unsigned room)
{
    unsigned n = most(counts->untranslated, "not translated:", stats, room);

    return n + most(counts->missed, "check failed:", stats + n, room - n);
}
