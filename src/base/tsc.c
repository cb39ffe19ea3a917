#include "base/tsc.h"

#include "base/bootcache.h"
#include "base/clock.h"

#include <cpuid.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <x86intrin.h>

#define MEASURE_NS 2000000
#define TRIES      32      /* 8 were good for 5 ppm, 32 for 0.5 */
#define MIN_KHZ    100000u /* what is below or above was not measured */
#define MAX_KHZ    20000000u

#define CACHE_NAME "tsc"
#define CACHE_KEY  "1" /* of its format */

/* Leaf 0x15: TSC = crystal (ECX, Hz) * EBX / EAX; many CPUs leave ECX 0. */
static uint32_t khz_of_crystal(void)
{
    unsigned den, num, hz, edx;

    if (!__get_cpuid(0x15, &den, &num, &hz, &edx) || !den || !num || !hz)
        return 0;
    return (uint32_t)((uint64_t)hz * num / den / 1000);
}

/* Hypervisor timing leaf (VMware's, also KVM's user space's): EAX in kHz. */
static uint32_t khz_of_hypervisor(void)
{
    unsigned eax, ebx, ecx, edx;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & (1u << 31)))
        return 0;
    __cpuid(0x40000000, eax, ebx, ecx, edx);
    if (eax < 0x40000010 || eax > 0x400000ff)
        return 0;
    __cpuid(0x40000010, eax, ebx, ecx, edx);
    return eax;
}

struct sample {
    uint64_t ns, tsc;
};

/*
 * Clock and TSC read together; of some tries the one with the least time
 * between the readings, so that being descheduled in between does not count.
 */
static struct sample take_sample(void)
{
    struct sample best = {0, 0};
    uint64_t best_gap = UINT64_MAX;

    for (int i = 0; i < TRIES; i++) {
        uint64_t before = __rdtsc(), ns = clock_ns(CLOCK_MONOTONIC_RAW), after = __rdtsc();

        if (after - before < best_gap) {
            best_gap = after - before;
            best = (struct sample){ns, before + (after - before) / 2};
        }
    }
    return best;
}

/* Rounded. 0: nothing that can be. */
static uint32_t khz_between(struct sample a, struct sample b)
{
    unsigned __int128 cycles = b.tsc - a.tsc;
    uint64_t ns = b.ns - a.ns, khz;

    if (b.tsc <= a.tsc || b.ns <= a.ns)
        return 0;
    khz = (uint64_t)((cycles * 1000000 + ns / 2) / ns);
    return khz >= MIN_KHZ && khz <= MAX_KHZ ? (uint32_t)khz : 0;
}

static uint32_t khz_measured(void)
{
    const struct timespec wait = {0, MEASURE_NS};
    struct sample a = take_sample(), b;
    char text[80];
    uint32_t khz;

    nanosleep(&wait, NULL);
    b = take_sample();
    khz = khz_between(a, b);
    snprintf(text, sizeof(text), "%" PRIu32 " %" PRIu64 " %" PRIu64 "\n", khz, b.ns, b.tsc);
    if (khz)
        bootcache_write(CACHE_NAME, CACHE_KEY, text); /* or it is measured again */
    return khz;
}

/*
 * What was measured since the host's boot. It must agree with what the TSC has
 * counted since then, or the host slept, moved to another processor, or the file
 * is wrong: 0.
 */
static uint32_t khz_kept(void)
{
    struct sample then;
    uint32_t khz, since;
    char text[512], end;

    if (bootcache_read(CACHE_NAME, CACHE_KEY, text, sizeof(text)) ||
        sscanf(text, "%" SCNu32 " %" SCNu64 " %" SCNu64 "%c", &khz, &then.ns, &then.tsc, &end) !=
            4 ||
        end != '\n')
        return 0;
    since = khz_between(then, take_sample());
    return since && khz >= since - since / 1000 && khz <= since + since / 1000 ? khz : 0;
}

static uint32_t tsc_khz;

/* In this order: an instruction that a hypervisor traps takes longer than to read a file. */
static void find_tsc_khz(void)
{
    tsc_khz = khz_kept();
    if (!tsc_khz)
        tsc_khz = khz_of_crystal();
    if (!tsc_khz)
        tsc_khz = khz_of_hypervisor();
    if (!tsc_khz)
        tsc_khz = khz_measured();
}

uint32_t host_tsc_khz(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, find_tsc_khz);
    return tsc_khz;
}
