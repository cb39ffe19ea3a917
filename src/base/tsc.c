#include "base/tsc.h"

#include <cpuid.h>
#include <pthread.h>
#include <time.h>
#include <x86intrin.h>

#define MEASURE_NS 2000000

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

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

    for (int i = 0; i < 8; i++) {
        uint64_t before = __rdtsc(), ns = clock_ns(CLOCK_MONOTONIC_RAW), after = __rdtsc();

        if (after - before < best_gap) {
            best_gap = after - before;
            best = (struct sample){ns, before + (after - before) / 2};
        }
    }
    return best;
}

static uint32_t khz_measured(void)
{
    const struct timespec wait = {0, MEASURE_NS};
    struct sample a = take_sample(), b;

    nanosleep(&wait, NULL);
    b = take_sample();
    return (uint32_t)((b.tsc - a.tsc) * 1000000 / (b.ns - a.ns));
}

static uint32_t tsc_khz;

static void find_tsc_khz(void)
{
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
