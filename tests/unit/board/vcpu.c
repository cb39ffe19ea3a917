/*
 * vCPUs' threads (board/vcpu.c) on an accelerator that only pretends to run a guest:
 * however posts, kicks, holds and HLT meet, nothing that is posted sleeps, and an
 * alarm ends the test when it does.
 */
#include "board/cpus.h"

#include "../deadlock.h"

#include "base/bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <sched.h>
#include <time.h>
#include <unistd.h>

#define CPUS   4
#define ROUNDS 10000
#define ENOUGH 2 /* seconds; a host of few processors gets through fewer rounds */
#define VECTOR 0x50

/* Where the pretended guest is. */
enum place {
    CODE,    /* interrupts are on; it halts, or runs until it is kicked */
    HANDLER, /* off, as in the next */
    END_OF_INTERRUPT,
};

static struct guest {
    struct vcpu vcpu; /* first */
    struct mote_state state;
    enum place place;
    bool window;
    unsigned turns;
    atomic_bool kicked;
    _Atomic unsigned posted, seen;
} guests[CPUS];

static struct cpus cpus;
static struct machine machine;
static struct intc intc;
static struct loop loop;
static struct life life;
static struct host_clock host;
static struct dev_bus ports, mmio;
static atomic_bool stop;
static atomic_bool deaf_at_times; /* the guest has interrupts off for two turns of four */
static atomic_uint left;          /* how often one left while it was held */
static atomic_uint runs;          /* how often any was run */

/* ---- the accelerator ---- */

static struct guest *guest(struct vcpu *v)
{
    return (struct guest *)v;
}

static int get_or_set(struct vcpu *v, unsigned groups)
{
    return 0;
}

static int inject(struct vcpu *v, const struct mote_event *event)
{
    guest(v)->place = HANDLER;
    return 0;
}

static void request_window(struct vcpu *v, bool intr, bool nmi)
{
    guest(v)->window = intr;
}

static int complete_msr(struct vcpu *v, uint64_t value, bool fault)
{
    return fault;
}

static void kick(struct vcpu *v)
{
    guest(v)->kicked = true;
}

static void paused(struct vcpu *v)
{
}

static bool is_deaf(const struct guest *g)
{
    return deaf_at_times && g->turns % 4 < 2;
}

static enum vcpu_exit_reason run_code(struct guest *g)
{
    bool deaf = is_deaf(g);

    if (g->window && !deaf) {
        g->window = false;
        return VCPU_EXIT_INTR_WINDOW;
    }
    if (g->turns++ % 2 == 0 && !deaf)
        return VCPU_EXIT_HALT;
    while (!atomic_exchange(&g->kicked, false))
        sched_yield();
    return VCPU_EXIT_NONE;
}

static int run(struct vcpu *v, struct vcpu_exit *exit)
{
    struct guest *g = guest(v);

    runs++;
    *exit = (struct vcpu_exit){.rflags = FLAG_R1};
    switch (g->place) {
    case HANDLER:
        g->seen = g->posted;
        g->place = END_OF_INTERRUPT;
        exit->reason = VCPU_EXIT_HYPERCALL;
        break;
    case END_OF_INTERRUPT:
        g->place = CODE;
        exit->reason = VCPU_EXIT_WRMSR;
        exit->msr.index = 0x80b;
        break;
    case CODE:
        exit->reason = run_code(g);
        exit->rflags |= is_deaf(g) ? 0 : FLAG_IF;
        exit->intr_ready = !is_deaf(g);
        break;
    }
    return 0;
}

static const struct accel pretender = {
    .get = get_or_set,
    .set = get_or_set,
    .inject = inject,
    .request_window = request_window,
    .run = run,
    .kick = kick,
    .complete_msr = complete_msr,
    .paused = paused,
};

/* ---- the machine ---- */

static void wake(void *user)
{
    cpu_wake(user);
}

static void wire(unsigned i)
{
    struct guest *g = &guests[i];
    struct cpu *cpu = &cpus.cpu[i];
    uint64_t x2apic = 0xfee00c00, enable = 0x1ff;

    memset(g, 0, sizeof(*g));
    g->vcpu.accel = &pretender;
    g->vcpu.machine = &machine;
    g->vcpu.id = i;
    g->vcpu.state = &g->state;
    cpu->vcpu = &g->vcpu;
    cpu->cpus = &cpus;
    cpu->pin = -1;
    cpu->intc.intc = &intc;
    cpu->intc.tsc_offset = &g->vcpu.tsc_offset;
    cpu->intc.wake = wake;
    cpu->intc.user = cpu;
    assert_int_equal(cpu_intc_init(&cpu->intc, i, &loop, &host, 1000000), 0);
    assert_true(cpu_intc_msr(&cpu->intc, 0x1b, true, &x2apic));
    assert_true(cpu_intc_msr(&cpu->intc, 0x80f, true, &enable));
}

static int setup(void **state)
{
    stop = false;
    machine.accel = &pretender;
    intc.machine = &machine;
    dev_bus_init(&ports, "port");
    dev_bus_init(&mmio, "mmio");
    assert_int_equal(loop_init(&loop), 0);
    life_init(&life, &loop);
    intc_init(&intc);
    cpus = (struct cpus){.life = &life, .ports = &ports, .mmio = &mmio, .count = CPUS};
    for (unsigned i = 0; i < CPUS; i++)
        wire(i);
    alarm(DEADLOCK_SECONDS);
    assert_int_equal(cpus_start(&cpus), 0);
    return 0;
}

static int teardown(void **state)
{
    life_finish(&life, LIFE_QUIT, 0, NULL);
    cpus_join(&cpus);
    for (unsigned i = 0; i < CPUS; i++)
        cpu_intc_destroy(&cpus.cpu[i].intc, &loop);
    alarm(0);
    intc_destroy(&intc);
    life_destroy(&life);
    loop_destroy(&loop);
    return 0;
}

/* ---- tests ---- */

/* Each is posted when the one before was handled, which may be on its way to sleep. */
static void *post(void *arg)
{
    const time_t end = time(NULL) + ENOUGH;

    for (unsigned n = 0; n < ROUNDS && time(NULL) <= end; n++) {
        unsigned i = n % CPUS, mine = ++guests[i].posted;

        lapic_post(&cpus.cpu[i].intc.lapic, VECTOR, false);
        while (guests[i].seen < mine)
            sched_yield();
    }
    return NULL;
}

static void join_posters(pthread_t posters[2])
{
    pthread_join(posters[0], NULL);
    pthread_join(posters[1], NULL);
    assert_true(life_running(&life));
}

static void posts_wake(void **state)
{
    pthread_t posters[2];

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&posters[i], NULL, post, NULL), 0);
    join_posters(posters);
}

/*
 * Who holds the vCPUs has them for himself: ThreadSanitizer watches turns. Of a host's one
 * processor two holders in turn might leave them nothing, so now and then they get their run.
 */
static void *hold(void *arg)
{
    const enum cpu_hold who = *(const enum cpu_hold *)arg;

    for (unsigned n = 0; !stop; n++) {
        cpus_hold(&cpus, who);
        while (!cpus_are_held(&cpus))
            sched_yield();
        if (who == CPU_HOLD_USER)
            guests[n % CPUS].turns++;
        for (unsigned i = 0; i < 4; i++)
            left += !cpus_are_held(&cpus);
        cpus_release(&cpus, who);
        for (unsigned before = runs; n % 8 == 0 && runs == before && !stop;)
            sched_yield();
    }
    return NULL;
}

static void holds_lose_nothing(void **state)
{
    static const enum cpu_hold who[] = {CPU_HOLD_USER, CPU_HOLD_DEBUGGER};
    pthread_t posters[2], holders[2];

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&holders[i], NULL, hold, (void *)&who[i]), 0);
        assert_int_equal(pthread_create(&posters[i], NULL, post, NULL), 0);
    }
    join_posters(posters);
    stop = true;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(holders[i], NULL);
    assert_int_equal(left, 0);
}

static void *run_loop(void *arg)
{
    loop_run(&loop);
    return NULL;
}

/* A timer that fires as the vCPU looks is an event by the vCPU's own hand; holders come after. */
static void timers_lose_no_holder(void **state)
{
    const time_t end = time(NULL) + ENOUGH;
    pthread_t thread;

    deaf_at_times = true;
    assert_int_equal(pthread_create(&thread, NULL, run_loop, NULL), 0);
    for (unsigned n = 0; n < 1000 && time(NULL) <= end; n++) {
        cpus_hold(&cpus, CPU_HOLD_USER);
        while (!cpus_are_held(&cpus))
            sched_yield();
        for (unsigned i = 0; i < CPUS && !n; i++) {
            uint64_t lvt = 0x20000 | VECTOR, divide = 0xb, count = 50000; /* ns, periodic */

            assert_true(cpu_intc_msr(&cpus.cpu[i].intc, 0x832, true, &lvt));
            assert_true(cpu_intc_msr(&cpus.cpu[i].intc, 0x83e, true, &divide));
            assert_true(cpu_intc_msr(&cpus.cpu[i].intc, 0x838, true, &count));
        }
        cpus_release(&cpus, CPU_HOLD_USER);
        usleep(100);
    }
    assert_true(life_running(&life));
    loop_stop(&loop);
    pthread_join(thread, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(posts_wake),
        TEST(holds_lose_nothing),
        TEST(timers_lose_no_holder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
