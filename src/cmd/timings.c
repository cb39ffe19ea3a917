#include "cmd/timings.h"

#include "base/bits.h"
#include "base/err.h"
#include "cmd/outfile.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#define ABSENT UINT64_MAX

int timings_init(struct timings *t, unsigned runs)
{
    if (t->form == TIMINGS_OFF)
        return 0;
    t->room = runs;
    t->ns = malloc(runs * sizeof(t->ns[0]));
    if (!t->ns)
        return err_set(ENOMEM, "out of memory");
    memset(t->ns, 0xff, runs * sizeof(t->ns[0])); /* ABSENT, and resident from now on */
    return 0;
}

void timings_free(struct timings *t)
{
    free(t->ns);
}

void timings_add(struct timings *t)
{
    struct step_row row[STEP_COUNT];
    unsigned n;

    if (t->runs == t->room)
        return;
    n = steps_rows(row);
    for (unsigned i = 0; i < n; i++)
        t->ns[t->runs][row[i].step] = row[i].ns;
    t->runs++;
}

/* ---- several runs in one ---- */

struct line {
    struct step_row row;
    uint64_t min;
};

struct summary {
    unsigned count;
    struct line line[STEP_COUNT];
    uint64_t before_start, reading, cleanup; /* ns; reading is a part of before_start */
};

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Median and least of the runs from the second on, or of the only one. */
static void summarise_step(const struct timings *t, enum step step, uint64_t *sorted,
                           struct line *line)
{
    unsigned n = 0;

    for (unsigned run = t->runs > 1; run < t->runs; run++) {
        if (t->ns[run][step] != ABSENT)
            sorted[n++] = t->ns[run][step];
    }
    if (!n)
        return;
    qsort(sorted, n, sizeof(sorted[0]), compare);
    line->row.ns = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    line->min = sorted[0];
}

static int summarise(const struct timings *t, struct summary *s)
{
    struct step_row row[STEP_COUNT];
    uint64_t total = 0, *sorted = calloc(t->runs ? t->runs : 1, sizeof(*sorted));

    *s = (struct summary){.count = steps_rows(row)};
    if (!sorted)
        return err_set(ENOMEM, "out of memory");
    for (unsigned i = 0; i < s->count; i++) {
        struct line *line = &s->line[i];

        *line = (struct line){row[i], row[i].ns};
        summarise_step(t, row[i].step, sorted, line);
        line->row.total = total += line->row.ns;
        if (row[i].step <= STEP_START)
            s->before_start += line->row.ns;
        if (row[i].step == STEP_READ_KERNEL || row[i].step == STEP_READ_INITRD)
            s->reading += line->row.ns;
        if (row[i].step == STEP_CLEANUP)
            s->cleanup = line->row.ns;
    }
    free(sorted);
    return 0;
}

/* ---- the forms ---- */

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void print_text(const struct timings *t, const struct summary *s)
{
    bool many = t->runs > 1;

    if (many)
        fprintf(stderr, "runs 2 to %u: median and least\n", t->runs);
    fprintf(stderr, "%-22s %10s %s%10s %10s\n", "step", "ms", many ? "  least ms " : "", "total ms",
            "RSS KiB");
    for (unsigned i = 0; i < s->count; i++) {
        const struct line *l = &s->line[i];

        fprintf(stderr, "%-22s %10.3f ", step_name[l->row.step], ms(l->row.ns));
        if (many)
            fprintf(stderr, "%10.3f ", ms(l->min));
        fprintf(stderr, "%10.3f %10" PRIu64 "\n", ms(l->row.total), l->row.rss >> 10);
    }
    fprintf(stderr, "before the guest's first instruction %.3f ms, without reading files %.3f ms\n",
            ms(s->before_start), ms(s->before_start - s->reading));
}

/* NULL as soon as memory ran out. */
static json_t *json_of(const struct timings *t, const struct summary *s)
{
    json_t *steps = json_array();

    for (unsigned i = 0; i < s->count; i++) {
        const struct line *l = &s->line[i];

        if (json_array_append_new(
                steps, json_pack("{s:s, s:I, s:I, s:I, s:I}", "name", step_name[l->row.step], "ns",
                                 (json_int_t)l->row.ns, "min_ns", (json_int_t)l->min, "total_ns",
                                 (json_int_t)l->row.total, "rss", (json_int_t)l->row.rss))) {
            json_decref(steps);
            return NULL;
        }
    }
    return json_pack("{s:i, s:I, s:I, s:I, s:o}", "runs", (int)t->runs, "before_start_ns",
                     (json_int_t)s->before_start, "reading_ns", (json_int_t)s->reading,
                     "cleanup_ns", (json_int_t)s->cleanup, "steps", steps);
}

/* "Trace Event Format", complete events; times are in microseconds there. */
static json_t *json_of_events(void)
{
    struct step_event event[STEPS_EVENTS];
    unsigned n = steps_events(event);
    json_t *list = json_array();

    for (unsigned i = 0; i < n; i++) {
        const struct step_event *e = &event[i];

        if (json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:{s:I}}",
                                                  "name", step_name[e->step], "cat", "mote", "ph",
                                                  "X", "pid", (int)getpid(), "tid", e->tid, "ts",
                                                  (double)e->at / 1e3, "dur", (double)e->ns / 1e3,
                                                  "args", "rss", (json_int_t)e->rss))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

#define TRACE_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(15))

static int write_trace(const char *path)
{
    json_t *list = json_of_events();
    struct outfile out;
    int err;

    if (!list)
        return err_set(ENOMEM, "out of memory");
    err = outfile_open(&out, path);
    if (!err) {
        json_dumpf(list, out.stream, TRACE_FLAGS); /* the stream remembers a failure */
        fputc('\n', out.stream);
        err = outfile_commit(&out);
    }
    json_decref(list);
    return err;
}

int timings_print(const struct timings *t)
{
    struct summary s;
    json_t *object;
    int err;

    if (t->form == TIMINGS_OFF)
        return 0;
    if (t->form == TIMINGS_TRACE)
        return write_trace(t->trace_path);
    err = summarise(t, &s);
    if (err)
        return err;
    if (t->form == TIMINGS_TEXT) {
        print_text(t, &s);
        return 0;
    }
    object = json_of(t, &s);
    if (!object)
        return err_set(ENOMEM, "out of memory");
    json_dumpf(object, stderr, JSON_COMPACT);
    fputc('\n', stderr);
    json_decref(object);
    return 0;
}
