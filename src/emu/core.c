/*
 * The interpreter's frame: how handlers unwind, what is derived from the
 * control registers, the stack, and one instruction with all that surrounds it.
 */
#include "emu/bind.h"
#include "emu/debug.h"
#include "emu/emu.h"
#include "emu/event.h"
#include "emu/features.h"
#include "emu/fpu.h"
#include "x86/msrs.h"
#include "x86/paging.h"

/* ---- unwinding --------------------------------------------------------- */

/* Count what a block has done before it is left in the middle; `whole`: with this instruction. */
static void block_left(struct emu_cpu *c, bool whole)
{
    if (c->op && c->first)
        c->retired += (uint64_t)(c->op - c->first) + whole;
    c->first = NULL;
}

/* The instruction under way faults: rip back to its start. */
static void instruction_undo(struct emu_cpu *c)
{
    block_left(c, false);
    if (c->op)
        c->r[X86_RIP_SLOT] = (c->r[X86_RIP_SLOT] - c->op->i.len) & c->rip_mask;
    c->op = NULL;
}

void emu_undo(struct emu_cpu *c)
{
    c->exit_len = c->op ? c->op->i.len : 0;
    if (c->op == &c->scratch) {
        c->rflags |= c->undo_rflags;
        c->intr.shadow = c->undo_shadow;
    }
    instruction_undo(c);
}

/* What emu_leave restores beside rip. */
static void undo_note(struct emu_cpu *c)
{
    c->undo_rflags = c->rflags & FLAG_RF;
    c->undo_shadow = c->intr.shadow;
}

/* An instruction is done. In an interrupt shadow the guest's traps wait for the next one. */
static void completed(struct emu_cpu *c, bool single_step)
{
    if (single_step && !c->intr.shadow)
        c->hit |= EMU_HIT_TRACE;
    if (c->debug_step)
        c->hit |= EMU_HIT_STEP;
}

static _Noreturn void raise_event(struct emu_cpu *c, unsigned vector, bool has_error,
                                  uint32_t error)
{
    instruction_undo(c);
    c->event = (struct mote_event){
        .kind = X86_EVENT_EXCEPTION,
        .vector = (uint8_t)vector,
        .has_error = has_error,
        .error = error,
    };
    longjmp(c->unwind, EMU_UNWIND_RAISE);
}

void emu_raise(struct emu_cpu *c, unsigned vector)
{
    raise_event(c, vector, false, 0);
}

void emu_raise_error(struct emu_cpu *c, unsigned vector, uint32_t error)
{
    raise_event(c, vector, true, error);
}

void emu_raise_pf(struct emu_cpu *c, uint64_t linear, uint32_t error)
{
    c->cr2 = linear;
    raise_event(c, EXC_PF, true, error);
}

void emu_leave(struct emu_cpu *c, enum vcpu_exit_reason reason)
{
    emu_undo(c);
    c->exit.reason = reason;
    longjmp(c->unwind, EMU_UNWIND_EXIT);
}

void emu_leave_last(struct emu_cpu *c, enum vcpu_exit_reason reason)
{
    if (!c->returns || c->op == &c->scratch)
        emu_leave(c, reason);
    emu_undo(c);
    c->exit.reason = reason;
    c->hit |= EMU_HIT_EXIT;
    c->end = NULL;
}

void emu_leave_after(struct emu_cpu *c, enum vcpu_exit_reason reason)
{
    c->retired += !c->first; /* emu_one's instruction */
    completed(c, !c->first && (c->rflags & FLAG_TF));
    block_left(c, true);
    c->op = NULL;
    c->exit.reason = reason;
    longjmp(c->unwind, EMU_UNWIND_EXIT);
}

/* Enter a handler; for a debugger that is a step, and no watch there was told of. */
static void deliver(struct emu_cpu *c, const struct mote_event *event, enum emu_event_source source)
{
    emu_deliver(c, event->vector, source, event->has_error, event->error);
    c->delivering = -1;
    c->debug_told = false;
    completed(c, false);
}

bool emu_unwound(struct emu_cpu *c, int code)
{
    if (code == EMU_UNWIND_EXIT)
        return false;
    if (!emu_escalate(c)) {
        c->delivering = -1;
        c->exit.reason = VCPU_EXIT_SHUTDOWN;
        return false;
    }
    /* Faults push RF set, so that an instruction breakpoint does not hit twice (SDM Vol. 3B
     * 17.3.1.1). */
    deliver(c, &c->event, EMU_EVENT_FAULT);
    return true;
}

/* ---- derived state ------------------------------------------------------ */

static bool segment_flat(const struct emu_cpu *c, const struct mote_seg *s)
{
    uint32_t want = SEG_S | SEG_P | SEG_TYPE_RW;
    uint32_t mask = want | SEG_UNUSABLE | SEG_TYPE_CODE | SEG_TYPE_EC;

    return s->limit == 0xffffffff && (!c->protected_mode || (s->attrib & mask) == want);
}

static void mmu_changed(struct emu_cpu *c)
{
    if (c->cpl == 3)
        c->mmu = (c->cr0 & CR0_AM) && (c->rflags & FLAG_AC) ? EMU_MMU_USER_AC : EMU_MMU_USER;
    else if (!(c->cr4 & CR4_SMAP) || (c->rflags & FLAG_AC))
        c->mmu = EMU_MMU_KERNEL_AC;
    else
        c->mmu = EMU_MMU_KERNEL;
}

void emu_mode_changed(struct emu_cpu *c)
{
    bool big_code = c->seg[SEG_CS].attrib & SEG_DB;
    bool big_stack = c->seg[SEG_SS].attrib & SEG_DB;

    c->long_mode = c->msr.efer & EFER_LMA;
    c->vm86 = (c->cr0 & CR0_PE) && (c->rflags & FLAG_VM) && !c->long_mode;
    c->protected_mode = (c->cr0 & CR0_PE) && !c->vm86;
    c->code64 = c->long_mode && (c->seg[SEG_CS].attrib & SEG_L);
    c->mode = c->code64 ? X86_MODE64 : big_code ? X86_MODE32 : X86_MODE16;
    c->stack_size = c->code64 ? 8 : big_stack ? 4 : 2;
    c->sp_mask = mask_bytes(c->stack_size);
    c->rip_mask = c->code64 ? UINT64_MAX : big_code ? 0xffffffff : 0xffff;
    c->lin_mask = c->code64 ? UINT64_MAX : 0xffffffff;
    c->seg_flat = 0;
    for (unsigned s = SEG_ES; s <= SEG_GS; s++) {
        c->seg_base[s] = c->code64 && s < SEG_FS ? 0 : c->seg[s].base;
        if (c->code64 || segment_flat(c, &c->seg[s]))
            c->seg_flat |= (uint8_t)BIT(s);
    }
    mmu_changed(c);
}

void emu_vectors_changed(struct emu_cpu *c)
{
    const uint64_t avx = XCR0_SSE | XCR0_AVX;
    bool sse = !(c->cr0 & (CR0_EM | CR0_TS)) && c->cr4 & CR4_OSFXSR;
    bool vex = !(c->cr0 & CR0_TS) && c->cr4 & CR4_OSXSAVE && (c->fpu.xcr0 & avx) == avx;

    c->vectors = (uint8_t)((sse ? EMU_VECTORS_SSE : 0) | (vex ? EMU_VECTORS_VEX : 0));
}

void emu_segments_changed(struct emu_cpu *c)
{
    if (!c->code64 || !(c->seg[SEG_CS].attrib & SEG_L)) {
        emu_mode_changed(c);
        return;
    }
    c->seg_base[SEG_FS] = c->seg[SEG_FS].base;
    c->seg_base[SEG_GS] = c->seg[SEG_GS].base;
    mmu_changed(c);
}

#define RFLAGS_WRITABLE                                                                            \
    (FLAG_STATUS | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM |         \
     FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID)

void emu_set_rflags(struct emu_cpu *c, uint64_t rflags)
{
    uint64_t changed = c->rflags ^ rflags;

    c->rflags = (rflags & RFLAGS_WRITABLE) | FLAG_R1;
    if (changed & FLAG_VM)
        emu_mode_changed(c);
    else if (changed & FLAG_AC)
        mmu_changed(c);
}

/* ---- stack and near control transfer ------------------------------------ */

void emu_push(struct emu_cpu *c, unsigned size, uint64_t value)
{
    uint64_t sp = emu_stack_at(c, -(int64_t)size);

    emu_store(c, SEG_SS, sp, size, value);
    emu_set_sp(c, sp);
}

uint64_t emu_pop(struct emu_cpu *c, unsigned size)
{
    uint64_t value = emu_load(c, SEG_SS, emu_stack_at(c, 0), size);

    emu_set_sp(c, c->r[RSP] + size);
    return value;
}

void emu_jump(struct emu_cpu *c, uint64_t target)
{
    if (c->code64) {
        if (!x86_canonical(target))
            emu_gp(c, 0);
    } else if (target > c->seg[SEG_CS].limit) {
        emu_gp(c, 0);
    }
    c->r[X86_RIP_SLOT] = target;
    c->end = NULL;
}

/* ---- one instruction ------------------------------------------------------ */

/* Fetch, decode and do it; then what the guest's TF and data breakpoints want of it. */
static void execute(struct emu_cpu *c)
{
    bool single_step = c->rflags & FLAG_TF;
    struct emu_op *op = &c->scratch;

    c->first = NULL;
    emu_fetch(c, op);
    c->op = op;
    c->r[X86_RIP_SLOT] += op->i.len;
    c->end = NULL;
    undo_note(c);
    c->intr.shadow = 0;
    c->rflags &= ~(uint64_t)FLAG_RF;
    op->fn(c, op);
    c->r[X86_RIP_SLOT] &= c->rip_mask;
    c->op = NULL;
    c->retired++;
    completed(c, single_step);
    debug_traps(c);
}

void emu_one(struct emu_cpu *c)
{
    c->op = NULL;
    c->first = NULL;
    debug_traps(c); /* what a block left with */
    debug_tell(c);
    debug_instruction(c);
    execute(c);
}

void emu_skip(struct emu_cpu *c)
{
    c->r[X86_RIP_SLOT] = (c->r[X86_RIP_SLOT] + c->exit_len) & c->rip_mask;
    c->intr.shadow = 0;
    c->rflags &= ~(uint64_t)FLAG_RF;
    completed(c, c->rflags & FLAG_TF);
}

/* #BP and #OF are delivered as INT3 and INTO do it: from behind the instruction, which a
 * fault on the way goes back to. */
static void inject_software(struct emu_cpu *c, const struct mote_event *event)
{
    c->scratch.i.len = 1;
    undo_note(c);
    c->op = &c->scratch;
    c->r[X86_RIP_SLOT] = (c->r[X86_RIP_SLOT] + 1) & c->rip_mask;
    deliver(c, event, EMU_EVENT_SOFTWARE);
    c->op = NULL;
}

void emu_inject(struct emu_cpu *c, const struct mote_event *event)
{
    struct mote_event e = *event;

    c->op = NULL;
    c->first = NULL;
    c->intr.activity = X86_ACTIVE;
    if (e.kind == X86_EVENT_EXCEPTION) {
        if (e.vector == EXC_BP || e.vector == EXC_OF)
            inject_software(c, &e);
        else
            deliver(c, &e, EMU_EVENT_FAULT);
        return;
    }
    if (e.kind == X86_EVENT_NMI) {
        c->intr.nmi_masked = 1;
        e.vector = EXC_NMI;
    }
    deliver(c, &e, EMU_EVENT_EXTERNAL);
}

bool emu_step(struct emu_cpu *c)
{
    int code = setjmp(c->unwind);

    if (!code)
        execute(c);
    else if (!emu_unwound(c, code))
        return false;
    return true;
}

bool emu_step_event(struct emu_cpu *c)
{
    const struct mote_event event = c->intr.pending;
    int code;

    c->intr.pending.kind = X86_EVENT_NONE;
    code = setjmp(c->unwind);
    if (!code)
        emu_inject(c, &event);
    else if (!emu_unwound(c, code))
        return false;
    return true;
}

/* ---- life and state -------------------------------------------------------- */

void emu_init(struct emu_cpu *c, struct guest_mem *mem, const struct x86_cpuid *cpuid,
              const struct emu_ops *ops, void *user)
{
    struct mote_state *reset = &c->reset;

    c->mem = mem;
    c->ops = ops;
    c->user = user;
    c->delivering = -1;
    emu_set_cpuid(c, cpuid);
    emu_tlb_init(c);
    x86_state_reset(reset);
    emu_set_state(c, reset, X86_ALL);
}

void emu_set_cpuid(struct emu_cpu *c, const struct x86_cpuid *cpuid)
{
    c->cpuid = cpuid;
    c->features = emu_features(cpuid);
    memset(c->fetched, 0, sizeof(c->fetched));
    c->msrs = 0;
    for (unsigned n = 0; n < x86_msr_count; n++)
        c->msrs |= x86_msr_exists(&x86_msr_list[n], cpuid) ? BIT(n) : 0;
}

static uint8_t cpl_of(const struct emu_cpu *c)
{
    if (!(c->cr0 & CR0_PE))
        return 0;
    if (c->rflags & FLAG_VM)
        return 3;
    return (c->seg[SEG_SS].attrib & SEG_DPL) >> SEG_DPL_SHIFT;
}

void emu_set_state(struct emu_cpu *c, const struct mote_state *s, unsigned groups)
{
    if (groups & X86_GPRS) {
        memcpy(c->r, s->gpr, sizeof(s->gpr));
        c->r[X86_RIP_SLOT] = s->rip;
        c->rflags = (s->rflags & RFLAGS_WRITABLE) | FLAG_R1;
    }
    if (groups & X86_SEGS) {
        memcpy(c->seg, s->seg, sizeof(c->seg));
        c->gdtr = s->gdtr;
        c->idtr = s->idtr;
    }
    if (groups & X86_CRS) {
        c->cr0 = s->cr0;
        c->cr2 = s->cr2;
        c->cr3 = s->cr3;
        c->cr4 = s->cr4;
        c->cr8 = s->cr8;
        c->fpu.xcr0 = s->xcr0;
        emu_vectors_changed(c);
    }
    if (groups & X86_DRS) {
        memcpy(c->dr, s->dr, sizeof(c->dr));
        debug_registers_changed(c);
    }
    if (groups & X86_MSRS) {
        c->msr = s->msr;
        c->msr.tsc = s->msr.tsc - c->ops->tsc(c->user);
    }
    if (groups & X86_INTR) {
        c->intr = s->intr;
        c->hit = 0; /* what was pending of debug traps is not part of it */
    }
    if (groups & X86_FPU)
        emu_fpu_from_xsave(c, s->xsave);
    if (groups & (X86_GPRS | X86_SEGS | X86_CRS | X86_MSRS)) {
        c->cpl = cpl_of(c);
        emu_mode_changed(c);
    }
    if (groups & (X86_CRS | X86_MSRS | X86_DRS))
        emu_tlb_flush(c);
}

void emu_get_state(const struct emu_cpu *c, struct mote_state *s, unsigned groups)
{
    s->version = X86_STATE_VERSION;
    s->size = sizeof(*s);
    if (groups & X86_GPRS) {
        memcpy(s->gpr, c->r, sizeof(s->gpr));
        s->rip = c->r[X86_RIP_SLOT];
        s->rflags = c->rflags;
    }
    if (groups & X86_SEGS) {
        memcpy(s->seg, c->seg, sizeof(c->seg));
        s->gdtr = c->gdtr;
        s->idtr = c->idtr;
    }
    if (groups & X86_CRS) {
        s->cr0 = c->cr0;
        s->cr2 = c->cr2;
        s->cr3 = c->cr3;
        s->cr4 = c->cr4;
        s->cr8 = c->cr8;
        s->xcr0 = c->fpu.xcr0;
    }
    if (groups & X86_DRS)
        memcpy(s->dr, c->dr, sizeof(c->dr));
    if (groups & X86_MSRS) {
        s->msr = c->msr;
        s->msr.tsc = c->msr.tsc + c->ops->tsc(c->user);
    }
    if (groups & X86_INTR)
        s->intr = c->intr;
    if (groups & X86_FPU)
        emu_fpu_to_xsave(c, s->xsave);
}

void emu_fill_exit(const struct emu_cpu *c, struct vcpu_exit *exit)
{
    exit->rflags = c->rflags;
    exit->cr8 = c->cr8;
    exit->intr_ready =
        (c->rflags & FLAG_IF) && !c->intr.shadow && c->intr.pending.kind == X86_EVENT_NONE;
}
