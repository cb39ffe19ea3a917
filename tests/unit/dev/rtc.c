/* The real-time clock: formats, setting, update-in-progress, the three interrupts. */
#include "dev/chip/rtc.h"

#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define S INT64_C(1000000000)

static struct fake_line lines;
static struct fake_timer timer;
static struct rtc rtc;
static uint64_t now; /* both clocks run together */

/* 2024-02-29 13:05:09 UTC, a Thursday, when now is 0. */
static int64_t wall_now(void *user)
{
    return INT64_C(1709211909) * S + (int64_t)now;
}

static uint8_t get(uint8_t index)
{
    out8(&rtc_ops, &rtc, 0, index);
    return in8(&rtc_ops, &rtc, 1);
}

static void put(uint8_t index, uint8_t value)
{
    out8(&rtc_ops, &rtc, 0, index);
    out8(&rtc_ops, &rtc, 1, value);
}

static int setup(void **state)
{
    struct rtc_wall wall = {wall_now, NULL};

    memset(&lines, 0, sizeof(lines));
    timer = FAKE_TIMER;
    now = 0;
    rtc_init(&rtc, &FAKE_IRQ(&lines, 8), &FAKE_CLOCK(&now), &timer.timer, &wall);
    return 0;
}

static int teardown(void **state)
{
    rtc_destroy(&rtc);
    return 0;
}

static void formats(void **state)
{
    static const uint8_t regs[] = {0, 2, 4, 6, 7, 8, 9, 0x32};
    static const uint8_t bcd[] = {0x09, 0x05, 0x13, 0x05, 0x29, 0x02, 0x24, 0x20};
    static const uint8_t binary[] = {9, 5, 0x81, 5, 29, 2, 24, 20}; /* and 12 hours */

    assert_int_equal(get(0x0b), 0x02);
    assert_int_equal(get(0x0d), 0x80);
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
        assert_int_equal(get(regs[i]), bcd[i]);
    put(0x0b, 0x04);
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
        assert_int_equal(get(regs[i]), binary[i]);
    now = 11 * 3600 * S; /* 00:05 next day: twelve in the morning */
    assert_int_equal(get(4), 12);
    assert_int_equal(get(7), 1);
    assert_int_equal(get(8), 3);
    out8(&rtc_ops, &rtc, 0, 0x80 | 0x32); /* the NMI mask is not part of the index */
    assert_int_equal(in8(&rtc_ops, &rtc, 1), 20);
    put(0x7f, 0xa5);
    assert_int_equal(get(0x7f), 0xa5);
}

static void setting_is_an_offset(void **state)
{
    now = 123456789;
    put(0x0b, 0x82);
    assert_int_equal(get(0), 0x09);
    now += 5 * S;
    assert_int_equal(get(0), 0x09); /* held */
    put(0x32, 0x19);
    put(9, 0x99);
    put(8, 0x12);
    put(7, 0x31);
    put(4, 0x23);
    put(2, 0x59);
    put(0, 0x58);
    put(0x0b, 0x02);
    assert_int_equal(get(0), 0x58);
    now += S - 1;
    assert_int_equal(get(0), 0x58); /* the second begins when SET ends */
    now += S + 1;
    assert_int_equal(get(0), 0x00);
    assert_int_equal(get(0x32), 0x20);
    assert_int_equal(get(9), 0x00);
    assert_int_equal(get(6), 0x07); /* Saturday */
    put(2, 0x30);                   /* one field, the clock running */
    assert_int_equal(get(2), 0x30);
    assert_int_equal(get(0), 0x00);
}

static void update_in_progress(void **state)
{
    assert_int_equal(get(0x0a), 0x26);
    now = S - 244001;
    assert_int_equal(get(0x0a), 0x26);
    now = S - 244000;
    assert_int_equal(get(0x0a), 0xa6);
    now = S;
    assert_int_equal(get(0x0a), 0x26);
    put(0x0a, 0xff);
    assert_int_equal(get(0x0a), 0x7f);
}

static void update_interrupt(void **state)
{
    now = S / 4;
    assert_true(timer.deadline == DEV_TIMER_OFF);
    put(0x0b, 0x12);
    assert_int_equal(timer.deadline, S);
    assert_int_equal(fake_advance(&timer, &now, S), 1);
    assert_int_equal(lines.level[8], 1);
    assert_true(timer.deadline == DEV_TIMER_OFF); /* nothing more until it is seen */
    now = 5 * S;
    assert_int_equal(get(0x0c) & 0xb0, 0x90);
    assert_int_equal(lines.level[8], 0);
    assert_int_equal(get(0x0c) & 0xb0, 0);
    assert_int_equal(timer.deadline, 6 * S);
    put(0x0b, 0x02);
    assert_true(timer.deadline == DEV_TIMER_OFF);
    now = 7 * S;
    assert_int_equal(get(0x0c) & 0x90, 0x10); /* the flag comes without the interrupt */
}

static void alarm_interrupt(void **state)
{
    put(1, 0x00);
    put(3, 0x07);
    put(5, 0xff); /* any hour */
    put(0x0b, 0x22);
    /* 13:07:00 is 111 s away; looked at in between, as the wall clock may be set. */
    assert_int_equal(fake_advance(&timer, &now, 111 * S - 1), 1);
    assert_int_equal(lines.level[8], 0);
    assert_int_equal(fake_advance(&timer, &now, 111 * S), 1);
    assert_int_equal(lines.level[8], 1);
    assert_int_equal(get(0x0c) & 0xa0, 0xa0);
    now = (111 + 3600) * S; /* an hour later again */
    assert_int_equal(get(0x0c) & 0x20, 0x20);
    put(5, 0x99); /* never */
    now += 3 * 86400 * S;
    assert_int_equal(get(0x0c) & 0x20, 0);
}

static void periodic_interrupt(void **state)
{
    put(0x0a, 0x2f); /* 2 Hz */
    put(0x0b, 0x42);
    assert_int_equal(timer.deadline, S / 2);
    fake_advance(&timer, &now, S / 2);
    assert_int_equal(lines.level[8], 1);
    assert_int_equal(get(0x0c) & 0xc0, 0xc0);
    assert_int_equal(timer.deadline, S);
    put(0x0a, 0x26); /* 1024 Hz */
    assert_int_equal(timer.deadline, S / 2 + S / 1024 + 1);
    put(0x0a, 0x21); /* 256 Hz, not 32768 */
    assert_int_equal(timer.deadline, S / 2 + S / 256);
    put(0x0a, 0x20);
    assert_true(timer.deadline == DEV_TIMER_OFF);
}

/* A clock of which every look takes so long. */
static uint64_t look_takes;

static uint64_t slow_now(void *user)
{
    now += look_takes;
    return now;
}

/* Reading C lets the line fall, even if it rises again before the read is over. */
static void a_read_of_c_is_an_edge(void **state)
{
    const uint64_t period = S / 1024 + 1;
    struct rtc_wall wall = {wall_now, NULL};

    rtc_destroy(&rtc);
    rtc_init(&rtc, &FAKE_IRQ(&lines, 8), &(struct dev_clock){slow_now, NULL}, &timer.timer, &wall);
    look_takes = 0;
    put(0x0b, 0x42);
    fake_advance(&timer, &now, now + period);
    assert_int_equal(lines.rises[8], 1);
    out8(&rtc_ops, &rtc, 0, 0x0c);
    look_takes = period;
    assert_int_equal(in8(&rtc_ops, &rtc, 1) & 0xc0, 0xc0);
    look_takes = 0;
    assert_int_equal(lines.level[8], 1);
    assert_int_equal(lines.rises[8], 2);
    assert_int_equal(get(0x0c) & 0xc0, 0xc0);
    assert_int_equal(lines.level[8], 0);
}

static void state_survives(void **state)
{
    struct rtc_state a, b, bad;

    put(0x0b, 0x22);
    put(9, 0x30);
    put(3, 0x06);
    put(1, 0x00);
    put(0x40, 0x77);
    now = 1234567;
    rtc_save(&rtc, &a);
    teardown(NULL);
    setup(NULL);
    now = 1234567;
    assert_int_equal(rtc_restore(&rtc, &a), 0);
    rtc_save(&rtc, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(get(9), 0x30);
    /* The farthest year there is, and what follows it. */
    a.offset_s = BIT(40) - 1;
    assert_int_equal(rtc_restore(&rtc, &a), 0);
    now += 100 * S;
    rtc_save(&rtc, &b);
    assert_int_equal(rtc_restore(&rtc, &b), 0);
    a = b;
    a.offset_s = 0;
    assert_int_equal(rtc_restore(&rtc, &a), 0);
    /* The alarm fell into the time that the machine was away. */
    now = 200 * S;
    put(5, 0x13);
    rtc_save(&rtc, &a);
    now = 2 * 86400 * S;
    assert_int_equal(rtc_restore(&rtc, &a), 0);
    fake_advance(&timer, &now, now);
    assert_int_equal(lines.level[8], 1);

    bad = a;
    bad.index = 128;
    assert_int_equal(rtc_restore(&rtc, &bad), -EINVAL);
    bad = a;
    bad.offset_ns = 1000000000;
    assert_int_equal(rtc_restore(&rtc, &bad), -EINVAL);
    bad = a;
    bad.offset_s = INT64_MAX;
    assert_int_equal(rtc_restore(&rtc, &bad), -EINVAL);
}

static void survives_rubbish(void **state)
{
    for (unsigned v = 0; v < 0x10000; v++) {
        rtc_ops.write(&rtc, 0, 2, v * 40503u);
        rtc_ops.read(&rtc, 1, 1);
        now += 7919;
        if (timer.deadline <= now)
            rtc.timer->fire(&rtc);
    }
    rtc_ops.read(&rtc, 0, 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(formats),          TEST(setting_is_an_offset), TEST(update_in_progress),
        TEST(update_interrupt), TEST(alarm_interrupt),      TEST(periodic_interrupt),
        TEST(state_survives),   TEST(survives_rubbish),     TEST(a_read_of_c_is_an_edge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
