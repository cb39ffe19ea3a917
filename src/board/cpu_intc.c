#include "board/cpu_intc.h"

#include "board/timer.h"

#include <x86intrin.h>

/* ---- wiring ---- */

static void lapic_kick(void *user)
{
    struct cpu_intc *ci = user;

    ci->wake(ci->user);
}

static void lapic_send(void *user, struct lapic *from, const struct apic_msg *msg)
{
    struct cpu_intc *ci = user;

    apic_bus_send(&ci->intc->bus, from, msg);
}

static void lapic_eoi_broadcast(void *user, uint8_t vector)
{
    struct cpu_intc *ci = user;

    intc_eoi(ci->intc, vector);
}

/*
 * The offset is the vCPU's; a machine that is restored reads it from another thread.
 */
static uint64_t guest_tsc(void *user)
{
    struct cpu_intc *ci = user;

    return __rdtsc() + atomic_load_explicit(ci->tsc_offset, memory_order_relaxed);
}

int cpu_intc_init(struct cpu_intc *ci, unsigned id, struct loop *loop, struct host_clock *clock,
                  uint32_t tsc_khz)
{
    const struct lapic_ops ops = {lapic_kick, lapic_send, lapic_eoi_broadcast, guest_tsc, ci};
    struct dev_clock now;
    int err;

    if (!id)
        ci->intc->boot = ci;
    if (ci->intc->inside)
        return 0;
    now = board_clock(clock);
    ci->timer.wake = ci->wake;
    ci->timer.user = ci->user;
    err = cpu_timer_init(&ci->timer, loop, clock);
    if (err)
        return err;
    lapic_init(&ci->lapic, id, !id, &ops, &now, &ci->timer.dev, tsc_khz);
    if (!id)
        lapic_set_virtual_wire(&ci->lapic);
    err = apic_bus_add(&ci->intc->bus, &ci->lapic);
    if (err)
        cpu_intc_destroy(ci, loop);
    return err;
}

void cpu_intc_destroy(struct cpu_intc *ci, struct loop *loop)
{
    if (ci->intc->inside)
        return;
    lapic_destroy(&ci->lapic);
    cpu_timer_destroy(&ci->timer, loop);
}

void cpu_intc_set_lint0(struct cpu_intc *ci, int level)
{
    if (!ci->intc->inside) {
        lapic_set_lint(&ci->lapic, 0, level);
        return;
    }
    atomic_store(&ci->lint0, level);
    if (level)
        ci->wake(ci->user);
}

unsigned cpu_intc_send_ipi(struct cpu_intc *ci, uint32_t dest, uint32_t icr)
{
    const struct apic_msg msg = {
        .dest = dest, .wide = true, .delivery_mode = icr >> 8 & 7, .vector = icr & 0xff};

    return apic_bus_send(&ci->intc->bus, &ci->lapic, &msg);
}

/* ---- the timer ---- */

void cpu_intc_look(struct cpu_intc *ci)
{
    if (!ci->intc->inside)
        cpu_timer_look(&ci->timer);
}

void cpu_intc_run(struct cpu_intc *ci)
{
    if (!ci->intc->inside)
        cpu_timer_run(&ci->timer);
}

uint64_t cpu_intc_sleep(struct cpu_intc *ci)
{
    return ci->intc->inside ? LOOP_TIMER_OFF : cpu_timer_sleep(&ci->timer);
}

void cpu_intc_slept(struct cpu_intc *ci)
{
    if (!ci->intc->inside)
        cpu_timer_slept(&ci->timer);
}

/* ---- the vCPU's side ---- */

bool cpu_intc_pending(struct cpu_intc *ci)
{
    if (ci->intc->inside)
        return atomic_load(&ci->lint0);
    return lapic_pending(&ci->lapic) >= 0 || (lapic_events(&ci->lapic) & LAPIC_EVENT_EXTINT);
}

bool cpu_intc_nmi_pending(struct cpu_intc *ci)
{
    return !ci->intc->inside && (lapic_events(&ci->lapic) & LAPIC_EVENT_NMI);
}

int cpu_intc_take(struct cpu_intc *ci)
{
    int vector;

    /* The PIC's line may have fallen meanwhile; a real one answers with the spurious IRQ 7. */
    if (ci->intc->inside)
        return cpu_intc_pending(ci) ? pic_acknowledge(&ci->intc->pic) : -1;
    if (lapic_take_events(&ci->lapic, LAPIC_EVENT_EXTINT, NULL))
        return pic_acknowledge(&ci->intc->pic);
    vector = lapic_pending(&ci->lapic);
    if (vector >= 0)
        lapic_accept(&ci->lapic, (uint8_t)vector);
    return vector;
}

bool cpu_intc_take_nmi(struct cpu_intc *ci)
{
    return lapic_take_events(&ci->lapic, LAPIC_EVENT_NMI, NULL);
}

bool cpu_intc_startup_pending(struct cpu_intc *ci)
{
    return !ci->intc->inside && (lapic_events(&ci->lapic) & (LAPIC_EVENT_INIT | LAPIC_EVENT_SIPI));
}

unsigned cpu_intc_take_startup(struct cpu_intc *ci, uint8_t *page)
{
    unsigned events = lapic_take_events(&ci->lapic, LAPIC_EVENT_INIT | LAPIC_EVENT_SIPI, page);

    if (events & LAPIC_EVENT_INIT)
        lapic_reset(&ci->lapic);
    return events;
}

uint64_t cpu_intc_cr8(struct cpu_intc *ci)
{
    return lapic_cr8(&ci->lapic);
}

void cpu_intc_set_cr8(struct cpu_intc *ci, uint64_t cr8)
{
    lapic_set_cr8(&ci->lapic, cr8);
}

bool cpu_intc_mmio(struct cpu_intc *ci, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    uint64_t offset;

    if (ci->intc->inside || !lapic_mmio_at(&ci->lapic, gpa.v, &offset))
        return false;
    if (write)
        lapic_mmio_ops.write(&ci->lapic, offset, size, *data);
    else
        *data = lapic_mmio_ops.read(&ci->lapic, offset, size);
    return true;
}

bool cpu_intc_msr(struct cpu_intc *ci, uint32_t msr, bool write, uint64_t *value)
{
    if (ci->intc->inside || !lapic_owns_msr(msr))
        return false;
    return !(write ? lapic_wrmsr(&ci->lapic, msr, *value) : lapic_rdmsr(&ci->lapic, msr, value));
}
