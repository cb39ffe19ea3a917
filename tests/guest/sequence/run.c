/* A sequence on the bare CPU and on an engine, and what differs. */
#include "sequence.h"

#include "base/bits.h"
#include "x86/regs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATUS_FLAGS   (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)
#define POOL           8192 /* quadwords that memory and vectors are filled from */
#define SECONDS        10   /* an engine that takes longer is lost */
#define KICKS_A_SECOND 20000

extern const uint8_t seq_driver[];

static uint64_t pool[POOL];
static uint64_t input[SEQ_ITERATIONS * SEQ_RECORD];
static struct row_cpu entry;
static struct seq_result want, got;
struct seq_totals seq_totals;
static pthread_t watcher, runner;
static atomic_bool ends, lost;
static atomic_uint patience = SECONDS;
static atomic_uint runs; /* how many, and what is under way: */
enum { ON_BARE = 1, ON_ENGINE = 2, RUN = 4 };

/* The place of a register in a record, RAX to R15 without RSP. */
static unsigned record_index(unsigned reg)
{
    return reg == RSP ? SEQ_RECORD_RSP : reg < RSP ? 1 + reg : reg;
}

/*
 * A thread that no signal of the bare CPU's comes to. It calls back who does not come to an end
 * and, if so asked, interrupts the engine all the time.
 */
static void *watch(void *data)
{
    const struct seq_options *o = data;
    unsigned still = 0, seen = 0, waits = o->kicks ? KICKS_A_SECOND : 10;

    while (!atomic_load(&ends)) {
        unsigned now = atomic_load(&runs);

        still = now == seen && now & (ON_BARE | ON_ENGINE) ? still + 1 : 0;
        seen = now;
        if (still >= atomic_load(&patience) * waits) {
            atomic_store(&lost, true);
            if (now & ON_BARE)
                pthread_kill(runner, SIGUSR1); /* ends as an exception would */
            else
                engine_stop();
            still = 0;
        } else if (o->kicks) {
            engine_kick();
        }
        usleep(1000000 / waits);
    }
    return NULL;
}

int seq_run_init(const struct seq_options *o)
{
    uint64_t state = 1;
    sigset_t all, before;
    int err;

    for (unsigned n = 0; n < POOL; n++)
        pool[n] = seq_value(&state);
    runner = pthread_self();
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    err = -pthread_create(&watcher, NULL, watch, (void *)o);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

void seq_run_exit(void)
{
    atomic_store(&ends, true);
    pthread_join(watcher, NULL);
}

/* ---- inputs ------------------------------------------------------------------------ */

static uint64_t pointer_value(uint64_t x)
{
    uint64_t at = ROW_DATA + 0x800 + (x >> 32) % 0x1800;

    switch (x & 15) {
    case 0:
    case 1: return ROW_DATA + 0x1000 - (x >> 8 & 15);
    case 2: return at;
    default: return at & ~UINT64_C(31);
    }
}

static void make_record(const struct seq *s, uint64_t *rng, uint64_t *r)
{
    uint64_t x = seq_random(rng);

    r[0] = FLAG_R1 | FLAG_IF | (x & STATUS_FLAGS) | (s->alignment ? FLAG_AC : 0);
    for (unsigned reg = 0; reg < 16; reg++) {
        uint64_t *v = &r[record_index(reg)];

        if (reg == RSP)
            *v = ROW_STACK + 0x1000 + (x >> 16 & 31) * 16 + (x >> 32 & 7 ? 0 : 8);
        else if (s->pointers >> reg & 1)
            *v = pointer_value(seq_random(rng));
        else if (s->indexes >> reg & 1)
            *v = seq_random(rng) & 0xff;
        else
            *v = seq_value(rng);
    }
    r[SEQ_RECORD_MXCSR] = 0x1f80;
    if ((x >> 40 & 3) == 0) /* rounding, DAZ, FTZ */
        r[SEQ_RECORD_MXCSR] |= (x >> 48 & 0xe000) | (x >> 42 & 0x40);
    if (s->unmasked) /* but overflow and underflow, where the interpreter's PE is not the CPU's */
        r[SEQ_RECORD_MXCSR] &= ~(x >> 50 & 0x1380);
    r[SEQ_RECORD_MXCSR + 1] = 0;
}

static void make_input(const struct seq *s, const struct seq_options *o)
{
    uint64_t rng = s->seed ^ UINT64_C(0xa5a5a5a55a5a5a5a);

    for (unsigned n = 0; n < o->iterations; n++)
        make_record(s, &rng, input + n * SEQ_RECORD);
    memset(&entry, 0, sizeof(entry));
    entry.rip = (uintptr_t)seq_driver;
    entry.rflags = FLAG_R1 | FLAG_IF;
    entry.fs_base = ROW_FS;
    entry.gs_base = ROW_GS;
    entry.mxcsr = 0x1f80;
    entry.x87[0] = 0x7f; /* FCW 0x37f */
    entry.x87[1] = 0x03;
    memcpy(entry.ymm, pool + seq_random(&rng) % (POOL - 64), sizeof(entry.ymm));
}

/* The registers of an iteration's input, as far as a record has them. */
static void input_cpu(unsigned iteration, struct row_cpu *cpu)
{
    const uint64_t *r = input + iteration * SEQ_RECORD;

    *cpu = entry;
    cpu->rflags = r[0];
    for (unsigned reg = 0; reg < 16; reg++)
        cpu->gpr[reg] = r[record_index(reg)];
    cpu->mxcsr = (uint32_t)r[SEQ_RECORD_MXCSR];
}

static void fill_memory(const struct seq *s)
{
    uint64_t rng = s->seed;
    unsigned room = POOL - (ROW_DATA_RW + ROW_STACK_SIZE) / 8;
    const uint64_t *from = pool + seq_random(&rng) % room;

    memcpy((void *)(uintptr_t)ROW_DATA, from, ROW_DATA_RW);
    memcpy((void *)(uintptr_t)ROW_STACK, from + ROW_DATA_RW / 8, ROW_STACK_SIZE);
    memcpy((void *)(uintptr_t)SEQ_IN, input, sizeof(input));
    memset((void *)(uintptr_t)SEQ_OUT, 0, sizeof(want.out));
}

/* ---- runs -------------------------------------------------------------------------- */

static void put_control(uint32_t address, uint64_t value)
{
    le64_put((uint8_t *)(uintptr_t)address, value);
}

static void start_at(const struct seq_options *o, unsigned iteration)
{
    put_control(SEQ_CTL_IN, SEQ_IN + iteration * SEQ_RECORD_SIZE);
    put_control(SEQ_CTL_OUT, SEQ_OUT + iteration * SEQ_RECORD_SIZE + 8 * SEQ_RECORD_RSP);
    put_control(SEQ_CTL_LEFT, o->iterations - iteration);
}

static int run_once(bool bare, struct row_cpu *out)
{
    unsigned count = (atomic_load(&runs) & ~(ON_BARE | ON_ENGINE)) + RUN;
    int err = 0;

    atomic_store(&runs, count | (bare ? ON_BARE : ON_ENGINE));
    if (bare)
        bare_run(&entry, out);
    else
        err = engine_run(&entry, out);
    atomic_store(&runs, count);
    return atomic_exchange(&lost, false) ? -ETIMEDOUT : err;
}

static void run_all(const struct seq *s, const struct seq_options *o, uint32_t start, bool bare,
                    struct seq_result *r)
{
    unsigned next = 0;

    fill_memory(s);
    put_control(SEQ_CTL_START, start);
    r->stops = 0;
    do {
        struct row_cpu *cpu = &r->stop[r->stops];

        start_at(o, next);
        r->err = run_once(bare, cpu);
        next = (unsigned)((le64_get((uint8_t *)(uintptr_t)SEQ_CTL_IN) - SEQ_IN) / SEQ_RECORD_SIZE);
        r->stopped_in[r->stops++] = next++;
        if (r->err || cpu->vector == EXC_BP)
            break;
    } while (next < o->iterations && r->stops < SEQ_STOPS);
    memcpy(r->out, (void *)(uintptr_t)SEQ_OUT, sizeof(r->out));
    row_memory_save(&r->memory);
}

/* Times through the sequence, those that an exception cut short included. */
static unsigned iterations_of(const struct seq_result *r, const struct seq_options *o)
{
    unsigned last = r->stopped_in[r->stops - 1];

    return last < o->iterations ? last + 1 : o->iterations;
}

static void run_both(const struct seq *s, const struct seq_options *o)
{
    uint32_t at[SEQ_ITEMS + 1];
    struct seq copy = *s;

    make_input(s, o);
    seq_assemble(&copy, at);
    run_all(s, o, at[0], true, &want);
    seq_totals.iterations += iterations_of(&want, o);
    seq_totals.exceptions += want.stops - (want.stop[want.stops - 1].vector == EXC_BP);
    if (s->rewrites)
        seq_assemble(&copy, at);
    if (o->engine)
        engine_text_written(at[0], at[s->count] + 5 - at[0]);
    run_all(s, o, at[0], !o->engine, &got);
}

bool seq_never_ends(void)
{
    return want.err != 0;
}

void seq_hurry(void)
{
    atomic_store(&patience, 1);
}

/* ---- comparison -------------------------------------------------------------------- */

static uint32_t stop_undefined(const struct seq_options *o, const struct row_cpu *cpu)
{
    return o->engine && o->engine->dead_flags_at_faults && cpu->vector != EXC_BP ? STATUS_FLAGS : 0;
}

static bool same(const struct seq_options *o)
{
    if (want.err || got.err || want.stops != got.stops ||
        memcmp(want.out, got.out, sizeof(want.out)))
        return false;
    for (unsigned n = 0; n < want.stops; n++) {
        struct row_cpu *a = &want.stop[n], *b = &got.stop[n];

        if (want.stopped_in[n] != got.stopped_in[n] ||
            row_compare_cpu(stop_undefined(o, a), &entry, a, b, false))
            return false;
    }
    return !row_compare_memory(&want.memory, &got.memory, false);
}

bool seq_agree(const struct seq *s, const struct seq_options *o)
{
    run_both(s, o);
    return same(o);
}

/* ---- report ------------------------------------------------------------------------ */

static void print_input(unsigned iteration)
{
    struct row_cpu in;

    input_cpu(iteration, &in);
    for (unsigned reg = 0; reg < 16; reg++)
        printf("%s%-3s %016llx", reg % 4 ? "  " : "\n    ", row_gpr_name[reg],
               (unsigned long long)in.gpr[reg]);
    printf("\n    rflags %llx  mxcsr %x\n", (unsigned long long)in.rflags, in.mxcsr);
}

/* A record as the part of a CPU's state that it is. */
static void output_cpu(const uint64_t *r, struct row_cpu *cpu)
{
    *cpu = entry;
    cpu->rflags = r[0];
    for (unsigned reg = 0; reg < 16; reg++)
        cpu->gpr[reg] = r[record_index(reg)];
    cpu->mxcsr = (uint32_t)r[SEQ_RECORD_MXCSR];
}

static bool explain_outputs(const struct seq_options *o, unsigned before)
{
    for (unsigned n = 0; n < before; n++) {
        const uint64_t *a = want.out + n * SEQ_RECORD, *b = got.out + n * SEQ_RECORD;
        struct row_cpu in, from, to;

        if (!memcmp(a, b, SEQ_RECORD_SIZE))
            continue;
        printf("  iteration %u of %u begins with", n, o->iterations);
        print_input(n);
        printf("  and its end differs (want: the bare CPU):\n");
        input_cpu(n, &in);
        output_cpu(a, &from);
        output_cpu(b, &to);
        row_compare_cpu(0, &in, &from, &to, true);
        return true;
    }
    return false;
}

static void explain_stop(const struct seq_options *o, unsigned n)
{
    const struct row_cpu *a = &want.stop[n], *b = &got.stop[n];
    struct row_cpu in;

    if (n >= want.stops || n >= got.stops) {
        printf("  the bare CPU stopped %u times, the engine %u times\n", want.stops, got.stops);
        return;
    }
    if (want.stopped_in[n] != got.stopped_in[n]) {
        printf("  the bare CPU stopped in iteration %u (vector %u, rip %#llx),\n"
               "  the engine in iteration %u (vector %u, rip %#llx)\n",
               want.stopped_in[n], a->vector, (unsigned long long)a->rip, got.stopped_in[n],
               b->vector, (unsigned long long)b->rip);
        print_input(got.stopped_in[n] < want.stopped_in[n] ? got.stopped_in[n]
                                                           : want.stopped_in[n]);
        return;
    }
    if (a->vector == EXC_BP && b->vector == EXC_BP) {
        printf("  behind the last iteration (want: the bare CPU):\n");
        in = entry;
    } else {
        printf("  iteration %u of %u begins with", want.stopped_in[n], o->iterations);
        print_input(want.stopped_in[n]);
        printf("  and its exception differs (want: the bare CPU):\n");
        input_cpu(want.stopped_in[n], &in);
    }
    row_compare_cpu(stop_undefined(o, a), &in, a, b, true);
}

void seq_explain(const struct seq *s, const struct seq_options *o)
{
    unsigned n = 0, before = o->iterations;

    run_both(s, o);
    if (want.err) {
        printf("  the bare CPU did not come to an end in %u seconds: the generator is wrong\n",
               atomic_load(&patience));
        return;
    }
    if (got.err == -ETIMEDOUT) {
        printf("  the engine did not come to an end in %u seconds (iteration %u)\n",
               atomic_load(&patience), got.stopped_in[got.stops - 1]);
        return;
    }
    if (got.err) {
        printf("  the engine gave up: %s\n", strerror(-got.err));
        return;
    }
    while (n < want.stops && n < got.stops && want.stopped_in[n] == got.stopped_in[n] &&
           !row_compare_cpu(stop_undefined(o, &want.stop[n]), &entry, &want.stop[n], &got.stop[n],
                            false))
        n++;
    /* What came before the first stop that differs is earlier. */
    if (n < want.stops && want.stopped_in[n] < before)
        before = want.stopped_in[n];
    if (n < got.stops && got.stopped_in[n] < before)
        before = got.stopped_in[n];
    if (explain_outputs(o, before))
        return;
    if (n < want.stops || n < got.stops)
        explain_stop(o, n);
    else
        printf("  memory differs at the end (want: the bare CPU):\n");
    row_compare_memory(&want.memory, &got.memory, true);
}
