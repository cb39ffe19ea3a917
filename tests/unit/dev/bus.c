/* The address space of devices: order, overlaps, holes and straddling accesses. */
#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct bytes {
    uint8_t data[16];
    unsigned reads, last_size;
};

static uint64_t bytes_read(void *dev, uint64_t offset, unsigned size)
{
    struct bytes *b = dev;
    uint64_t v = 0;

    b->reads++;
    b->last_size = size;
    memcpy(&v, b->data + offset, size);
    return v | (size < 8 ? ~mask_bytes(size) : 0); /* rubbish above must be cut off */
}

static void bytes_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct bytes *b = dev;

    b->last_size = size;
    memcpy(b->data + offset, &value, size);
}

static const struct dev_region_ops ops = {bytes_read, bytes_write};

static void refuses_bad_regions(void **state)
{
    struct dev_bus bus;
    struct bytes b = {{0}, 0, 0};

    dev_bus_init(&bus, "port");
    assert_int_equal(dev_bus_add(&bus, 0x100, 0, &ops, &b), -EINVAL);
    assert_int_equal(dev_bus_add(&bus, UINT64_MAX, 2, &ops, &b), -EINVAL);
    assert_int_equal(dev_bus_add(&bus, 0x100, 16, &ops, &b), 0);
    assert_int_equal(dev_bus_add(&bus, 0x10f, 1, &ops, &b), -EEXIST);
    assert_int_equal(dev_bus_add(&bus, 0xf1, 16, &ops, &b), -EEXIST);
    assert_int_equal(dev_bus_add(&bus, 0xf0, 64, &ops, &b), -EEXIST);
    assert_int_equal(dev_bus_add(&bus, 0xf0, 16, &ops, &b), 0);
    assert_int_equal(dev_bus_add(&bus, 0x110, 16, &ops, &b), 0);
    for (unsigned i = 3; i < DEV_BUS_REGIONS; i++)
        assert_int_equal(dev_bus_add(&bus, 0x1000 - 16 * i, 16, &ops, &b), 0);
    assert_int_equal(dev_bus_add(&bus, 0x2000, 16, &ops, &b), -ENOSPC);
    for (unsigned i = 1; i < bus.count; i++)
        assert_true(bus.region[i - 1].base < bus.region[i].base);
}

static void routes_and_splits(void **state)
{
    struct dev_bus bus;
    struct bytes a = {{1, 2, 3, 4}, 0, 0}, b = {{5, 6, 7, 8}, 0, 0};

    dev_bus_init(&bus, "mmio");
    assert_int_equal(dev_bus_add(&bus, 0x1004, 4, &ops, &b), 0);
    assert_int_equal(dev_bus_add(&bus, 0x1000, 4, &ops, &a), 0);
    assert_int_equal(dev_bus_read(&bus, 0x1000, 4), 0x04030201);
    assert_int_equal(a.last_size, 4);
    assert_int_equal(dev_bus_read(&bus, 0x1002, 4), 0x06050403);
    assert_int_equal(a.last_size, 1);
    assert_int_equal(dev_bus_read(&bus, 0xffe, 4), 0x0201ffff);
    assert_int_equal(dev_bus_read(&bus, 0x1006, 4), 0xffff0807);
    assert_true(dev_bus_read(&bus, 0x2000, 8) == UINT64_MAX);
    assert_int_equal(dev_bus_read(&bus, 0x2000, 2), 0xffff);
    assert_int_equal(dev_bus_read(&bus, UINT64_MAX, 4), 0xffffffff);
    dev_bus_write(&bus, 0x1003, 2, 0xbbaa);
    assert_int_equal(a.data[3], 0xaa);
    assert_int_equal(b.data[0], 0xbb);
    dev_bus_write(&bus, 0x3000, 8, 0);
}

static void counts_accesses(void **state)
{
    struct dev_bus bus;
    struct bytes b = {{0}, 0, 0};

    dev_bus_init(&bus, "port");
    assert_int_equal(dev_bus_add(&bus, 0x100, 4, &ops, &b), 0);
    dev_bus_read(&bus, 0x100, 4);
    dev_bus_write(&bus, 0x102, 2, 0);
    dev_bus_write(&bus, 0x101, 1, 0);
    dev_bus_read(&bus, 0x200, 4);
    assert_int_equal(bus.region[0].counts.reads, 1);
    assert_int_equal(bus.region[0].counts.writes, 2);
    assert_int_equal(bus.unassigned.reads, 1);
    assert_int_equal(bus.unassigned.writes, 0);
    dev_bus_read(&bus, 0x102, 4); /* by bytes: half of it is there */
    assert_int_equal(bus.region[0].counts.reads, 3);
    assert_int_equal(bus.unassigned.reads, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_bad_regions),
        cmocka_unit_test(routes_and_splits),
        cmocka_unit_test(counts_accesses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
