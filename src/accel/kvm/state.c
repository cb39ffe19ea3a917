/* The groups of struct mote_state, from and to KVM's structures. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/steps.h"

#include <errno.h>

/* Groups that share struct kvm_sregs: EFER is one of the MSRs. */
#define SREGS_GROUPS (X86_SEGS | X86_CRS | X86_MSRS)

/* X(ours, KVM's): struct kvm_regs has its own order. */
/* clang-format off */
#define GPRS(X)                                                                                    \
    X(RAX, rax) X(RCX, rcx) X(RDX, rdx) X(RBX, rbx) X(RSP, rsp) X(RBP, rbp) X(RSI, rsi)            \
    X(RDI, rdi) X(R8, r8) X(R9, r9) X(R10, r10) X(R11, r11) X(R12, r12) X(R13, r13) X(R14, r14)    \
    X(R15, r15)

#define SEGS(X)                                                                                    \
    X(SEG_ES, es) X(SEG_CS, cs) X(SEG_SS, ss) X(SEG_DS, ds) X(SEG_FS, fs) X(SEG_GS, gs)            \
    X(SEG_LDTR, ldt) X(SEG_TR, tr)
/* clang-format on */

static int get_gprs(struct kvm_vcpu *k)
{
    struct mote_state *s = k->v.state;
    struct kvm_regs regs;

    if (k->regs_fresh) {
        regs = k->run->s.regs.regs;
    } else {
        int err = KVM_CALL(k->fd, KVM_GET_REGS, &regs);

        if (err < 0)
            return err;
    }
#define X(ours, theirs) s->gpr[ours] = regs.theirs;
    GPRS(X)
#undef X
    s->rip = regs.rip;
    s->rflags = regs.rflags;
    return 0;
}

static int set_gprs(struct kvm_vcpu *k)
{
    const struct mote_state *s = k->v.state;
    struct kvm_regs regs = {
#define X(ours, theirs) .theirs = s->gpr[ours],
        GPRS(X)
#undef X
            .rip = s->rip,
        .rflags = s->rflags,
    };

    if (!(s->rflags & FLAG_IF))
        k->intr_ready = false;
    /* A processor that awaits its SIPI inside KVM would not take them from kvm_run, and KVM
     * wants to know rip before it is told to step. */
    if (!kvm_machine(k->v.machine)->sync_regs || (k->v.machine->caps & ACCEL_CAP_LAPIC) ||
        k->debugged) {
        k->regs_fresh = false;
        return KVM_CALL(k->fd, KVM_SET_REGS, &regs);
    }
    k->run->s.regs.regs = regs; /* the next KVM_RUN takes them */
    k->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
    return 0;
}

static void seg_get(struct mote_seg *s, const struct kvm_segment *k)
{
    *s = (struct mote_seg){
        .base = k->base,
        .limit = k->limit,
        .selector = k->selector,
        .attrib = k->type | (k->s ? SEG_S : 0) | (uint32_t)k->dpl << SEG_DPL_SHIFT |
                  (k->present ? SEG_P : 0) | (k->avl ? SEG_AVL : 0) | (k->l ? SEG_L : 0) |
                  (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0) | (k->unusable ? SEG_UNUSABLE : 0),
    };
}

static void seg_set(struct kvm_segment *k, const struct mote_seg *s)
{
    *k = (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = s->attrib & SEG_TYPE,
        .s = !!(s->attrib & SEG_S),
        .dpl = (s->attrib & SEG_DPL) >> SEG_DPL_SHIFT,
        .present = !!(s->attrib & SEG_P),
        .avl = !!(s->attrib & SEG_AVL),
        .l = !!(s->attrib & SEG_L),
        .db = !!(s->attrib & SEG_DB),
        .g = !!(s->attrib & SEG_G),
        .unusable = !!(s->attrib & SEG_UNUSABLE),
    };
}

static int get_sregs(struct kvm_vcpu *k, unsigned groups)
{
    struct mote_state *s = k->v.state;
    struct kvm_sregs sregs;
    int err = KVM_CALL(k->fd, KVM_GET_SREGS, &sregs);

    if (err < 0)
        return err;
    if (groups & X86_SEGS) {
#define X(ours, theirs) seg_get(&s->seg[ours], &sregs.theirs);
        SEGS(X)
#undef X
        s->gdtr = (struct mote_table){.base = sregs.gdt.base, .limit = sregs.gdt.limit};
        s->idtr = (struct mote_table){.base = sregs.idt.base, .limit = sregs.idt.limit};
    }
    if (groups & X86_CRS) {
        s->cr0 = sregs.cr0;
        s->cr2 = sregs.cr2;
        s->cr3 = sregs.cr3;
        s->cr4 = sregs.cr4;
        s->cr8 = sregs.cr8;
    }
    if (groups & X86_MSRS)
        s->msr.efer = sregs.efer;
    return 0;
}

/* What is not in groups, and the APIC base, keeps KVM's value. */
static int set_sregs(struct kvm_vcpu *k, unsigned groups)
{
    const struct mote_state *s = k->v.state;
    struct kvm_sregs sregs;
    int err = KVM_CALL(k->fd, KVM_GET_SREGS, &sregs);

    if (err < 0)
        return err;
    if (groups & X86_SEGS) {
#define X(ours, theirs) seg_set(&sregs.theirs, &s->seg[ours]);
        SEGS(X)
#undef X
        sregs.gdt = (struct kvm_dtable){.base = s->gdtr.base, .limit = s->gdtr.limit};
        sregs.idt = (struct kvm_dtable){.base = s->idtr.base, .limit = s->idtr.limit};
    }
    if (groups & X86_CRS) {
        sregs.cr0 = s->cr0;
        sregs.cr2 = s->cr2;
        sregs.cr3 = s->cr3;
        sregs.cr4 = s->cr4;
        sregs.cr8 = k->run->cr8 = s->cr8; /* without an APIC inside KVM_RUN takes run's */
    }
    if (groups & X86_MSRS)
        sregs.efer = s->msr.efer;
    memset(sregs.interrupt_bitmap, 0, sizeof(sregs.interrupt_bitmap)); /* X86_INTR's business */
    return KVM_CALL(k->fd, KVM_SET_SREGS, &sregs);
}

static int get_xcr0(struct kvm_vcpu *k)
{
    struct kvm_xcrs xcrs;
    int err = KVM_CALL(k->fd, KVM_GET_XCRS, &xcrs);

    if (err < 0)
        return err;
    k->v.state->xcr0 = XCR0_X87;
    for (uint32_t i = 0; i < MIN(xcrs.nr_xcrs, (uint32_t)KVM_MAX_XCRS); i++) {
        if (xcrs.xcrs[i].xcr == 0)
            k->v.state->xcr0 = xcrs.xcrs[i].value;
    }
    return 0;
}

static int set_xcr0(struct kvm_vcpu *k)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = k->v.state->xcr0}}};

    return KVM_CALL(k->fd, KVM_SET_XCRS, &xcrs);
}

static int get_drs(struct kvm_vcpu *k)
{
    struct mote_state *s = k->v.state;
    struct kvm_debugregs drs;
    int err = KVM_CALL(k->fd, KVM_GET_DEBUGREGS, &drs);

    if (err < 0)
        return err;
    memset(s->dr, 0, sizeof(s->dr));
    memcpy(s->dr, drs.db, sizeof(drs.db));
    s->dr[6] = drs.dr6;
    s->dr[7] = drs.dr7;
    return 0;
}

static int set_drs(struct kvm_vcpu *k)
{
    const struct mote_state *s = k->v.state;
    struct kvm_debugregs drs = {.dr6 = s->dr[6], .dr7 = s->dr[7]};

    memcpy(drs.db, s->dr, sizeof(drs.db));
    return KVM_CALL(k->fd, KVM_SET_DEBUGREGS, &drs);
}

static void pending_get(struct mote_event *p, const struct kvm_vcpu_events *e)
{
    *p = (struct mote_event){.kind = X86_EVENT_NONE};
    if (e->exception.injected) {
        p->kind = X86_EVENT_EXCEPTION;
        p->vector = e->exception.nr;
        p->has_error = e->exception.has_error_code;
        p->error = p->has_error ? e->exception.error_code : 0;
    } else if (e->nmi.injected) {
        p->kind = X86_EVENT_NMI;
    } else if (e->interrupt.injected && !e->interrupt.soft) {
        p->kind = X86_EVENT_INTR;
        p->vector = e->interrupt.nr;
    }
}

static void pending_set(struct kvm_vcpu_events *e, const struct mote_event *p)
{
    memset(&e->exception, 0, sizeof(e->exception));
    e->exception_has_payload = 0;
    e->interrupt.injected = p->kind == X86_EVENT_INTR;
    e->interrupt.nr = p->vector;
    e->interrupt.soft = 0;
    e->nmi.injected = p->kind == X86_EVENT_NMI;
    if (p->kind == X86_EVENT_EXCEPTION) {
        e->exception.injected = 1;
        e->exception.nr = p->vector;
        e->exception.has_error_code = p->has_error;
        e->exception.error_code = p->error;
    }
}

/* KVM's SIPI_RECEIVED is gone by the time that it tells: the processor runs. */
static const struct {
    uint8_t ours, theirs;
} activities[] = {
    {X86_ACTIVE, KVM_MP_STATE_RUNNABLE},
    {X86_HALTED, KVM_MP_STATE_HALTED},
    {X86_WAITS_SIPI, KVM_MP_STATE_INIT_RECEIVED},
    {X86_UNINITIALIZED, KVM_MP_STATE_UNINITIALIZED},
};

static int get_activity(struct kvm_vcpu *k)
{
    uint8_t *activity = &k->v.state->intr.activity;
    struct kvm_mp_state mp;
    int err;

    *activity = X86_ACTIVE;
    if (!(k->v.machine->caps & ACCEL_CAP_LAPIC))
        return 0;
    err = KVM_CALL(k->fd, KVM_GET_MP_STATE, &mp);
    for (unsigned i = 0; i < ARRAY_SIZE(activities) && err >= 0; i++) {
        if (activities[i].theirs == mp.mp_state)
            *activity = activities[i].ours;
    }
    return err;
}

/* A start-up message that has come meanwhile is not lost: the next run takes it. */
static int set_activity(struct kvm_vcpu *k)
{
    uint8_t activity = k->v.state->intr.activity;
    struct kvm_mp_state mp;

    if (!(k->v.machine->caps & ACCEL_CAP_LAPIC))
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(activities); i++) {
        if (activities[i].ours != activity)
            continue;
        mp.mp_state = activities[i].theirs;
        return KVM_CALL(k->fd, KVM_SET_MP_STATE, &mp);
    }
    return err_set(EINVAL, "vCPU %u: no activity %u", k->v.id, activity);
}

static int get_intr(struct kvm_vcpu *k)
{
    struct mote_intr *intr = &k->v.state->intr;
    struct kvm_vcpu_events events;
    int err = KVM_CALL(k->fd, KVM_GET_VCPU_EVENTS, &events);

    if (err < 0)
        return err;
    intr->shadow = !!events.interrupt.shadow;
    intr->nmi_masked = events.nmi.masked;
    intr->nmi_pending = !!events.nmi.pending;
    pending_get(&intr->pending, &events);
    return get_activity(k);
}

static int set_intr(struct kvm_vcpu *k)
{
    const struct mote_intr *intr = &k->v.state->intr;
    struct kvm_vcpu_events events;
    int err = KVM_CALL(k->fd, KVM_GET_VCPU_EVENTS, &events);

    if (err < 0)
        return err;
    /* MOV SS's shadow, as hardware refuses STI's with IF clear (SDM Vol. 3C 26.3.1.5). */
    if (intr->shadow != !!events.interrupt.shadow)
        events.interrupt.shadow = intr->shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0;
    events.nmi.masked = !!intr->nmi_masked;
    events.nmi.pending = !!intr->nmi_pending;
    pending_set(&events, &intr->pending);
    events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    if (intr->pending.kind == X86_EVENT_INTR || intr->shadow)
        k->intr_ready = false;
    err = KVM_CALL(k->fd, KVM_SET_VCPU_EVENTS, &events);
    return err < 0 ? err : set_activity(k);
}

static int get_fpu(struct kvm_vcpu *k)
{
    _Static_assert(sizeof(struct kvm_xsave) == X86_XSAVE_SIZE, "the same area");
    return KVM_CALL(k->fd, KVM_GET_XSAVE, k->v.state->xsave);
}

static int set_fpu(struct kvm_vcpu *k)
{
    return KVM_CALL(k->fd, KVM_SET_XSAVE, k->v.state->xsave);
}

int kvm_get(struct vcpu *v, unsigned groups)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    int err = 0;

    if (k->pending == KVM_PENDING_ANSWERED)
        err = kvm_finish(k);
    if (err >= 0 && (groups & X86_GPRS))
        err = get_gprs(k);
    if (err >= 0 && (groups & SREGS_GROUPS))
        err = get_sregs(k, groups);
    if (err >= 0 && (groups & X86_CRS))
        err = get_xcr0(k);
    if (err >= 0 && (groups & X86_DRS))
        err = get_drs(k);
    if (err >= 0 && (groups & X86_MSRS))
        err = kvm_get_msrs(k);
    if (err >= 0 && (groups & X86_INTR))
        err = get_intr(k);
    if (err >= 0 && (groups & X86_FPU))
        err = get_fpu(k);
    return MIN(err, 0);
}

/* sregs first: paging and mode decide what KVM accepts of the rest. */
int kvm_set(struct vcpu *v, unsigned groups)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    int err = 0;

    if (k->pending == KVM_PENDING_ANSWERED)
        err = kvm_finish(k);
    if (err >= 0 && (groups & SREGS_GROUPS))
        err = step_done(STEP_SEGMENTS, set_sregs(k, groups));
    if (err >= 0 && (groups & X86_GPRS))
        err = step_done(STEP_REGISTERS, set_gprs(k));
    if (err >= 0 && (groups & X86_CRS))
        err = step_done(STEP_FPU, set_xcr0(k));
    if (err >= 0 && (groups & X86_DRS))
        err = step_done(STEP_FPU, set_drs(k));
    if (err >= 0 && (groups & X86_MSRS))
        err = step_done(STEP_MSRS, kvm_set_msrs(k));
    if (err >= 0 && (groups & X86_FPU))
        err = step_done(STEP_FPU, set_fpu(k));
    if (err >= 0 && (groups & X86_INTR))
        err = step_done(STEP_FPU, set_intr(k));
    if (err >= 0)
        v->dirty &= ~groups;
    return MIN(err, 0);
}
