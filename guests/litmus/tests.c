/*
 * The litmus tests: a few instructions for each thread, right and broken, the outcomes that x86
 * forbids, and the table. Names are those of the literature: SB is store buffering, MP message
 * passing, and so on.
 */
#include "litmus.h"

#include <cpuid.h>
#include <string.h>

/* ---- the bodies: code uses %[x] %[y] (memory), %[a] %[b] (registers) ---- */

#define BODY(name, code)                                                                           \
    static void name(struct body_args *args)                                                       \
    {                                                                                              \
        uint64_t a = 0, b = 0, *x = args->x, *y = args->y;                                         \
        __asm__ volatile(code                                                                      \
                         : [a] "+&r"(a), [b] "+&r"(b)                                              \
                         : [x] "r"(x), [y] "r"(y)                                                  \
                         : "rax", "rcx", "memory", "cc");                                          \
        args->a = a;                                                                               \
        args->b = b;                                                                               \
    }

#define X                   "(%[x])"
#define Y                   "(%[y])"
#define STORE(value, where) "movq $" #value ", " where "\n\t"
#define LOAD(where, reg)    "movq " where ", %[" #reg "]\n\t"
#define MFENCE              "mfence\n\t"
#define PAUSES              "pause\n\tpause\n\tpause\n\tpause\n\t"
#define LOCKED              "lock addq $0, -8(%%rsp)\n\t"

BODY(store_x, STORE(1, X))
BODY(store_y, STORE(1, Y))
BODY(store_x_load_y, STORE(1, X) LOAD(Y, a))
BODY(store_y_load_x, STORE(1, Y) LOAD(X, a))
BODY(store_x_mfence_load_y, STORE(1, X) MFENCE LOAD(Y, a))
BODY(store_y_mfence_load_x, STORE(1, Y) MFENCE LOAD(X, a))
BODY(store_x_locked_load_y, STORE(1, X) LOCKED LOAD(Y, a))
BODY(store_y_locked_load_x, STORE(1, Y) LOCKED LOAD(X, a))
BODY(xchg_x_load_y, "movl $1, %%eax\n\t xchgq %%rax, " X "\n\t" LOAD(Y, a))
BODY(xchg_y_load_x, "movl $1, %%eax\n\t xchgq %%rax, " Y "\n\t" LOAD(X, a))
BODY(store_x_store_y, STORE(1, X) STORE(1, Y))
BODY(store_y_store_x, STORE(1, Y) STORE(1, X))
BODY(store_x_sfence_store_y, STORE(1, X) "sfence\n\t" STORE(1, Y))
BODY(load_y_load_x, LOAD(Y, a) LOAD(X, b))
BODY(load_x_load_y, LOAD(X, a) LOAD(Y, b))
BODY(load_y_lfence_load_x, LOAD(Y, a) "lfence\n\t" LOAD(X, b))
BODY(load_y_mfence_load_x, LOAD(Y, a) MFENCE LOAD(X, b))
BODY(load_x_mfence_load_y, LOAD(X, a) MFENCE LOAD(Y, b))
/* Exchanged: the second register is read first. */
BODY(late_y_load_x, LOAD(X, b) "pause\n\t" LOAD(Y, a))
BODY(late_x_load_y, LOAD(Y, b) "pause\n\t" LOAD(X, a))
BODY(load_x_store_y, LOAD(X, a) STORE(1, Y))
BODY(load_y_store_x, LOAD(Y, a) STORE(1, X))
BODY(late_load_x_store_y, STORE(1, Y) PAUSES LOAD(X, a))
BODY(late_load_y_store_x, STORE(1, X) PAUSES LOAD(Y, a))
BODY(store_x1_store_y2, STORE(1, X) STORE(2, Y))
BODY(store_y1_store_x2, STORE(1, Y) STORE(2, X))
BODY(store_y2_store_x1, STORE(2, Y) "pause\n\t" STORE(1, X))
BODY(store_x2_store_y1, STORE(2, X) "pause\n\t" STORE(1, Y))
BODY(store_y1_pause_store_x2, STORE(1, Y) PAUSES STORE(2, X))
BODY(store_y2_load_x, STORE(2, Y) LOAD(X, a))
BODY(store_y2_mfence_load_x, STORE(2, Y) MFENCE LOAD(X, a))
BODY(store_x1_store_x2, STORE(1, X) STORE(2, X))
BODY(load_x_load_x, LOAD(X, a) LOAD(X, b))
BODY(late_load_x_load_x, LOAD(X, b) "pause\n\t" LOAD(X, a))

static int both_0(const struct instance *at)
{
    return at->a[0] == 0 && at->a[1] == 0;
}
static int flag_without_data(const struct instance *at)
{
    return at->a[1] == 1 && at->b[1] == 0;
}
static int both_1(const struct instance *at)
{
    return at->a[0] == 1 && at->a[1] == 1;
}
static int orders_differ(const struct instance *at)
{
    return at->a[2] == 1 && at->b[2] == 0 && at->a[3] == 1 && at->b[3] == 0;
}
static int firsts_stay(const struct instance *at)
{
    return *at->x == 1 && *at->y == 1;
}
static int r_outcome(const struct instance *at)
{
    return *at->y == 2 && at->a[1] == 0;
}
static int s_outcome(const struct instance *at)
{
    return *at->x == 2 && at->a[1] == 1;
}
static int goes_back(const struct instance *at)
{
    return at->b[1] < at->a[1];
}
static int chain_broken(const struct instance *at)
{
    return at->a[1] == 1 && at->a[2] == 1 && at->b[2] == 0;
}

/* ---- torn accesses: thread 0 writes all bits or none, thread 1 reads; b is 1 when torn ---- */

#define TIMES 32 /* within one instance: they are fast, and meeting once is rare */

static void write_8(struct body_args *args)
{
    for (uint64_t i = 1; i <= TIMES; i++)
        __asm__ volatile("movq %0, (%1)" ::"r"(-(i & 1)), "r"(args->x) : "memory");
}

static void write_4_and_4(struct body_args *args)
{
    for (uint32_t i = 1; i <= TIMES; i++)
        __asm__ volatile("movl %0, (%1)\n\tpause\n\tmovl %0, 4(%1)" ::"r"(-(i & 1)), "r"(args->x)
                         : "memory");
}

static void read_8(struct body_args *args)
{
    for (int i = 0; i < TIMES; i++) {
        uint64_t got;
        __asm__ volatile("movq (%1), %0" : "=r"(got) : "r"(args->x) : "memory");
        args->b |= got != 0 && got != UINT64_MAX;
    }
}

/* Four bytes that need not be aligned, but lie within eight that are. */
static unsigned char *inside(const struct body_args *args)
{
    return (unsigned char *)args->x + ((uintptr_t)args->x >> 3) % 5;
}

static void write_4(struct body_args *args)
{
    for (uint32_t i = 1; i <= TIMES; i++)
        __asm__ volatile("movl %0, (%1)" ::"r"(-(i & 1)), "r"(inside(args)) : "memory");
}

static void write_2_and_2(struct body_args *args)
{
    for (uint16_t i = 1; i <= TIMES; i++)
        __asm__ volatile("movw %w0, (%1)\n\tpause\n\tmovw %w0, 2(%1)" ::"r"(-(i & 1)),
                         "r"(inside(args))
                         : "memory");
}

static void read_4(struct body_args *args)
{
    for (int i = 0; i < TIMES; i++) {
        uint32_t got;
        __asm__ volatile("movl (%1), %0" : "=r"(got) : "r"(inside(args)) : "memory");
        args->b |= got != 0 && got != UINT32_MAX;
    }
}

static void write_16(struct body_args *args)
{
    for (uint64_t i = 1; i <= TIMES; i++)
        __asm__ volatile(
            "movq %0, %%xmm0\n\tpunpcklqdq %%xmm0, %%xmm0\n\tmovdqa %%xmm0, (%1)" ::"r"(-(i & 1)),
            "r"(args->x)
            : "xmm0", "memory");
}

static void write_8_and_8(struct body_args *args)
{
    for (uint64_t i = 1; i <= TIMES; i++)
        __asm__ volatile("movq %0, (%1)\n\tpause\n\tmovq %0, 8(%1)" ::"r"(-(i & 1)), "r"(args->x)
                         : "memory");
}

static void read_16(struct body_args *args)
{
    for (int i = 0; i < TIMES; i++) {
        uint64_t low, high;
        __asm__ volatile("movdqa (%2), %%xmm0\n\tmovq %%xmm0, %0\n\tpsrldq $8, %%xmm0\n\t"
                         "movq %%xmm0, %1"
                         : "=r"(low), "=r"(high)
                         : "r"(args->x)
                         : "xmm0", "memory");
        args->b |= low != high;
    }
}

/* 16 bytes by cmpxchg16b that changes nothing, or 0 to 0: the one way that is always atomic. */
static void read_16_locked(struct body_args *args)
{
    for (int i = 0; i < TIMES; i++) {
        uint64_t low = 0, high = 0;
        __asm__ volatile("lock cmpxchg16b (%2)"
                         : "+a"(low), "+d"(high)
                         : "r"(args->x), "b"(0ull), "c"(0ull)
                         : "memory", "cc");
        args->b |= low != high;
    }
}

static void write_16_locked(struct body_args *args)
{
    for (uint64_t i = 1; i <= TIMES; i++) {
        uint64_t low = 0, high = 0, to = -(i & 1);
        unsigned char done;
        do {
            __asm__ volatile("lock cmpxchg16b (%3)\n\tsete %0"
                             : "=q"(done), "+a"(low), "+d"(high)
                             : "r"(args->x), "b"(to), "c"(to)
                             : "memory", "cc");
        } while (!done);
    }
}

static int torn(const struct instance *at)
{
    return at->b[1] != 0;
}

/* The SDM, and AMD since, promise this of processors with AVX. */
static int has_avx(void)
{
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AVX);
}

/* ---- sums: all threads count in the same cell, and nothing may be lost ---- */

#define COUNTS 16 /* in a turn */

#define ADD(name, code)                                                                            \
    static void name(struct body_args *args)                                                       \
    {                                                                                              \
        for (int i = 0; i < COUNTS; i++)                                                           \
            __asm__ volatile(code ::[x] "r"(args->x) : "rax", "rcx", "memory", "cc");              \
    }

ADD(lock_inc, "lock incq " X)
ADD(bare_inc, "incq " X)
ADD(lock_addb, "lock addb $1, 3" X)
ADD(bare_addb, "addb $1, 3" X)
ADD(lock_xadd, "movl $1, %%eax\n\tlock xaddl %%eax, 4" X)
ADD(bare_xadd, "movl $1, %%eax\n\txaddl %%eax, 4" X)
#define SWAP(lock)                                                                                 \
    "movq " X ", %%rax\n1:\tleaq 1(%%rax), %%rcx\n\t" lock "cmpxchgq %%rcx, " X "\n\tjne 1b"
ADD(lock_cmpxchg, SWAP("lock "))
ADD(bare_cmpxchg, SWAP(""))

static void add_16(struct body_args *args, int locked)
{
    for (int i = 0; i < COUNTS; i++) {
        uint64_t low = args->x[0], high = args->x[1];
        unsigned char done;
        do {
            if (locked)
                __asm__ volatile("lock cmpxchg16b (%3)\n\tsete %0"
                                 : "=q"(done), "+a"(low), "+d"(high)
                                 : "r"(args->x), "b"(low + 1), "c"(high + 1)
                                 : "memory", "cc");
            else
                __asm__ volatile("cmpxchg16b (%3)\n\tsete %0"
                                 : "=q"(done), "+a"(low), "+d"(high)
                                 : "r"(args->x), "b"(low + 1), "c"(high + 1)
                                 : "memory", "cc");
        } while (!done);
    }
}

static void lock_cmpxchg16b(struct body_args *args)
{
    add_16(args, 1);
}

static void bare_cmpxchg16b(struct body_args *args)
{
    add_16(args, 0);
}

static uint64_t lost_8(const unsigned char *cell, uint64_t turns)
{
    uint64_t sum;
    memcpy(&sum, cell, sizeof(sum));
    return turns * COUNTS - sum;
}

static uint64_t lost_1(const unsigned char *cell, uint64_t turns)
{
    return (unsigned char)(turns * COUNTS - cell[3]);
}

static uint64_t lost_4(const unsigned char *cell, uint64_t turns)
{
    uint32_t sum;
    memcpy(&sum, cell + 4, sizeof(sum));
    return (uint32_t)(turns * COUNTS) - sum;
}

static uint64_t lost_16(const unsigned char *cell, uint64_t turns)
{
    return lost_8(cell, turns) | lost_8(cell + 8, turns);
}

/* ---- the tests ---- */

#define ALL4(f)                                                                                    \
    {                                                                                              \
        f, f, f, f                                                                                 \
    }

const struct test tests[] = {
    {"SB", 2, {store_x_load_y, store_y_load_x}, {0}, .seen = both_0, .allowed = 1},
    {"SB+mfence",
     2,
     {store_x_mfence_load_y, store_y_mfence_load_x},
     {store_x_load_y, store_y_load_x},
     .seen = both_0},
    {"SB+locked",
     2,
     {store_x_locked_load_y, store_y_locked_load_x},
     {store_x_load_y, store_y_load_x},
     .seen = both_0},
    {"SB+xchg",
     2,
     {xchg_x_load_y, xchg_y_load_x},
     {store_x_load_y, store_y_load_x},
     .seen = both_0},
    {"R", 2, {store_x_store_y, store_y2_load_x}, {0}, .seen = r_outcome, .allowed = 1},
    {"R+mfence",
     2,
     {store_x_store_y, store_y2_mfence_load_x},
     {store_y_store_x, store_y2_load_x},
     .seen = r_outcome},
    {"MP",
     2,
     {store_x_store_y, load_y_load_x},
     {store_y_store_x, late_y_load_x},
     .seen = flag_without_data},
    {"MP+fences",
     2,
     {store_x_sfence_store_y, load_y_lfence_load_x},
     {store_y_store_x, late_y_load_x},
     .seen = flag_without_data},
    {"LB",
     2,
     {load_x_store_y, load_y_store_x},
     {late_load_x_store_y, late_load_y_store_x},
     .seen = both_1},
    {"S",
     2,
     {store_x2_store_y1, load_y_store_x},
     {store_y1_pause_store_x2, late_load_y_store_x},
     .seen = s_outcome},
    {"2+2W",
     2,
     {store_x1_store_y2, store_y1_store_x2},
     {store_y2_store_x1, store_x2_store_y1},
     .seen = firsts_stay},
    {"CoRR",
     2,
     {store_x1_store_x2, load_x_load_x},
     {store_x1_store_x2, late_load_x_load_x},
     .seen = goes_back},
    {"WRC",
     3,
     {store_x, load_x_store_y, load_y_load_x},
     {store_x, late_load_x_store_y, late_y_load_x},
     .seen = chain_broken},
    {"IRIW",
     4,
     {store_x, store_y, load_x_load_y, load_y_load_x},
     {store_x, store_y, late_x_load_y, late_y_load_x},
     .seen = orders_differ},
    {"IRIW+mfence",
     4,
     {store_x, store_y, load_x_mfence_load_y, load_y_mfence_load_x},
     {store_x, store_y, late_x_load_y, late_y_load_x},
     .seen = orders_differ},
    {"whole-4", 2, {write_4, read_4}, {write_2_and_2, read_4}, .seen = torn},
    {"whole-8", 2, {write_8, read_8}, {write_4_and_4, read_8}, .seen = torn},
    {"whole-16-movdqa",
     2,
     {write_16, read_16},
     {write_8_and_8, read_16},
     .seen = torn,
     .line_only = 1,
     .offered = has_avx},
    {"whole-16-cmpxchg16b",
     2,
     {write_16_locked, read_16_locked},
     {write_8_and_8, read_16_locked},
     .seen = torn,
     .line_only = 1},
    {"sum-lock-inc", 4, ALL4(lock_inc), ALL4(bare_inc), .lost = lost_8},
    {"sum-lock-add-1-byte", 4, ALL4(lock_addb), ALL4(bare_addb), .lost = lost_1},
    {"sum-lock-xadd-4-bytes", 4, ALL4(lock_xadd), ALL4(bare_xadd), .lost = lost_4},
    {"sum-lock-cmpxchg", 4, ALL4(lock_cmpxchg), ALL4(bare_cmpxchg), .lost = lost_8},
    {"sum-lock-cmpxchg16b", 4, ALL4(lock_cmpxchg16b), ALL4(bare_cmpxchg16b), .line_only = 1,
     .lost = lost_16},
    {"sum-lock-inc-split", 4, ALL4(lock_inc), ALL4(bare_inc), .split = 1, .lost = lost_8},
};

const unsigned test_count = sizeof(tests) / sizeof(tests[0]);
