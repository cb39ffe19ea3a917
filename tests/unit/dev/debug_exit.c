/* The debug-exit port: the status it asks for, at any size. */
#include "dev/chip/debug_exit.h"

#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void on_exit_status(void *user, uint32_t status)
{
    *(uint32_t *)user = status;
}

static void status_is_shifted(void **state)
{
    uint32_t status = 0;
    struct debug_exit d;
    struct dev_bus bus;

    debug_exit_init(&d, on_exit_status, &status);
    dev_bus_init(&bus, "port");
    assert_int_equal(dev_bus_add(&bus, DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS, &debug_exit_ops, &d), 0);
    dev_bus_write(&bus, 0xf4, 1, 0);
    assert_int_equal(status, 1);
    dev_bus_write(&bus, 0xf4, 2, 0x1234);
    assert_int_equal(status, 0x2469);
    dev_bus_write(&bus, 0xf4, 4, 0x10);
    assert_int_equal(status, 33);
    assert_int_equal(dev_bus_read(&bus, 0xf4, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(status_is_shifted)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
