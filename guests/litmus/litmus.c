/*
 * Litmus tests of the memory order and the atomic accesses that x86 promises
 * (SDM Vol. 3A 9.1 and 9.2, APM Vol. 2 7.1 to 7.3), for any x86-64 Linux with
 * several processors. Usage: see usage(). The tests are in tests.c.
 *
 * A test is a few instructions for each of two to four threads, one processor
 * each, executed on fresh cells again and again. Before every instance the
 * threads wait for each other, not for long, and then a few random moments, so
 * that they meet in all ways. Names are those of the literature: SB is store
 * buffering, MP message passing, and so on.
 *
 * With --broken each test executes code that breaks its promise: a fence or a
 * lock prefix is missing, two accesses are exchanged, one is done in halves.
 * Then every test must find its forbidden outcome; it cannot see errors else.
 */
#include "litmus.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256
/* How often a thread looks for the others before it goes on without them. */
#define PATIENCE 300
/* And how long, before a batch. */
#define LATE_NS 20000000
/* A lock across two lines stops all processors, and some hosts punish it. */
#define SPLIT_SELDOM 64

/* ---- threads ---- */

static struct instance *instances;
static const struct test *current;
static int broken;
static unsigned batches_left;
static int cpus[MAX_THREADS];
static unsigned cpu_count;
static _Alignas(64) unsigned char sum_cell[3 * 64];
static pthread_barrier_t barrier;
/* How many instances and batches a thread has begun; a line each. */
static struct {
    _Alignas(64) atomic_uint begun;
    atomic_uint batch;
} progress[MAX_THREADS];

static uint32_t random_next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Thread 0's, between batches: x and y at random places, in one line or in two. */
static void prepare(uint32_t *random)
{
    for (unsigned i = 0; i < BATCH; i++) {
        struct instance *at = &instances[i];
        uint32_t r = random_next(random);
        memset(at->lines, 0, sizeof(at->lines));
        memset(at->a, 0, sizeof(at->a));
        memset(at->b, 0, sizeof(at->b));
        if (current->line_only) {
            at->x = at->y = (uint64_t *)(at->lines + 16 * (r % 8));
        } else {
            unsigned x = r % 8, y = r / 8 % 8;
            at->x = (uint64_t *)(at->lines + 8 * x);
            /* In x's line one time in four. */
            at->y = (uint64_t *)(at->lines + 8 * (r / 64 % 4 || x == y ? 64 / 8 + y : y));
        }
    }
}

/* A thread that slept is late; without it the others would be through before it comes. */
static void begin_together(unsigned self, unsigned batch)
{
    struct timespec now, begin;

    atomic_store(&progress[self].batch, batch);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (unsigned thread = 0; thread < current->threads; thread++)
        while (atomic_load(&progress[thread].batch) < batch) {
            if (cpu_count < current->threads)
                sched_yield();
            clock_gettime(CLOCK_MONOTONIC, &now);
            if ((now.tv_sec - begin.tv_sec) * 1000000000 + now.tv_nsec - begin.tv_nsec > LATE_NS)
                return;
        }
}

static void wait_for_others(unsigned self, unsigned number, uint32_t *random)
{
    atomic_store(&progress[self].begun, number);
    for (unsigned thread = 0; thread < current->threads; thread++)
        for (unsigned i = 0; i < PATIENCE; i++)
            if ((int)(atomic_load(&progress[thread].begun) - number) >= 0)
                break;
    for (uint32_t delay = random_next(random) % 16; delay; delay--)
        __asm__ volatile("" ::: "memory");
}

static void run_batch(unsigned self, body *code, uint32_t *random, unsigned *number)
{
    begin_together(self, *number / BATCH + 1);
    for (unsigned i = 0; i < BATCH; i++) {
        struct instance *at = &instances[i];
        struct body_args args = {.x = at->x, .y = at->y};
        if (current->lost)
            args.x = (uint64_t *)(sum_cell + (current->split ? 64 - 3 : 64));
        wait_for_others(self, ++*number, random);
        code(&args);
        at->a[self] = args.a;
        at->b[self] = args.b;
    }
}

static uint64_t count_seen(void)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < BATCH && current->seen; i++)
        seen += current->seen(&instances[i]) != 0;
    return seen;
}

struct thread {
    unsigned self;
    uint64_t seen;
    uint64_t turns; /* of all threads */
};

static void *run_thread(void *arg)
{
    struct thread *me = arg;
    uint32_t random = 0x9e3779b9u * (me->self + 1);
    unsigned number = 0;
    body *code = current->bodies[me->self];
    cpu_set_t set;

    if (broken && current->broken[me->self])
        code = current->broken[me->self];
    CPU_ZERO(&set);
    CPU_SET(cpus[me->self], &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        perror("litmus: sched_setaffinity");
    for (unsigned left = batches_left; left; left--) {
        if (me->self == 0)
            prepare(&random);
        pthread_barrier_wait(&barrier);
        run_batch(me->self, code, &random, &number);
        pthread_barrier_wait(&barrier);
        if (me->self == 0)
            me->seen += count_seen();
    }
    me->turns = (uint64_t)number * current->threads;
    return NULL;
}

/* Returns whether the test went wrong, or with --broken whether it did not. */
static int run_test(void)
{
    struct thread threads[MAX_THREADS] = {0};
    pthread_t handles[MAX_THREADS];

    memset(sum_cell, 0, sizeof(sum_cell));
    for (unsigned i = 0; i < MAX_THREADS; i++)
        progress[i].begun = progress[i].batch = 0;
    pthread_barrier_init(&barrier, NULL, current->threads);
    for (unsigned i = 0; i < current->threads; i++) {
        threads[i].self = i;
        if (pthread_create(&handles[i], NULL, run_thread, &threads[i])) {
            perror("litmus: pthread_create");
            exit(2);
        }
    }
    for (unsigned i = 0; i < current->threads; i++)
        pthread_join(handles[i], NULL);
    pthread_barrier_destroy(&barrier);

    uint64_t seen = threads[0].seen;
    if (current->lost)
        seen = current->lost(sum_cell + (current->split ? 64 - 3 : 64), threads[0].turns);
    const char *what = current->allowed ? "allowed" : current->lost ? "lost" : "forbidden";
    int bad = !current->allowed && (seen != 0) != broken;
    printf("%-21s %9u times, %s %llu%s\n", current->name, batches_left * BATCH, what,
           (unsigned long long)seen, bad ? broken ? "  <- not noticed" : "  <- wrong" : "");
    fflush(stdout);
    return bad;
}

static void find_cpus(void)
{
    cpu_set_t set;
    unsigned found = 0;

    sched_getaffinity(0, sizeof(set), &set);
    for (int cpu = 0; cpu < CPU_SETSIZE && found < MAX_THREADS; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpus[found++] = cpu;
    printf("litmus: %u threads at most on %u processors%s\n", MAX_THREADS, found,
           broken ? ", the code broken on purpose" : "");
    for (unsigned i = found; i < MAX_THREADS; i++)
        cpus[i] = cpus[i - found];
    cpu_count = found;
}

static void usage(void)
{
    fprintf(stderr, "Usage: litmus [--times N] [--broken] [--except TEST]... [TEST]...\n"
                    "  --times N      execute each test so often (default: 100000)\n"
                    "  --broken       execute code that breaks each test's promise\n"
                    "  --except TEST  leave a test out\n"
                    "Exits 1 when a forbidden outcome was seen, or with --broken was not.\n");
    exit(2);
}

static int in_list(const char *name, char **list, int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(name, list[i]))
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    unsigned times = 100000, bad = 0, run = 0;
    char *wanted[64], *excepted[64];
    int wanted_count = 0, excepted_count = 0;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--times") && i + 1 < argc)
            times = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--broken"))
            broken = 1;
        else if (!strcmp(argv[i], "--except") && i + 1 < argc && excepted_count < 64)
            excepted[excepted_count++] = argv[++i];
        else if (argv[i][0] != '-' && wanted_count < 64)
            wanted[wanted_count++] = argv[i];
        else
            usage();
    }
    if (times == 0)
        usage();
    find_cpus();
    instances = aligned_alloc(64, BATCH * sizeof(*instances));
    if (!instances)
        return 2;
    for (unsigned i = 0; i < test_count; i++) {
        current = &tests[i];
        if ((wanted_count && !in_list(current->name, wanted, wanted_count)) ||
            in_list(current->name, excepted, excepted_count))
            continue;
        if (current->offered && !current->offered()) {
            printf("%-21s not promised by this processor\n", current->name);
            continue;
        }
        if (broken && current->allowed)
            continue;
        if (broken && !current->lost && current->threads > cpu_count) {
            printf("%-21s needs %u processors to notice\n", current->name, current->threads);
            continue;
        }
        batches_left = (times / (current->split ? SPLIT_SELDOM : 1) + BATCH - 1) / BATCH;
        bad += (unsigned)run_test();
        run++;
    }
    printf("litmus: %u tests, %u %s\n", run, bad, broken ? "did not notice" : "went wrong");
    return bad || !run;
}
