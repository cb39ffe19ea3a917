/* Usage: see usage(). */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct workload *const tables[] = {
    integer_workloads, branch_workloads,  indirect_workloads, float_workloads,
    sse_workloads,     avx_workloads,     memory_workloads,   byte_workloads,
    system_workloads,  process_workloads, file_workloads,
};
#define TABLES (sizeof tables / sizeof *tables)

void die(const char *what)
{
    printf("failed: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

void *allocate(size_t size)
{
    void *got = aligned_alloc(64, (size + 63) & ~(size_t)63);

    if (!got)
        die("memory");
    memset(got, 0, size);
    return got;
}

void fill_random(void *to, size_t size, uint64_t seed)
{
    uint8_t *bytes = to;

    seed = seed * 2 + 0x853c49e6748fea9b;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(next_random(&seed) >> 32);
}

uint64_t checksum(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t sum = size, word = 0;
    size_t i = 0;

    for (; i + 8 <= size; i += 8) {
        memcpy(&word, bytes + i, 8);
        sum = mix(sum, word);
    }
    word = 0;
    memcpy(&word, bytes + i, size - i);
    return mix(sum, word);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Processor time of this process and of the children that were waited for. */
static uint64_t processor_ns(void)
{
    struct rusage use;
    uint64_t us = 0;

    for (int i = 0; i < 2; i++) {
        getrusage(i ? RUSAGE_CHILDREN : RUSAGE_SELF, &use);
        us += (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000;
        us += (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    }
    return us * 1000;
}

static const struct workload *find(const char *name)
{
    for (size_t i = 0; i < TABLES; i++)
        for (const struct workload *w = tables[i]; w->name; w++)
            if (!strcmp(w->name, name))
                return w;
    return NULL;
}

/* wrong: give a wrong checksum, as a test of who compares them. */
static int measure(const char *name, uint64_t iterations, bool wrong)
{
    const struct workload *w = find(name);
    const char *lack;
    uint64_t begin, ns, used, first, sum;

    if (!w || !iterations) {
        printf("failed: no workload %s, or no iterations\n", name);
        return 1;
    }
    lack = w->lack ? w->lack() : NULL;
    if (lack) {
        printf("%s lacks %s\n", name, lack);
        return 0;
    }
    if (w->prepare)
        w->prepare();
    used = processor_ns();
    begin = now_ns();
    first = sum = w->run();
    for (uint64_t i = 1; i < iterations && sum == first; i++)
        sum = w->run();
    ns = now_ns() - begin;
    if (w->finish)
        w->finish();
    used = processor_ns() - used;
    if (sum != first) {
        printf("failed: %s: one iteration's checksum is %016" PRIx64 ", another's %016" PRIx64 "\n",
               name, first, sum);
        return 1;
    }
    printf("%s %" PRIu64 " %016" PRIx64 " %" PRIu64 "\n", name, ns, first ^ wrong, used);
    return 0;
}

/* Each request in a process of its own, so that all begin alike. */
static int serve(void)
{
    char line[128], name[32], word[8];
    unsigned long long iterations;
    int status;

    puts("bench-engine ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        int got = sscanf(line, "%31s %llu %7s", name, &iterations, word);
        pid_t child;

        if (got == 1 && !strcmp(name, "end"))
            return 0;
        if (got == 1 && !strcmp(name, "clock")) {
            printf("clock %" PRIu64 " 0 0\n", now_ns());
        } else if (got < 2) {
            puts("failed: not a request");
        } else {
            child = fork();
            if (child < 0)
                die("fork");
            if (!child) {
                status = measure(name, iterations, got > 2 && !strcmp(word, "wrong"));
                fflush(stdout);
                _exit(status);
            }
            if (waitpid(child, &status, 0) != child)
                die("waitpid");
            if (!WIFEXITED(status))
                printf("failed: %s ended by signal %d\n", name, WTERMSIG(status));
        }
        fflush(stdout);
    }
    return 0;
}

static int list(void)
{
    for (size_t i = 0; i < TABLES; i++)
        for (const struct workload *w = tables[i]; w->name; w++)
            printf("%s %s %u %s\n", w->name, w->group, w->count, w->unit);
    return 0;
}

static int usage(void)
{
    fprintf(stderr,
            "Usage: bench-engine NAME ITERATIONS [wrong]\n"
            "       bench-engine list\n"
            "       bench-engine serve\n"
            "\n"
            "Prints NAME, the ns that the iterations took, their checksum and the ns of processor\n"
            "time; `wrong` falsifies the checksum. list: NAME GROUP OPERATIONS-AN-ITERATION "
            "OPERATION of each workload. serve:\n"
            "requests NAME ITERATIONS [wrong] from standard input, until `end`; `clock` tells the\n"
            "time in ns.\n");
    return 2;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "nothing"))
        _exit(NOTHING_STATUS);
    if (argc == 2 && !strcmp(argv[1], "list"))
        return list();
    if (argc == 2 && !strcmp(argv[1], "serve"))
        return serve();
    if (argc == 3 || (argc == 4 && !strcmp(argv[3], "wrong")))
        return measure(argv[1], strtoull(argv[2], NULL, 10), argc == 4);
    return usage();
}
