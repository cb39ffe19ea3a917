/* The interrupt controllers beside a local APIC inside the accelerator, here a recorder. */
#include "board/cpu_intc.h"

#include "base/bits.h"
#include "board/layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct write {
    unsigned count, pin;
    uint64_t address;
    uint32_t data;
};

static struct write sent, routed;
static unsigned wakes;
static int map_error;
static struct intc intc;
static struct cpu_intc cpu;
static struct irq_router router;
static struct dev_bus ports, mmio;

static int on_msi(struct machine *m, uint64_t address, uint32_t data)
{
    sent = (struct write){sent.count + 1, 0, address, data};
    return 0;
}

static int on_route(struct machine *m, unsigned pin, uint64_t address, uint32_t data)
{
    assert_int_equal(sent.count, 0); /* before the first message */
    routed = (struct write){routed.count + 1, pin, address, data};
    return 0;
}

static int on_map(struct machine *m, const struct mem_slot *slot)
{
    return map_error;
}

static void on_wake(void *user)
{
    wakes++;
}

static const struct accel recorder = {.msi = on_msi, .route = on_route, .map = on_map};
static struct machine inside = {.accel = &recorder, .caps = ACCEL_CAP_LAPIC};

static int setup(void **state)
{
    memset(&sent, 0, sizeof(sent));
    memset(&routed, 0, sizeof(routed));
    memset(&intc, 0, sizeof(intc));
    memset(&cpu, 0, sizeof(cpu));
    wakes = 0;
    map_error = 0;
    guest_mem_init(&inside.mem);
    dev_bus_init(&ports, "port");
    dev_bus_init(&mmio, "mmio");
    intc.machine = &inside;
    cpu.wake = on_wake;
    cpu.intc = &intc;
    intc_init(&intc);
    assert_int_equal(cpu_intc_init(&cpu, 0, NULL, NULL, 0), 0);
    assert_int_equal(intc_map(&intc, &ports, &mmio), 0);
    intc_route(&intc, &router);
    return 0;
}

static int teardown(void **state)
{
    cpu_intc_destroy(&cpu, NULL);
    intc_destroy(&intc);
    return 0;
}

static void put(unsigned index, uint32_t value)
{
    dev_bus_write(&mmio, PC_IOAPIC, 4, index);
    dev_bus_write(&mmio, PC_IOAPIC + 0x10, 4, value);
}

static uint32_t read_slot(uint64_t offset)
{
    uint32_t value = 0xcccccccc;

    assert_int_equal(guest_mem_read(&inside.mem, GPA(PC_IOAPIC + offset), &value, 4), 0);
    return value;
}

/* The guest reads the IOAPIC's registers out of a slot that it cannot write. */
static void ioapic_is_read_as_memory(void **state)
{
    put(0x2f, 0x03000000);
    put(0x2e, 0x8045);
    assert_int_equal(read_slot(0), 0x2e);
    assert_int_equal(read_slot(0x10), 0x8045);
    dev_bus_write(&mmio, PC_IOAPIC, 4, 1);
    assert_int_equal(read_slot(0x10), 0x00170020);
    assert_non_null(guest_mem_at(&inside.mem, GPA(PC_IOAPIC), PAGE_SIZE, MEM_READ));
    assert_null(guest_mem_at(&inside.mem, GPA(PC_IOAPIC), 4, MEM_WRITE));
    assert_null(guest_mem_at(&inside.mem, GPA(PC_IOAPIC), 4, MEM_EXEC));
}

/* An accelerator that cannot map for reading only exits for reads. */
static void or_by_exits(void **state)
{
    struct intc second = {.machine = &inside};
    struct dev_bus ports2, mmio2;

    guest_mem_init(&inside.mem);
    dev_bus_init(&ports2, "port");
    dev_bus_init(&mmio2, "mmio");
    intc_init(&second);
    map_error = -ENOTSUP;
    assert_int_equal(intc_map(&second, &ports2, &mmio2), 0);
    assert_null(guest_mem_find(&inside.mem, GPA(PC_IOAPIC)));
    dev_bus_write(&mmio2, PC_IOAPIC, 4, 1);
    assert_int_equal(dev_bus_read(&mmio2, PC_IOAPIC + 0x10, 4), 0x00170020);
    intc_destroy(&second);
}

static void an_edge_is_a_message(void **state)
{
    put(0x19, 0x03000000);
    put(0x18, 0x0841); /* pin 4: logical, fixed, edge */
    irq_set(&router, 4, 1);
    irq_set(&router, 4, 0);
    assert_int_equal(sent.count, 1);
    assert_int_equal(sent.address, 0xfee03004);
    assert_int_equal(sent.data, 0x4041);
    assert_false(cpu_intc_nmi_pending(&cpu));
}

static void a_level_is_told_sent_and_ended(void **state)
{
    put(0x22, 0x8051); /* pin 9 */
    assert_int_equal(routed.pin, 9);
    assert_int_equal(routed.address, 0xfee00000);
    assert_int_equal(routed.data, 0xc051);
    irq_set(&router, 9, 1);
    assert_int_equal(sent.count, 1);
    assert_int_equal(sent.data, 0xc051);
    intc_eoi(&intc, 0x50); /* another's */
    assert_int_equal(sent.count, 1);
    intc_eoi(&intc, 0x51); /* still asserted */
    assert_int_equal(sent.count, 2);
    irq_set(&router, 9, 0);
    intc_eoi(&intc, 0x51);
    assert_int_equal(sent.count, 2);
}

static void the_pics_are_left_to_inject(void **state)
{
    static const uint16_t init[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1}, {0x21, 0}};

    for (unsigned i = 0; i < ARRAY_SIZE(init); i++)
        dev_bus_write(&ports, init[i][0], 1, init[i][1]);
    assert_false(cpu_intc_pending(&cpu));
    assert_int_equal(cpu_intc_take(&cpu), -1);
    wakes = 0;
    irq_set(&router, 4, 1);
    assert_int_equal(wakes, 1);
    assert_true(cpu_intc_pending(&cpu));
    assert_int_equal(cpu_intc_take(&cpu), 0x24);
    assert_false(cpu_intc_pending(&cpu));
    dev_bus_write(&ports, 0x20, 1, 0x20);
    irq_set(&router, 4, 0);
    irq_set(&router, 4, 1);
    assert_true(cpu_intc_pending(&cpu));
    dev_bus_write(&ports, 0x21, 1, 0x10); /* masked before it was taken */
    assert_false(cpu_intc_pending(&cpu));
    assert_int_equal(cpu_intc_take(&cpu), -1);
}

static void the_local_apic_is_not_ours(void **state)
{
    uint64_t value = 0;

    assert_false(cpu_intc_mmio(&cpu, GPA(PC_LAPIC), 4, false, &value));
    assert_false(cpu_intc_msr(&cpu, 0x1b, false, &value));
    assert_false(cpu_intc_msr(&cpu, 0x802, false, &value));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(an_edge_is_a_message),        TEST(a_level_is_told_sent_and_ended),
        TEST(the_pics_are_left_to_inject), TEST(the_local_apic_is_not_ours),
        TEST(ioapic_is_read_as_memory),    TEST(or_by_exits),
    };

    return cmocka_run_group_tests_name("intc", tests, NULL, NULL);
}
