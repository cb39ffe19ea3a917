/*
 * guest-table bare|soft|interp|kvm|rescue [WORD]: run all rows (or those whose name
 * contains WORD) on the bare CPU and on an engine, and compare. `bare` runs the
 * bare CPU twice, which shows that rows are deterministic; `rescue` is kvm with
 * each instruction done by the interpreter.
 */
#include "row.h"

#include "x86/regs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUTS      24
#define SKIP        77
#define SHOWN_FAILS 60
#define FEATURE_AVX 0x0101021cu /* AVX of rows/macros.inc */

static bool on_bare;
static bool dead_flags; /* the engine's: see row_flags */

/*
 * Status flags in the frame of a fault may be old ones where the code writes them anew before it
 * reads them: the software engine's translator need not compute them.
 */
static struct row row_flags(const struct row *row, const struct row_cpu *want)
{
    struct row r = *row;

    if (dead_flags && want->vector != EXC_BP)
        r.undefined |= FLAG_STATUS;
    return r;
}

static int run_input(const struct row *row, unsigned n, bool print)
{
    static struct row_result want, got;
    struct row compared;
    struct row_cpu in;

    if (row_input(row, n, &in) && !on_bare)
        engine_text_restored();
    bare_run(&in, &want.cpu);
    row_memory_save(&want);

    if (row_input(row, n, &in) && !on_bare)
        engine_text_restored();
    if (on_bare) {
        bare_run(&in, &got.cpu);
    } else {
        int err = engine_run(&in, &got.cpu);
        if (err) {
            printf("    the engine gave up: %s\n", strerror(-err));
            return 1;
        }
    }
    row_memory_save(&got);
    compared = row_flags(row, &want.cpu);
    return row_compare(&compared, &in, &want, &got, print) != 0;
}

/* Does this KVM emulate its guests (known.c)? */
static bool emulates(const char *engine)
{
    struct row_cpu in, out;

    if (strcmp(engine, "kvm"))
        return false;
    for (const struct row *row = row_first; row < row_last; row++)
        if (!strcmp(row->name, "int $0x20")) {
            row_input(row, 0, &in);
            return !engine_run(&in, &out) && out.vector == 6;
        }
    return false;
}

/* Prints the first input that differs. */
static bool row_ok(const struct row *row, bool print, unsigned passes)
{
    for (unsigned n = 0; n < passes * INPUTS; n++) {
        engine_keep_tlb(n >= INPUTS);
        if (run_input(row, n % INPUTS, false)) {
            if (print) {
                printf("row '%s', input %u:\n", row->name, n % INPUTS);
                run_input(row, n % INPUTS, true);
            }
            return false;
        }
    }
    return true;
}

static int skip(const char *why)
{
    printf("skipped: %s\n", why);
    return SKIP;
}

int main(int argc, char **argv)
{
    unsigned rows = 0, failed = 0, absent = 0, known = 0;
    const char *word = argc > 2 ? argv[2] : "";
    char why[300];

    if (argc < 2) {
        fprintf(stderr, "usage: guest-table bare|soft|interp|kvm|rescue [WORD]\n");
        return 2;
    }
    on_bare = !strcmp(argv[1], "bare");
    dead_flags = !strcmp(argv[1], "soft");
    bool rescues = !strcmp(argv[1], "rescue");
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (row_memory_init()) {
        fprintf(stderr, "guest-table: cannot map the rows' memory\n");
        return 1;
    }
    if (bare_init())
        return skip("the host has no AVX2 or no FSGSBASE in user mode");
    if (!on_bare && engine_init(argv[1], why, sizeof(why)))
        return skip(why);
    bool emulating = emulates(argv[1]);
    /* The software engine interprets code that is cold, and translates what was run INPUTS times;
     * memory that is not in its TLB is the interpreter's then, too. */
    unsigned passes = strcmp(argv[1], "soft") ? 1 : 2;

    for (const struct row *row = row_first; row < row_last; row++) {
        if (!strstr(row->name, word))
            continue;
        if (!bare_has(row->need) || (!on_bare && !engine_has(row->need)) ||
            (rescues && !engine_has(FEATURE_AVX) && row_needs_avx(row))) {
            absent++;
            continue;
        }
        if (row_known(row, emulating)) {
            known++;
            continue;
        }
        rows++;
        row_watch(row->name);
        if (!row_ok(row, failed < SHOWN_FAILS, passes))
            failed++;
    }
    printf("%u rows of %u inputs on %s: %u failed\n", rows, INPUTS, argv[1], failed);
    if (absent)
        printf("left out: %u rows of a feature that is not offered\n", absent);
    if (known)
        printf("left out: %u rows that this KVM, which emulates its guests, is known to fail\n",
               known);
    if (!on_bare)
        engine_exit();
    return failed || !rows;
}
