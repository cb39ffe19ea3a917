/*
 * What KVM cannot emulate, mote's interpreter executes: one instruction on the
 * vCPU's state and the guest's memory, then KVM goes on. An access to a device
 * or an MSR becomes an exit, which the interpreter completes too.
 *
 * A KVM with shadow paging learns of a store to a page table only when the guest
 * makes it, or KVM's own emulator. So a page table changed by a rescued
 * instruction may go unnoticed there; with nested paging there is nothing to
 * notice.
 */
#include "accel/kvm/kvm.h"

#include "accel/assist.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "emu/fpu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <x86intrin.h>

struct kvm_rescue {
    struct emu_cpu cpu;
    struct assist assist;
    struct mote_state before, after; /* but for X86_FPU and the time */
    struct emu_fpu fpu_before;
    bool open; /* the vCPU's last exit is cpu.exit */
};

static uint64_t tsc(void *user)
{
    return __rdtsc();
}

/* No decoded code is kept, and each state_in flushes the TLB, as does a slot that goes: no more is
 * asked. */
static const struct emu_ops ops = {.tsc = tsc};

static int rescuer_create(struct kvm_vcpu *k)
{
    struct kvm_rescue *r =
        mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (r == MAP_FAILED)
        return err_set(ENOMEM, "vCPU %u: out of memory for the interpreter", k->v.id);
    emu_init(&r->cpu, &k->v.machine->mem, &k->cpuid, &ops, NULL);
    r->assist = (struct assist){.v = &k->v, .cpu = &r->cpu};
    k->rescuer = r;
    return 0;
}

void kvm_rescue_free(struct kvm_vcpu *k)
{
    if (k->rescuer)
        munmap(k->rescuer, sizeof(*k->rescuer));
}

void kvm_rescue_unmapped(struct machine *m)
{
    pthread_mutex_lock(&m->lock);
    for (struct vcpu *v = m->vcpus; v; v = v->next) {
        if (kvm_vcpu(v)->rescuer)
            emu_tlb_flush(&kvm_vcpu(v)->rescuer->cpu);
    }
    pthread_mutex_unlock(&m->lock);
}

void kvm_rescue_set_cpuid(struct kvm_vcpu *k)
{
    if (k->rescuer)
        emu_set_cpuid(&k->rescuer->cpu, &k->cpuid);
}

bool kvm_rescue_is_open(const struct kvm_vcpu *k)
{
    return k->rescuer && k->rescuer->open;
}

bool kvm_wants_rescue(const struct kvm_run *run)
{
    return run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
           run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION;
}

/* ---- state there and back -------------------------------------------------------- */

static void snapshot(const struct kvm_rescue *r, struct mote_state *s)
{
    emu_get_state(&r->cpu, s, X86_ALL & ~X86_FPU);
    s->msr.tsc = r->cpu.msr.tsc; /* the offset: time passes meanwhile */
}

/* The vCPU's state into the interpreter. */
static int state_in(struct kvm_vcpu *k)
{
    struct kvm_rescue *r = k->rescuer;
    int err = vcpu_get(&k->v, X86_ALL);

    if (err)
        return err;
    emu_set_state(&r->cpu, k->v.state, X86_ALL);
    if (!(k->v.dirty & X86_MSRS)) /* the page's counter may be an old one */
        r->cpu.msr.tsc = k->v.tsc_offset;
    snapshot(r, &r->before);
    r->fpu_before = r->cpu.fpu;
    return 0;
}

static unsigned changed_groups(const struct kvm_rescue *r)
{
#define SPAN(group, first, end)                                                                    \
    {                                                                                              \
        group, offsetof(struct mote_state, first), offsetof(struct mote_state, end)                \
    }
    static const struct {
        unsigned group;
        size_t first, end;
    } spans[] = {
        SPAN(X86_GPRS, gpr, seg), SPAN(X86_SEGS, seg, cr0),  SPAN(X86_CRS, cr0, dr),
        SPAN(X86_DRS, dr, msr),   SPAN(X86_MSRS, msr, intr), SPAN(X86_INTR, intr, xsave),
    };
#undef SPAN
    const char *before = (const char *)&r->before, *after = (const char *)&r->after;
    unsigned groups = memcmp(&r->fpu_before, &r->cpu.fpu, sizeof(r->fpu_before)) ? X86_FPU : 0;

    for (unsigned i = 0; i < ARRAY_SIZE(spans); i++) {
        if (memcmp(before + spans[i].first, after + spans[i].first, spans[i].end - spans[i].first))
            groups |= spans[i].group;
    }
    return groups;
}

/*
 * What the instruction changed, back into the shared page. The rest is left as
 * KVM gave it: it may hold more than the interpreter knows, and the TSC is not
 * to be set back by the time that this took.
 */
static void state_out(struct kvm_vcpu *k)
{
    struct kvm_rescue *r = k->rescuer;
    struct mote_state *s = k->v.state;
    uint64_t counter = s->msr.tsc;
    unsigned groups;

    snapshot(r, &r->after);
    groups = changed_groups(r);
    emu_get_state(&r->cpu, s, groups & ~(unsigned)X86_FPU);
    if (r->before.msr.tsc == r->after.msr.tsc)
        s->msr.tsc = counter;
    if (groups & X86_FPU)
        emu_fpu_into_xsave(&r->cpu, s->xsave);
    vcpu_set(&k->v, groups);
}

static int state_flush(struct kvm_vcpu *k)
{
    return k->v.dirty ? kvm_set(&k->v, k->v.dirty) : 0;
}

/* ---- one instruction ----------------------------------------------------------------- */

static void tell(const struct kvm_vcpu *k)
{
    const struct emu_cpu *c = &k->rescuer->cpu;
    char text[3 * X86_INSN_MAX + 1] = "";

    for (unsigned i = 0; i < MIN(c->scratch.i.len, X86_INSN_MAX); i++)
        snprintf(text + 3 * i, sizeof(text) - 3 * i, " %02x", c->bytes[i]);
    trace(TRACE_RESCUE, "vCPU %u at 0x%" PRIx64 ":%s", k->v.id, k->v.state->rip, text);
}

static int give_up(struct kvm_vcpu *k, struct vcpu_exit *exit, const char *why)
{
    k->rescuer->open = k->rescuer->assist.unanswered = false;
    kvm_exit_decode(k, exit);
    if (why && exit->reason == VCPU_EXIT_FAIL)
        exit->fail.why = why;
    return 0;
}

/*
 * Neither KVM nor the interpreter knows it. A kernel had better stop here than
 * go on after a wrong #UD; a process gets its #UD, or it could stop the machine.
 */
static int unknown(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    int err;

    if (k->rescuer->cpu.cpl < 3)
        return give_up(k, exit, NULL);
    k->v.state->intr.pending = (struct mote_event){.kind = X86_EVENT_EXCEPTION, .vector = EXC_UD};
    vcpu_set(&k->v, X86_INTR);
    err = state_flush(k);
    return err ? err : 1;
}

/* The interpreter stopped with an exit, which with a local APIC inside may be KVM's own matter. */
static int exit_taken(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    struct kvm_rescue *r = k->rescuer;
    bool inside = k->v.machine->caps & ACCEL_CAP_LAPIC;
    enum vcpu_exit_reason reason = r->cpu.exit.reason;
    const char *chip = kvm_chip_of(k->v.machine, &r->cpu.exit);
    int err;

    if (reason == VCPU_EXIT_FAIL)
        return give_up(k, exit, r->cpu.exit.fail.why);
    if (chip)
        return give_up(k, exit, chip);
    if (inside && reason == VCPU_EXIT_HALT) {
        k->v.state->intr.activity = X86_HALTED;
        vcpu_set(&k->v, X86_INTR);
    }
    err = state_flush(k);
    if (err)
        return err;
    k->v.rescued++;
    if (inside && (reason == VCPU_EXIT_HALT || reason == VCPU_EXIT_TPR)) {
        if (k->run->request_interrupt_window)
            kvm_kick(&k->v); /* KVM_RUN of a halted vCPU does not look whether it is open */
        return 1;
    }
    *exit = r->cpu.exit;
    emu_fill_exit(&r->cpu, exit);
    exit->intr_ready &= !inside; /* only KVM knows LINT0 */
    k->intr_ready = exit->intr_ready;
    r->open = true;
    assist_expect(&r->assist);
    return 0;
}

/* Without the capability KVM has queued a #UD beside its exit. */
static void forget_ud(struct kvm_vcpu *k)
{
    struct mote_event *pending = &k->v.state->intr.pending;

    if (kvm_machine(k->v.machine)->exit_on_failure || !kvm_wants_rescue(k->run) ||
        pending->kind != X86_EVENT_EXCEPTION || pending->vector != EXC_UD)
        return;
    pending->kind = X86_EVENT_NONE;
    vcpu_set(&k->v, X86_INTR);
}

int kvm_rescue(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    struct emu_cpu *c;
    bool done;
    int err;

    k->pending = KVM_PENDING_NONE; /* the KVM_RUN that failed has finished it */
    k->has_ops = false;
    err = k->rescuer ? 0 : rescuer_create(k);
    if (!err)
        err = vcpu_get(&k->v, X86_INTR);
    if (err)
        return err;
    forget_ud(k);
    err = state_in(k);
    if (err)
        return err;
    c = &k->rescuer->cpu;
    if (!emu_knows(c))
        return unknown(k, exit);
    if (trace_mask & BIT(TRACE_RESCUE))
        tell(k);
    done = c->intr.pending.kind != X86_EVENT_NONE ? emu_step_event(c) : emu_step(c);
    state_out(k);
    if (!done)
        return exit_taken(k, exit);
    err = state_flush(k);
    if (err)
        return err;
    k->v.rescued++;
    k->step_due = k->debug.step;
    return 1;
}

/* ---- completing exits ------------------------------------------------------------------- */

int kvm_rescue_assist(struct kvm_vcpu *k, const struct accel_bus_ops *bus)
{
    int err = state_in(k);

    if (err)
        return err;
    err = assist_access(&k->rescuer->assist, bus);
    state_out(k);
    k->step_due = !err && k->debug.step;
    /* What is set from now on is the program's. */
    return !err && k->rescuer->assist.shutdown ? state_flush(k) : err;
}

bool kvm_rescue_shuts_down(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    if (!k->rescuer || !assist_shuts_down(&k->rescuer->assist, exit))
        return false;
    exit->intr_ready = k->intr_ready = false;
    return true;
}

int kvm_rescue_msr(struct kvm_vcpu *k, uint64_t value, bool fault)
{
    int err = state_in(k);

    if (err)
        return err;
    err = assist_msr(&k->rescuer->assist, value, fault);
    state_out(k);
    return err;
}

int kvm_rescue_finish(struct kvm_vcpu *k)
{
    int err = 0;

    if (!kvm_rescue_is_open(k))
        return 0;
    if (k->v.dirty & X86_GPRS) {
        k->rescuer->assist.shutdown = false;
    } else if (k->rescuer->assist.unanswered) {
        err = state_in(k);
        if (!err)
            err = assist_unanswered(&k->rescuer->assist);
        state_out(k);
    }
    k->rescuer->open = false;
    return err;
}
