/*
 * Litmus tests of the memory order and the atomic accesses that x86 promises
 * (SDM Vol. 3A 9.1 and 9.2, APM Vol. 2 7.1 to 7.3), for any x86-64 Linux with
 * several processors. Usage: see usage().
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
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 4
#define BATCH       256
/* How often a thread looks for the others before it goes on without them. */
#define PATIENCE 300
/* And how long, before a batch. */
#define LATE_NS 20000000

/* What the threads of one instance share. x and y point into lines. */
struct instance {
    uint64_t *x, *y;
    uint64_t a[MAX_THREADS], b[MAX_THREADS]; /* what the threads read */
    _Alignas(64) unsigned char lines[3 * 64];
};

struct body_args {
    uint64_t *x, *y;
    uint64_t a, b;
};

typedef void body(struct body_args *args);

struct test {
    const char *name;
    unsigned threads;
    body *bodies[MAX_THREADS];
    body *broken[MAX_THREADS]; /* of --broken, where other than bodies */
    /* The outcome to look for. */
    int (*seen)(const struct instance *at);
    unsigned allowed : 1;   /* x86 allows it: it is only counted */
    unsigned line_only : 1; /* x is 16 bytes that are aligned, y is not used */
    unsigned split : 1;     /* x lies across two cache lines */
    int (*offered)(void);   /* NULL: always */
    /* Sums: one pair of cells for the whole run, looked at once, at the end. */
    uint64_t (*lost)(const unsigned char *cell, uint64_t turns);
};

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
/* A lock across two lines stops all processors, and some hosts punish it. */
#define SPLIT_SELDOM 64

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

static const struct test tests[] = {
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
    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
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
