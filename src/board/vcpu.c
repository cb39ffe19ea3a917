#include "board/vcpu.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "base/steps.h"
#include "board/startup.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Ends a system call (a write to a full pipe) that a vCPU's thread sleeps in. */
#define NUDGE_SIGNAL SIGUSR2

#define KVM_ENOSYS 1000 /* what Linux expects from a hypercall nobody knows */

/*
 * A wake-up must not get lost between "nothing is pending" and sleeping. The
 * thread first takes the event, then looks at the controllers; a device first
 * changes a controller, then sets the event. Who sets it over CPU_BUSY kicks
 * the accelerator, over CPU_ASLEEP wakes the futex, over CPU_EVENT nothing.
 */
enum cpu_event {
    CPU_BUSY,
    CPU_EVENT,
    CPU_ASLEEP,
};

static __thread struct cpu *current;

static void futex(atomic_uint *word, int op, unsigned value)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void cpu_wake(struct cpu *cpu)
{
    unsigned old = atomic_exchange(&cpu->event, CPU_EVENT);

    if (old == CPU_ASLEEP)
        futex(&cpu->event, FUTEX_WAKE, 1);
    else if (old == CPU_BUSY && cpu != current)
        vcpu_kick(cpu->vcpu);
}

/* Beside the holders' bits in cpu->hold: the vCPU stands still. */
#define HELD 0x80000000u

bool cpu_hold(struct cpu *cpu, enum cpu_hold who)
{
    if (atomic_fetch_or(&cpu->hold, who) & HELD)
        return true;
    cpu_wake(cpu);
    return false;
}

void cpu_release(struct cpu *cpu, enum cpu_hold who)
{
    atomic_fetch_and(&cpu->hold, ~(unsigned)who);
    futex(&cpu->hold, FUTEX_WAKE, 1);
}

bool cpu_is_held(struct cpu *cpu)
{
    return atomic_load(&cpu->hold) & HELD;
}

unsigned cpu_holders(struct cpu *cpu)
{
    return atomic_load(&cpu->hold) & ~HELD;
}

static void cpu_fail(struct cpu *cpu, const char *why)
{
    life_finish(cpu->life, LIFE_FAILED, 0, why);
}

/* Somebody holds the vCPU: wait until nobody does. To go on is one step with seeing that. */
static void stand_still(struct cpu *cpu)
{
    /* An instruction that an access is left of is finished here: devices may make us wait. */
    if (vcpu_get(cpu->vcpu, X86_GPRS))
        cpu_fail(cpu, err_text());
    atomic_fetch_or(&cpu->hold, HELD);
    if (cpu->held)
        cpu->held(cpu->user);
    while (life_running(cpu->life)) {
        unsigned hold = HELD;

        if (atomic_compare_exchange_strong(&cpu->hold, &hold, 0)) {
            vcpu_paused(cpu->vcpu);
            return;
        }
        futex(&cpu->hold, FUTEX_WAIT, hold);
    }
}

/* ---- accesses ---- */

static int bus_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    struct cpu *cpu = user;

    if (write)
        dev_bus_write(cpu->ports, port, size, *data);
    else
        *data = dev_bus_read(cpu->ports, port, size);
    return 0;
}

static int bus_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    struct cpu *cpu = user;

    if (cpu_intc_mmio(&cpu->intc, gpa, size, write, data))
        return 0;
    if (write)
        dev_bus_write(cpu->mmio, gpa.v, size, *data);
    else
        *data = dev_bus_read(cpu->mmio, gpa.v, size);
    return 0;
}

static int answer_msr(struct cpu *cpu)
{
    bool write = cpu->exit.reason == VCPU_EXIT_WRMSR;
    uint64_t value = write ? cpu->exit.msr.value : 0;
    bool known = cpu_intc_msr(&cpu->intc, cpu->exit.msr.index, write, &value);

    if (!known) {
        if (write)
            trace(TRACE_MSR, "WRMSR 0x%" PRIx32 " = 0x%" PRIx64 ": #GP", cpu->exit.msr.index,
                  value);
        else
            trace(TRACE_MSR, "RDMSR 0x%" PRIx32 ": #GP", cpu->exit.msr.index);
    }
    return vcpu_complete_msr(cpu->vcpu, value, !known);
}

static int answer_hypercall(struct cpu *cpu)
{
    int err = vcpu_get(cpu->vcpu, X86_GPRS);

    if (err)
        return err;
    cpu->vcpu->state->gpr[RAX] = (uint64_t)-KVM_ENOSYS;
    return vcpu_set(cpu->vcpu, X86_GPRS);
}

/* ---- interrupts ---- */

/* After answering an exit: a TPR that was written through the local APIC becomes CR8. */
static int sync_cr8(struct cpu *cpu)
{
    uint64_t cr8;
    int err;

    if (cpu->intc.intc->inside)
        return 0;
    cr8 = cpu_intc_cr8(&cpu->intc);
    if (cr8 == cpu->exit.cr8)
        return 0;
    err = vcpu_get(cpu->vcpu, X86_CRS);
    if (err)
        return err;
    cpu->exit.cr8 = cpu->vcpu->state->cr8 = cr8;
    return vcpu_set(cpu->vcpu, X86_CRS);
}

static int inject_nmi(struct cpu *cpu)
{
    const struct x86_event event = {.kind = X86_EVENT_NMI, .vector = 2};

    return cpu_intc_take_nmi(&cpu->intc) ? vcpu_inject(cpu->vcpu, &event) : 0;
}

static int inject_interrupt(struct cpu *cpu)
{
    struct x86_event event = {.kind = X86_EVENT_INTR};
    int vector = cpu_intc_take(&cpu->intc);

    if (vector < 0)
        return 0;
    trace(TRACE_IRQ, "vector 0x%02x", vector);
    event.vector = (uint8_t)vector;
    return vcpu_inject(cpu->vcpu, &event);
}

/* The local APIC inside keeps the order of events, and takes one interrupt of the PICs' ahead. */
static int deliver_inside(struct cpu *cpu)
{
    int err = cpu->exit.intr_ready ? inject_interrupt(cpu) : 0;

    if (!err && cpu_intc_pending(&cpu->intc))
        vcpu_request_window(cpu->vcpu, true, false);
    return err;
}

/*
 * Hand a pending NMI or interrupt over, or ask to be told when the guest can
 * take it. One event at a time: answering the exit may have raised an exception
 * (an MSR nobody knows), which goes first.
 */
static int deliver(struct cpu *cpu)
{
    const struct x86_intr *intr = &cpu->vcpu->state->intr;
    bool nmi = cpu_intc_nmi_pending(&cpu->intc);
    int err;

    if (!nmi && !cpu_intc_pending(&cpu->intc))
        return 0;
    if (cpu->intc.intc->inside)
        return deliver_inside(cpu);
    err = vcpu_get(cpu->vcpu, X86_INTR);
    if (err)
        return err;
    if (intr->pending.kind == X86_EVENT_NONE) {
        if (nmi && !intr->nmi_masked && !intr->shadow)
            err = inject_nmi(cpu);
        else if (cpu->exit.intr_ready && cpu_intc_pending(&cpu->intc))
            err = inject_interrupt(cpu);
    }
    nmi = cpu_intc_nmi_pending(&cpu->intc);
    if (!err && (nmi || cpu_intc_pending(&cpu->intc)))
        vcpu_request_window(cpu->vcpu, cpu_intc_pending(&cpu->intc), nmi);
    return err;
}

/* With RFLAGS.IF clear only an NMI ends HLT; nothing but a SIPI what waits for it. */
static bool has_cause_to_run(struct cpu *cpu)
{
    if (cpu_intc_startup_pending(&cpu->intc))
        return true;
    if (cpu->waits)
        return false;
    return cpu_intc_nmi_pending(&cpu->intc) ||
           ((cpu->exit.rflags & FLAG_IF) && cpu_intc_pending(&cpu->intc));
}

/* Sleep until there is one. Comes back earlier when the vCPU is to stand still or to end. */
static void wait_for_cause(struct cpu *cpu)
{
    while (life_running(cpu->life) && !atomic_load(&cpu->hold)) {
        unsigned busy = CPU_BUSY;

        if (has_cause_to_run(cpu))
            return;
        if (atomic_compare_exchange_strong(&cpu->event, &busy, CPU_ASLEEP)) {
            while (atomic_load(&cpu->event) == CPU_ASLEEP)
                futex(&cpu->event, FUTEX_WAIT, CPU_ASLEEP);
        }
        atomic_store(&cpu->event, CPU_BUSY);
    }
}

/* HLT was executed. A debugger that steps need not wait for what wakes the vCPU. */
static void halted(struct cpu *cpu)
{
    cpu->halted = true;
    if (!cpu->stepping)
        return;
    cpu->exit.reason = VCPU_EXIT_DEBUG;
    cpu->exit.debug.step = true;
    cpu->exit.debug.int3 = false;
    cpu->exit.debug.watches = 0;
    atomic_fetch_or(&cpu->hold, CPU_HOLD_DEBUGGER);
}

/* ---- the loop ---- */

static int answer_exit(struct cpu *cpu)
{
    const struct accel_bus_ops bus = {bus_io, bus_mmio, cpu};

    switch (cpu->exit.reason) {
    case VCPU_EXIT_NONE:
    case VCPU_EXIT_INTR_WINDOW:
    case VCPU_EXIT_NMI_WINDOW:
    case VCPU_EXIT_TPR: return 0; /* only there to come by deliver() */
    case VCPU_EXIT_IO:
    case VCPU_EXIT_MMIO: return vcpu_assist(cpu->vcpu, &bus);
    case VCPU_EXIT_RDMSR:
    case VCPU_EXIT_WRMSR: return answer_msr(cpu);
    case VCPU_EXIT_HYPERCALL: return answer_hypercall(cpu);
    case VCPU_EXIT_IOAPIC_EOI: intc_eoi(cpu->intc.intc, cpu->exit.eoi.vector); return 0;
    case VCPU_EXIT_HALT: halted(cpu); return 0;
    case VCPU_EXIT_DEBUG: atomic_fetch_or(&cpu->hold, CPU_HOLD_DEBUGGER); return 0;
    case VCPU_EXIT_SHUTDOWN: life_finish(cpu->life, LIFE_TRIPLE_FAULT, 0, NULL); return 0;
    case VCPU_EXIT_FAIL: return err_set(EIO, "%s", cpu->exit.fail.why);
    default: return err_set(EIO, "unexpected exit '%s'", vcpu_exit_name(cpu->exit.reason));
    }
}

static int run_once(struct cpu *cpu)
{
    int err;

    atomic_exchange(&cpu->event, CPU_BUSY); /* before looking at the controllers */
    if (cpu_intc_startup_pending(&cpu->intc)) {
        err = startup_take(cpu);
        if (err || cpu->waits)
            return err;
    }
    if (!cpu->stepping) {
        err = deliver(cpu);
        if (err)
            return err;
    }
    cpu->halted = false;
    err = vcpu_run(cpu->vcpu, &cpu->exit);
    if (err)
        return err;
    cpu->exits[cpu->exit.reason]++;
    trace(TRACE_EXITS, "%s", vcpu_exit_name(cpu->exit.reason));
    if (!cpu->intc.intc->inside)
        cpu_intc_set_cr8(&cpu->intc, cpu->exit.cr8);
    err = answer_exit(cpu);
    return err ? err : sync_cr8(cpu);
}

static void *cpu_main(void *arg)
{
    struct cpu *cpu = arg;
    char name[16];

    snprintf(name, sizeof(name), "vcpu%u", cpu->vcpu->id);
    pthread_setname_np(pthread_self(), name);
    current = cpu;
    step_end(STEP_THREAD);
    while (life_running(cpu->life)) {
        if (atomic_load(&cpu->hold))
            stand_still(cpu);
        else if ((cpu->halted || cpu->waits) && !has_cause_to_run(cpu))
            wait_for_cause(cpu);
        else if (run_once(cpu))
            cpu_fail(cpu, err_text());
    }
    return NULL;
}

static void nudge(int sig)
{
}

int cpu_start(struct cpu *cpu)
{
    struct sigaction act = {.sa_handler = nudge}; /* no SA_RESTART: that is the point */
    int err;

    sigaction(NUDGE_SIGNAL, &act, NULL);
    atomic_init(&cpu->event, CPU_BUSY);
    err = pthread_create(&cpu->thread, NULL, cpu_main, cpu);
    if (err)
        return err_sys(err, "cannot start a vCPU's thread");
    cpu->started = true;
    return 0;
}

void cpu_stop(struct cpu *cpu)
{
    if (!cpu->started)
        return;
    atomic_store(&cpu->event, CPU_EVENT);
    futex(&cpu->event, FUTEX_WAKE, 1);
    futex(&cpu->hold, FUTEX_WAKE, 1);
    vcpu_kick(cpu->vcpu);
    pthread_kill(cpu->thread, NUDGE_SIGNAL);
}

void cpu_join(struct cpu *cpu)
{
    if (!cpu->started)
        return;
    for (;;) {
        struct timespec until;

        cpu_stop(cpu);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (!pthread_timedjoin_np(cpu->thread, NULL, &until))
            break;
    }
    cpu->started = false;
}
