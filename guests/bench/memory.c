/* Memory: pointers followed in a small and in a large area, and memcpy. */
#include "bench.h"

#include <string.h>
#include <sys/mman.h>

/*
 * Nodes of a cache line each, linked in the order of a linear congruential generator
 * with full period, so that where a walk ends can be computed.
 */
struct node {
    struct node *next;
    uint64_t filler[7];
};
#define FACTOR 0x9e3779b5u
#define ADDEND 0x7f4a7c15u
#define STEPS  16384

static struct node *nodes, *at;
static uint32_t mask, factor, addend; /* of STEPS steps at once */

static void prepare_chase(size_t count)
{
    size_t size = count * sizeof *nodes;

    nodes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (nodes == MAP_FAILED)
        die("mmap");
    madvise(nodes, size, MADV_NOHUGEPAGE); /* where the kernel knows it */
    mask = (uint32_t)count - 1;
    for (uint32_t i = 0; i < count; i++)
        nodes[i].next = nodes + ((i * FACTOR + ADDEND) & mask);
    at = nodes;
    factor = 1;
    addend = 0;
    for (int i = 0; i < STEPS; i++) {
        factor *= FACTOR;
        addend = addend * FACTOR + ADDEND;
    }
}

static void prepare_small(void)
{
    prepare_chase(256);
}

static void prepare_large(void)
{
    prepare_chase(1 << 20);
}

static uint64_t run_chase(void)
{
    uint32_t wanted = ((uint32_t)(at - nodes) * factor + addend) & mask;

    touch(nodes);
    for (int i = 0; i < STEPS; i++)
        at = at->next;
    return mix(factor ^ addend, (uint32_t)(at - nodes) ^ wanted);
}

#define MOST (4 << 20)
static char *from, *to;

static void prepare_copy(void)
{
    from = allocate(MOST);
    to = allocate(MOST);
    for (size_t i = 0; i < MOST; i += 64)
        from[i] = (char)(i >> 6);
}

static uint64_t copy(size_t size)
{
    uint64_t sum = 0;

    touch(from);
    memcpy(to, from, size);
    touch(to);
    for (size_t i = 0; i < size; i += 4096)
        sum = sum * 3 + (uint8_t)to[i + (i >> 6 & 0xfc0)];
    return sum;
}

static uint64_t run_copy_small(void)
{
    return copy(64 << 10);
}

static uint64_t run_copy_middle(void)
{
    return copy(512 << 10);
}

static uint64_t run_copy_large(void)
{
    return copy(MOST);
}

const struct workload memory_workloads[] = {
    {.name = "chase-16K",
     .group = "cpu",
     .unit = "a step",
     .count = STEPS,
     .prepare = prepare_small,
     .run = run_chase},
    {.name = "chase-64M",
     .group = "cpu",
     .unit = "a step",
     .count = STEPS,
     .prepare = prepare_large,
     .run = run_chase},
    {.name = "memcpy-64K",
     .group = "cpu",
     .unit = "64 KiB",
     .count = 1,
     .prepare = prepare_copy,
     .run = run_copy_small},
    {.name = "memcpy-512K",
     .group = "cpu",
     .unit = "512 KiB",
     .count = 1,
     .prepare = prepare_copy,
     .run = run_copy_middle},
    {.name = "memcpy-4M",
     .group = "cpu",
     .unit = "4 MiB",
     .count = 1,
     .prepare = prepare_copy,
     .run = run_copy_large},
    {},
};
