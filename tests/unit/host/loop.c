/* The event loop: timers, wake-ups from another thread, removal of watches. */
#include "host/loop.h"

#include "base/tsc.h"
#include "host/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

struct shot {
    struct loop *loop;
    struct loop_timer timer;
    unsigned fired;
    uint64_t at;
    bool last; /* stops the loop */
};

static void fire(void *user)
{
    struct shot *s = user;

    s->fired++;
    s->at = host_now_ns();
    if (s->last)
        loop_stop(s->loop);
}

static void timers_fire_in_order_and_not_early(void **state)
{
    struct loop loop;
    struct shot a = {.loop = &loop}, b = {.loop = &loop, .last = true}, off = {.loop = &loop};
    uint64_t now;

    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(loop_timer_init(&loop, &a.timer, fire, &a), 0);
    assert_int_equal(loop_timer_init(&loop, &b.timer, fire, &b), 0);
    assert_int_equal(loop_timer_init(&loop, &off.timer, fire, &off), 0);
    now = host_now_ns();
    loop_timer_arm(&b.timer, now + 20 * MS);
    loop_timer_arm(&a.timer, now + 5 * MS);
    loop_timer_arm(&off.timer, now + 1 * MS);
    loop_timer_arm(&off.timer, LOOP_TIMER_OFF);
    assert_int_equal(loop_run(&loop), 0);
    assert_int_equal(a.fired, 1);
    assert_int_equal(b.fired, 1);
    assert_int_equal(off.fired, 0);
    assert_true(a.at >= now + 5 * MS && b.at >= now + 20 * MS && a.at <= b.at);
    loop_timer_destroy(&loop, &a.timer);
    loop_timer_destroy(&loop, &b.timer);
    loop_timer_destroy(&loop, &off.timer);
    loop_destroy(&loop);
}

static void past_deadlines_fire_at_once(void **state)
{
    struct loop loop;
    struct shot zero = {.loop = &loop, .last = true};

    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(loop_timer_init(&loop, &zero.timer, fire, &zero), 0);
    loop_timer_arm(&zero.timer, 0);
    assert_int_equal(loop_run(&loop), 0);
    assert_int_equal(zero.fired, 1);
    loop_timer_destroy(&loop, &zero.timer);
    loop_destroy(&loop);
}

static void *arm_from_here(void *arg)
{
    struct shot *s = arg;

    loop_timer_arm(&s->timer, host_now_ns() + 2 * MS);
    return NULL;
}

static void another_thread_arms_a_sleeping_loop(void **state)
{
    struct loop loop;
    struct shot s = {.loop = &loop, .last = true};
    pthread_t thread;

    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(loop_timer_init(&loop, &s.timer, fire, &s), 0);
    assert_int_equal(pthread_create(&thread, NULL, arm_from_here, &s), 0);
    assert_int_equal(loop_run(&loop), 0);
    assert_int_equal(s.fired, 1);
    pthread_join(thread, NULL);
    loop_timer_destroy(&loop, &s.timer);
    loop_destroy(&loop);
}

struct pair {
    struct loop *loop;
    struct loop_watch watch[2];
    unsigned calls;
};

/* Whichever comes first removes both: the other must never be called. */
static void remove_both(void *user, uint32_t events)
{
    struct pair *p = user;

    p->calls++;
    loop_remove(p->loop, &p->watch[0]);
    loop_remove(p->loop, &p->watch[1]);
}

static void removed_watches_stay_silent(void **state)
{
    struct loop loop;
    struct shot end = {.loop = &loop, .last = true};
    struct pair p = {.loop = &loop};
    int pipes[2][2];

    assert_int_equal(loop_init(&loop), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
        assert_int_equal(write(pipes[i][1], "x", 1), 1);
        p.watch[i] = (struct loop_watch){pipes[i][0], remove_both, &p};
        assert_int_equal(loop_add(&loop, &p.watch[i], EPOLLIN), 0);
    }
    assert_int_equal(loop_timer_init(&loop, &end.timer, fire, &end), 0);
    loop_timer_arm(&end.timer, host_now_ns() + 5 * MS);
    assert_int_equal(loop_run(&loop), 0);
    assert_int_equal(p.calls, 1);
    loop_timer_destroy(&loop, &end.timer);
    loop_destroy(&loop);
    for (int i = 0; i < 2; i++) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
}

static void files_that_are_always_ready_are_refused(void **state)
{
    struct loop loop;
    struct loop_watch w = {open("/dev/null", O_RDONLY | O_CLOEXEC), remove_both, NULL};

    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(loop_add(&loop, &w, EPOLLIN), -EPERM);
    loop_destroy(&loop);
    close(w.fd);
}

/* The clock, and the TSC before and after it: those next to each other of many tries. */
struct both {
    uint64_t ns, before, after;
};

static struct both read_both(void)
{
    struct both best = {.after = UINT64_MAX};

    for (unsigned i = 0; i < 100; i++) {
        uint64_t before = __builtin_ia32_rdtsc(), ns = host_now_ns();
        uint64_t after = __builtin_ia32_rdtsc();

        if (after - before < best.after - best.before)
            best = (struct both){ns, before, after};
    }
    return best;
}

/* However long this process was left alone in between: within what was measured, and 2%. */
static void tsc_frequency_agrees_with_the_clock(void **state)
{
    struct both a = read_both(), b;
    double ms, khz = host_tsc_khz();

    usleep(30000);
    b = read_both();
    ms = (double)(b.ns - a.ns) * 1e-6;
    assert_true(khz > (double)(b.before - a.after) / ms * 0.98);
    assert_true(khz < (double)(b.after - a.before) / ms * 1.02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_and_not_early),
        cmocka_unit_test(past_deadlines_fire_at_once),
        cmocka_unit_test(another_thread_arms_a_sleeping_loop),
        cmocka_unit_test(removed_watches_stay_silent),
        cmocka_unit_test(files_that_are_always_ready_are_refused),
        cmocka_unit_test(tsc_frequency_agrees_with_the_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
