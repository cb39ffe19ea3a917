/*
 * Stops that are aimed at the moment in which a vCPU enters its guest, which makes no exits: one
 * that is lost is never made good.
 */
#include "guest.h"

#include "../deadlock.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define STOPS 2000
#define SPARE 0x100000u /* a page that is mapped and unmapped */

GUEST_CODE(forever, "1: jmp 1b")

static struct guest g;
static pthread_t runner_thread;
static atomic_uint begun, ended; /* runs */
static atomic_bool over;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void by_thread(void)
{
    must(mote_vcpu_stop(g.vcpu), "mote_vcpu_stop");
}

static void *runner(void *arg)
{
    for (unsigned i = 1; i <= STOPS; i++) {
        atomic_store(&begun, i);
        guest_run(g.vcpu, MOTE_EXIT_NONE);
        atomic_store(&ended, i);
    }
    return NULL;
}

/* Until run n ended; false: it did not for a second. */
static bool is_ended(unsigned n)
{
    uint64_t until = now_ns() + 1000000000u;

    while (atomic_load(&ended) < n) {
        if (now_ns() > until)
            return false;
        sched_yield();
    }
    return true;
}

static void set_up(const char *accel)
{
    guest_create(&g, accel, 1);
    guest_map(&g);
    guest_put(&g, CODE, forever, forever_end);
    guest_at(g.vcpu, CODE);
    atomic_store(&begun, 0);
    atomic_store(&ended, 0);
    atomic_store(&over, false);
}

static void stop_each_run(void (*stop)(void))
{
    unsigned seed = 1;

    assert_int_equal(pthread_create(&runner_thread, NULL, runner, NULL), 0);
    for (unsigned n = 1; n <= STOPS; n++) {
        unsigned r = (unsigned)rand_r(&seed), seconds = 0;
        uint64_t at;

        while (atomic_load(&begun) < n)
            sched_yield();
        at = now_ns() + (r >> 4) % (1u << r % 16); /* to 32 us, mostly less */
        while (now_ns() < at)
            ;
        stop();
        while (!is_ended(n)) {
            if (++seconds == DEADLOCK_SECONDS / 2)
                fail_msg("stop %u was lost", n);
        }
    }
    pthread_join(runner_thread, NULL);
}

static void test_by_thread(void **state)
{
    set_up(accel_of(state));
    stop_each_run(by_thread);
    guest_destroy(&g);
}

/* ThreadSanitizer may never call the handler: mote_vcpu_run(3), CAVEATS. */
#ifndef __SANITIZE_THREAD__
static void on_signal(int sig)
{
    mote_vcpu_stop(g.vcpu);
}

static void by_signal(void)
{
    pthread_kill(runner_thread, SIGUSR1);
}

static void test_by_signal(void **state)
{
    const struct sigaction act = {.sa_handler = on_signal};

    set_up(accel_of(state));
    sigaction(SIGUSR1, &act, NULL);
    stop_each_run(by_signal);
    guest_destroy(&g);
}
#endif

static void *changer(void *arg)
{
    while (!atomic_load(&over)) {
        must(mote_gpa_unmap(g.machine, SPARE, 0x1000), "mote_gpa_unmap");
        must(mote_gpa_map(g.machine, SPARE, g.ram + SPARE, 0x1000, MOTE_RWX), "mote_gpa_map");
    }
    return NULL;
}

/* Changes of the map kick the vCPU, too, and are not to swallow a stop. */
static void test_between_changes(void **state)
{
    pthread_t thread;

    set_up(accel_of(state));
    assert_int_equal(pthread_create(&thread, NULL, changer, NULL), 0);
    stop_each_run(by_thread);
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    guest_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(test_by_thread),
#ifndef __SANITIZE_THREAD__
        ON_ALL(test_by_signal),
#endif
        ON_ALL(test_between_changes),
    };

    return cmocka_run_group_tests_name("lib stop", tests, NULL, NULL);
}
