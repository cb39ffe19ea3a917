/* Runs that are watched: who does not come to an end is called back. */
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define SECONDS        30 /* who takes longer is lost: of its processor's time, */
#define ASLEEP         20 /* or so many times as long by the clock */
#define KICKS_A_SECOND 20000

static pthread_t watcher, runner;
static clockid_t runners_clock;
static atomic_bool ends, lost;
static atomic_uint patience = SECONDS;
static atomic_uint runs; /* how many, and what is under way: */
enum { ON_BARE = 1, ON_ENGINE = 2, RUN = 4 };

static double seconds(clockid_t clock)
{
    struct timespec t = {0};

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/*
 * A thread that no signal of the bare CPU's comes to. It calls back who does not come to an end
 * and, if so asked, interrupts the engine all the time.
 */
static void *watch(void *data)
{
    const bool *kicks = data;
    const unsigned waits = *kicks ? KICKS_A_SECOND : 10;
    double used = 0, since = 0;
    unsigned seen = 0;

    while (!atomic_load(&ends)) {
        const double cpu = seconds(runners_clock), wall = seconds(CLOCK_MONOTONIC);
        unsigned now = atomic_load(&runs), enough = atomic_load(&patience);

        if (now != seen || !(now & (ON_BARE | ON_ENGINE))) {
            seen = now;
            used = cpu;
            since = wall;
        }
        if (cpu - used >= enough || wall - since >= enough * ASLEEP) {
            atomic_store(&lost, true);
            if (now & ON_BARE)
                pthread_kill(runner, SIGUSR1); /* ends as an exception would */
            else
                engine_stop();
            used = cpu;
            since = wall;
        } else if (*kicks) {
            engine_kick();
        }
        usleep(1000000 / waits);
    }
    return NULL;
}

int watch_start(const bool *kicks)
{
    sigset_t all, before;
    int err;

    runner = pthread_self();
    err = -pthread_getcpuclockid(runner, &runners_clock);
    if (err)
        return err;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    err = -pthread_create(&watcher, NULL, watch, (void *)kicks);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

void watch_stop(void)
{
    atomic_store(&ends, true);
    pthread_join(watcher, NULL);
}

int watch_run(bool bare, const struct row_cpu *in, struct row_cpu *out)
{
    unsigned count = (atomic_load(&runs) & ~(ON_BARE | ON_ENGINE)) + RUN;
    int err = 0;

    atomic_store(&runs, count | (bare ? ON_BARE : ON_ENGINE));
    if (bare)
        bare_run(in, out);
    else
        err = engine_run(in, out);
    atomic_store(&runs, count);
    return atomic_exchange(&lost, false) ? -ETIMEDOUT : err;
}

unsigned watch_patience(void)
{
    return atomic_load(&patience);
}

void watch_hurry(void)
{
    atomic_store(&patience, 1);
}
