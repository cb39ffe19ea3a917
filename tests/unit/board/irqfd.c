/*
 * Eventfds that raise interrupts, on every accelerator with every kind of interrupt chips it
 * has: a vCPU on its thread, an event loop on another, and what the guest's handlers tell.
 */
#include "board/irqfd.h"

#include "../deadlock.h"

#include "base/bits.h"
#include "board/cpus.h"
#include "board/life.h"
#include "x86/msi.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM_SIZE 0x10000u
#define EDGE     0x30 /* pin 4 */
#define LEVEL    0x31 /* pin 9 */
#define MSI_A    0x32
#define MSI_B    0x33
#define VECTORS  4

/* FS is the local APIC's page, GS the IOAPIC's. */
__asm__(".pushsection .rodata\n.global guest, guest_end, handler, handler_end\n.code16\n"
        "guest: movl $0x1ff,%fs:0xf0\n"
        "movl $0x18,%gs:0; movl $0x30,%gs:0x10; movl $0x22,%gs:0; movl $0x8031,%gs:0x10\n"
        "out %al,$0x80; sti; 1: hlt; jmp 1b\nguest_end:\n"
        "handler: mov $0,%al; out %al,$0x81; movl $0,%fs:0xb0; iret\nhandler_end:\n"
        ".code64\n.popsection\n");
extern const uint8_t guest[], guest_end[], handler[], handler_end[];

static const struct kind {
    const char *accel, *name;
    unsigned want;
} kinds[] = {
    {"kvm", "irqfd on kvm, full", ACCEL_CAP_LAPIC | ACCEL_CAP_IRQCHIP},
    {"kvm", "irqfd on kvm, split", ACCEL_CAP_LAPIC | ACCEL_CAP_IRQFD},
    {"kvm", "irqfd on kvm, split, by the loop", ACCEL_CAP_LAPIC},
    {"kvm", "irqfd on kvm, none", 0},
    {"soft", "irqfd on soft", 0},
};

static struct {
    struct loop loop;
    struct life life;
    struct host_clock clock;
    struct machine *m;
    struct dev_bus ports, mmio;
    struct irq_router irq;
    struct intc intc;
    struct irqfds irqfds;
    struct cpus cpus; /* one */
    pthread_t thread;
    struct irqfd msi, edge, level;
    int msi_fd, edge_fd, level_fd, resample_fd;
    struct loop_event remove, turn;
    bool again; /* and add the message's */
    sem_t ready, removed, turned, came[VECTORS];
    uint8_t *ram;
} r;

#define ONE r.cpus.cpu[0]

/* ---- the machine ---- */

static uint64_t port_read(void *dev, uint64_t offset, unsigned size)
{
    return 0;
}

static void port_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 0)
        sem_post(&r.ready);
    else if (value - EDGE < VECTORS)
        sem_post(&r.came[value - EDGE]);
}

static const struct dev_region_ops port_ops = {port_read, port_write};

static void wake(void *cpu)
{
    cpu_wake(cpu);
}

static void *run_loop(void *arg)
{
    loop_run(&r.loop);
    return NULL;
}

static void put_guest(void)
{
    struct mote_state *s = ONE.vcpu->state;
    const size_t size = (size_t)(handler_end - handler);

    memcpy(r.ram + 0x1000, guest, (size_t)(guest_end - guest));
    for (unsigned i = 0; i < VECTORS; i++) {
        const uint16_t at = (uint16_t)(0x2000 + i * 0x40);

        memcpy(r.ram + at, handler, size);
        r.ram[at + 1] = (uint8_t)(EDGE + i);
        le32_put(r.ram + 4 * (EDGE + i), at);
    }
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        s->seg[i].base = s->seg[i].selector = 0;
    s->seg[SEG_FS].base = 0xfee00000;
    s->seg[SEG_GS].base = 0xfec00000;
    s->rip = 0x1000;
    s->gpr[RSP] = 0x8000;
    assert_int_equal(vcpu_set(ONE.vcpu, X86_ALL), 0);
}

static void wire(void)
{
    static struct x86_cpuid cpuid;
    const struct x86_cpuid_topology topology = {.vcpus = 1};

    dev_bus_init(&r.ports, "port");
    dev_bus_init(&r.mmio, "mmio");
    assert_int_equal(dev_bus_add(&r.ports, 0x80, 2, &port_ops, NULL), 0);
    r.intc.machine = r.m;
    irqfds_init(&r.irqfds, &r.loop, &r.intc, &r.irq);
    intc_init(&r.intc);
    intc_route(&r.intc, &r.irq);
    assert_int_equal(intc_map(&r.intc, &r.ports, &r.mmio), 0);
    assert_int_equal(vcpu_create(&ONE.vcpu, r.m, 0), 0);
    assert_int_equal(machine_default_cpuid(r.m, &topology, &cpuid), 0);
    assert_int_equal(vcpu_set_cpuid(ONE.vcpu, &cpuid), 0);
    r.cpus.life = &r.life;
    r.cpus.ports = &r.ports;
    r.cpus.mmio = &r.mmio;
    r.cpus.count = 1;
    ONE.cpus = &r.cpus;
    ONE.pin = -1;
    ONE.intc.intc = &r.intc;
    ONE.intc.tsc_offset = &ONE.vcpu->tsc_offset;
    ONE.intc.wake = wake;
    ONE.intc.user = &ONE;
    assert_int_equal(cpu_intc_init(&ONE.intc, 0, &r.loop, &r.clock, 1000000), 0);
}

static void on_remove(void *user)
{
    irqfd_remove(&r.msi);
    irqfd_remove(&r.edge);
    irqfd_remove(&r.level);
    if (r.again)
        assert_int_equal(irqfd_add_msi(&r.irqfds, &r.msi, r.msi_fd), 0);
    sem_post(&r.removed);
}

static void on_turn(void *user)
{
    sem_post(&r.turned);
}

static int new_eventfd(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void add_irqfds(void)
{
    struct irqfd other;

    r.msi_fd = new_eventfd();
    r.edge_fd = new_eventfd();
    r.level_fd = new_eventfd();
    r.resample_fd = new_eventfd();
    assert_int_equal(irqfd_add_msi(&r.irqfds, &r.msi, r.msi_fd), 0);
    assert_int_equal(irqfd_add_gsi(&r.irqfds, &r.edge, r.edge_fd, 4, -1), 0);
    assert_int_equal(irqfd_add_gsi(&r.irqfds, &r.level, r.level_fd, 9, r.resample_fd), 0);
    assert_int_equal(irqfd_add_gsi(&r.irqfds, &other, r.msi_fd, 4, -1), -EEXIST);
    assert_int_equal(irqfd_add_gsi(&r.irqfds, &other, r.msi_fd, 2, -1), -EINVAL);
    assert_int_equal(irqfd_add_gsi(&r.irqfds, &other, r.msi_fd, IOAPIC_PINS, -1), -EINVAL);
    assert_true(irqfd_add_msi(&r.irqfds, &other, r.msi_fd) < 0); /* the same eventfd */
}

static int setup(void **state)
{
    const struct kind *kind = *state;
    const struct machine_config config = {.vcpus = 1, .want = kind->want};

    memset(&r, 0, sizeof(r));
    alarm(DEADLOCK_SECONDS);
    sem_init(&r.ready, 0, 0);
    sem_init(&r.removed, 0, 0);
    sem_init(&r.turned, 0, 0);
    for (unsigned i = 0; i < VECTORS; i++)
        sem_init(&r.came[i], 0, 0);
    assert_int_equal(machine_create(&r.m, accel_find(kind->accel), &config), 0);
    assert_int_equal(r.m->caps & kind->want, kind->want);
    r.ram = aligned_alloc(4096, RAM_SIZE);
    memset(r.ram, 0, RAM_SIZE);
    assert_int_equal(machine_map(r.m, GPA(0), RAM_SIZE, r.ram, MEM_RWX), 0);
    assert_int_equal(loop_init(&r.loop), 0);
    life_init(&r.life, &r.loop);
    host_clock_start(&r.clock);
    wire();
    put_guest();
    add_irqfds();
    assert_int_equal(loop_event_init(&r.loop, &r.remove, on_remove, NULL), 0);
    assert_int_equal(loop_event_init(&r.loop, &r.turn, on_turn, NULL), 0);
    assert_int_equal(cpus_start(&r.cpus), 0);
    assert_int_equal(pthread_create(&r.thread, NULL, run_loop, NULL), 0);
    sem_wait(&r.ready);
    return 0;
}

static int teardown(void **state)
{
    life_finish(&r.life, LIFE_QUIT, 0, "the test's end");
    pthread_join(r.thread, NULL);
    cpus_join(&r.cpus);
    loop_event_destroy(&r.loop, &r.remove);
    loop_event_destroy(&r.loop, &r.turn);
    if (r.again)
        irqfd_remove(&r.msi);
    else if (r.irqfds.first)
        on_remove(NULL);
    cpu_intc_destroy(&ONE.intc, &r.loop);
    vcpu_destroy(ONE.vcpu);
    intc_destroy(&r.intc);
    irqfds_destroy(&r.irqfds);
    machine_destroy(r.m);
    life_destroy(&r.life);
    loop_destroy(&r.loop);
    free(r.ram);
    close(r.msi_fd);
    close(r.edge_fd);
    close(r.level_fd);
    close(r.resample_fd);
    return 0;
}

/* ---- what happens ---- */

static void expect(unsigned vector)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += DEADLOCK_SECONDS / 2;
    if (sem_clockwait(&r.came[vector - EDGE], CLOCK_MONOTONIC, &until))
        fail_msg("no interrupt 0x%x", vector);
}

static void expect_none(void)
{
    usleep(20000);
    for (unsigned i = 0; i < VECTORS; i++) {
        if (!sem_trywait(&r.came[i]))
            fail_msg("interrupt 0x%x", EDGE + i);
    }
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};

    return poll(&p, 1, ms) == 1;
}

static void raise_it(int fd)
{
    assert_int_equal(eventfd_write(fd, 1), 0);
}

/* Somebody has taken the signal, and the loop, if it was that, is through with it. */
static void expect_taken(int fd)
{
    while (readable(fd, 0))
        usleep(100);
    loop_event_set(&r.turn);
    sem_wait(&r.turned);
}

/*
 * A signal, and MSI_A is the message only so much later: does the signal come as that? What the
 * kernel leaves to a thread of its own finds the message that there is when it runs at last.
 */
static bool comes_as_a_later_message(useconds_t later)
{
    unsigned count = 0;

    raise_it(r.msi_fd);
    expect_taken(r.msi_fd);
    usleep(later);
    assert_int_equal(irqfd_set_msi(&r.msi, MSI_BASE, MSI_A), 0);
    usleep(20000);
    while (!sem_trywait(&r.came[MSI_A - EDGE]) || !sem_trywait(&r.came[MSI_B - EDGE]))
        count++;
    return count;
}

/* Signals are lost that come while the message is this: nobody's, or none. The host's threads get
 * ever more time for it; afterwards it is MSI_A. */
static void expect_lost_with(uint64_t address, uint32_t data)
{
    useconds_t later = 20000;

    do {
        if (later > 20000000)
            fail_msg("a signal with the message 0x%lx raised an interrupt", (unsigned long)address);
        assert_int_equal(irqfd_set_msi(&r.msi, address, data), 0);
        later *= 5;
    } while (comes_as_a_later_message(later / 5));
}

static void a_message(void **state)
{
    expect_lost_with(0, 0); /* there is none yet */
    assert_int_equal(irqfd_set_msi(&r.msi, 0xfec00000, MSI_B), -EINVAL);
    for (unsigned i = 0; i < 3; i++) {
        raise_it(r.msi_fd);
        expect(MSI_A);
    }
    assert_int_equal(irqfd_set_msi(&r.msi, MSI_BASE, MSI_B), 0);
    raise_it(r.msi_fd);
    expect(MSI_B);
    expect_lost_with(MSI_BASE | 7 << MSI_DEST_SHIFT, MSI_B); /* nobody's */
    expect_lost_with(0, 0);
    assert_int_equal(intc_msi(&r.intc, MSI_BASE, MSI_B), 0);
    expect(MSI_B);
    assert_int_equal(intc_msi(&r.intc, 0xfec00000, MSI_B), -EINVAL);
}

static void an_edge(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        raise_it(r.edge_fd);
        expect(EDGE);
    }
    expect_none();
    assert_false(readable(r.resample_fd, 0));
}

/* It is asserted until the EOI, which the device is told of, and answers or not. */
static void a_level(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        eventfd_t count;

        raise_it(r.level_fd);
        expect(LEVEL);
        assert_true(readable(r.resample_fd, DEADLOCK_SECONDS * 500));
        assert_int_equal(eventfd_read(r.resample_fd, &count), 0);
        assert_int_equal(count, 1);
        expect_none();
        assert_false(readable(r.resample_fd, 0));
    }
}

static void removed(void **state)
{
    eventfd_t count;

    assert_int_equal(irqfd_set_msi(&r.msi, MSI_BASE, MSI_A), 0);
    raise_it(r.msi_fd);
    expect(MSI_A);
    loop_event_set(&r.remove);
    sem_wait(&r.removed);
    raise_it(r.msi_fd);
    raise_it(r.edge_fd);
    raise_it(r.level_fd);
    expect_none();
    assert_int_equal(eventfd_read(r.msi_fd, &count), 0);
    assert_int_equal(count, 1);
    assert_true(readable(r.edge_fd, 0));
    assert_true(readable(r.level_fd, 0));
}

/* What was removed has left no message behind. */
static void added_again(void **state)
{
    assert_int_equal(irqfd_set_msi(&r.msi, MSI_BASE, MSI_A), 0);
    r.again = true;
    loop_event_set(&r.remove);
    sem_wait(&r.removed);
    raise_it(r.msi_fd);
    expect_taken(r.msi_fd);
    expect_none();
    assert_int_equal(irqfd_set_msi(&r.msi, MSI_BASE, MSI_B), 0);
    raise_it(r.msi_fd);
    expect(MSI_B);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static struct CMUnitTest tests[] = {TEST(a_message), TEST(an_edge), TEST(a_level),
                                        TEST(removed), TEST(added_again)};
    int failed = 0;

    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        struct accel_info info;

        accel_find(kinds[k].accel)->probe(NULL, &info);
        print_message("%s\n", kinds[k].name);
        if (!info.usable) {
            print_message("[  SKIPPED ] %s: %s\n", kinds[k].name, info.reason);
            continue;
        }
        for (unsigned t = 0; t < ARRAY_SIZE(tests); t++)
            tests[t].initial_state = (void *)&kinds[k];
        failed += _cmocka_run_group_tests(kinds[k].name, tests, ARRAY_SIZE(tests), NULL, NULL);
    }
    return failed;
}
