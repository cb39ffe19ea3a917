/* The pvpanic port: what it understands, and what it passes on. */
#include "dev/chip/pvpanic.h"

#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct reports {
    unsigned count, last;
};

static void on_report(void *user, unsigned events)
{
    struct reports *r = user;

    r->count++;
    r->last = events;
}

static void reports_what_it_knows(void **state)
{
    struct reports r = {0, 0};
    struct pvpanic p;
    struct dev_bus bus;

    pvpanic_init(&p, on_report, &r);
    dev_bus_init(&bus, "port");
    assert_int_equal(dev_bus_add(&bus, 0x505, PVPANIC_PORTS, &pvpanic_ops, &p), 0);
    assert_int_equal(dev_bus_read(&bus, 0x505, 1), 3);
    dev_bus_write(&bus, 0x505, 1, 0);
    dev_bus_write(&bus, 0x505, 1, 0xfc); /* events of another version */
    assert_int_equal(r.count, 0);
    dev_bus_write(&bus, 0x505, 1, 0xfd);
    assert_int_equal(r.last, PVPANIC_PANICKED);
    dev_bus_write(&bus, 0x505, 1, 2);
    assert_int_equal(r.last, PVPANIC_CRASH_LOADED);
    dev_bus_write(&bus, 0x505, 4, 0xffffff00); /* only the first byte is the port's */
    dev_bus_write(&bus, 0x504, 1, 1);
    dev_bus_write(&bus, 0x506, 1, 1);
    assert_int_equal(r.count, 2);
    dev_bus_write(&bus, 0x504, 2, 0x0100);
    assert_int_equal(r.count, 3);
    assert_int_equal(r.last, PVPANIC_PANICKED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reports_what_it_knows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
