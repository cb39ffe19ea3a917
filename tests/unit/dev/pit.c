/* The 8254: modes, reading back, BCD, gates, the interrupt of counter 0. */
#include "dev/chip/pit.h"

#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct fake_line lines;
static struct fake_timer timer;
static struct pit pit;
static uint64_t now;

static void put(unsigned reg, uint8_t value)
{
    out8(&pit_ops, &pit, reg, value);
}

static uint8_t get(unsigned reg)
{
    return in8(&pit_ops, &pit, reg);
}

static void set_count(unsigned n, uint16_t count)
{
    put(n, (uint8_t)count);
    put(n, (uint8_t)(count >> 8));
}

static uint16_t read_count(unsigned n)
{
    uint8_t low = get(n);

    return (uint16_t)(low | get(n) << 8);
}

/* The earliest time at which `ticks` have passed since t0. */
static uint64_t after(uint64_t t0, uint64_t ticks)
{
    return t0 + (ticks * 1000000000 + PIT_HZ - 1) / PIT_HZ;
}

static bool out2(void)
{
    return in8(&pit_speaker_ops, &pit, 0) & 0x20;
}

static int setup(void **state)
{
    memset(&lines, 0, sizeof(lines));
    timer = FAKE_TIMER;
    now = 5000000;
    pit_init(&pit, &FAKE_IRQ(&lines, 0), &FAKE_CLOCK(&now), &timer.timer);
    return 0;
}

static int teardown(void **state)
{
    pit_destroy(&pit);
    return 0;
}

static uint64_t slow_now(void *user)
{
    return now += 1000000;
}

/* The host takes its time between two readings of the clock: the edge comes late, not never. */
static void short_counts_are_not_lost(void **state)
{
    static const uint8_t modes[] = {0, 4};
    const struct dev_clock slow = {slow_now, NULL};

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        teardown(state);
        setup(state);
        pit_init(&pit, &FAKE_IRQ(&lines, 0), &slow, &timer.timer);
        out8(&pit_ops, &pit, 3, (uint8_t)(0x30 | modes[i] << 1));
        out8(&pit_ops, &pit, 0, 15);
        out8(&pit_ops, &pit, 0, 0);
        assert_int_not_equal(timer.deadline, DEV_TIMER_OFF);
        timer.timer.fire(timer.timer.dev);
        assert_int_equal(lines.level[0], 1);
    }
}

static void rate_generator(void **state)
{
    uint64_t t0 = now;

    put(3, 0x34);
    set_count(0, 11932);
    assert_int_equal(timer.deadline, after(t0, 11932));
    now = after(t0, 5);
    assert_int_equal(read_count(0), 11927);
    now = after(t0, 11931);
    assert_int_equal(read_count(0), 1);
    lines.rises[0] = 0;
    assert_int_equal(fake_advance(&timer, &now, after(t0, 11932 * 3)), 3);
    assert_int_equal(lines.rises[0], 3);
    assert_int_equal(read_count(0), 11932);
    /* Nobody served it for ten periods: one interrupt, then on the grid. */
    timer.deadline = DEV_TIMER_OFF;
    now = after(t0, 11932 * 13 + 100);
    pit.timer->fire(&pit);
    assert_int_equal(lines.rises[0], 4);
    assert_int_equal(timer.deadline, after(t0, 11932 * 14));
    /* A late call after reprogramming is not a tick. */
    set_count(0, 11932);
    pit.timer->fire(&pit);
    assert_int_equal(lines.rises[0], 4);
}

static void square_wave(void **state)
{
    uint64_t t0 = now;

    put(3, 0xb6);
    out8(&pit_speaker_ops, &pit, 0, 1);
    set_count(2, 1000);
    assert_true(out2());
    now = after(t0, 10);
    assert_int_equal(read_count(2), 980);
    now = after(t0, 499);
    assert_true(out2());
    assert_int_equal(read_count(2), 2);
    now = after(t0, 500);
    assert_false(out2());
    assert_int_equal(read_count(2), 1000);
    now = after(t0, 1000);
    assert_true(out2());
    out8(&pit_speaker_ops, &pit, 0, 0); /* a low gate holds the output high */
    now = after(t0, 1600);
    assert_true(out2());
    out8(&pit_speaker_ops, &pit, 0, 3); /* and the next rise starts a period */
    assert_int_equal(read_count(2), 1000);
    assert_int_equal(in8(&pit_speaker_ops, &pit, 0) & 3, 3);
    assert_true(timer.deadline == DEV_TIMER_OFF);
}

/* How Linux calibrates: mode 0 on counter 2, polling the output. */
static void terminal_count(void **state)
{
    uint64_t t0 = now;

    out8(&pit_speaker_ops, &pit, 0, 1);
    put(3, 0xb0);
    assert_false(out2());
    set_count(2, 2000);
    now = after(t0, 1999);
    assert_false(out2());
    now = after(t0, 2000);
    assert_true(out2());
    now = after(t0, 2001);
    assert_int_equal(read_count(2), 0xffff); /* goes on below zero */
    assert_true(out2());

    t0 = now;
    set_count(2, 100);
    now = after(t0, 40);
    out8(&pit_speaker_ops, &pit, 0, 0);
    now += 1000000000;
    assert_int_equal(read_count(2), 60);
    assert_false(out2());
    out8(&pit_speaker_ops, &pit, 0, 1);
    t0 = now;
    now = after(t0, 59);
    assert_false(out2());
    now = after(t0, 61);
    assert_true(out2());
}

static void one_shots(void **state)
{
    uint64_t t0;

    put(3, 0xb2); /* mode 1: waits for the gate */
    set_count(2, 50);
    now += 1000000;
    assert_true(out2());
    out8(&pit_speaker_ops, &pit, 0, 1);
    t0 = now;
    assert_false(out2());
    now = after(t0, 50);
    assert_true(out2());
    out8(&pit_speaker_ops, &pit, 0, 0);
    out8(&pit_speaker_ops, &pit, 0, 1);
    assert_false(out2());

    put(3, 0xb8); /* mode 4: low for the one tick at the end */
    set_count(2, 50);
    t0 = now;
    assert_true(out2());
    now = after(t0, 50);
    assert_false(out2());
    now = after(t0, 51);
    assert_true(out2());

    put(3, 0x30); /* counter 0, mode 0: interrupts once */
    assert_int_equal(lines.level[0], 0);
    set_count(0, 100);
    t0 = now;
    assert_int_equal(fake_advance(&timer, &now, after(t0, 300000)), 1);
    assert_int_equal(lines.rises[0], 1);
}

static void latches_and_read_back(void **state)
{
    uint64_t t0 = now;

    put(3, 0x34);
    put(3, 0xe2); /* read back: status of counter 0 */
    assert_int_equal(get(0), 0xf4);
    set_count(0, 1000);
    now = after(t0, 100);
    put(3, 0x00);
    now = after(t0, 200);
    put(3, 0x00); /* does not replace the unread one */
    assert_int_equal(read_count(0), 900);
    assert_int_equal(read_count(0), 800);
    put(3, 0xc2); /* both: the status is read first */
    now = after(t0, 300);
    assert_int_equal(get(0), 0xb4);
    assert_int_equal(read_count(0), 800);
    put(3, 0x14); /* low byte only */
    put(0, 200);
    put(3, 0x00);
    assert_int_equal(get(0), 200);
    assert_int_equal(get(0), 200);
    assert_int_equal(get(3), 0xff);
}

static void bcd(void **state)
{
    uint64_t t0 = now;

    put(3, 0x35);
    set_count(0, 0x1000);
    assert_int_equal(timer.deadline, after(t0, 1000));
    now = after(t0, 1);
    assert_int_equal(read_count(0), 0x0999);
    set_count(0, 0);
    assert_int_equal(pit.s.channel[0].count, 10000);
    set_count(0, 0xffff); /* no digits */
    assert_in_range(pit.s.channel[0].count, 1, 10000);
}

static void refresh_and_odd_accesses(void **state)
{
    bool a = in8(&pit_speaker_ops, &pit, 0) & 0x10;

    now += 15085;
    assert_int_not_equal(in8(&pit_speaker_ops, &pit, 0) & 0x10, a ? 0x10 : 0);
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned v = 0; v < 256; v++) {
            pit_ops.write(&pit, 3, size, v * 0x0101010101010101u);
            pit_ops.write(&pit, 0, size, v * 0x0101010101010101u);
            pit_ops.read(&pit, 0, size);
            now += 12345;
            if (timer.deadline <= now)
                pit.timer->fire(&pit);
        }
    }
}

static void state_survives(void **state)
{
    struct pit_state a, b, bad;
    uint64_t t0 = now;

    put(3, 0x34);
    set_count(0, 11932);
    put(3, 0xb0);
    set_count(2, 5000); /* gate low: held still */
    now = after(t0, 20000);
    put(3, 0x00);
    get(0); /* half of a latched count */
    pit_save(&pit, &a);
    timer.deadline = DEV_TIMER_OFF;
    assert_int_equal(pit_restore(&pit, &a), 0);
    pit_save(&pit, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(timer.deadline, after(t0, 2 * 11932));
    assert_int_equal(get(0), (2 * 11932 - 20000) >> 8);
    bad = a;
    bad.channel[1].count = 0;
    assert_int_equal(pit_restore(&pit, &bad), -EINVAL);
    bad = a;
    bad.channel[1].mode = 6;
    assert_int_equal(pit_restore(&pit, &bad), -EINVAL);
    bad = a;
    bad.channel[0].loaded_ns = now + 1;
    assert_int_equal(pit_restore(&pit, &bad), -EINVAL);
    bad = a;
    bad.channel[2].read_state = 5;
    assert_int_equal(pit_restore(&pit, &bad), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(short_counts_are_not_lost),
        TEST(rate_generator),
        TEST(square_wave),
        TEST(terminal_count),
        TEST(one_shots),
        TEST(latches_and_read_back),
        TEST(bcd),
        TEST(refresh_and_odd_accesses),
        TEST(state_survives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
