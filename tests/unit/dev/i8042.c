/* The keyboard controller, in the order in which a driver probes it. */
#include "dev/chip/i8042.h"

#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct fake_line lines;
static struct i8042 kbc;
static unsigned resets;

static void on_reset(void *user)
{
    resets++;
    in8(&i8042_command_ops, user, 0); /* no lock may be held here */
}

static uint8_t status(void)
{
    return in8(&i8042_command_ops, &kbc, 0);
}

static uint8_t data(void)
{
    return in8(&i8042_data_ops, &kbc, 0);
}

static void command(uint8_t value)
{
    out8(&i8042_command_ops, &kbc, 0, value);
}

static void put(uint8_t value)
{
    out8(&i8042_data_ops, &kbc, 0, value);
}

static int setup(void **state)
{
    memset(&lines, 0, sizeof(lines));
    resets = 0;
    i8042_init(&kbc, &FAKE_IRQ(&lines, 1), on_reset, &kbc);
    return 0;
}

static int teardown(void **state)
{
    i8042_destroy(&kbc);
    return 0;
}

static void controller_probe(void **state)
{
    assert_int_equal(status(), 0x14);
    command(0xaa);
    assert_int_equal(status(), 0x1d);
    assert_int_equal(data(), 0x55);
    assert_int_equal(status(), 0x1c);
    command(0x20);
    assert_int_equal(data(), 0x65);
    command(0x60);
    put(0x44);
    command(0x20);
    assert_int_equal(lines.level[1], 0); /* interrupts are off now */
    assert_int_equal(data(), 0x44);
    command(0xab);
    assert_int_equal(data(), 0x00);
    command(0xad);
    command(0x20);
    assert_int_equal(data(), 0x54);
    command(0xae);
    command(0xa8);
    command(0x20);
    assert_int_equal(data(), 0x44);
    command(0x7f);
    put(0x99);
    command(0x3f);
    assert_int_equal(data(), 0x99);
    command(0xc0);
    assert_int_equal(data(), 0x80);
}

/* What makes Linux give the mouse up without a time-out. */
static void no_mouse(void **state)
{
    command(0xd3);
    put(0x5a);
    assert_int_equal(status() & 0x21, 0x01); /* an answer, not marked as the mouse's */
    assert_int_equal(data(), 0x5a);
    command(0xa9);
    assert_int_equal(data(), 0x01);
    command(0xd4);
    put(0xf2);
    assert_int_equal(status() & 0x61, 0x61);
    assert_int_equal(data(), 0xfe);
}

static void keyboard(void **state)
{
    put(0xff);
    assert_int_equal(lines.level[1], 1);
    lines.rises[1] = 0;
    assert_int_equal(data(), 0xfa);
    assert_int_equal(lines.rises[1], 1); /* the second byte is an edge of its own */
    assert_int_equal(data(), 0xaa);
    assert_int_equal(lines.level[1], 0);
    put(0xf2);
    assert_int_equal(data(), 0xfa);
    assert_int_equal(data(), 0xab);
    assert_int_equal(data(), 0x41); /* translated */
    command(0x60);
    put(0x05);
    put(0xf2);
    data();
    data();
    assert_int_equal(data(), 0x83);
    put(0xed);
    assert_int_equal(data(), 0xfa);
    put(0x07);
    assert_int_equal(data(), 0xfa);
    assert_int_equal(status() & 1, 0);
    put(0xf0);
    data();
    put(0);
    assert_int_equal(data(), 0xfa);
    assert_int_equal(data(), 0x02);
    put(0xee);
    assert_int_equal(data(), 0xee);
    put(0xf4);
    assert_int_equal(data(), 0xfa);
    put(0x33);
    assert_int_equal(data(), 0xfe);
    put(0xf2);
    data();
    command(0xad); /* with its clock held the rest waits */
    data();
    assert_int_equal(status() & 1, 0);
    command(0xae);
    assert_int_equal(data(), 0x83);
}

static void resets_machine(void **state)
{
    command(0xff);
    command(0xd1);
    put(0x03);
    assert_int_equal(resets, 0);
    command(0xd0);
    assert_int_equal(data(), 0x03);
    command(0xfe);
    assert_int_equal(resets, 1);
    command(0xd1);
    put(0x02);
    assert_int_equal(resets, 2);
}

static void state_survives(void **state)
{
    struct i8042_state a, b, bad;

    put(0xf2);
    data();
    command(0x65);
    i8042_save(&kbc, &a);
    setup(NULL);
    assert_int_equal(i8042_restore(&kbc, &a), 0);
    i8042_save(&kbc, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(data(), 0xab);
    bad = a;
    bad.queue_count = I8042_QUEUE + 1;
    assert_int_equal(i8042_restore(&kbc, &bad), -EINVAL);
    bad = a;
    bad.command = 0x80; /* would index beyond the RAM */
    assert_int_equal(i8042_restore(&kbc, &bad), -EINVAL);
    for (unsigned v = 0; v < 0x10000; v++) {
        i8042_command_ops.write(&kbc, 0, 4, v >> 8);
        i8042_data_ops.write(&kbc, 0, 8, v);
        i8042_data_ops.read(&kbc, 0, 2);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(controller_probe), TEST(no_mouse),       TEST(keyboard),
        TEST(resets_machine),   TEST(state_survives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
