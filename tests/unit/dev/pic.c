/* The 8259A pair: initialisation, priority, EOI, cascade, spurious interrupts, modes. */
#include "dev/chip/pic.h"

#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct fake_line lines;
static struct pic pic;

static void m(unsigned reg, uint8_t value)
{
    out8(&pic_master_ops, &pic, reg, value);
}

static void s(unsigned reg, uint8_t value)
{
    out8(&pic_slave_ops, &pic, reg, value);
}

static uint8_t isr(const struct dev_region_ops *ops)
{
    out8(ops, &pic, 0, 0x0b);
    return in8(ops, &pic, 0);
}

static uint8_t irr(const struct dev_region_ops *ops)
{
    out8(ops, &pic, 0, 0x0a);
    return in8(ops, &pic, 0);
}

/* As Linux does it, with the given ICW4. */
static void program(uint8_t icw4)
{
    m(0, 0x11);
    m(1, 0x30);
    m(1, 4);
    m(1, icw4);
    s(0, 0x11);
    s(1, 0x38);
    s(1, 2);
    s(1, icw4);
}

static void pulse(unsigned irq)
{
    pic_set_irq(&pic, irq, 1);
    pic_set_irq(&pic, irq, 0);
}

static int setup(void **state)
{
    memset(&lines, 0, sizeof(lines));
    pic_init(&pic, &FAKE_IRQ(&lines, 0));
    program(1);
    return 0;
}

static int teardown(void **state)
{
    pic_destroy(&pic);
    return 0;
}

static void priority_and_eoi(void **state)
{
    assert_false(pic_pending(&pic));
    pulse(5);
    pulse(3);
    assert_int_equal(lines.level[0], 1);
    assert_int_equal(irr(&pic_master_ops), 0x28);
    assert_int_equal(pic_acknowledge(&pic), 0x33);
    assert_int_equal(isr(&pic_master_ops), 0x08);
    assert_int_equal(lines.level[0], 0); /* 5 waits for 3 */
    pulse(1);
    assert_int_equal(lines.level[0], 1); /* 1 nests */
    assert_int_equal(pic_acknowledge(&pic), 0x31);
    m(0, 0x20);
    assert_int_equal(isr(&pic_master_ops), 0x08);
    m(0, 0x60 | 3); /* specific */
    assert_int_equal(pic_acknowledge(&pic), 0x35);
    m(0, 0x20);
    assert_int_equal(isr(&pic_master_ops), 0);
    m(1, 0xff);
    pulse(4);
    assert_false(pic_pending(&pic));
    m(1, 0xef);
    assert_true(pic_pending(&pic));
    assert_int_equal(in8(&pic_master_ops, &pic, 1), 0xef);
}

static void cascade(void **state)
{
    pulse(12);
    pulse(8);
    assert_int_equal(irr(&pic_master_ops), 0x04);
    assert_int_equal(pic_acknowledge(&pic), 0x38);
    assert_int_equal(isr(&pic_master_ops), 0x04);
    assert_int_equal(isr(&pic_slave_ops), 0x01);
    assert_false(pic_pending(&pic));
    s(0, 0x20);
    assert_false(pic_pending(&pic)); /* the master still serves input 2 */
    m(0, 0x20);
    assert_int_equal(pic_acknowledge(&pic), 0x3c);
}

static void spurious(void **state)
{
    assert_int_equal(pic_acknowledge(&pic), 0x37);
    assert_int_equal(isr(&pic_master_ops), 0);
    /* The slave's request goes away between INTR and the acknowledge. */
    out8(&pic_elcr_ops, &pic, 1, 0x08);
    pic_set_irq(&pic, 11, 1);
    assert_true(pic_pending(&pic));
    pic_set_irq(&pic, 11, 0);
    assert_false(pic_pending(&pic));
    assert_int_equal(pic_acknowledge(&pic), 0x37);
}

static void level_triggered(void **state)
{
    out8(&pic_elcr_ops, &pic, 0, 0xff);
    assert_int_equal(in8(&pic_elcr_ops, &pic, 0), 0xf8);
    pic_set_irq(&pic, 5, 1);
    assert_int_equal(pic_acknowledge(&pic), 0x35);
    assert_false(pic_pending(&pic));
    m(0, 0x20);
    assert_true(pic_pending(&pic)); /* still high */
    pic_set_irq(&pic, 5, 0);
    assert_false(pic_pending(&pic));
    pic_set_irq(&pic, 1, 1); /* an edge that stays high comes once */
    assert_int_equal(pic_acknowledge(&pic), 0x31);
    m(0, 0x20);
    assert_false(pic_pending(&pic));
}

static void rotation_and_auto_eoi(void **state)
{
    pulse(0);
    assert_int_equal(pic_acknowledge(&pic), 0x30);
    m(0, 0xa0); /* rotate: 0 is lowest now */
    pulse(0);
    pulse(7);
    assert_int_equal(pic_acknowledge(&pic), 0x37);
    m(0, 0xe7);
    assert_int_equal(pic_acknowledge(&pic), 0x30);
    m(0, 0x20);
    m(0, 0xc3); /* set priority: 4 is first */
    pulse(3);
    pulse(4);
    assert_int_equal(pic_acknowledge(&pic), 0x34);
    program(3);
    pulse(2);
    pulse(6);
    assert_int_equal(pic_acknowledge(&pic), 0x36);
    assert_int_equal(isr(&pic_master_ops), 0);
    m(0, 0x80); /* rotate in automatic EOI mode */
    pulse(0);
    pulse(1);
    assert_int_equal(pic_acknowledge(&pic), 0x30);
    pulse(0);
    assert_int_equal(pic_acknowledge(&pic), 0x31);
    assert_int_equal(pic_acknowledge(&pic), 0x30);
}

static void special_modes_and_poll(void **state)
{
    pulse(1);
    pic_acknowledge(&pic);
    pulse(4);
    assert_false(pic_pending(&pic));
    m(1, 0x02);
    m(0, 0x68); /* special mask: a masked input in service blocks nobody */
    assert_true(pic_pending(&pic));
    assert_int_equal(pic_acknowledge(&pic), 0x34);
    m(0, 0x20);
    assert_int_equal(isr(&pic_master_ops), 0x02); /* EOI passed the masked one over */
    m(0, 0x48);
    program(1);
    m(0, 0x0c);
    assert_int_equal(in8(&pic_master_ops, &pic, 0), 0);
    pulse(6);
    m(0, 0x0c);
    assert_int_equal(in8(&pic_master_ops, &pic, 0), 0x86);
    assert_int_equal(isr(&pic_master_ops), 0x40);
    program(0x11); /* specially fully nested */
    pulse(12);
    assert_int_equal(pic_acknowledge(&pic), 0x3c);
    pulse(9);
    assert_int_equal(pic_acknowledge(&pic), 0x39);
}

static unsigned ended, ended_irq;

static void on_ended(void *user, unsigned irq)
{
    ended++;
    ended_irq = irq;
    pic_set_irq(&pic, irq, 0);
}

/* Its driver is told before the input would be reported again, and may release it. */
static void end_is_told(void **state)
{
    ended = 0;
    pic_on_ended(&pic, on_ended, NULL);
    out8(&pic_elcr_ops, &pic, 1, 0x02); /* 9 is a level */
    pic_set_irq(&pic, 9, 1);
    assert_int_equal(pic_acknowledge(&pic), 0x39);
    assert_int_equal(ended, 0);
    s(0, 0x20);
    assert_int_equal(ended, 1);
    assert_int_equal(ended_irq, 9);
    m(0, 0x20);
    assert_int_equal(ended_irq, 2); /* the cascade's, which nobody drives */
    assert_false(pic_pending(&pic));
    m(0, 0x20); /* nothing is in service */
    assert_int_equal(ended, 2);
    program(3); /* automatic EOI */
    pulse(5);
    assert_int_equal(pic_acknowledge(&pic), 0x35);
    assert_int_equal(ended, 3);
    assert_int_equal(ended_irq, 5);
}

static void state_survives(void **state)
{
    struct pic_state a[2], b[2];

    pulse(12);
    pic_acknowledge(&pic);
    pulse(4);
    pulse(1);
    pic_set_irq(&pic, 6, 1);
    s(0, 0x11); /* in the middle of programming */
    pic_save(&pic, a);
    setup(NULL);
    assert_int_equal(pic_restore(&pic, a), 0);
    assert_int_equal(lines.level[0], 1);
    pic_save(&pic, b);
    assert_memory_equal(a, b, sizeof(a));
    assert_int_equal(pic_acknowledge(&pic), 0x31);
    b[1].priority_add = 8;
    assert_int_equal(pic_restore(&pic, b), -EINVAL);
    b[1] = a[1];
    b[0].elcr = 1;
    assert_int_equal(pic_restore(&pic, b), -EINVAL);
    pic_set_irq(&pic, 77, 1);
    pic_master_ops.write(&pic, 0, 8, UINT64_MAX);
    pic_slave_ops.read(&pic, 1, 8);
    pic_elcr_ops.write(&pic, 0, 4, UINT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(priority_and_eoi),
        TEST(cascade),
        TEST(spurious),
        TEST(level_triggered),
        TEST(rotation_and_auto_eoi),
        TEST(special_modes_and_poll),
        TEST(end_is_told),
        TEST(state_survives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
