/* ACPI fixed hardware: power off, reset, the button, the timer. */
#include "dev/chip/acpi_pm.h"

#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define EVENT   0x600
#define CONTROL 0x604
#define TIMER   0x608
#define RESET   0xcf9

static struct fake_line lines;
static struct fake_timer timer;
static struct acpi_pm pm;
static struct dev_bus bus;
static uint64_t now;
static unsigned offs, resets;

static void on_off(void *user)
{
    offs++;
    acpi_pm_power_button(user); /* no lock may be held here */
}

static void on_reset(void *user)
{
    resets++;
    acpi_pm_power_button(user);
}

static void start(bool wide)
{
    struct acpi_pm_ops ops = {on_off, on_reset, &pm};
    struct acpi_pm_ports ports = {EVENT, CONTROL, TIMER, RESET};

    memset(&lines, 0, sizeof(lines));
    timer = FAKE_TIMER;
    offs = resets = 0;
    now = 0;
    acpi_pm_init(&pm, &FAKE_IRQ(&lines, 9), &FAKE_CLOCK(&now), &timer.timer, wide, &ops);
    dev_bus_init(&bus, "port");
    assert_int_equal(acpi_pm_add(&pm, &bus, &ports), 0);
    assert_int_equal(acpi_pm_add(&pm, &bus, &ports), -EEXIST);
}

static int setup(void **state)
{
    start(false);
    return 0;
}

static int teardown(void **state)
{
    acpi_pm_destroy(&pm);
    return 0;
}

static void power_off(void **state)
{
    assert_int_equal(dev_bus_read(&bus, CONTROL, 2), 1); /* SCI_EN */
    dev_bus_write(&bus, CONTROL, 2, 0x2000);             /* S0: goes on */
    dev_bus_write(&bus, CONTROL, 2, 5 << 10);
    assert_int_equal(offs, 0);
    assert_int_equal(dev_bus_read(&bus, CONTROL, 2), 5 << 10 | 1);
    dev_bus_write(&bus, CONTROL, 2, 5 << 10 | 0x2000);
    assert_int_equal(offs, 1);
    assert_int_equal(dev_bus_read(&bus, CONTROL, 2), 5 << 10 | 1); /* SLP_EN is write-only */
}

static void reset(void **state)
{
    dev_bus_write(&bus, RESET, 1, 0x02);
    assert_int_equal(resets, 0);
    assert_int_equal(dev_bus_read(&bus, RESET, 1), 0x02);
    dev_bus_write(&bus, RESET, 1, ACPI_PM_RESET_VALUE);
    assert_int_equal(resets, 1);
}

static void power_button(void **state)
{
    assert_false(acpi_pm_power_button(&pm)); /* nobody listens */
    assert_int_equal(lines.level[9], 0);
    dev_bus_write(&bus, EVENT + 2, 2, 0x100);
    assert_int_equal(lines.level[9], 1);
    assert_int_equal(dev_bus_read(&bus, EVENT, 4), 0x01000100);
    dev_bus_write(&bus, EVENT, 2, 0);
    assert_int_equal(lines.level[9], 1);
    dev_bus_write(&bus, EVENT, 2, 0x100); /* writing one clears */
    assert_int_equal(lines.level[9], 0);
    assert_true(acpi_pm_power_button(&pm));
    assert_int_equal(lines.level[9], 1);
    dev_bus_write(&bus, EVENT + 2, 2, 0xffff);
    assert_int_equal(dev_bus_read(&bus, EVENT + 2, 2), 0x0721);
}

static void pm_timer(void **state)
{
    uint64_t carry = (UINT64_C(1) << 23) * 1000000000 / 3579545 + 1;

    now = 1000000000;
    assert_int_equal(dev_bus_read(&bus, TIMER, 4), 3579545);
    assert_int_equal(dev_bus_read(&bus, TIMER + 1, 1), 3579545 >> 8 & 0xff);
    dev_bus_write(&bus, TIMER, 4, 0);
    assert_int_equal(dev_bus_read(&bus, TIMER, 4), 3579545);
    assert_true(timer.deadline == DEV_TIMER_OFF);
    dev_bus_write(&bus, EVENT + 2, 2, 1);
    assert_int_equal(timer.deadline, carry);
    assert_int_equal(fake_advance(&timer, &now, carry), 1);
    assert_int_equal(lines.level[9], 1);
    assert_int_equal(dev_bus_read(&bus, TIMER, 4), 0x800000);
    assert_true(timer.deadline == DEV_TIMER_OFF); /* nothing more until it is cleared */
    dev_bus_write(&bus, EVENT, 2, 1);
    assert_int_equal(lines.level[9], 0);
    assert_in_range(timer.deadline, 2 * carry - 2, 2 * carry);
    now = 5000000000;
    assert_int_equal(dev_bus_read(&bus, TIMER, 4), 5 * 3579545 & 0xffffff);
    teardown(NULL);
    start(true);
    now = 5000000000;
    assert_int_equal(dev_bus_read(&bus, TIMER, 4), 5 * 3579545);
}

static void state_survives(void **state)
{
    struct acpi_pm_state a, b, bad;

    now = 777;
    dev_bus_write(&bus, EVENT + 2, 2, 0x101);
    dev_bus_write(&bus, CONTROL, 2, 3 << 10);
    dev_bus_write(&bus, RESET, 1, 0x0a);
    acpi_pm_power_button(&pm);
    acpi_pm_save(&pm, &a);
    assert_int_equal(acpi_pm_restore(&pm, &a), 0);
    acpi_pm_save(&pm, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    bad = a;
    bad.enable = 0x8000;
    assert_int_equal(acpi_pm_restore(&pm, &bad), -EINVAL);
    bad = a;
    bad.control = 0x2000;
    assert_int_equal(acpi_pm_restore(&pm, &bad), -EINVAL);
    for (unsigned port = EVENT; port < EVENT + 16; port++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            dev_bus_write(&bus, port, size, UINT64_MAX);
            dev_bus_read(&bus, port, size);
        }
    }
    assert_int_equal(offs, 0); /* sleep type 7 is not S5 */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(power_off), TEST(reset), TEST(power_button), TEST(pm_timer), TEST(state_survives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
