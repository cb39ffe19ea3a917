/*
 * Workloads that time a machine from inside. Each does a fixed piece of work, an
 * iteration, that always has the same checksum: so iterations check each other, and
 * a run of few on a slow machine can be compared with a run of many on a fast one.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workload {
    const char *name;
    const char *group;         /* which mean it counts in: cpu, fp, system or whole */
    const char *unit;          /* what one operation is */
    unsigned count;            /* operations an iteration */
    void (*prepare)(void);     /* before the time is taken; NULL: nothing */
    uint64_t (*run)(void);     /* one iteration; returns its checksum */
    void (*finish)(void);      /* afterwards, untimed; NULL: nothing */
    const char *(*lack)(void); /* what the machine lacks for it, or NULL; NULL: it needs nothing */
};

/* Tables, ended by an entry without a name. */
extern const struct workload integer_workloads[], branch_workloads[], indirect_workloads[],
    float_workloads[], sse_workloads[], avx_workloads[], memory_workloads[], byte_workloads[],
    system_workloads[], process_workloads[], file_workloads[];

/* What `bench-engine nothing` does: the program that the exec workload starts. */
#define NOTHING_STATUS 7

/* End with a message that names what failed, and errno's text. */
_Noreturn void die(const char *what);

void *allocate(size_t size);

/* Fill with the same bytes each time; a seed apart, they differ. */
void fill_random(void *to, size_t size, uint64_t seed);

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline uint64_t mix(uint64_t sum, uint64_t value)
{
    sum = (sum ^ value) * 0x9e3779b97f4a7c15;
    return sum ^ sum >> 29;
}

uint64_t checksum(const void *data, size_t size);

/* The compiler must take this memory as read and written. */
static inline void touch(void *at)
{
    __asm__ volatile("" : : "r"(at) : "memory");
}

#endif
