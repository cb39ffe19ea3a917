/* A run of a vCPU: the loop over its blocks, why it is left, and completing the exits of a run. */
#include "accel/soft/vcpu.h"
#include "base/err.h"
#include "base/steps.h"

#include <asm/prctl.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- run ------------------------------------------------------------------------------- */

/* Do what others asked for: drop code they wrote to, and writable entries for pages that they
 * cache code from. */
static void inbox_empty(struct soft_vcpu *s)
{
    struct code_request request[CODE_REQUESTS];
    const uint8_t *pages[CODE_REQUESTS];
    unsigned writable = 0;
    uint64_t epoch;
    unsigned more, count = code_peer_take(&s->peer, request, &more, &epoch);

    for (unsigned n = 0; n < count; n++) {
        const struct code_request *r = &request[n];

        if (r->begin < r->end)
            block_written(&s->blocks, &s->cpu, r->page + r->begin, r->end - r->begin);
        if (r->host && emu_tlb_may_write(&s->cpu, r->host))
            pages[writable++] = r->host;
    }
    if (writable)
        emu_tlb_drop_writes(&s->cpu, pages, writable);
    if (more & CODE_LOST) {
        block_flush(&s->blocks);
        emu_tlb_flush(&s->cpu);
    }
    if (more & CODE_DOUBT && block_doubt(&s->blocks))
        translate_doubt(s);
    code_peer_acknowledge(&s->peer, epoch);
}

static void enter(struct soft_vcpu *s)
{
    code_peer_enter(&s->peer);
    inbox_empty(s);
}

static void leave(struct soft_vcpu *s)
{
    code_peer_leave(&s->peer);
}

/* Nobody waits meanwhile until it has seen which pages become code. */
static __attribute__((noinline)) void make_way(struct soft_vcpu *s)
{
    if (unlikely(s->parts.on))
        parts_end(&s->parts, s->cpu.retired);
    leave(s);
    spin_make_way(s);
    enter(s);
    if (unlikely(s->parts.on))
        parts_begin(&s->parts, s->cpu.retired);
}

/* Deliver what the board injected. */
static bool inject_pending(struct soft_vcpu *s)
{
    struct mote_event event = s->cpu.intr.pending;
    bool again;

    if (unlikely(s->parts.on))
        part(s, PART_EVENT);
    if (unlikely(s->check != NULL))
        check_begin(s, CHECK_INJECT, NULL, &event);
    s->cpu.intr.pending.kind = X86_EVENT_NONE;
    emu_inject(&s->cpu, &event);
    return likely(!s->check) || check_end(s, 0, &again);
}

/* Between two blocks, something wants to be looked at. True: leave, exit.reason is set. */
static bool attend(struct soft_vcpu *s)
{
    struct emu_cpu *c = &s->cpu;
    unsigned why = atomic_load(&s->attention);

    if (why & SOFT_SPIN) {
        atomic_fetch_and(&s->attention, ~(unsigned)SOFT_SPIN);
        if (!(why & SOFT_KICK))
            make_way(s);
        why = atomic_load(&s->attention);
    }
    if (why & SOFT_INBOX) {
        atomic_fetch_and(&s->attention, ~(unsigned)SOFT_INBOX);
        inbox_empty(s);
    }
    if (why & SOFT_KICK) {
        atomic_fetch_and(&s->attention, ~(unsigned)SOFT_KICK);
        c->exit.reason = VCPU_EXIT_NONE;
        return true;
    }
    if (c->intr.pending.kind != X86_EVENT_NONE) /* waits until a debugger was told of a step */
        return false;
    if ((why & SOFT_NMI) && !c->intr.nmi_masked && !c->intr.shadow && !emu_debug_due(c)) {
        nmi_waits(s, false);
        c->intr.pending = (struct mote_event){.kind = X86_EVENT_NMI, .vector = EXC_NMI};
        return !inject_pending(s);
    }
    if ((why & SOFT_INTR_WINDOW) && (c->rflags & FLAG_IF) && !c->intr.shadow) {
        soft_request_window(&s->vcpu, false, why & SOFT_NMI_WINDOW);
        c->exit.reason = VCPU_EXIT_INTR_WINDOW;
        return true;
    }
    if ((why & SOFT_NMI_WINDOW) && !c->intr.nmi_masked && !c->intr.shadow) {
        soft_request_window(&s->vcpu, why & SOFT_INTR_WINDOW, false);
        c->exit.reason = VCPU_EXIT_NMI_WINDOW;
        return true;
    }
    return false;
}

/* The heart: the instructions of one block, until its end or a taken jump. */
static inline void block_run(struct emu_cpu *c, const struct block *b)
{
    const struct emu_op *op = b->op;

    c->first = op;
    c->end = op + b->count;
    do {
        c->op = op;
        c->r[X86_RIP_SLOT] += op->i.len;
        op->fn(c, op);
        op++;
    } while (op < c->end);
    c->r[X86_RIP_SLOT] &= c->rip_mask;
    if (unlikely(!c->first)) /* emu_leave_last */
        return;
    c->retired += (uint64_t)(op - b->op);
    c->first = NULL;
}

/* MSRs that are the engine's own. True: answered, rip is behind the instruction. */
static bool own_msr(struct soft_vcpu *s)
{
    struct emu_cpu *c = &s->cpu;
    uint64_t value = 0;

    if (c->exit.reason == VCPU_EXIT_WRMSR) {
        if (!soft_pvclock_write(s, c->exit.msr.index, c->exit.msr.value) &&
            !steal_write(s, c->exit.msr.index, c->exit.msr.value))
            return false;
    } else if (c->exit.reason != VCPU_EXIT_RDMSR ||
               (!soft_pvclock_read(s, c->exit.msr.index, &value) &&
                !steal_read(s, c->exit.msr.index, &value))) {
        return false;
    }
    return soft_complete_msr(&s->vcpu, value, false) == 0;
}

/*
 * Translated code finds the vCPU by the GS base, which the host's programs hardly use: it is the
 * vCPU's from its first translated code in a run to the end of that run.
 */
static void gs_set(const struct soft_vcpu *s, uint64_t base)
{
    if (likely(s->fsgsbase))
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    else
        syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

static __attribute__((noinline)) void gs_take(struct soft_vcpu *s)
{
    if (likely(s->fsgsbase))
        __asm__ volatile("rdgsbase %0" : "=r"(s->host_gs));
    else
        syscall(SYS_arch_prctl, ARCH_GET_GS, &s->host_gs);
    gs_set(s, (uintptr_t)s);
    s->gs_taken = true;
}

static void gs_give_back(struct soft_vcpu *s)
{
    if (!s->gs_taken)
        return;
    gs_set(s, s->host_gs);
    s->gs_taken = false;
}

/* By translated code, if there is any or it is time for it; false: there is not. */
static inline bool run_translated(struct soft_vcpu *s, struct block *b)
{
    struct emu_cpu *c = &s->cpu;

    if (unlikely(!s->tr.on) || unlikely(!translate_allowed(c)))
        return false;
    if (!b->code[c->mmu]) {
        b->rounds += s->tr.cold == b;
        s->tr.cold = b;
        if (++b->heat < TRANSLATE_HEAT && !s->tr.lockstep)
            return false;
        if (unlikely(s->parts.on))
            part(s, PART_TRANSLATE);
        if (!block_ready(&s->blocks, c, b))
            return true;
        b->heat = 0;
        if (!translate_block(s, b)) {
            block_flush(&s->blocks);
            return true;
        }
    }
    if (unlikely(s->parts.on))
        part(s, PART_CODE);
    if (unlikely(!s->gs_taken))
        gs_take(s);
    translate_run(s, b);
    return true;
}

static struct block *find_counted(struct soft_vcpu *s)
{
    uint64_t built = s->blocks.stats.built;
    struct block *b = block_find(&s->blocks, &s->cpu);

    if (s->blocks.stats.built != built)
        parts_was(&s->parts, PART_TRANSLATE, s->cpu.retired);
    return b;
}

/* Has the last block ended with an exit? */
static inline bool exited(struct emu_cpu *c)
{
    if (likely(!(c->hit & EMU_HIT_EXIT)))
        return false;
    c->hit &= (uint16_t)~EMU_HIT_EXIT;
    return true;
}

/* Block after block, until something unwinds, exits, or attend() says to leave. counted:
 * s->parts.on */
static inline __attribute__((always_inline)) void run_blocks(struct soft_vcpu *s, bool counted)
{
    struct emu_cpu *c = &s->cpu;

    for (;;) {
        struct block *b;

        if (counted)
            part(s, PART_LOOP);
        if (exited(c))
            return;
        if (unlikely(atomic_load_explicit(&s->attention, memory_order_relaxed)) && attend(s))
            return;
        if (unlikely((c->rflags & FLAG_TF) | c->intr.shadow | c->singly | c->hit)) {
            if (counted)
                part(s, PART_SINGLE);
            emu_one(c);
            continue;
        }
        b = counted ? find_counted(s) : block_find(&s->blocks, c);
        if (unlikely(!b)) {
            if (counted)
                part(s, PART_SINGLE);
            emu_one(c);
        } else if (!run_translated(s, b) && block_ready(&s->blocks, c, b)) {
            if (counted)
                part(s, PART_COLD);
            block_run(c, b);
        }
    }
}

static __attribute__((noinline)) void run_uncounted(struct soft_vcpu *s)
{
    run_blocks(s, false);
}

static __attribute__((noinline)) void run_counted(struct soft_vcpu *s)
{
    run_blocks(s, true);
}

/* The same, with a witness. */
static __attribute__((noinline)) void run_checked(struct soft_vcpu *s)
{
    struct emu_cpu *c = &s->cpu;
    bool again;

    do {
        struct block *b = NULL;

        if (atomic_load_explicit(&s->attention, memory_order_relaxed) && attend(s))
            return;
        if (!((c->rflags & FLAG_TF) | c->intr.shadow | c->singly | c->hit))
            b = block_find(&s->blocks, c);
        if (b && !block_ready(&s->blocks, c, b))
            b = NULL;
        check_begin(s, b ? CHECK_BLOCK : CHECK_ONE, b, NULL);
        if (!b)
            emu_one(c);
        else if (!run_translated(s, b))
            block_run(c, b);
    } while (check_end(s, 0, &again));
}

/* A handler has unwound with longjmp's code. True: go on. */
static bool unwound(struct soft_vcpu *s, int code)
{
    struct emu_cpu *c = &s->cpu;
    bool again = false, on;

    translate_unwound(s);
    if (unlikely(s->parts.on))
        part(s, PART_EVENT);
    if (likely(!s->check))
        return emu_unwound(c, code) || own_msr(s);
    if (!check_end(s, code, &again))
        return false;
    if (again)
        return true;
    if (code == EMU_UNWIND_EXIT)
        return own_msr(s);
    check_begin(s, CHECK_DELIVER, NULL, NULL);
    on = emu_unwound(c, code);
    return check_end(s, 0, &again) && on;
}

/* The point that handlers unwind to. It keeps nothing in registers: the loop is elsewhere. */
static void run_loop(struct soft_vcpu *s)
{
    struct emu_cpu *c = &s->cpu;
    int code = setjmp(c->unwind);

    if (code && !unwound(s, code))
        return;
    if (c->intr.pending.kind != X86_EVENT_NONE && !emu_debug_due(c) && !inject_pending(s))
        return;
    if (unlikely(s->check != NULL))
        run_checked(s);
    else if (unlikely(s->parts.on))
        run_counted(s);
    else
        run_uncounted(s);
}

int soft_run(struct vcpu *v, struct vcpu_exit *exit)
{
    struct soft_vcpu *s = soft(v);
    int err;

    err = s->check ? check_ready(s->check) : 0;
    if (err)
        return err;
    state_flush(v); /* first: a new rip makes the old access void */
    step_end(STEP_REGISTERS);
    steal_run(s);
    spin_run(s);
    enter(s);
    check_state_changed(s->assist.unanswered ? s->check : NULL);
    err = assist_unanswered(&s->assist);
    if (err || assist_shuts_down(&s->assist, exit)) {
        v->valid = 0;
        leave(s);
        return err;
    }
    emu_debug_moved(&s->cpu);
    step_end(STEP_START);
    if (unlikely(s->parts.on))
        parts_begin(&s->parts, s->cpu.retired);
    run_loop(s);
    gs_give_back(s);
    if (unlikely(s->parts.on))
        parts_end(&s->parts, s->cpu.retired);
    leave(s);
    if (s->cpu.exit.reason == VCPU_EXIT_HALT) {
        steal_halted(s);
        spin_halted(s);
    }
    emu_debug_moved(&s->cpu);
    v->valid = 0;
    s->cpu.op = NULL;
    tell_tsc_offset(s);
    *exit = s->cpu.exit;
    if (exit->reason == VCPU_EXIT_FAIL) {
        memcpy(exit->fail.insn, s->cpu.bytes, sizeof(exit->fail.insn));
        exit->fail.insn_len = s->cpu.bytes_len;
    }
    assist_expect(&s->assist);
    emu_fill_exit(&s->cpu, exit);
    return 0;
}

/* ---- completing exits --------------------------------------------------------------------- */

static int checked_access(struct soft_vcpu *s, const struct accel_bus_ops *ops)
{
    bool again;
    int err;

    check_begin(s, CHECK_ASSIST, NULL, NULL);
    err = assist_access(&s->assist, check_bus(s->check, ops));
    if (!err && !check_end(s, 0, &again))
        err = err_set(EIO, "vCPU %u: %s", s->vcpu.id, s->cpu.exit.fail.why);
    check_state_changed(err ? s->check : NULL);
    return err;
}

/*
 * IN or OUT of a register, as the exit left it: its checks are done, nothing of it touches memory,
 * and all that is left of it is known. Not when somebody wants to see what the instruction does.
 */
static bool is_port_only(const struct soft_vcpu *s)
{
    const struct emu_cpu *c = &s->cpu;

    return s->assist.unanswered && c->exit.reason == VCPU_EXIT_IO && !c->exit.io.string &&
           !s->vcpu.dirty && !s->check && !c->debug_step && !c->hit && !(c->rflags & FLAG_TF);
}

static int port_assist(struct soft_vcpu *s, const struct accel_bus_ops *ops)
{
    struct emu_cpu *c = &s->cpu;
    unsigned size = c->exit.io.size;
    bool in = c->exit.io.in;
    uint64_t value = in ? 0 : c->r[RAX] & mask_bytes(size);
    int err = ops->io(ops->user, c->exit.io.port, size, !in, &value);

    if (err)
        return err;
    if (in && size == 1)
        c->r[RAX] = (c->r[RAX] & ~UINT64_C(0xff)) | (uint8_t)value;
    else if (in)
        emu_set_reg(c, RAX, size, value & mask_bytes(size));
    emu_skip(c);
    c->retired++;
    s->assist.unanswered = false;
    s->vcpu.valid &= ~(unsigned)(X86_GPRS | X86_INTR);
    return 0;
}

int soft_assist(struct vcpu *v, const struct accel_bus_ops *ops)
{
    struct soft_vcpu *s = soft(v);
    bool open = s->assist.unanswered;
    int err;

    if (likely(is_port_only(s)))
        return port_assist(s, ops);
    state_flush(v);
    v->valid = 0;
    s->assist.unanswered = open;
    enter(s);
    err = s->check ? checked_access(s, ops) : assist_access(&s->assist, ops);
    leave(s);
    return err;
}

/* An exit is about to be completed by what is changed in the state. */
static struct assist *completing(struct vcpu *v)
{
    state_flush(v);
    v->valid = 0;
    check_state_changed(soft(v)->check);
    return &soft(v)->assist;
}

int soft_complete_msr(struct vcpu *v, uint64_t value, bool fault)
{
    return assist_msr(completing(v), value, fault);
}

int soft_complete_cpuid(struct vcpu *v, const uint32_t regs[4])
{
    return assist_cpuid(completing(v), regs);
}
