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

static struct {
    unsigned count, pin, sent;
} ended;
static bool release;

static void on_ended(void *user, unsigned pin)
{
    ended.count++;
    ended.pin = pin;
    ended.sent = sent;
    if (release)
        ioapic_set_pin(&io, pin, 0);
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
    struct ioapic_ops ops = {on_deliver, on_written, on_ended, NULL};

    sent = told.count = ended.count = 0;
    release = false;
    ioapic_init(&io, 2, &ops);
    return 0;
}

static int teardown(void **state)
{
    ioapic_destroy(&io);
    return 0;
}

static uint32_t page[IOAPIC_MMIO_SIZE / 4];

/* Does reading the page give what reading the registers gives? */
static void assert_shown(void)
{
    for (unsigned at = 0; at < IOAPIC_MMIO_SIZE; at += 4)
        assert_int_equal(page[at / 4], (uint32_t)ioapic_mmio_ops.read(&io, at, 4));
}

/* Each way by which what a guest reads can change, the window's entry selected. */
static void page_shows_the_registers(void **state)
{
    struct ioapic_state saved;

    memset(page, 0, sizeof(page));
    put(0x13, 0x05000000);
    ioapic_show(&io, page);
    assert_int_equal(page[0], 0x13);
    assert_int_equal(page[4], 0x05000000);
    for (unsigned index = 0; index < 0x100; index++) {
        ioapic_mmio_ops.write(&io, 0, 4, index);
        assert_int_equal(page[0], index);
        assert_shown();
    }
    put(0x12, 0x8031); /* level-triggered */
    assert_int_equal(page[4], 0x8031);
    ioapic_set_pin(&io, 1, 1);
    assert_int_equal(page[4], 0xc031); /* remote IRR */
    ioapic_save(&io, &saved);
    ioapic_set_pin(&io, 1, 0);
    ioapic_eoi(&io, 0x31);
    assert_int_equal(page[4], 0x8031);
    assert_int_equal(ioapic_restore(&io, &saved), 0);
    assert_int_equal(page[4], 0xc031);
    ioapic_mmio_ops.write(&io, 0x40, 4, 0x31); /* the EOI register; asserted: sent again */
    assert_int_equal(page[4], 0xc031);
    ioapic_set_pin(&io, 1, 0);
    ioapic_mmio_ops.write(&io, 0x40, 4, 0x31);
    assert_int_equal(page[4], 0x8031);
    assert_shown();
    ioapic_show(&io, NULL);
    put(0x12, 0x10000);
    assert_int_equal(page[4], 0x8031);
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

/* Its driver is told before the pin would be sent again, and may release it. */
static void end_is_told(void **state)
{
    put(0x20, 0x08052);
    put(0x22, 0x00053);
    ioapic_set_pin(&io, 9, 1); /* an edge */
    ioapic_eoi(&io, 0x53);
    assert_int_equal(ended.count, 0);
    ioapic_set_pin(&io, 8, 1);
    assert_int_equal(sent, 2);
    ioapic_eoi(&io, 0x51);
    assert_int_equal(ended.count, 0);
    ioapic_eoi(&io, 0x52);
    assert_int_equal(ended.count, 1);
    assert_int_equal(ended.pin, 8);
    assert_int_equal(ended.sent, 2);
    assert_int_equal(sent, 3);
    release = true;
    ioapic_eoi(&io, 0x52);
    assert_int_equal(ended.count, 2);
    assert_int_equal(sent, 3);
    ioapic_set_pin(&io, 8, 1);
    assert_int_equal(sent, 4);
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
        TEST(registers),
        TEST(edges),
        TEST(levels),
        TEST(end_is_told),
        TEST(page_shows_the_registers),
        TEST(state_survives),
        TEST(entries_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
