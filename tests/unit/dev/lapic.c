/* The local APIC: priorities, EOI, timers, modes, and messages between several. */
#include "dev/chip/lapic.h"

#include "dev/chip/apic_bus.h"
#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include "x86/regs.h"
#include <cmocka.h>

#define CPUS 3

static struct lapic cpu[CPUS];
static struct fake_timer timer[CPUS];
static struct apic_bus bus;
static uint64_t now;
static unsigned kicks[CPUS], eois;
static uint8_t last_eoi;

static void on_kick(void *user)
{
    ++*(unsigned *)user;
}

static void on_send(void *user, struct lapic *from, const struct apic_msg *msg)
{
    apic_bus_send(&bus, from, msg);
}

static void on_eoi(void *user, uint8_t vector)
{
    eois++;
    last_eoi = vector;
}

static uint64_t on_tsc(void *user)
{
    return now * 2; /* 2 GHz */
}

static uint32_t get(struct lapic *l, unsigned offset)
{
    return (uint32_t)lapic_mmio_ops.read(l, offset, 4);
}

static void put(struct lapic *l, unsigned offset, uint32_t value)
{
    lapic_mmio_ops.write(l, offset, 4, value);
}

static void enable(struct lapic *l)
{
    put(l, 0xf0, 0x1ff);
}

static void enable_x2apic(struct lapic *l)
{
    assert_int_equal(lapic_wrmsr(l, MSR_APIC_BASE, l->base | APIC_BASE_X2APIC), 0);
}

static int setup(void **state)
{
    now = 1000;
    eois = 0;
    memset(kicks, 0, sizeof(kicks));
    apic_bus_init(&bus);
    for (unsigned i = 0; i < CPUS; i++) {
        struct lapic_ops ops = {on_kick, on_send, on_eoi, on_tsc, &kicks[i]};

        timer[i] = FAKE_TIMER;
        lapic_init(&cpu[i], i, i == 0, &ops, &FAKE_CLOCK(&now), &timer[i].timer, 2000000);
        assert_int_equal(apic_bus_add(&bus, &cpu[i]), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < CPUS; i++)
        lapic_destroy(&cpu[i]);
    return 0;
}

static void reset_state(void **state)
{
    struct lapic *l = &cpu[1];

    assert_int_equal(get(l, 0x20), 1u << 24);
    assert_int_equal(get(l, 0x30), 0x00050014);
    assert_int_equal(get(l, 0xf0), 0xff);
    assert_int_equal(get(l, 0xe0), 0xffffffff);
    for (unsigned reg = 0x320; reg <= 0x370; reg += 0x10)
        assert_int_equal(get(l, reg), 0x10000);
    put(l, 0x350, 0x700);
    assert_int_equal(get(l, 0x350), 0x10700); /* disabled by software: stays masked */
    lapic_post(l, 0x40, false);
    assert_int_equal(lapic_pending(l), -1);
    assert_true(cpu[0].base & APIC_BASE_BSP);
    assert_false(l->base & APIC_BASE_BSP);
}

static void priorities(void **state)
{
    struct lapic *l = &cpu[0];

    enable(l);
    lapic_post(l, 0x41, false);
    lapic_post(l, 0x41, false);
    assert_int_equal(kicks[0], 1); /* one kick for what is pending already */
    lapic_post(l, 0x35, false);
    assert_int_equal(lapic_pending(l), 0x41);
    assert_int_equal(get(l, 0x220), 1u << 1);
    lapic_accept(l, 0x41);
    assert_int_equal(get(l, 0x220), 0);
    assert_int_equal(get(l, 0x120), 1u << 1);
    assert_int_equal(get(l, 0xa0), 0x40);
    assert_int_equal(lapic_pending(l), -1);
    lapic_post(l, 0x4f, false);
    assert_int_equal(lapic_pending(l), -1); /* the same class waits */
    lapic_post(l, 0x50, false);
    assert_int_equal(lapic_pending(l), 0x50);
    put(l, 0x80, 0x55);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(lapic_cr8(l), 5);
    assert_int_equal(get(l, 0xa0), 0x55);
    lapic_set_cr8(l, 2);
    assert_int_equal(get(l, 0x80), 0x20);
    put(l, 0xb0, 0);
    assert_int_equal(lapic_pending(l), 0x50);
    assert_int_equal(eois, 0); /* an edge: nothing for the IOAPIC */
}

static void level_eoi_is_broadcast(void **state)
{
    struct lapic *l = &cpu[0];

    enable(l);
    lapic_post(l, 0x61, true);
    assert_int_equal(get(l, 0x1b0), 2);
    lapic_accept(l, 0x61);
    put(l, 0xb0, 0);
    assert_int_equal(eois, 1);
    assert_int_equal(last_eoi, 0x61);
    put(l, 0xb0, 0);
    assert_int_equal(eois, 1); /* nothing in service */
    lapic_post(l, 0x61, false);
    assert_int_equal(get(l, 0x1b0), 0);
}

static void errors(void **state)
{
    struct lapic *l = &cpu[0];

    enable(l);
    put(l, 0x370, 0xfe);
    lapic_post(l, 5, false);
    assert_int_equal(lapic_pending(l), 0xfe);
    assert_int_equal(get(l, 0x280), 0); /* shown after a write only */
    put(l, 0x280, 0);
    assert_int_equal(get(l, 0x280), 0x40);
    put(l, 0x300, 0x0000f); /* send an illegal vector */
    get(l, 0x3f0);          /* no such register */
    put(l, 0x280, 0);
    assert_int_equal(get(l, 0x280), 0xa0);
    put(l, 0x370, 0x03); /* the error vector illegal itself */
    lapic_post(l, 5, false);
    put(l, 0x280, 0);
    assert_int_equal(get(l, 0x280), 0x40);
}

static void one_shot_and_periodic(void **state)
{
    struct lapic *l = &cpu[0];

    enable(l);
    put(l, 0x3e0, 0x3); /* by 16 */
    put(l, 0x320, 0x40);
    put(l, 0x380, 100);
    assert_int_equal(timer[0].deadline, 1000 + 1600);
    now += 160;
    assert_int_equal(get(l, 0x390), 90);
    put(l, 0x3e0, 0xb); /* by 1: the count goes on from 90 */
    assert_int_equal(get(l, 0x390), 90);
    assert_int_equal(fake_advance(&timer[0], &now, 5000), 1);
    assert_int_equal(lapic_pending(l), 0x40);
    assert_int_equal(get(l, 0x390), 0);
    assert_int_equal(get(l, 0x380), 100);
    lapic_accept(l, 0x40);
    put(l, 0xb0, 0);

    put(l, 0x320, 0x20041);
    put(l, 0x380, 100000);
    assert_int_equal(fake_advance(&timer[0], &now, 5000 + 300000), 3);
    assert_int_equal(lapic_pending(l), 0x41);
    now = 5000 + 1050000; /* late by many: one interrupt, and on the grid again */
    timer[0].deadline = DEV_TIMER_OFF;
    timer[0].timer.fire(l);
    assert_int_equal(timer[0].deadline, 5000 + 1100000);
    assert_int_equal(get(l, 0x390), 50000);
    put(l, 0x380, 0);
    assert_true(timer[0].deadline == DEV_TIMER_OFF);
    put(l, 0x380, 1); /* a storm is stretched */
    fake_advance(&timer[0], &now, now + 1);
    assert_int_equal(timer[0].deadline, now + 20000);
}

static void tsc_deadline(void **state)
{
    struct lapic *l = &cpu[0];
    uint64_t v;

    enable(l);
    assert_int_equal(lapic_wrmsr(l, MSR_TSC_DEADLINE, 1), 0); /* ignored in other modes */
    assert_int_equal(lapic_rdmsr(l, MSR_TSC_DEADLINE, &v), 0);
    assert_int_equal(v, 0);
    put(l, 0x320, 0x40042);
    lapic_wrmsr(l, MSR_TSC_DEADLINE, 4001); /* now is 2000 */
    assert_int_equal(timer[0].deadline, 2001);
    lapic_rdmsr(l, MSR_TSC_DEADLINE, &v);
    assert_int_equal(v, 4001);
    put(l, 0x380, 77);
    assert_int_equal(get(l, 0x380), 0);
    assert_int_equal(get(l, 0x390), 0);
    fake_advance(&timer[0], &now, 2000);
    assert_int_equal(lapic_pending(l), -1);
    fake_advance(&timer[0], &now, 2001);
    assert_int_equal(lapic_pending(l), 0x42);
    lapic_rdmsr(l, MSR_TSC_DEADLINE, &v);
    assert_int_equal(v, 0);
    lapic_accept(l, 0x42);
    put(l, 0xb0, 0);
    lapic_wrmsr(l, MSR_TSC_DEADLINE, 5); /* past */
    assert_int_equal(lapic_pending(l), 0x42);
    lapic_wrmsr(l, MSR_TSC_DEADLINE, UINT64_MAX - 1);
    assert_true(timer[0].deadline > now);
    put(l, 0x320, 0x42); /* leaving the mode disarms */
    assert_true(timer[0].deadline == DEV_TIMER_OFF);
}

static void mode_transitions(void **state)
{
    struct lapic *l = &cpu[2];
    uint64_t base = LAPIC_DEFAULT_BASE, off, v;

    assert_int_equal(lapic_rdmsr(l, 0x802, &v), -EINVAL);
    assert_true(lapic_mmio_at(l, 0xfee00320, &off));
    assert_int_equal(off, 0x320);
    assert_false(lapic_mmio_at(l, 0xfee01000, &off));
    assert_false(lapic_mmio_at(l, 0xfedfffff, &off));
    assert_int_equal(lapic_wrmsr(l, MSR_APIC_BASE, base | APIC_BASE_X2APIC), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, MSR_APIC_BASE, base | APIC_BASE_ENABLE | 1), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, MSR_APIC_BASE, base | APIC_BASE_ENABLE | BIT(52)), -EINVAL);
    enable(l);
    enable_x2apic(l);
    assert_false(lapic_mmio_at(l, 0xfee00320, &off));
    assert_int_equal(get(l, 0x20), 0xffffffff);
    assert_int_equal(lapic_wrmsr(l, MSR_APIC_BASE, base | APIC_BASE_ENABLE), -EINVAL);
    assert_int_equal(lapic_rdmsr(l, 0x80f, &v), 0);
    assert_int_equal(v, 0x1ff); /* going to x2APIC mode keeps the registers */
    assert_int_equal(lapic_wrmsr(l, MSR_APIC_BASE, base), 0);
    assert_int_equal(lapic_wrmsr(l, MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC),
                     -EINVAL);
    assert_int_equal(lapic_wrmsr(l, MSR_APIC_BASE, 0x10000 | APIC_BASE_ENABLE), 0);
    assert_true(lapic_mmio_at(l, 0x10020, &off));
    assert_int_equal(get(l, 0xf0), 0xff); /* being off reset it */
}

static void x2apic_faults(void **state)
{
    static const uint32_t read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x827, 0x839};
    static const uint32_t absent[] = {0x800, 0x809, 0x80e, 0x82f, 0x831, 0x840, 0x8ff};
    struct lapic *l = &cpu[2];
    uint64_t v;

    enable_x2apic(l);
    for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++) {
        assert_int_equal(lapic_rdmsr(l, read_only[i], &v), 0);
        assert_int_equal(lapic_wrmsr(l, read_only[i], 0), -EINVAL);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        assert_int_equal(lapic_rdmsr(l, absent[i], &v), -EINVAL);
        assert_int_equal(lapic_wrmsr(l, absent[i], 0), -EINVAL);
    }
    assert_int_equal(lapic_rdmsr(l, 0x80b, &v), -EINVAL);
    assert_int_equal(lapic_rdmsr(l, 0x83f, &v), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, 0x80b, 1), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, 0x80b, 0), 0);
    assert_int_equal(lapic_wrmsr(l, 0x828, 1), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, 0x808, 0x100), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, 0x80f, UINT64_C(1) << 32 | 0x1ff), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, 0x832, 0x400ef), 0);
    assert_int_equal(lapic_wrmsr(l, 0x832, 0x800ef), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, 0x830, 0x2000), -EINVAL);
    assert_int_equal(lapic_rdmsr(l, 0x80d, &v), 0);
    assert_int_equal(v, 4);
    lapic_wrmsr(l, 0x80f, 0x1ff);
    assert_int_equal(lapic_wrmsr(l, 0x83f, 0x77), 0);
    assert_int_equal(lapic_pending(l), 0x77);
}

static void ipis(void **state)
{
    uint8_t sipi = 0;

    for (unsigned i = 0; i < CPUS; i++)
        enable(&cpu[i]);
    put(&cpu[0], 0x310, 1u << 24);
    put(&cpu[0], 0x300, 0x4500); /* INIT, assert */
    assert_int_equal(lapic_events(&cpu[1]), LAPIC_EVENT_INIT);
    put(&cpu[0], 0x300, 0x8500); /* level de-assert: nothing */
    put(&cpu[0], 0x300, 0x4699);
    assert_int_equal(lapic_take_events(&cpu[1], LAPIC_EVENT_INIT, NULL), LAPIC_EVENT_INIT);
    assert_int_equal(lapic_take_events(&cpu[1], 0xff, &sipi), LAPIC_EVENT_SIPI);
    assert_int_equal(sipi, 0x99);
    assert_int_equal(lapic_take_events(&cpu[1], 0xff, &sipi), 0);
    put(&cpu[0], 0x300, 0x4699);
    put(&cpu[0], 0x300, 0x4500);
    assert_int_equal(lapic_events(&cpu[1]), LAPIC_EVENT_INIT); /* cancels the SIPI */
    put(&cpu[0], 0x300, 0xc0400 | 2);                          /* NMI to all others */
    assert_int_equal(lapic_events(&cpu[0]), 0);
    assert_int_equal(lapic_events(&cpu[2]), LAPIC_EVENT_NMI);
    put(&cpu[0], 0x300, 0x40031); /* self */
    put(&cpu[0], 0x300, 0x80032); /* all */
    assert_int_equal(lapic_pending(&cpu[0]), 0x32);
    assert_int_equal(lapic_pending(&cpu[2]), 0x32);
    assert_int_equal(get(&cpu[0], 0x210), 1u << 17 | 1u << 18);
    put(&cpu[0], 0x310, 0xff000000); /* broadcast */
    put(&cpu[0], 0x300, 0x51);
    assert_int_equal(lapic_pending(&cpu[0]), 0x51);
    assert_int_equal(lapic_pending(&cpu[1]), 0x51);
}

static void logical_destinations(void **state)
{
    for (unsigned i = 0; i < CPUS; i++) {
        enable(&cpu[i]);
        put(&cpu[i], 0xd0, 1u << (24 + i));
    }
    put(&cpu[0], 0x310, 0x06000000);
    put(&cpu[0], 0x300, 0x00840);
    assert_int_equal(lapic_pending(&cpu[0]), -1);
    assert_int_equal(lapic_pending(&cpu[1]), 0x40);
    assert_int_equal(lapic_pending(&cpu[2]), 0x40);
    /* Lowest priority reaches exactly one, by MSI this time. */
    assert_int_equal(apic_bus_msi(&bus, 0xfee0600c, 0x4161), 1);
    assert_int_equal((lapic_pending(&cpu[1]) == 0x61) + (lapic_pending(&cpu[2]) == 0x61), 1);
    /* Cluster model. */
    put(&cpu[0], 0xe0, 0);
    put(&cpu[0], 0xd0, 0x38000000);
    assert_int_equal(apic_bus_msi(&bus, 0xfee38004, 0x71), 1);
    assert_int_equal(lapic_pending(&cpu[0]), 0x71);
    /* x2APIC's cluster 0, bit 2. */
    enable_x2apic(&cpu[2]);
    enable_x2apic(&cpu[1]);
    assert_int_equal(lapic_wrmsr(&cpu[1], 0x830, UINT64_C(4) << 32 | 0x881), 0);
    assert_int_equal(lapic_pending(&cpu[2]), 0x81);
    assert_int_equal(lapic_wrmsr(&cpu[1], 0x830, UINT64_C(2) << 32 | 0x82), 0);
    assert_int_equal(lapic_pending(&cpu[2]), 0x82);
    assert_int_equal(lapic_wrmsr(&cpu[1], 0x830, UINT64_C(0xffffffff) << 32 | 0x91), 0);
    assert_int_equal(lapic_pending(&cpu[0]), 0x91);
    assert_int_equal(lapic_pending(&cpu[2]), 0x91);
    assert_int_equal(apic_bus_msi(&bus, 0xfed00000, 0x91), -EINVAL);
    assert_int_equal(apic_bus_msi(&bus, 0xfee00000, 0x8091), 0); /* level de-assert */
}

static void message_as_a_write(void **state)
{
    const struct apic_msg edge = {.dest = 0x12, .delivery_mode = APIC_NMI, .vector = 0x34};
    const struct apic_msg level = {.dest = 3, .logical = true, .level = true, .vector = 0x41};

    assert_int_equal(apic_msg_address(&edge), 0xfee12000);
    assert_int_equal(apic_msg_data(&edge), 0x4434);
    assert_int_equal(apic_msg_address(&level), 0xfee03004);
    assert_int_equal(apic_msg_data(&level), 0xc041);
}

static void virtual_wire(void **state)
{
    struct lapic *l = &cpu[0];

    lapic_set_lint(l, 0, 1);
    assert_int_equal(lapic_events(l), 0); /* masked after reset */
    lapic_set_virtual_wire(l);
    assert_int_equal(kicks[0], 1);
    assert_int_equal(lapic_take_events(l, LAPIC_EVENT_EXTINT, NULL), LAPIC_EVENT_EXTINT);
    assert_int_equal(lapic_events(l), LAPIC_EVENT_EXTINT); /* a level */
    lapic_set_lint(l, 0, 0);
    assert_int_equal(lapic_events(l), 0);
    lapic_set_lint(l, 1, 1);
    assert_int_equal(lapic_take_events(l, 0xff, NULL), LAPIC_EVENT_NMI);
    put(l, 0x350, 0x8045); /* LINT0 fixed, level */
    lapic_set_lint(l, 0, 1);
    assert_int_equal(lapic_pending(l), 0x45);
    assert_int_equal(get(l, 0x350), 0xc045); /* remote IRR */
    lapic_accept(l, 0x45);
    put(l, 0xb0, 0);
    assert_int_equal(lapic_pending(l), 0x45); /* still high: again */
    lapic_wrmsr(l, MSR_APIC_BASE, LAPIC_DEFAULT_BASE);
    assert_int_equal(lapic_events(l), LAPIC_EVENT_EXTINT); /* the pin is INTR */
}

static void state_survives(void **state)
{
    struct lapic *l = &cpu[0];
    struct lapic_state a, b, bad;

    enable(l);
    lapic_post(l, 0x61, true);
    lapic_post(l, 0x99, false);
    lapic_accept(l, 0x99);
    put(l, 0x80, 0x30);
    put(l, 0x320, 0x20040);
    put(l, 0x3e0, 0x9);
    put(l, 0x380, 1000000);
    now += 500;
    lapic_save(l, &a);
    assert_int_equal(a.timer_left, 64000000 - 500);
    lapic_reset(l);
    assert_int_equal(lapic_restore(l, &a), 0);
    lapic_save(l, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    put(l, 0xb0, 0);
    assert_int_equal(lapic_pending(l), 0x61);
    enable_x2apic(l);
    lapic_wrmsr(l, 0x832, 0x40042);
    lapic_wrmsr(l, MSR_TSC_DEADLINE, 1 << 20);
    lapic_save(l, &a);
    assert_int_equal(lapic_restore(l, &a), 0);
    lapic_save(l, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(timer[0].deadline, 1 << 19);

    bad = a;
    bad.apic_base = APIC_BASE_X2APIC;
    assert_int_equal(lapic_restore(l, &bad), -EINVAL);
    bad = a;
    bad.reg[0x20] = 1;
    assert_int_equal(lapic_restore(l, &bad), -EINVAL);
    bad = a;
    bad.reg[0x02] = 7;
    assert_int_equal(lapic_restore(l, &bad), -EINVAL);
    bad = a;
    bad.timer_left = UINT64_MAX;
    assert_int_equal(lapic_restore(l, &bad), -EINVAL);
    bad = a;
    bad.reg[0x3e] = 0xb; /* divided by 1, so 2^32 - 1 ns are the longest */
    bad.timer_left = BIT(32);
    assert_int_equal(lapic_restore(l, &bad), -EINVAL);
}

static void odd_accesses(void **state)
{
    struct lapic *l = &cpu[0];

    assert_int_equal(lapic_mmio_ops.read(l, 0x31, 1), 0);
    assert_int_equal(lapic_mmio_ops.read(l, 0x32, 2), 0x0005);
    assert_int_equal(lapic_mmio_ops.read(l, 0x38, 8), 0);
    for (unsigned off = 0; off < 0x1000; off++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            lapic_mmio_ops.read(l, off, size);
            lapic_mmio_ops.write(l, off, size, UINT64_MAX);
        }
    }
    put(l, 0xf0, 0xff);
    lapic_mmio_ops.write(l, 0xf0, 2, 0x1ff);
    assert_int_equal(get(l, 0xf0), 0xff);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reset_state),
        TEST(priorities),
        TEST(errors),
        TEST(level_eoi_is_broadcast),
        TEST(one_shot_and_periodic),
        TEST(tsc_deadline),
        TEST(mode_transitions),
        TEST(x2apic_faults),
        TEST(ipis),
        TEST(logical_destinations),
        TEST(message_as_a_write),
        TEST(virtual_wire),
        TEST(state_survives),
        TEST(odd_accesses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
