/* The boot timer: which write means ready, and that it is told once. */
#include "dev/chip/boot_timer.h"

#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PAGE UINT64_C(0xd0000000)

static void on_ready(void *user)
{
    ++*(unsigned *)user;
}

static void bus_init(struct dev_bus *bus, struct boot_timer *t, unsigned *count)
{
    *count = 0;
    boot_timer_init(t, on_ready, count);
    dev_bus_init(bus, "mmio");
    assert_int_equal(dev_bus_add(bus, PAGE, BOOT_TIMER_SIZE, &boot_timer_ops, t), 0);
}

static void first_counts(void **state)
{
    struct boot_timer t;
    struct dev_bus bus;
    unsigned count;

    bus_init(&bus, &t, &count);
    dev_bus_write(&bus, PAGE, 1, 123);
    assert_int_equal(count, 1);
    dev_bus_write(&bus, PAGE, 1, 123);
    assert_int_equal(count, 1);
}

static void others_do_not(void **state)
{
    struct boot_timer t;
    struct dev_bus bus;
    unsigned count;

    bus_init(&bus, &t, &count);
    dev_bus_write(&bus, PAGE, 1, 122);
    dev_bus_write(&bus, PAGE + 1, 1, 123);
    dev_bus_write(&bus, PAGE, 4, 123);
    dev_bus_write(&bus, PAGE + 4095, 1, 123);
    assert_int_equal(dev_bus_read(&bus, PAGE, 1), 0);
    assert_int_equal(dev_bus_read(&bus, PAGE + 4088, 8), 0);
    assert_int_equal(count, 0);
    dev_bus_write(&bus, PAGE, 1, 123);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_counts),
                                       cmocka_unit_test(others_do_not)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
