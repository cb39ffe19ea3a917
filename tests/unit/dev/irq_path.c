/*
 * The interrupt chips wired as on a PC: lines through PIC and I/O APIC to local
 * APICs and back by EOI, and delivery from another thread.
 */
#include "dev/chip/apic_bus.h"
#include "dev/chip/ioapic.h"
#include "dev/chip/pic.h"
#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <semaphore.h>

static struct lapic cpu[2];
static struct fake_timer timer[2];
static struct ioapic io;
static struct pic pic;
static struct apic_bus bus;
static sem_t kicked;
static uint64_t now;

static void on_kick(void *user)
{
    sem_post(&kicked);
}

static void on_send(void *user, struct lapic *from, const struct apic_msg *msg)
{
    apic_bus_send(&bus, from, msg);
}

static void on_eoi(void *user, uint8_t vector)
{
    ioapic_eoi(&io, vector);
}

static uint64_t on_tsc(void *user)
{
    return now;
}

static void on_intr(void *user, unsigned line, int level)
{
    lapic_set_lint(&cpu[0], 0, level);
}

static int setup(void **state)
{
    struct lapic_ops ops = {on_kick, on_send, on_eoi, on_tsc, NULL};
    struct ioapic_ops io_ops = {.deliver = apic_bus_deliver, .user = &bus};

    sem_init(&kicked, 0, 0);
    apic_bus_init(&bus);
    for (unsigned i = 0; i < 2; i++) {
        timer[i] = FAKE_TIMER;
        lapic_init(&cpu[i], i, i == 0, &ops, &FAKE_CLOCK(&now), &timer[i].timer, 1000000);
        lapic_mmio_ops.write(&cpu[i], 0xf0, 4, 0x1ff);
        assert_int_equal(apic_bus_add(&bus, &cpu[i]), 0);
    }
    assert_int_equal(apic_bus_add(&bus, &cpu[1]), -EEXIST);
    ioapic_init(&io, 0, &io_ops);
    pic_init(&pic, &(struct dev_irq){on_intr, NULL, 0});
    return 0;
}

static int teardown(void **state)
{
    pic_destroy(&pic);
    ioapic_destroy(&io);
    for (unsigned i = 0; i < 2; i++)
        lapic_destroy(&cpu[i]);
    sem_destroy(&kicked);
    return 0;
}

static void redirect(unsigned pin, uint32_t low, uint32_t high)
{
    ioapic_mmio_ops.write(&io, 0, 4, 0x11 + 2 * pin);
    ioapic_mmio_ops.write(&io, 0x10, 4, high);
    ioapic_mmio_ops.write(&io, 0, 4, 0x10 + 2 * pin);
    ioapic_mmio_ops.write(&io, 0x10, 4, low);
}

static void eoi(struct lapic *l)
{
    lapic_mmio_ops.write(l, 0xb0, 4, 0);
}

static void level_comes_again_until_served(void **state)
{
    redirect(9, 0x8059, 1u << 24);
    ioapic_set_pin(&io, 9, 1);
    assert_int_equal(lapic_pending(&cpu[0]), -1);
    assert_int_equal(lapic_pending(&cpu[1]), 0x59);
    lapic_accept(&cpu[1], 0x59);
    eoi(&cpu[1]);
    assert_int_equal(lapic_pending(&cpu[1]), 0x59);
    lapic_accept(&cpu[1], 0x59);
    ioapic_set_pin(&io, 9, 0);
    eoi(&cpu[1]);
    assert_int_equal(lapic_pending(&cpu[1]), -1);
}

static void pic_through_lint0(void **state)
{
    lapic_set_virtual_wire(&cpu[0]);
    pic_set_irq(&pic, 3, 1);
    assert_int_equal(lapic_events(&cpu[0]), LAPIC_EVENT_EXTINT);
    assert_int_equal(pic_acknowledge(&pic), 3);
    assert_int_equal(lapic_events(&cpu[0]), 0);
    /* And by way of the I/O APIC's pin 0 in ExtINT mode. */
    redirect(0, 0x0700, 0);
    ioapic_set_pin(&io, 0, 1);
    assert_int_equal(lapic_take_events(&cpu[0], 0xff, NULL), LAPIC_EVENT_EXTINT);
    assert_int_equal(lapic_events(&cpu[0]), 0);
}

#define ROUNDS 20000
static _Atomic unsigned produced;

static void *producer(void *arg)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        produced++;
        ioapic_set_pin(&io, 4, 1);
        ioapic_set_pin(&io, 4, 0);
    }
    return NULL;
}

/* Whatever is posted while the vCPU accepts and ends interrupts, the last is not lost. */
static void posts_are_not_lost(void **state)
{
    pthread_t thread;
    unsigned seen = 0;

    produced = 0;
    redirect(4, 0x0044, 0);
    assert_int_equal(pthread_create(&thread, NULL, producer, NULL), 0);
    while (seen < ROUNDS) {
        int vector;

        sem_wait(&kicked);
        while ((vector = lapic_pending(&cpu[0])) >= 0) {
            assert_int_equal(vector, 0x44);
            lapic_accept(&cpu[0], 0x44);
            seen = produced;
            eoi(&cpu[0]);
        }
    }
    pthread_join(thread, NULL);
    assert_int_equal(seen, ROUNDS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(level_comes_again_until_served),
        TEST(pic_through_lint0),
        TEST(posts_are_not_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
