/* The guest's side: threads that compare clocks, and one that tells them. */
#include "clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MAX_CPUS 64

/* The latest that any processor has read; a line each. */
static struct {
    _Alignas(64) _Atomic uint64_t at;
} latest[CLOCKS];

static atomic_int ended;

struct checker {
    int cpu, broken;
    uint64_t readings, back[CLOCKS], worst[CLOCKS];
};

/* Nothing read after `latest` was may be less than it. */
static void check_once(struct checker *me, int clock)
{
    uint64_t before = atomic_load(&latest[clock].at);
    uint64_t now = clock_read(clock) - (me->broken && me->cpu % 2 ? BROKEN_LAG : 0);

    if (now < before) {
        me->back[clock]++;
        if (before - now > me->worst[clock])
            me->worst[clock] = before - now;
    }
    while (now > before && !atomic_compare_exchange_weak(&latest[clock].at, &before, now))
        ;
}

static void *check(void *arg)
{
    struct checker *me = arg;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(me->cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    setpriority(PRIO_PROCESS, 0, 19); /* of this thread: the answers come first */
    while (!atomic_load(&ended)) {
        for (int clock = 0; clock < CLOCKS; clock++)
            check_once(me, clock);
        me->readings++;
    }
    return NULL;
}

static void answer(const char *number, int broken, uint64_t start)
{
    uint64_t now[CLOCKS];

    for (int clock = 0; clock < CLOCKS; clock++)
        now[clock] = clock_read(clock);
    if (broken)
        now[MONOTONIC] += (now[MONOTONIC] - start) / (1000000 / BROKEN_PPM);
    printf(CLOCK_SAYS "%.20s %llu %llu %llu %llu\n", number, (unsigned long long)now[MONOTONIC],
           (unsigned long long)now[REALTIME], (unsigned long long)now[RAW],
           (unsigned long long)now[TSC]);
}

static void tell_back(const struct checker *checkers, int count)
{
    for (int clock = 0; clock < CLOCKS; clock++) {
        uint64_t readings = 0, back = 0, worst = 0;
        for (int i = 0; i < count; i++) {
            readings += checkers[i].readings;
            back += checkers[i].back[clock];
            if (checkers[i].worst[clock] > worst)
                worst = checkers[i].worst[clock];
        }
        printf(CLOCK_BACK "%s %d %llu %llu %llu\n", clock_names[clock], count,
               (unsigned long long)readings, (unsigned long long)back, (unsigned long long)worst);
    }
}

int clock_guest(int broken)
{
    static struct checker checkers[MAX_CPUS];
    pthread_t threads[MAX_CPUS];
    struct sched_param first = {.sched_priority = 10};
    uint64_t start = clock_read(MONOTONIC);
    char line[64];
    cpu_set_t set;
    int count = 0;

    sched_getaffinity(0, sizeof(set), &set);
    for (int cpu = 0; cpu < CPU_SETSIZE && count < MAX_CPUS; cpu++) {
        if (!CPU_ISSET(cpu, &set))
            continue;
        checkers[count] = (struct checker){.cpu = cpu, .broken = broken};
        if (pthread_create(&threads[count], NULL, check, &checkers[count]))
            return 1;
        count++;
    }
    sched_setscheduler(0, SCHED_FIFO, &first); /* fine where it may not be */
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts(CLOCK_READY);
    while (fgets(line, sizeof(line), stdin) && strncmp(line, "end", 3) != 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (!strncmp(line, "ask ", 4))
            answer(line + 4, broken, start);
    }
    atomic_store(&ended, 1);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    tell_back(checkers, count);
    puts(CLOCK_DONE);
    return 0;
}
