#include "board/vcpu.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/log.h"
#include "base/steps.h"
#include "board/cpu_exit.h"
#include "board/cpus.h"
#include "board/startup.h"
#include "host/clock.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#define NUDGE_SIGNAL   SIGUSR2
#define NUDGE_AGAIN_NS 10000000

/*
 * A wake-up must not get lost between "nothing is pending" and sleeping. The
 * thread first takes the event, then looks at holders and controllers; others first
 * change those, then set the event. Who sets it over CPU_BUSY kicks
 * the accelerator, over CPU_ASLEEP wakes the futex, over CPU_EVENT nothing.
 */
enum cpu_event {
    CPU_BUSY,
    CPU_EVENT,
    CPU_ASLEEP,
};

/*
 * The vCPU whose exit this thread answers: what that posts to the vCPU itself needs no kick, as a
 * new turn comes before the guest. What its timer or a PIC posts on the way into the guest does:
 * else the word would stay CPU_EVENT in there, and nobody's call would kick
 * (tests/model/sleep.pml).
 */
static __thread struct cpu *answering;

void cpu_wake(struct cpu *cpu)
{
    unsigned old = atomic_exchange(&cpu->event, CPU_EVENT);

    if (old == CPU_ASLEEP)
        futex_wake(&cpu->event);
    else if (old == CPU_BUSY && cpu != answering)
        vcpu_kick(cpu->vcpu);
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
    const struct mote_event event = {.kind = X86_EVENT_NMI, .vector = 2};

    return cpu_intc_take_nmi(&cpu->intc) ? vcpu_inject(cpu->vcpu, &event) : 0;
}

static int inject_interrupt(struct cpu *cpu)
{
    struct mote_event event = {.kind = X86_EVENT_INTR};
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
    const struct mote_intr *intr = &cpu->vcpu->state->intr;
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

/* ---- sleeping ---- */

/* One that is held back by an NMI's handler wakes nobody. */
static bool takes_nmi(struct cpu *cpu)
{
    return cpu_intc_nmi_pending(&cpu->intc) && !vcpu_get(cpu->vcpu, X86_INTR) &&
           !cpu->vcpu->state->intr.nmi_masked;
}

/* With RFLAGS.IF clear only an NMI or a kick ends HLT. */
static bool has_cause_to_run(struct cpu *cpu)
{
    switch (cpu->activity) {
    case CPU_ACTIVE: return true;
    case CPU_WAIT_SIPI: return false;
    case CPU_HALTED: break;
    }
    return ((cpu->exit.rflags & FLAG_IF) && cpu_intc_pending(&cpu->intc)) || takes_nmi(cpu) ||
           atomic_load(&cpu->kicked);
}

/* Until an event, or until the local APIC's timer is due. */
static void sleep_halted(struct cpu *cpu)
{
    uint64_t deadline = cpu_intc_sleep(&cpu->intc);
    unsigned busy = CPU_BUSY, asleep = CPU_ASLEEP;
    bool in_time;

    if (!atomic_compare_exchange_strong(&cpu->event, &busy, CPU_ASLEEP))
        return;
    in_time = futex_wait(&cpu->event, CPU_ASLEEP, deadline);
    atomic_compare_exchange_strong(&cpu->event, &asleep, CPU_BUSY); /* awake: no call to wake it */
    if (!in_time)
        cpu_intc_slept(&cpu->intc);
}

/* ---- the loop ---- */

static int run_once(struct cpu *cpu)
{
    int err = 0;

    if (cpu->activity == CPU_HALTED)
        atomic_store(&cpu->kicked, false);
    cpu->activity = CPU_ACTIVE;
    if (!cpu->stepping)
        err = deliver(cpu);
    if (err)
        return err;
    cpu_intc_run(&cpu->intc);
    err = vcpu_run(cpu->vcpu, &cpu->exit);
    if (err)
        return err;
    cpu->exits[cpu->exit.reason]++;
    trace(TRACE_EXITS, "%s", vcpu_exit_name(cpu->exit.reason));
    if (!cpu->intc.intc->inside)
        cpu_intc_set_cr8(&cpu->intc, cpu->exit.cr8);
    answering = cpu;
    err = cpu_answer_exit(cpu);
    answering = NULL;
    return err ? err : sync_cr8(cpu);
}

/* One turn: whatever comes first of what there is to do. */
static int turn(struct cpu *cpu)
{
    atomic_exchange(&cpu->event, CPU_BUSY);
    cpu_intc_look(&cpu->intc);
    if (atomic_load(&cpu->hold)) {
        cpu_stand_still(cpu);
        return 0;
    }
    if (cpu_intc_startup_pending(&cpu->intc))
        return startup_take(cpu);
    if (has_cause_to_run(cpu))
        return run_once(cpu);
    sleep_halted(cpu);
    return 0;
}

static void *cpu_main(void *arg)
{
    struct cpu *cpu = arg;
    char name[16];

    snprintf(name, sizeof(name), "vcpu%u", cpu->vcpu->id);
    pthread_setname_np(pthread_self(), name);
    prctl(PR_SET_TIMERSLACK, 1); /* or each timer of a halted guest is 50 us late */
    if (cpu->vcpu->id)
        steps_leave_out(); /* the boot processor's are the machine's */
    step_end(STEP_THREAD);
    while (life_running(cpu->cpus->life)) {
        if (turn(cpu))
            life_finish(cpu->cpus->life, LIFE_FAILED, 0, err_text());
    }
    atomic_store(&cpu->over, true);
    futex_wake(&cpu->over);
    return NULL;
}

static void nudged(int sig)
{
}

static int create_thread(struct cpu *cpu)
{
    pthread_attr_t attr;
    cpu_set_t set;
    int err;

    CPU_ZERO(&set);
    if (cpu->pin >= 0)
        CPU_SET(cpu->pin, &set);
    pthread_attr_init(&attr);
    if (cpu->pin >= 0)
        pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
    err = pthread_create(&cpu->thread, &attr, cpu_main, cpu);
    pthread_attr_destroy(&attr);
    return err;
}

int cpu_start(struct cpu *cpu)
{
    struct sigaction act = {.sa_handler = nudged}; /* no SA_RESTART: that is the point */
    int err;

    sigaction(NUDGE_SIGNAL, &act, NULL);
    atomic_init(&cpu->event, CPU_BUSY);
    atomic_init(&cpu->over, false);
    err = create_thread(cpu);
    if (err)
        return err_sys(err, "cannot start a vCPU's thread");
    cpu->started = true;
    return 0;
}

void cpu_nudge(struct cpu *cpu)
{
    if (cpu->started)
        pthread_kill(cpu->thread, NUDGE_SIGNAL);
}

void cpu_join(struct cpu *cpu)
{
    if (!cpu->started)
        return;
    while (!atomic_load(&cpu->over)) {
        if (!futex_wait(&cpu->over, false, host_now_ns() + NUDGE_AGAIN_NS))
            cpu_nudge(cpu); /* the signal may have come just before a system call */
    }
    pthread_join(cpu->thread, NULL);
    cpu->started = false;
}
