#include "base/steps.h"

#include "base/bits.h"
#include "base/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *const step_name[STEP_COUNT] = {
#define X(id, name) [STEP_##id] = name,
    STEPS(X)
#undef X
};

bool steps_on;

static struct {
    pthread_mutex_t lock;
    struct steps_source source;
    int statm;           /* the file, kept open so that a mark is one system call */
    uint64_t cpu;        /* of the process at main's entry, ns */
    uint64_t begin;      /* on the clock: the life's age is 0 */
    uint64_t last;       /* on the clock: the mark before */
    atomic_bool entered; /* the guest */
    unsigned row_count, event_count;
    struct step_row row[STEP_COUNT];
    struct step_event event[STEPS_EVENTS];
} rec = {.lock = PTHREAD_MUTEX_INITIALIZER, .statm = -1};

static uint64_t host_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* proc(5), statm: the second field is resident pages. */
static uint64_t host_rss(void)
{
    char text[128], *end;
    ssize_t n = rec.statm < 0 ? -1 : pread(rec.statm, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    strtoull(text, &end, 10);
    return strtoull(end, NULL, 10) * PAGE_SIZE;
}

static const struct steps_source host = {host_now, host_rss};

static uint64_t now(void)
{
    return rec.source.now ? rec.source.now() : host_now();
}

void steps_use(const struct steps_source *source)
{
    rec.source = source ? *source : host;
}

static void put_row(enum step step, uint64_t ns, uint64_t rss)
{
    unsigned i = 0;

    while (i < rec.row_count && rec.row[i].step != step)
        i++;
    if (i == rec.row_count)
        rec.row[rec.row_count++] = (struct step_row){.step = step};
    rec.row[i].ns += ns;
    rec.row[i].rss = rss;
}

static void put_event(enum step step, uint64_t at, uint64_t ns, uint64_t rss)
{
    if (rec.event_count < STEPS_EVENTS)
        rec.event[rec.event_count++] =
            (struct step_event){step, (int)syscall(SYS_gettid), at, ns, rss};
}

static void put(enum step step, uint64_t from, uint64_t to)
{
    uint64_t rss = rec.source.rss();

    put_row(step, to - from, rss);
    put_event(step, from - rec.begin, to - from, rss);
}

static __thread bool left_out;

void steps_leave_out(void)
{
    left_out = true;
}

void steps_mark(enum step step)
{
    if (left_out && step < STEP_READY)
        return;
    if (step < STEP_READY && atomic_load_explicit(&rec.entered, memory_order_relaxed))
        return;
    pthread_mutex_lock(&rec.lock);
    put(step, rec.last, now());
    if (step == STEP_START)
        atomic_store(&rec.entered, true);
    rec.last = now();
    pthread_mutex_unlock(&rec.lock);
}

void steps_main(void)
{
    if (!rec.source.now)
        rec.source = host;
    rec.cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    rec.last = now();
    rec.begin = rec.last - rec.cpu;
}

void steps_record(void)
{
    if (rec.statm < 0)
        rec.statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    put(STEP_PROCESS, rec.begin, rec.last);
    steps_on = true;
}

void steps_restart(void)
{
    pthread_mutex_lock(&rec.lock);
    rec.row_count = rec.event_count = 0;
    atomic_store(&rec.entered, false);
    rec.begin = rec.last = now();
    pthread_mutex_unlock(&rec.lock);
}

uint64_t steps_age(void)
{
    return now() - rec.begin;
}

unsigned steps_rows(struct step_row rows[STEP_COUNT])
{
    uint64_t total = 0;

    for (unsigned i = 0; i < rec.row_count; i++) {
        rows[i] = rec.row[i];
        rows[i].total = total += rows[i].ns;
    }
    return rec.row_count;
}

unsigned steps_events(struct step_event events[STEPS_EVENTS])
{
    memcpy(events, rec.event, rec.event_count * sizeof(events[0]));
    return rec.event_count;
}
