/* Loops over bytes that the compiler leaves as they are written. */
#include "bench.h"

#pragma GCC optimize("no-tree-vectorize", "no-tree-loop-distribute-patterns")

#define SIZE 16384
static char *from, *to;

static void prepare(void)
{
    from = allocate(SIZE);
    to = allocate(SIZE);
    fill_random(from, SIZE, 17);
    for (int i = 0; i < SIZE - 1; i++)
        from[i] |= 1;
    from[SIZE - 1] = 0;
}

static uint64_t run_length(void)
{
    const char *end = from;

    touch(from);
    while (*end)
        end++;
    return (uint64_t)(end - from);
}

static uint64_t run_copy(void)
{
    touch(from);
    for (size_t i = 0; i < SIZE; i++)
        to[i] = from[i];
    touch(to);
    return (uint8_t)to[1] + (uint64_t)(uint8_t)to[SIZE - 2] * 256;
}

static uint64_t run_count(void)
{
    uint64_t count = 0;

    touch(from);
    for (size_t i = 0; i < SIZE; i++)
        if (from[i] == 'a')
            count++;
    return count;
}

const struct workload byte_workloads[] = {
    {.name = "byte-length",
     .group = "cpu",
     .unit = "16 KiB",
     .count = 1,
     .prepare = prepare,
     .run = run_length},
    {.name = "byte-copy",
     .group = "cpu",
     .unit = "16 KiB",
     .count = 1,
     .prepare = prepare,
     .run = run_copy},
    {.name = "byte-count",
     .group = "cpu",
     .unit = "16 KiB",
     .count = 1,
     .prepare = prepare,
     .run = run_count},
    {},
};
