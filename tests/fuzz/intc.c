/*
 * The whole way of an interrupt: lines through PIC and I/O APIC and messages between
 * processors to the local APICs, and processors that take and end them and start each
 * other. What comes from outside and can be delivered must wake the vCPU, and what is
 * pending must be there to be taken.
 */
#include "board/cpu_intc.h"
#include "board/timer.h"

#define CPUS   3
#define TIMERS CPUS
#include "chip.h"

/* An accelerator without local APICs. */
static int map(struct machine *m, const struct mem_slot *slot)
{
    return 0;
}

static const struct accel accelerator = {.map = map};
static struct machine machine;
static struct intc intc;
static struct cpu_intc cpus[CPUS], *cpu; /* the latter acts */
static uint64_t deadlines[CPUS];
static struct irq_router router;
static _Atomic uint64_t tsc_offset;
static unsigned wakes[CPUS];

/* The vCPUs' timers on the fake clock, as one; these stand in for board/cpu_timer.c. */
static void arm(struct dev_timer *t, uint64_t deadline)
{
    struct cpu_intc *of = container_of(t, struct cpu_intc, timer.dev);

    deadlines[of - cpus] = deadline;
    timer.deadline = DEV_TIMER_OFF;
    for (unsigned i = 0; i < CPUS; i++)
        timer.deadline = MIN(timer.deadline, deadlines[i]);
}

int cpu_timer_init(struct cpu_timer *t, struct loop *loop, struct host_clock *clock)
{
    t->dev.arm = arm;
    return 0;
}

void cpu_timer_destroy(struct cpu_timer *t, struct loop *loop)
{
}

void cpu_timer_look(struct cpu_timer *t)
{
}

void cpu_timer_run(struct cpu_timer *t)
{
}

uint64_t cpu_timer_sleep(struct cpu_timer *t)
{
    return LOOP_TIMER_OFF;
}

void cpu_timer_slept(struct cpu_timer *t)
{
}

/* For board/timer.c. */
struct dev_clock board_clock(struct host_clock *clock)
{
    return CLOCK;
}

static uint64_t tsc_now(void *user)
{
    return now; /* 1 GHz, where a real one could not be repeated */
}

static void wake(void *user)
{
    wakes[(struct cpu_intc *)user - cpus]++;
}

static bool deliverable(struct cpu_intc *of)
{
    return cpu_intc_pending(of) || cpu_intc_nmi_pending(of) || cpu_intc_startup_pending(of);
}

/* What each vCPU had before somebody else acts. */
struct before {
    bool deliverable[CPUS];
    unsigned wakes[CPUS];
};

static struct before look(void)
{
    struct before b;

    for (unsigned i = 0; i < CPUS; i++) {
        b.deliverable[i] = deliverable(&cpus[i]);
        b.wakes[i] = wakes[i];
    }
    return b;
}

/* When there is something new to deliver, the vCPU was told, unless it did that itself. */
static void check_woken(const struct before *b, const struct cpu_intc *self)
{
    for (unsigned i = 0; i < CPUS; i++) {
        check(&cpus[i] == self || b->deliverable[i] || !deliverable(&cpus[i]) ||
              wakes[i] != b->wakes[i]);
    }
}

#define BY(self, action)                                                                           \
    do {                                                                                           \
        const struct before before = look();                                                       \
                                                                                                   \
        action;                                                                                    \
        check_woken(&before, self);                                                                \
    } while (0)
#define FROM_OUTSIDE(action) BY(NULL, action)

/* All fire when one is due: the others are early. */
static void fired(void *dev)
{
    for (unsigned i = 0; i < CPUS; i++)
        FROM_OUTSIDE(cpus[i].timer.dev.fire(&cpus[i].lapic));
}

static void start_cpu(unsigned i)
{
    cpus[i] =
        (struct cpu_intc){.intc = &intc, .tsc_offset = &tsc_offset, .wake = wake, .user = &cpus[i]};
    deadlines[i] = DEV_TIMER_OFF;
    check(!cpu_intc_init(&cpus[i], i, NULL, NULL, 1000000));
    cpus[i].lapic.ops.tsc_now = tsc_now;
}

static void start(void)
{
    memset(&intc, 0, sizeof(intc));
    memset(&router, 0, sizeof(router));
    machine = (struct machine){.accel = &accelerator};
    intc.machine = &machine;
    intc_init(&intc);
    for (unsigned i = 0; i < CPUS; i++)
        start_cpu(i);
    timer.timer.fire = fired;
    intc_route(&intc, &router);
    check(!intc_map(&intc, &bus, &bus));
}

static void stop(void)
{
    for (unsigned i = 0; i < CPUS; i++)
        cpu_intc_destroy(&cpus[i], NULL);
    intc_destroy(&intc);
}

static void take_interrupt(void)
{
    bool pending = cpu_intc_pending(cpu);
    int vector = cpu_intc_take(cpu);

    check(vector < 256 && (vector >= 0) == pending);
}

static void take_startup(void)
{
    bool pending = cpu_intc_startup_pending(cpu);
    uint8_t page = 0;
    unsigned events = cpu_intc_take_startup(cpu, &page);

    check(pending == !!events && !cpu_intc_startup_pending(cpu));
    check(!(events & LAPIC_EVENT_INIT) || lapic_pending(&cpu->lapic) < 0);
}

/* What comes from the processor itself. */
static void internal(unsigned what)
{
    switch (what & 3) {
    case 0: cpu_intc_take_nmi(cpu); break;
    case 1: take_startup(); break;
    default: cpu = &cpus[what % CPUS]; break; /* another acts now */
    }
}

static void lapic_access(bool write)
{
    uint64_t where = take(1), value = write ? take(4) : 0;

    if (!cpu_intc_mmio(cpu, GPA(LAPIC_DEFAULT_BASE + where % 64 * 16), 4, write, &value))
        cpu_intc_msr(cpu, 0x800 + where % 64, write, &value);
}

static void ioapic_write(unsigned index)
{
    dev_bus_write(&bus, IOAPIC_DEFAULT_BASE, 4, index);
    dev_bus_write(&bus, IOAPIC_DEFAULT_BASE + 0x10, 4, take(4));
}

/* The processor as a kernel sets it up: a pin's vector in one step. */
static void route_pin(unsigned pin)
{
    uint32_t how = (uint32_t)take(1);

    dev_bus_write(&bus, IOAPIC_DEFAULT_BASE, 4, 0x10 + pin * 2);
    dev_bus_write(&bus, IOAPIC_DEFAULT_BASE + 0x10, 4, (how & 0xf0) | (how & 1) << 15 | 0x0f);
}

static void end_of_interrupt(void)
{
    uint64_t zero = 0;

    if (!cpu_intc_mmio(cpu, GPA(LAPIC_DEFAULT_BASE + 0xb0), 4, true, &zero))
        cpu_intc_msr(cpu, 0x80b, true, &zero);
}

static void event(void)
{
    uint8_t what = (uint8_t)take(1);
    uint64_t value;

    switch (what & 15) {
    case 0:
    case 1:
    case 2: FROM_OUTSIDE(irq_set(&router, what >> 4 | (what & 1) << 4, !(what & 2))); break;
    case 3: FROM_OUTSIDE(irq_set(&router, what >> 4, 0)); break;
    case 4:
    case 5: take_interrupt(); break;
    case 6: internal(what >> 4); break;
    case 7: BY(cpu, end_of_interrupt()); break;
    case 8:
    case 9: BY(cpu, lapic_access(what & 1)); break;
    case 10: ioapic_write((unsigned)take(1) % 64); break;
    case 11:
        value = take(8);
        BY(cpu, cpu_intc_msr(cpu, 0x800 + (uint32_t)take(1), what >> 4 & 1, &value));
        break;
    case 12:
        value = LAPIC_DEFAULT_BASE | (take(1) & 0x0d) << 8;
        cpu_intc_msr(cpu, 0x1b, true, &value);
        break;
    case 13:
        cpu_intc_set_cr8(cpu, what >> 4);
        check(cpu_intc_cr8(cpu) == what >> 4);
        break;
    case 14: route_pin(what >> 4); break;
    case 15: dev_bus_write(&bus, what >> 4 & 1 ? PIC_SLAVE_PORT : PIC_MASTER_PORT, 1, 0x20); break;
    }
}

struct state {
    struct pic_state pic[2];
    struct ioapic_state ioapic;
    struct lapic_state lapic[CPUS];
};

static void save(void *out)
{
    struct state *s = out;

    pic_save(&intc.pic, s->pic);
    ioapic_save(&intc.ioapic, &s->ioapic);
    for (unsigned i = 0; i < CPUS; i++)
        lapic_save(&cpus[i].lapic, &s->lapic[i]);
}

/* The PIC first, as lapic.h asks. */
static int restore_in_order(const struct state *s)
{
    int err = pic_restore(&intc.pic, s->pic);

    if (!err)
        err = ioapic_restore(&intc.ioapic, &s->ioapic);
    for (unsigned i = 0; i < CPUS && !err; i++)
        err = lapic_restore(&cpus[i].lapic, &s->lapic[i]);
    return err;
}

/* All or nothing. */
static int restore(const void *in)
{
    struct state before;
    int err;

    save(&before);
    err = restore_in_order(in);
    if (err)
        check(!restore_in_order(&before));
    return err;
}

static void begin(void)
{
    cpu = &cpus[0];
}

static const struct chip chip = {
    .begin = begin,
    .start = start,
    .stop = stop,
    .event = event,
    .state_size = sizeof(struct state),
    .save = save,
    .restore = restore,
};
