/*
 * The whole way of an interrupt: lines through PIC and I/O APIC to the local
 * APIC, and a processor that takes and ends them. What comes from outside and can
 * be delivered must wake the vCPU, and what is pending must be there to be taken.
 */
#include "board/cpu_intc.h"

#include "chip.h"

static struct machine machine; /* its accelerator has no local APIC */
static struct intc intc;
static struct cpu_intc cpu;
static struct irq_router router;
static uint64_t tsc_offset;
static unsigned wakes;

/* The board's timer on the fake clock; these stand in for board/timer.c. */
static void arm(struct dev_timer *t, uint64_t deadline)
{
    timer.deadline = deadline;
}

int board_timer_init(struct board_timer *t, struct loop *loop, struct host_clock *clock)
{
    t->dev.arm = arm;
    return 0;
}

void board_timer_destroy(struct board_timer *t, struct loop *loop)
{
}

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
    wakes++;
}

static bool deliverable(void)
{
    return cpu_intc_pending(&cpu) || cpu_intc_nmi_pending(&cpu);
}

/* What the I/O thread does: when there is something new to deliver, the vCPU is told. */
#define FROM_OUTSIDE(action)                                                                       \
    do {                                                                                           \
        bool before = deliverable();                                                               \
        unsigned told = wakes;                                                                     \
                                                                                                   \
        action;                                                                                    \
        check(before || !deliverable() || wakes != told);                                          \
    } while (0)

static void fired(void *dev)
{
    FROM_OUTSIDE(cpu.timer.dev.fire(dev));
}

static void start(void)
{
    memset(&intc, 0, sizeof(intc));
    memset(&cpu, 0, sizeof(cpu));
    memset(&router, 0, sizeof(router));
    intc.machine = &machine;
    cpu.tsc_offset = &tsc_offset;
    cpu.wake = wake;
    cpu.intc = &intc;
    intc_init(&intc);
    check(!cpu_intc_init(&cpu, 0, NULL, NULL, 1000000));
    cpu.lapic.ops.tsc_now = tsc_now;
    timer.timer = (struct dev_timer){.fire = fired, .dev = cpu.timer.dev.dev};
    intc_route(&intc, &router);
    check(!intc_map(&intc, &bus, &bus));
}

static void stop(void)
{
    cpu_intc_destroy(&cpu, NULL);
    intc_destroy(&intc);
}

static void take_interrupt(void)
{
    bool pending = cpu_intc_pending(&cpu);
    int vector = cpu_intc_take(&cpu);

    check(vector < 256 && (vector >= 0) == pending);
}

static void lapic_access(bool write)
{
    uint64_t where = take(1), value = write ? take(4) : 0;

    if (!cpu_intc_mmio(&cpu, GPA(LAPIC_DEFAULT_BASE + where % 64 * 16), 4, write, &value))
        cpu_intc_msr(&cpu, 0x800 + where % 64, write, &value);
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

    if (!cpu_intc_mmio(&cpu, GPA(LAPIC_DEFAULT_BASE + 0xb0), 4, true, &zero))
        cpu_intc_msr(&cpu, 0x80b, true, &zero);
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
    case 6: cpu_intc_take_nmi(&cpu); break;
    case 7: end_of_interrupt(); break;
    case 8:
    case 9: lapic_access(what & 1); break;
    case 10: ioapic_write((unsigned)take(1) % 64); break;
    case 11:
        value = take(8);
        cpu_intc_msr(&cpu, 0x800 + (uint32_t)take(1), what >> 4 & 1, &value);
        break;
    case 12:
        value = LAPIC_DEFAULT_BASE | (take(1) & 0x0d) << 8;
        cpu_intc_msr(&cpu, 0x1b, true, &value);
        break;
    case 13:
        cpu_intc_set_cr8(&cpu, what >> 4);
        check(cpu_intc_cr8(&cpu) == what >> 4);
        break;
    case 14: route_pin(what >> 4); break;
    case 15: dev_bus_write(&bus, what >> 4 & 1 ? PIC_SLAVE_PORT : PIC_MASTER_PORT, 1, 0x20); break;
    }
}

struct state {
    struct pic_state pic[2];
    struct ioapic_state ioapic;
    struct lapic_state lapic;
};

static void save(void *out)
{
    struct state *s = out;

    pic_save(&intc.pic, s->pic);
    ioapic_save(&intc.ioapic, &s->ioapic);
    lapic_save(&cpu.lapic, &s->lapic);
}

/* The PIC first, as lapic.h asks. All or nothing. */
static int restore(const void *in)
{
    const struct state *s = in;
    struct state before;
    int err;

    save(&before);
    err = pic_restore(&intc.pic, s->pic);
    if (!err)
        err = ioapic_restore(&intc.ioapic, &s->ioapic);
    if (!err)
        err = lapic_restore(&cpu.lapic, &s->lapic);
    if (err) {
        check(!pic_restore(&intc.pic, before.pic));
        check(!ioapic_restore(&intc.ioapic, &before.ioapic));
        check(!lapic_restore(&cpu.lapic, &before.lapic));
    }
    return err;
}

static const struct chip chip = {
    .start = start,
    .stop = stop,
    .event = event,
    .state_size = sizeof(struct state),
    .save = save,
    .restore = restore,
};
