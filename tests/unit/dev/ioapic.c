/* The I/O APIC: edges and levels, remote IRR, EOI, registers. */
#include "dev/chip/ioapic.h"

#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct ioapic io;
static unsigned sent;
static struct apic_msg last;
static struct {
    unsigned count, pin, sent; /* the latter: before it */
    struct apic_msg msg;
} told;

static void on_deliver(void *user, const struct apic_msg *msg)
{
    sent++;
    last = *msg;
}

static void on_written(void *user, unsigned pin, const struct apic_msg *msg)
{
    told.count++;
    told.pin = pin;
    told.sent = sent;
    told.msg = *msg;
}

static void put(uint8_t index, uint32_t value)
{
    ioapic_mmio_ops.write(&io, 0, 4, index);
    ioapic_mmio_ops.write(&io, 0x10, 4, value);
}

static uint32_t get(uint8_t index)
{
    ioapic_mmio_ops.write(&io, 0, 4, index);
    return (uint32_t)ioapic_mmio_ops.read(&io, 0x10, 4);
}

static int setup(void **state)
{
    struct ioapic_ops ops = {on_deliver, on_written, NULL};

    sent = told.count = 0;
    ioapic_init(&io, 2, &ops);
    return 0;
}

static int teardown(void **state)
{
    ioapic_destroy(&io);
    return 0;
}

static void registers(void **state)
{
    assert_int_equal(get(0), 0x02000000);
    assert_int_equal(get(1), 0x00170020);
    assert_int_equal(get(2), 0x02000000);
    assert_int_equal(get(3), 0xffffffff);
    assert_int_equal(get(0x10), 0x10000);
    assert_int_equal(get(0x3f), 0);
    assert_int_equal(get(0x40), 0xffffffff);
    put(0, 0xffffffff);
    assert_int_equal(get(0), 0x0f000000);
    put(1, 0);
    put(0x40, 0);
    put(0x12, 0xffffffff);
    put(0x13, 0xffffffff);
    assert_int_equal(get(0x12), 0x1afff); /* status and remote IRR are read-only */
    assert_int_equal(get(0x13), 0xff000000);
    ioapic_mmio_ops.write(&io, 0x10, 1, 0);
    assert_int_equal(get(0x13), 0xff000000);
    for (unsigned off = 0; off < 0x50; off++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            ioapic_mmio_ops.read(&io, off, size);
            ioapic_mmio_ops.write(&io, off, size, UINT64_MAX);
        }
    }
    ioapic_set_pin(&io, IOAPIC_PINS, 1);
    ioapic_set_pin(&io, UINT32_MAX, 1);
    assert_int_equal(sent, 0);
}

static void edges(void **state)
{
    put(0x18, 0x10041);
    put(0x19, 0x05000000);
    ioapic_set_pin(&io, 4, 1);
    put(0x18, 0x00941);
    assert_int_equal(sent, 0); /* an edge while masked is lost */
    ioapic_set_pin(&io, 4, 1);
    assert_int_equal(sent, 0); /* not an edge */
    ioapic_set_pin(&io, 4, 0);
    ioapic_set_pin(&io, 4, 1);
    assert_int_equal(sent, 1);
    assert_int_equal(last.vector, 0x41);
    assert_int_equal(last.dest, 5);
    assert_int_equal(last.delivery_mode, 1);
    assert_true(last.logical);
    assert_false(last.level);
    ioapic_eoi(&io, 0x41);
    assert_int_equal(sent, 1);
}

static void levels(void **state)
{
    put(0x20, 0x18052);
    ioapic_set_pin(&io, 8, 1);
    assert_int_equal(sent, 0);
    put(0x20, 0x08052);
    assert_int_equal(sent, 1); /* unmasking shows a level */
    assert_true(last.level);
    assert_int_equal(get(0x20), 0x0c052);
    ioapic_set_pin(&io, 8, 0);
    ioapic_set_pin(&io, 8, 1);
    assert_int_equal(sent, 1); /* remote IRR holds it back */
    ioapic_eoi(&io, 0x51);
    assert_int_equal(sent, 1);
    ioapic_eoi(&io, 0x52);
    assert_int_equal(sent, 2); /* still asserted */
    ioapic_set_pin(&io, 8, 0);
    ioapic_mmio_ops.write(&io, 0x40, 4, 0x52);
    assert_int_equal(sent, 2);
    assert_int_equal(get(0x20), 0x08052);
    ioapic_set_pin(&io, 8, 1);
    assert_int_equal(sent, 3);
    put(0x20, 0x10052); /* through edge mode: remote IRR is gone */
    put(0x20, 0x08052);
    assert_int_equal(sent, 4);
    ioapic_eoi(&io, 0x52);
    assert_int_equal(sent, 5);
}

static void state_survives(void **state)
{
    struct ioapic_state a, b, bad;

    put(0x20, 0x08052);
    put(0x21, 0x01000000);
    ioapic_set_pin(&io, 8, 1);
    ioapic_save(&io, &a);
    teardown(NULL);
    setup(NULL);
    assert_int_equal(ioapic_restore(&io, &a), 0);
    ioapic_save(&io, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(sent, 0);
    ioapic_eoi(&io, 0x52);
    assert_int_equal(sent, 1);
    bad = a;
    bad.irr = 1u << 24;
    assert_int_equal(ioapic_restore(&io, &bad), -EINVAL);
    bad = a;
    bad.redir[3] |= BIT(20);
    assert_int_equal(ioapic_restore(&io, &bad), -EINVAL);
    bad = a;
    bad.redir[3] |= BIT(12); /* delivery status, which is always idle */
    assert_int_equal(ioapic_restore(&io, &bad), -EINVAL);
    bad = a;
    bad.ioregsel = 0x1000;
    assert_int_equal(ioapic_restore(&io, &bad), -EINVAL);
}

/* Whoever mirrors the entries knows one before its first message, and all after a restore. */
static void entries_are_told(void **state)
{
    struct ioapic_state saved;

    put(0x13, 0x05000000);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.msg.dest, 5);
    ioapic_set_pin(&io, 1, 1);
    put(0x12, 0x8941); /* logical, level */
    assert_int_equal(told.count, 2);
    assert_int_equal(told.pin, 1);
    assert_int_equal(told.sent, 0);
    assert_int_equal(sent, 1);
    assert_memory_equal(&told.msg, &last, sizeof(last));
    put(0x12, 0x18941); /* masked: the same */
    assert_memory_equal(&told.msg, &last, sizeof(last));
    ioapic_save(&io, &saved);
    told.count = 0;
    assert_int_equal(ioapic_restore(&io, &saved), 0);
    assert_int_equal(told.count, IOAPIC_PINS);
    saved.id = 0x100;
    assert_int_equal(ioapic_restore(&io, &saved), -EINVAL);
    assert_int_equal(told.count, IOAPIC_PINS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers), TEST(edges), TEST(levels), TEST(state_survives), TEST(entries_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
