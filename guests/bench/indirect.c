/* Indirect jumps and calls: a bytecode interpreter, a table of functions, qsort's comparisons. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum op { PUSH, DUP, ADD, MUL, SUB, SWAP, JNZ, LOAD, STORE, XOR, END };

/* v0 = 400; v1 = 1; while (v0) { v1 = (v1 * 31 + v0) ^ v0 - 7; v0 = v0 - 1; } */
static const int32_t code[] = {
    PUSH, 400,   STORE, 0,  PUSH, 1,    STORE, 1,        /* 0 */
    LOAD, 1,     PUSH,  31, MUL,  LOAD, 0,     ADD,      /* 8 */
    LOAD, 0,     PUSH,  7,  SUB,  XOR,  DUP,   STORE, 1, /* 16 */
    SWAP, STORE, 2,                                      /* 25 */
    LOAD, 0,     PUSH,  1,  SUB,  DUP,  STORE, 0,        /* 28 */
    JNZ,  8,     END,                                    /* 36 */
};

static uint64_t run_bytecode(void)
{
    static const void *const labels[] = {
        &&push, &&dup, &&add, &&mul, &&sub, &&swap, &&jnz, &&load, &&store, &&exclusive, &&end,
    };
    uint64_t stack[16], vars[4] = {0}, t;
    /* The first SWAP finds two. */
    uint64_t *top = stack;
    const int32_t *pc = code;

    memset(stack, 0, sizeof stack);
    touch(stack);
#define NEXT goto *labels[*pc++]
    NEXT;
push:
    *++top = (uint64_t)*pc++;
    NEXT;
dup:
    top[1] = *top;
    top++;
    NEXT;
add:
    top--;
    *top += top[1];
    NEXT;
mul:
    top--;
    *top *= top[1];
    NEXT;
sub:
    top--;
    *top -= top[1];
    NEXT;
swap:
    t = *top;
    *top = top[-1];
    top[-1] = t;
    NEXT;
jnz:
    pc = *top-- ? code + *pc : pc + 1;
    NEXT;
load:
    *++top = vars[*pc++];
    NEXT;
store:
    vars[*pc++] = *top--;
    NEXT;
exclusive:
    top--;
    *top ^= top[1];
    NEXT;
end:
    return mix(vars[1], vars[2]);
}

#define CALLS 4096
static uint8_t order[CALLS];

#define FUNCTION(name, expression)                                                                 \
    __attribute__((noinline, noclone)) static uint64_t name(uint64_t x)                            \
    {                                                                                              \
        return expression;                                                                         \
    }
FUNCTION(f0, x + 0x1234567)
FUNCTION(f1, x ^ x >> 3)
FUNCTION(f2, x * 5)
FUNCTION(f3, x << 7 | x >> 57)
FUNCTION(f4, ~x)
FUNCTION(f5, x - (x >> 11))
FUNCTION(f6, x ^ 0xff00ff00ff)
FUNCTION(f7, x + (x << 1))

static void prepare_callbacks(void)
{
    fill_random(order, sizeof order, 6);
}

static uint64_t run_callbacks(void)
{
    static uint64_t (*const functions[])(uint64_t) = {f0, f1, f2, f3, f4, f5, f6, f7};
    uint64_t sum = 1;

    touch(order);
    for (size_t i = 0; i < CALLS; i++)
        sum = functions[order[i] & 7](sum);
    return sum;
}

#define RECORDS 1024
static struct record {
    uint32_t key, value;
} unsorted[RECORDS], records[RECORDS];

static void prepare_qsort(void)
{
    fill_random(unsorted, sizeof unsorted, 8);
}

static int compare(const void *a, const void *b)
{
    const struct record *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

static uint64_t run_qsort(void)
{
    memcpy(records, unsorted, sizeof records);
    touch(records);
    qsort(records, RECORDS, sizeof *records, compare);
    return mix(records[0].value, records[RECORDS / 2].value);
}

const struct workload indirect_workloads[] = {
    {.name = "bytecode", .group = "cpu", .unit = "400 rounds", .count = 1, .run = run_bytecode},
    {.name = "callbacks",
     .group = "cpu",
     .unit = "4096 calls",
     .count = 1,
     .prepare = prepare_callbacks,
     .run = run_callbacks},
    {.name = "qsort",
     .group = "cpu",
     .unit = "1024 records",
     .count = 1,
     .prepare = prepare_qsort,
     .run = run_qsort},
    {},
};
