#include "accel/soft/parts.h"

#include "base/bits.h"
#include "base/clock.h"

#include <stdio.h>
#include <x86intrin.h>

enum soft_part parts_switch(struct soft_parts *p, enum soft_part to, uint64_t retired)
{
    enum soft_part before = p->now;
    uint64_t now = __rdtsc();

    p->ticks[before] += now - p->since;
    p->retired[before] += retired - p->since_retired;
    p->since = now;
    p->since_retired = retired;
    p->now = to;
    return before;
}

void parts_begin(struct soft_parts *p, uint64_t retired)
{
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    if (p->since_cpu)
        p->ns[PART_OUTSIDE] += cpu - p->since_cpu;
    p->since_cpu = cpu;
    p->now = PART_LOOP;
    p->since_retired = retired;
    p->since = __rdtsc();
}

/*
 * Others had the processor meanwhile, in whichever part. Mostly they get it as a system call ends:
 * so those that tell the time are outside of what the TSC counts.
 */
void parts_end(struct soft_parts *p, uint64_t retired)
{
    uint64_t cpu, all = 0;

    parts_switch(p, PART_OUTSIDE, retired);
    cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned n = 0; n < PART_COUNT; n++)
        all += p->ticks[n];
    for (unsigned n = 0; n < PART_COUNT; n++) {
        p->ns[n] += (uint64_t)((unsigned __int128)p->ticks[n] * (cpu - p->since_cpu) / MAX(all, 1));
        p->ticks[n] = 0;
    }
    p->since_cpu = cpu;
}

unsigned parts_stats(const struct soft_parts *p, struct accel_stat *stats, unsigned room)
{
    static const char *const name[PART_COUNT] = {
        [PART_OUTSIDE] = "us in exits and devices",
        [PART_LOOP] = "us between blocks",
        [PART_CODE] = "us in translated code",
        [PART_INTERPRETED] = "us in the interpreter from translated code",
        [PART_MISSED] = "us in the interpreter as checks failed",
        [PART_COLD] = "us in blocks not translated",
        [PART_SINGLE] = "us in single instructions",
        [PART_EVENT] = "us in delivering events",
        [PART_TRANSLATE] = "us in decoding and translating",
        [PART_WALK] = "us in misses of the TLB",
    };

    if (!p->on || room < PART_COUNT)
        return 0;
    for (unsigned n = 0; n < PART_COUNT; n++) {
        snprintf(stats[n].name, sizeof(stats[n].name), "%s", name[n]);
        stats[n].value = p->ns[n] / 1000;
    }
    return PART_COUNT;
}
