/*
 * A debugger outside the guest (api.rst 4.87, KVM_SET_GUEST_DEBUG). KVM steps
 * by the guest's TF and watches by its debug registers, so the guest's own
 * breakpoints rest while there are watches.
 */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>

static bool watching(const struct vcpu_debug *d)
{
    for (unsigned n = 0; n < VCPU_WATCHES; n++) {
        if (d->watch[n].kind != VCPU_WATCH_OFF)
            return true;
    }
    return false;
}

static bool stops_at(const struct vcpu_watch *w, uint64_t linear)
{
    return w->kind == VCPU_WATCH_EXEC && w->gva == linear;
}

/* SDM Vol. 3B 17.2.4: type and length of breakpoint n. */
static uint64_t dr7_bits(unsigned n, const struct vcpu_watch *w)
{
    static const uint8_t types[] = {0, 0, 1, 3};
    static const uint8_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};

    return UINT64_C(2) << (2 * n) | (uint64_t)(types[w->kind] | lengths[w->size] << 2)
                                        << (16 + 4 * n);
}

static int control_set(struct kvm_vcpu *k)
{
    const struct vcpu_debug *d = &k->debug;
    struct kvm_guest_debug g = {0};

    if (d->breakpoints)
        g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
    if (d->step || k->passing)
        g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP |
                     (kvm_machine(k->v.machine)->debug_flags & KVM_GUESTDBG_BLOCKIRQ);
    if (watching(d)) {
        g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        g.arch.debugreg[7] = DR7_FIXED;
    }
    for (unsigned n = 0; n < VCPU_WATCHES; n++) {
        if (d->watch[n].kind == VCPU_WATCH_OFF ||
            (k->passing && stops_at(&d->watch[n], k->debug_linear)))
            continue;
        g.arch.debugreg[n] = d->watch[n].gva;
        g.arch.debugreg[7] |= dr7_bits(n, &d->watch[n]);
    }
    return MIN(KVM_CALL(k->fd, KVM_SET_GUEST_DEBUG, &g), 0);
}

int kvm_set_debug(struct vcpu *v, const struct vcpu_debug *debug)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    /* What was answered belongs to the time before. */
    int err = k->pending == KVM_PENDING_ANSWERED ? kvm_finish(k) : 0;

    if (err)
        return err;
    k->debug = *debug;
    k->debugged = debug->breakpoints || debug->step || watching(debug);
    k->debug_changed = true;
    if (!debug->step) {
        k->step_due = false;
        if (k->stashed && k->run->exit_reason == KVM_EXIT_DEBUG)
            k->stashed = false;
    }
    return 0;
}

static bool watch_stops_at(const struct vcpu_debug *d, uint64_t linear)
{
    for (unsigned n = 0; n < VCPU_WATCHES; n++) {
        if (stops_at(&d->watch[n], linear))
            return true;
    }
    return false;
}

/*
 * RF lets one instruction pass its breakpoint. It is set where the debugger
 * stopped and still is; and taken back when KVM completed that instruction by
 * itself, which leaves RF alone.
 */
static int resume(struct kvm_vcpu *k)
{
    struct mote_state *s = k->v.state;
    bool told = k->debug_told;
    int err;

    if (!told && !k->rf_lent)
        return 0;
    err = kvm_get(&k->v, X86_GPRS);
    if (err)
        return err;
    k->debug_told = false;
    if (s->rip == k->debug_rip) {
        if (!told || !watch_stops_at(&k->debug, k->debug_linear))
            return 0;
        s->rflags |= FLAG_RF;
        k->rf_lent = true;
    } else {
        if (!k->rf_lent || !(s->rflags & FLAG_RF))
            return 0;
        s->rflags &= ~(uint64_t)FLAG_RF;
        k->rf_lent = false;
    }
    return kvm_set(&k->v, X86_GPRS);
}

/* An exit came while that instruction was stepped over. */
static void pass_ends(struct kvm_vcpu *k)
{
    if (k->passing && !k->debug.step && k->stashed && k->run->exit_reason == KVM_EXIT_DEBUG)
        k->stashed = false;
    k->debug_changed |= k->passing;
    k->passing = false;
}

/* #DB that is not the debugger's: TF of the guest's own, which KVM leaves to us while there are
 * watches. */
static int give_back(struct kvm_vcpu *k, uint64_t dr6)
{
    struct mote_state *s = k->v.state;
    int err = kvm_get(&k->v, X86_DRS | X86_INTR);

    if (err)
        return err;
    s->dr[6] = (s->dr[6] & ~UINT64_C(15)) | (dr6 & (DR6_BS | DR6_BT | DR6_BD | 15));
    s->intr.pending = (struct mote_event){.kind = X86_EVENT_EXCEPTION, .vector = EXC_DB};
    return kvm_set(&k->v, X86_DRS | X86_INTR);
}

/* BIT(n): watch n was hit. A bit in DR6 alone says that the address fits, no more (SDM Vol. 3B
 * 17.2.3). */
static unsigned watches_hit(const struct kvm_vcpu *k)
{
    const struct kvm_debug_exit_arch *arch = &k->run->debug.arch;
    unsigned hit = 0;

    for (unsigned n = 0; n < VCPU_WATCHES; n++) {
        const struct vcpu_watch *w = &k->debug.watch[n];

        if (w->kind != VCPU_WATCH_OFF && (arch->dr6 & BIT(n)) &&
            (w->kind != VCPU_WATCH_EXEC || w->gva == arch->pc))
            hit |= (unsigned)BIT(n);
    }
    return hit;
}

/*
 * KVM's emulator, which gets instructions that access devices, does not look
 * at RF: such an instruction is stepped over without its watch.
 */
int kvm_debug_pass(struct kvm_vcpu *k, bool *again)
{
    const struct kvm_debug_exit_arch *arch = &k->run->debug.arch;
    int err;

    *again = false;
    if (k->run->exit_reason != KVM_EXIT_DEBUG || arch->exception != EXC_DB)
        return 0;
    if (k->passing) {
        k->passing = false;
        *again = !k->debug.step && !watches_hit(k);
        k->debug_changed = !*again;
        return *again ? control_set(k) : 0;
    }
    if (!k->debug.step && !watches_hit(k)) {
        *again = true;
        return give_back(k, arch->dr6);
    }
    if (!k->rf_lent || arch->pc != k->debug_linear || (arch->dr6 & DR6_BS))
        return 0;
    err = kvm_get(&k->v, X86_GPRS);
    if (err || !(k->v.state->rflags & FLAG_RF))
        return err;
    k->passing = *again = true;
    return control_set(k);
}

/* The step that KVM did not see: an exit came instead, and is answered. */
static int step_is_done(struct kvm_vcpu *k)
{
    struct kvm_run *run = k->run;
    int err = kvm_get(&k->v, X86_GPRS);

    k->step_due = false;
    if (err)
        return err;
    run->exit_reason = KVM_EXIT_DEBUG;
    run->debug.arch.exception = EXC_DB;
    run->debug.arch.dr6 = DR6_FIXED | DR6_BS;
    run->debug.arch.pc = k->v.state->rip;
    k->stashed = true;
    return 0;
}

int kvm_debug_enter(struct kvm_vcpu *k)
{
    int err = 0;

    if (k->debugged && k->pending != KVM_PENDING_NONE)
        err = kvm_finish(k);
    pass_ends(k);
    if (err || k->stashed)
        return err;
    if (k->step_due)
        return step_is_done(k);
    if (k->debugged)
        err = resume(k);
    /* KVM steps from where rip is as it is told to. */
    if (!err && (k->debug_changed || k->debug.step))
        err = control_set(k);
    k->debug_changed = k->debug_changed && err;
    return err;
}

void kvm_debug_decode(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    const struct kvm_debug_exit_arch *arch = &k->run->debug.arch;

    exit->reason = VCPU_EXIT_DEBUG;
    exit->debug.rip = k->regs_fresh ? k->run->s.regs.regs.rip : arch->pc;
    exit->debug.int3 = arch->exception == EXC_BP;
    exit->debug.step = !exit->debug.int3 && k->debug.step && (arch->dr6 & DR6_BS);
    exit->debug.watches = exit->debug.int3 ? 0 : (uint8_t)watches_hit(k);
    k->debug_told = true;
    k->debug_rip = exit->debug.rip;
    k->debug_linear = arch->pc;
    k->rf_lent = false;
}
