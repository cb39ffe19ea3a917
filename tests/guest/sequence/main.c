/*
 * guest-sequences ENGINE [OPTION]...: random sequences of instructions on the bare CPU and on an
 * engine, each in a loop that gives it other inputs every time. What differs is made small and
 * printed with the command that shows it again. ENGINE `bare` runs the bare CPU twice.
 *
 *   --seed N        of the first sequence (0); the next has N + 1
 *   --runs N        so many sequences (1)
 *   --iterations N  so many times through each
 *   --kicks         the engine has to leave its guest and go on thousands of times a second
 *   --inject        one handler of the interpreter sets a wrong flag (inject.c); the status is 0
 *                   when that is noticed
 *   --print         show each sequence
 */
#include "inject.h"
#include "sequence.h"
#include "watch.h"

#include "emu/features.h"
#include "x86/cpuid.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKIP       77
#define ITERATIONS 48

static const struct seq_engine engines[] = {
    {.name = "soft", .accel = "soft", .dead_flags_at_faults = true},
    {.name = "interp", .accel = "interp"},
};

struct request {
    uint64_t seed, runs;
    bool inject, print;
    const char *name;
    struct seq_options o;
};

static int usage(void)
{
    fprintf(stderr,
            "usage: guest-sequences bare|soft|interp [--seed N] [--runs N] [--iterations 1-%u] "
            "[--kicks] [--inject] [--print]\n",
            SEQ_ITERATIONS);
    return 2;
}

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 0);
    return !errno && *text && *text != '-' && !*end && *value >= least && *value <= most;
}

static bool parse(int argc, char **argv, struct request *r)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"runs", required_argument, NULL, 'r'},
        {"iterations", required_argument, NULL, 'i'},
        {"inject", no_argument, NULL, 'j'},
        {"print", no_argument, NULL, 'p'},
        {"kicks", no_argument, NULL, 'k'},
        {0},
    };
    uint64_t value;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's' && number(optarg, 0, UINT64_MAX, &value))
            r->seed = value;
        else if (c == 'r' && number(optarg, 1, UINT64_MAX, &value))
            r->runs = value;
        else if (c == 'i' && number(optarg, 1, SEQ_ITERATIONS, &value))
            r->o.iterations = (unsigned)value;
        else if (c == 'j')
            r->inject = true;
        else if (c == 'k')
            r->o.kicks = true;
        else if (c == 'p')
            r->print = true;
        else
            return false;
    }
    if (argc != optind + 1)
        return false;
    r->name = argv[optind];
    for (unsigned n = 0; n < sizeof(engines) / sizeof(engines[0]); n++) {
        if (!strcmp(r->name, engines[n].name))
            r->o.engine = &engines[n];
    }
    return r->o.engine || (!strcmp(r->name, "bare") && !r->o.kicks && !r->inject);
}

static uint64_t offered(void)
{
    struct x86_cpuid_topology topology = {.vcpus = 1};
    struct x86_cpuid table;

    emu_default_cpuid(&topology, &table);
    return emu_features(&table);
}

static void print_command(const struct request *r, uint64_t seed, uint64_t runs)
{
    printf("  guest-sequences %s --seed %llu --runs %llu --iterations %u%s%s\n", r->name,
           (unsigned long long)seed, (unsigned long long)runs, r->o.iterations,
           r->o.kicks ? " --kicks" : "", r->inject ? " --inject" : "");
}

static void complain(const struct request *r, struct seq *s)
{
    struct seq_options o = r->o;

    printf("seed %llu: %s differs from the bare CPU\n", (unsigned long long)s->seed, r->name);
    if (seq_agree(s, &o)) {
        printf("  but not when it runs again: what ran before matters%s. To see it again:\n",
               o.kicks ? ", or when a kick came" : "");
        print_command(r, r->seed, s->seed - r->seed + 1);
        seq_print(s);
        return;
    }
    print_command(r, s->seed, 1);
    if (!seq_never_ends()) {
        watch_hurry();
        seq_minimise(s, &o);
    }
    printf("  %u instructions are left:\n", seq_instructions(s));
    seq_print(s);
    seq_explain(s, &o);
}

/* 0: as it should be, which with --inject is a difference. */
static int run(struct request *r)
{
    static struct seq s;
    uint64_t instructions = 0;

    for (uint64_t n = 0; n < r->runs; n++) {
        seq_generate(&s, r->seed + n);
        instructions += s.count;
        if (r->print)
            seq_print(&s);
        if (!seq_agree(&s, &r->o)) {
            complain(r, &s);
            return !r->inject;
        }
    }
    if (r->inject) {
        printf("%llu sequences, and the wrong flag was not noticed\n", (unsigned long long)r->runs);
        return 1;
    }
    printf("%llu sequences of %llu instructions, %llu times through one, %llu exceptions, on %s: "
           "0 differ\n",
           (unsigned long long)r->runs, (unsigned long long)instructions,
           (unsigned long long)seq_totals.iterations, (unsigned long long)seq_totals.exceptions,
           r->name);
    return 0;
}

static int skip(const char *why)
{
    printf("skipped: %s\n", why);
    return SKIP;
}

int main(int argc, char **argv)
{
    struct request r = {.runs = 1, .o = {.iterations = ITERATIONS}};
    char why[300];
    int status;

    if (!parse(argc, argv, &r))
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (row_memory_init()) {
        fprintf(stderr, "guest-sequences: cannot map the memory of sequences\n");
        return 1;
    }
    if (bare_init())
        return skip("the host has no AVX2 or no FSGSBASE in user mode");
    if (r.o.engine && engine_init(r.o.engine->accel, why, sizeof(why)))
        return skip(why);
    seq_features(offered());
    seq_run_init();
    if (watch_start(&r.o.kicks)) {
        fprintf(stderr, "guest-sequences: cannot make a thread\n");
        return 1;
    }
    if (r.inject)
        inject_wrong_flag();
    status = run(&r);
    watch_stop();
    if (r.o.engine)
        engine_exit();
    return status;
}
