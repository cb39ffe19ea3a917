/*
 * The interrupt chips under threads, as on a machine with eight processors: each
 * message arrives, none comes from a pin or timer that is masked, levels are
 * neither lost nor stuck, and nobody waits for ever (an alarm ends the test).
 */
#include "dev/chip/apic_bus.h"

#include "../deadlock.h"

#include "dev/chip/ioapic.h"
#include "dev/chip/pic.h"
#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <sched.h>
#include <semaphore.h>
#include <unistd.h>

#define CPUS    8
#define DEVICES 4

#define REG_EOI      0xb0
#define REG_SVR      0xf0
#define REG_ICR      0x300
#define REG_ICR_HIGH 0x310
#define REG_TIMER    0x320
#define REG_INITIAL  0x380
#define MASKED       0x10000u

static struct cpu {
    struct lapic lapic;
    struct fake_timer timer;
    sem_t kicked;
    pthread_t thread;
    unsigned id;
} cpus[CPUS];
static struct ioapic io;
static struct pic pic;
static struct apic_bus bus;
static _Atomic uint64_t now;
static atomic_bool stop, failed;

/* cmocka's assertions are for its own thread. */
static void expect(bool holds)
{
    if (!holds)
        failed = true;
}

/* ---- wiring ---- */

static void (*kick_watch)(void);

static void on_kick(void *user)
{
    if (kick_watch)
        kick_watch();
    sem_post(&((struct cpu *)user)->kicked);
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

static uint64_t clock_now(void *user)
{
    return now;
}

static void on_intr(void *user, unsigned line, int level)
{
    lapic_set_lint(&cpus[0].lapic, 0, level);
}

static void (*message_watch)(const struct apic_msg *msg);

static void on_deliver(void *user, const struct apic_msg *msg)
{
    if (message_watch)
        message_watch(msg);
    apic_bus_send(&bus, NULL, msg);
}

static void put(struct lapic *l, unsigned reg, uint32_t value)
{
    lapic_mmio_ops.write(l, reg, 4, value);
}

static int setup(void **state)
{
    const struct ioapic_ops io_ops = {.deliver = on_deliver};

    kick_watch = NULL;
    message_watch = NULL;
    stop = failed = false;
    apic_bus_init(&bus);
    for (unsigned i = 0; i < CPUS; i++) {
        struct cpu *cpu = &cpus[i];
        const struct lapic_ops ops = {on_kick, on_send, on_eoi, on_tsc, cpu};

        cpu->id = i;
        cpu->timer = FAKE_TIMER;
        sem_init(&cpu->kicked, 0, 0);
        lapic_init(&cpu->lapic, i, i == 0, &ops, &(struct dev_clock){clock_now, NULL},
                   &cpu->timer.timer, 1000000);
        put(&cpu->lapic, REG_SVR, 0x1ff);
        assert_int_equal(apic_bus_add(&bus, &cpu->lapic), 0);
    }
    ioapic_init(&io, 0, &io_ops);
    pic_init(&pic, &(struct dev_irq){on_intr, NULL, 0});
    alarm(DEADLOCK_SECONDS);
    return 0;
}

static int teardown(void **state)
{
    alarm(0);
    pic_destroy(&pic);
    ioapic_destroy(&io);
    for (unsigned i = 0; i < CPUS; i++) {
        lapic_destroy(&cpus[i].lapic);
        sem_destroy(&cpus[i].kicked);
    }
    return 0;
}

/* ---- processors ---- */

static void (*handle)(struct cpu *cpu, uint8_t vector);

/* Take and end all that is pending. */
static void serve(struct cpu *cpu)
{
    int vector;

    while ((vector = lapic_pending(&cpu->lapic)) >= 0) {
        lapic_accept(&cpu->lapic, (uint8_t)vector);
        handle(cpu, (uint8_t)vector);
        put(&cpu->lapic, REG_EOI, 0);
    }
}

/* Sleeps until it is kicked. */
static void *processor(void *arg)
{
    struct cpu *cpu = arg;

    while (!stop) {
        sem_wait(&cpu->kicked);
        serve(cpu);
    }
    return NULL;
}

static void start_processors(void *(*body)(void *))
{
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(pthread_create(&cpus[i].thread, NULL, body, &cpus[i]), 0);
}

static void stop_processors(void)
{
    stop = true;
    for (unsigned i = 0; i < CPUS; i++)
        on_kick(&cpus[i]);
    for (unsigned i = 0; i < CPUS; i++)
        pthread_join(cpus[i].thread, NULL);
    assert_false(failed);
}

/* ---- messages between processors ---- */

#define MESSAGES 1000

static _Atomic unsigned sent[CPUS][CPUS], seen[CPUS][CPUS]; /* from, to */
static unsigned taken[CPUS][CPUS];

static void handle_message(struct cpu *cpu, uint8_t vector)
{
    unsigned from = vector - 0x40u;

    taken[from][cpu->id]++;
    expect(taken[from][cpu->id] <= sent[from][cpu->id]);
    seen[from][cpu->id] = sent[from][cpu->id];
}

static bool all_have_seen(unsigned from, unsigned count)
{
    for (unsigned to = 0; to < CPUS; to++) {
        if (seen[from][to] != count)
            return false;
    }
    return true;
}

/* Sends to everyone, itself too, and goes on when it was heard; the other half only listens. */
static void *sender(void *arg)
{
    struct cpu *cpu = arg;

    for (unsigned n = 1; n <= MESSAGES && cpu->id % 2; n++) {
        for (unsigned to = 0; to < CPUS; to++) {
            sent[cpu->id][to]++;
            put(&cpu->lapic, REG_ICR_HIGH, to << 24);
            put(&cpu->lapic, REG_ICR, 0x4040 + cpu->id);
        }
        while (!all_have_seen(cpu->id, n)) {
            serve(cpu);
            sched_yield();
        }
    }
    return processor(cpu);
}

static void messages_arrive(void **state)
{
    memset(sent, 0, sizeof(sent));
    memset(seen, 0, sizeof(seen));
    memset(taken, 0, sizeof(taken));
    handle = handle_message;
    start_processors(sender);
    for (unsigned from = 1; from < CPUS; from += 2) {
        while (!all_have_seen(from, MESSAGES))
            usleep(1000);
    }
    stop_processors();
}

/* ---- lines ---- */

#define ASSERTIONS 2000

/* A device that wants something until its driver has been there. */
static struct device {
    pthread_mutex_t lock;
    pthread_t thread;
    sem_t served;
    bool wants;
    unsigned pin;
} devices[DEVICES];
static atomic_bool masked[DEVICES];
static atomic_uint working;

static void redirect(unsigned pin, uint32_t low, uint32_t high)
{
    ioapic_mmio_ops.write(&io, 0, 4, 0x11 + 2 * pin);
    ioapic_mmio_ops.write(&io, 0x10, 4, high);
    ioapic_mmio_ops.write(&io, 0, 4, 0x10 + 2 * pin);
    ioapic_mmio_ops.write(&io, 0x10, 4, low);
}

static void device_drive(struct device *d, bool wants)
{
    pthread_mutex_lock(&d->lock);
    expect(d->wants != wants); /* a driver is called when there is something to do */
    d->wants = wants;
    ioapic_set_pin(&io, d->pin, wants);
    pthread_mutex_unlock(&d->lock);
}

static void handle_device(struct cpu *cpu, uint8_t vector)
{
    struct device *d = &devices[vector >> 4 & 3];

    device_drive(d, false);
    sem_post(&d->served);
    sched_yield(); /* it may want more before the end of the interrupt */
}

static void *device_main(void *arg)
{
    struct device *d = arg;

    for (unsigned n = 0; n < ASSERTIONS; n++) {
        device_drive(d, true);
        sem_wait(&d->served);
    }
    working--;
    return NULL;
}

static void not_of_a_masked_pin(const struct apic_msg *msg)
{
    sched_yield(); /* let whoever masks it overtake */
    expect(!masked[msg->vector >> 4 & 3]);
}

static void run_devices(void)
{
    working = DEVICES;
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device *d = &devices[i];

        *d = (struct device){.pin = 16 + i};
        pthread_mutex_init(&d->lock, NULL);
        sem_init(&d->served, 0, 0);
        masked[i] = false;
        redirect(d->pin, 0x8040 + (i << 4), i << 24);
    }
    for (unsigned i = 0; i < DEVICES; i++)
        assert_int_equal(pthread_create(&devices[i].thread, NULL, device_main, &devices[i]), 0);
}

static void join_devices(void)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        pthread_join(devices[i].thread, NULL);
        pthread_mutex_destroy(&devices[i].lock);
        sem_destroy(&devices[i].served);
    }
}

static void no_remote_irr(void)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        ioapic_mmio_ops.write(&io, 0, 4, 0x10 + 2 * devices[i].pin);
        assert_int_equal(ioapic_mmio_ops.read(&io, 0x10, 4), 0x8040 + (i << 4));
    }
}

static void levels_are_served(void **state)
{
    handle = handle_device;
    start_processors(processor);
    run_devices();
    join_devices();
    stop_processors();
    no_remote_irr();
}

/* Meanwhile pins are masked, sent to other processors and unmasked. */
static void moved_levels_are_served(void **state)
{
    message_watch = not_of_a_masked_pin;
    handle = handle_device;
    start_processors(processor);
    run_devices();
    for (unsigned n = 0; working; n++) {
        unsigned i = n % DEVICES, pin = devices[i].pin, low = 0x8040 + (i << 4);

        redirect(pin, low | MASKED, n % CPUS << 24);
        masked[i] = true;
        sched_yield();
        masked[i] = false;
        redirect(pin, low, n % CPUS << 24);
    }
    join_devices();
    stop_processors();
    no_remote_irr();
}

/* ---- the PICs' output ---- */

#define EDGES 3000

static _Atomic unsigned raised;

static void *raise_edges(void *arg)
{
    for (unsigned n = 0; n < EDGES; n++) {
        raised++;
        pic_set_irq(&pic, 11, 1);
        pic_set_irq(&pic, 11, 0);
    }
    return NULL;
}

static void pic_edges_arrive(void **state)
{
    static const uint8_t icw[] = {0x11, 0x20, 0x04, 0x01}, slave_icw[] = {0x11, 0x28, 0x02, 0x01};
    struct cpu *cpu = &cpus[0];
    unsigned last = 0;
    pthread_t thread;

    for (unsigned i = 0; i < 4; i++) {
        out8(&pic_master_ops, &pic, i ? 1 : 0, icw[i]);
        out8(&pic_slave_ops, &pic, i ? 1 : 0, slave_icw[i]);
    }
    lapic_set_virtual_wire(&cpu->lapic);
    raised = 0;
    assert_int_equal(pthread_create(&thread, NULL, raise_edges, NULL), 0);
    while (last < EDGES) {
        sem_wait(&cpu->kicked);
        while (lapic_take_events(&cpu->lapic, LAPIC_EVENT_EXTINT, NULL)) {
            assert_int_equal(pic_acknowledge(&pic), 0x2b);
            last = raised;
            out8(&pic_slave_ops, &pic, 0, 0x20);
            out8(&pic_master_ops, &pic, 0, 0x20);
        }
    }
    pthread_join(thread, NULL);
    assert_false(pic_pending(&pic));
}

/* ---- the timer ---- */

#define EXPIRIES 300

/* What the event loop does, as often as it can: calls may be early. */
static void *fire_timer(void *arg)
{
    struct dev_timer *t = arg;

    while (!stop) {
        now += 10;
        t->fire(t->dev);
    }
    return NULL;
}

static atomic_bool silent;

static void not_of_a_masked_timer(void)
{
    sched_yield();
    expect(!silent);
}

static void masked_timer_is_silent(void **state)
{
    struct lapic *l = &cpus[0].lapic;
    pthread_t thread;

    silent = false;
    kick_watch = not_of_a_masked_timer;
    assert_int_equal(pthread_create(&thread, NULL, fire_timer, &cpus[0].timer.timer), 0);
    for (unsigned n = 0; n < EXPIRIES; n++) {
        put(l, REG_TIMER, 0x50);
        put(l, REG_INITIAL, 1 + n % 40);
        if (n % 4) { /* this one is waited for, the others are caught on the way */
            while (lapic_pending(l) < 0)
                sched_yield();
        }
        put(l, REG_TIMER, 0x50 | MASKED);
        silent = true;
        if (lapic_pending(l) >= 0) {
            assert_int_equal(lapic_pending(l), 0x50);
            lapic_accept(l, 0x50);
            put(l, REG_EOI, 0);
        }
        sched_yield();
        assert_int_equal(lapic_pending(l), -1);
        silent = false;
    }
    stop = true;
    pthread_join(thread, NULL);
    assert_false(failed);
}

/* ---- INIT and SIPI ---- */

#define STARTS 300

#define OTHER_PAGE 0xf0u
#define PAGE(n)    (1 + (n) % 128)

static _Atomic unsigned started; /* by which SIPI */

static void *post_vectors(void *arg)
{
    while (!stop)
        lapic_post(&cpus[1].lapic, 0x60, false);
    return NULL;
}

static void *start_again(void *arg)
{
    struct lapic *boot = &cpus[0].lapic;

    put(boot, REG_ICR_HIGH, 1u << 24);
    for (unsigned n = 1; n <= STARTS; n++) {
        put(boot, REG_ICR, 0x4500);
        put(boot, REG_ICR, 0x4600 | OTHER_PAGE); /* which the second INIT may cancel */
        put(boot, REG_ICR, 0x4500);
        put(boot, REG_ICR, 0x4600 | PAGE(n));
        while (started != n)
            sched_yield();
    }
    stop = true;
    on_kick(&cpus[1]);
    return NULL;
}

static void starts_are_not_lost(void **state)
{
    struct lapic *l = &cpus[1].lapic;
    pthread_t poster, starter;
    bool waits = false;

    started = 0;
    assert_int_equal(pthread_create(&poster, NULL, post_vectors, NULL), 0);
    assert_int_equal(pthread_create(&starter, NULL, start_again, NULL), 0);
    while (!stop) {
        uint8_t page = 0;
        unsigned events = lapic_take_events(l, LAPIC_EVENT_INIT | LAPIC_EVENT_SIPI, &page);

        if (events & LAPIC_EVENT_INIT) {
            lapic_reset(l);
            waits = true;
        }
        if ((events & LAPIC_EVENT_SIPI) && waits) {
            waits = false;
            assert_true(page == OTHER_PAGE || page == PAGE(started + 1));
            put(l, REG_SVR, 0x1ff);
            if (page != OTHER_PAGE)
                started++;
        }
        if (lapic_pending(l) >= 0 && !waits) {
            assert_int_equal(lapic_pending(l), 0x60);
            lapic_accept(l, 0x60);
            put(l, REG_EOI, 0);
        }
    }
    pthread_join(poster, NULL);
    pthread_join(starter, NULL);
    assert_int_equal(started, STARTS);
    lapic_reset(l);
    assert_int_equal(lapic_pending(l), -1);
    lapic_post(l, 0x60, false); /* it is disabled */
    assert_int_equal(lapic_pending(l), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_arrive),  TEST(levels_are_served),      TEST(moved_levels_are_served),
        TEST(pic_edges_arrive), TEST(masked_timer_is_silent), TEST(starts_are_not_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
