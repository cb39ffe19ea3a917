/* The recorder of steps: what a mark counts, in which order, and how much is kept. */
#include "base/steps.h"

#include "base/bits.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint64_t time_now, memory;

static uint64_t fake_now(void)
{
    return time_now;
}

/* Reading the memory takes a while, which is nobody's. */
static uint64_t fake_rss(void)
{
    time_now += 1000000;
    return memory;
}

static const struct steps_source fake = {fake_now, fake_rss};

static int setup(void **state)
{
    time_now = 1000;
    memory = 4096;
    steps_use(&fake);
    steps_on = true;
    steps_restart();
    return 0;
}

static int teardown(void **state)
{
    steps_on = false;
    steps_use(NULL);
    return 0;
}

static void pass(uint64_t ns, enum step step)
{
    time_now += ns;
    step_end(step);
}

static void assert_row(const struct step_row *row, enum step step, uint64_t ns, uint64_t total)
{
    assert_int_equal(row->step, step);
    assert_int_equal(row->ns, ns);
    assert_int_equal(row->total, total);
}

static void rows_in_order_of_happening(void **state)
{
    struct step_row row[STEP_COUNT];

    pass(5, STEP_VCPU);
    memory = 8192;
    pass(7, STEP_RAM);
    pass(11, STEP_MSRS);
    assert_int_equal(steps_rows(row), 3);
    assert_row(&row[0], STEP_VCPU, 5, 5);
    assert_row(&row[1], STEP_RAM, 7, 12);
    assert_row(&row[2], STEP_MSRS, 11, 23);
    assert_int_equal(row[0].rss, 4096);
    assert_int_equal(row[1].rss, 8192);
}

static void marks_of_a_step_add_up(void **state)
{
    struct step_event event[STEPS_EVENTS];
    struct step_row row[STEP_COUNT];

    pass(5, STEP_MSRS);
    pass(3, STEP_CPUID);
    pass(6, STEP_MSRS);
    assert_int_equal(steps_rows(row), 2);
    assert_row(&row[0], STEP_MSRS, 11, 11);
    assert_row(&row[1], STEP_CPUID, 3, 14);
    assert_int_equal(steps_events(event), 3);
    assert_int_equal(event[0].at, 0);
    assert_int_equal(event[1].at, 1000005); /* after reading the memory */
    assert_int_equal(event[2].at, 2000008);
    assert_int_equal(event[2].ns, 6);
    assert_int_equal(event[2].step, STEP_MSRS);
}

static void setting_up_ends_with_the_first_entry(void **state)
{
    struct step_row row[STEP_COUNT];

    pass(5, STEP_REGISTERS);
    pass(2, STEP_START);
    pass(1, STEP_REGISTERS);
    pass(1, STEP_START);
    pass(10, STEP_READY);
    pass(4, STEP_REGISTERS);
    pass(20, STEP_EXIT);
    pass(30, STEP_CLEANUP);
    assert_int_equal(steps_rows(row), 5);
    assert_row(&row[0], STEP_REGISTERS, 5, 5);
    assert_row(&row[1], STEP_START, 2, 7);
    assert_row(&row[2], STEP_READY, 12, 19);
    assert_row(&row[3], STEP_EXIT, 24, 43);
    assert_row(&row[4], STEP_CLEANUP, 30, 73);
}

static void events_are_bounded(void **state)
{
    struct step_event event[STEPS_EVENTS];
    struct step_row row[STEP_COUNT];

    for (unsigned i = 0; i < STEPS_EVENTS + 50; i++)
        pass(1, STEP_DEVICES);
    assert_int_equal(steps_events(event), STEPS_EVENTS);
    assert_int_equal(steps_rows(row), 1);
    assert_row(&row[0], STEP_DEVICES, STEPS_EVENTS + 50, STEPS_EVENTS + 50);
}

static void off_is_nothing(void **state)
{
    struct step_row row[STEP_COUNT];

    steps_on = false;
    pass(5, STEP_VCPU);
    assert_int_equal(step_done(STEP_START, -7), -7);
    assert_int_equal(steps_rows(row), 0);
    assert_int_equal(steps_age(), 5);
}

static void another_life_forgets(void **state)
{
    struct step_row row[STEP_COUNT];

    pass(5, STEP_VCPU);
    pass(5, STEP_START);
    time_now += 100;
    steps_restart();
    assert_int_equal(steps_age(), 0);
    pass(4, STEP_RAM);
    assert_int_equal(steps_rows(row), 1);
    assert_row(&row[0], STEP_RAM, 4, 4);
}

static void *mark_in_thread(void *arg)
{
    pass(3, STEP_START);
    return NULL;
}

/* As in a machine's life: one thread sets up, another enters the guest, the first ends. */
static void threads_take_turns(void **state)
{
    struct step_event event[STEPS_EVENTS];
    pthread_t thread;

    pass(1, STEP_THREAD);
    assert_int_equal(pthread_create(&thread, NULL, mark_in_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pass(2, STEP_EXIT);
    assert_int_equal(steps_events(event), 3);
    assert_int_equal(event[0].tid, event[2].tid);
    assert_int_not_equal(event[0].tid, event[1].tid);
}

/* The host's own clock and memory: process start comes first and is not nothing. */
static void process_start_is_first(void **state)
{
    struct step_row row[STEP_COUNT];

    steps_use(NULL);
    steps_restart();
    steps_main();
    steps_record();
    step_end(STEP_OPTIONS);
    assert_int_equal(steps_rows(row), 2);
    assert_int_equal(row[0].step, STEP_PROCESS);
    assert_true(row[0].ns > 0 && row[0].rss > 0);
    assert_int_equal(row[1].step, STEP_OPTIONS);
    assert_true(steps_age() >= row[1].total);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(rows_in_order_of_happening),
        T(marks_of_a_step_add_up),
        T(setting_up_ends_with_the_first_entry),
        T(events_are_bounded),
        T(off_is_nothing),
        T(another_life_forgets),
        T(threads_take_turns),
        T(process_start_is_first),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
