/* A vCPU of the soft engine: its run loop, its state, its assists. */
#include "accel/soft/soft.h"
#include "base/err.h"
#include "base/steps.h"
#include "emu/event.h"
#include "emu/features.h"
#include "x86/paging.h"

#include <asm/hwcap2.h>
#include <asm/prctl.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

static struct soft_vcpu *soft(struct vcpu *v)
{
    return (struct soft_vcpu *)v;
}

static struct code_map *code_map(struct soft_vcpu *s)
{
    return &((struct soft_machine *)s->vcpu.machine)->code;
}

/* ---- the interpreter's callbacks ------------------------------------------------ */

static bool page_has_code(void *user, gpa_t gpa)
{
    return code_map_test(code_map(user), gpa.v);
}

/* Our own blocks first, then the others'; nothing else of the guest's happens in between. */
static void code_written(void *user, gpa_t gpa, uint64_t len)
{
    struct soft_vcpu *s = user;
    uint64_t first = MIN(len, PAGE_SIZE - (gpa.v & PAGE_MASK));

    block_written(&s->blocks, &s->cpu, code_map_home(code_map(s), gpa.v), first);
    if (first < len)
        block_written(&s->blocks, &s->cpu, code_map_home(code_map(s), gpa.v + first), len - first);
    code_map_written(code_map(s), &s->peer, gpa.v, len);
}

static void tlb_flushed(void *user, enum emu_flush what, uint64_t linear)
{
    struct soft_vcpu *s = user;
    unsigned halves = block_forget(&s->blocks, what, linear);

    if (halves)
        translate_forget(s, halves);
    if (what == EMU_FLUSH_PAGE)
        slots_flush_page(s, linear);
    else
        slots_flush(s);
}

static void writes_dropped(void *user)
{
    slots_flush(user);
}

static struct soft_vcpu *owner(struct block_cache *b)
{
    return (struct soft_vcpu *)((uint8_t *)b - offsetof(struct soft_vcpu, blocks));
}

static void block_dropped(struct block_cache *b, struct block *block)
{
    translate_drop(owner(b), block);
}

static void blocks_flushed(struct block_cache *b)
{
    translate_reset(owner(b));
}

/* The guest's TSC is the host's plus an offset that the interpreter adds. */
static uint64_t tsc(void *user)
{
    struct soft_vcpu *s = user;

    return unlikely(s->check != NULL) ? check_tsc(s->check) : __rdtsc();
}

/* The offset is the interpreter's to change; others see it as of the last exit. */
static void tell_tsc_offset(struct soft_vcpu *s)
{
    atomic_store_explicit(&s->vcpu.tsc_offset, s->cpu.msr.tsc, memory_order_relaxed);
}

static const struct emu_ops run_ops = {
    .page_has_code = page_has_code,
    .code_written = code_written,
    .tsc = tsc,
    .tlb_flushed = tlb_flushed,
    .writes_dropped = writes_dropped,
};

/* With counting. */
static enum soft_part part(struct soft_vcpu *s, enum soft_part to)
{
    return parts_switch(&s->parts, to, s->cpu.retired);
}

static unsigned walk_begins(void *user)
{
    return part(user, PART_WALK);
}

static void walk_done(void *user, unsigned token)
{
    part(user, (enum soft_part)token);
}

static const struct emu_ops counted_ops = {
    .page_has_code = page_has_code,
    .code_written = code_written,
    .tsc = tsc,
    .tlb_flushed = tlb_flushed,
    .writes_dropped = writes_dropped,
    .walk_begins = walk_begins,
    .walk_done = walk_done,
};

/* ---- life -------------------------------------------------------------------------- */

static int engine_start(struct soft_vcpu *s, enum accel_engine engine)
{
    int err = engine == ACCEL_ENGINE_INTERPRET ? 0 : translate_init(s);

    if (((struct soft_machine *)s->vcpu.machine)->count) {
        translate_count(s);
        s->parts.on = engine != ACCEL_ENGINE_CHECK; /* which times nothing that counts */
        if (s->parts.on)
            s->cpu.ops = &counted_ops;
    }
    if (engine == ACCEL_ENGINE_BEST) /* without it, the interpreter does all */
        return 0;
    return !err && engine == ACCEL_ENGINE_CHECK ? check_create(s) : err;
}

int soft_vcpu_create(struct vcpu **out, struct machine *m, unsigned id)
{
    struct x86_cpuid_topology topology = {id, 1, m->tsc_khz};
    struct soft_vcpu *s;
    int err;

    if (id >= SOFT_VCPUS)
        return err_set(EINVAL, "vCPU %u, expected one below %d", id, SOFT_VCPUS);
    s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        return err_set(ENOMEM, "vCPU %u: out of memory", id);
    s->vcpu.machine = m;
    if (block_cache_init(&s->blocks, &s->peer)) {
        munmap(s, sizeof(*s));
        return err_set(ENOMEM, "vCPU %u: out of memory for decoded code", id);
    }
    s->fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
    s->blocks.dropped = block_dropped;
    s->blocks.flushed = blocks_flushed;
    emu_default_cpuid(&topology, &s->cpuid);
    emu_init(&s->cpu, &m->mem, &s->cpuid, &run_ops, s);
    code_peer_init(&s->peer, code_map(s), id, &s->cpu, &s->attention, SOFT_INBOX);
    s->cpu.msr.tsc = -((struct soft_machine *)m)->start_tsc;
    tell_tsc_offset(s);
    s->assist = (struct assist){&s->vcpu, &s->cpu, false};
    ((struct soft_machine *)m)->vcpu[id] = s;
    err = engine_start(s, ((struct soft_machine *)m)->engine);
    s->cpu.returns = !s->check; /* whose witness unwinds, as all must then */
    if (!s->tr.on)
        s->blocks.segments = BLOCK_SEGMENTS_ALL;
    if (err) {
        soft_vcpu_destroy(&s->vcpu);
        return err;
    }
    *out = &s->vcpu;
    step_end(STEP_VCPU);
    return 0;
}

void soft_vcpu_destroy(struct vcpu *v)
{
    struct soft_vcpu *s = soft(v);

    ((struct soft_machine *)v->machine)->vcpu[v->id] = NULL;
    block_flush(&s->blocks);
    code_peer_free(&s->peer);
    block_cache_free(&s->blocks);
    translate_free(s);
    check_destroy(s);
    munmap(s, sizeof(*s));
}

int soft_set_cpuid(struct vcpu *v, const struct x86_cpuid *table)
{
    struct soft_vcpu *s = soft(v);

    s->cpuid = *table;
    emu_set_cpuid(&s->cpu, &s->cpuid);
    block_flush(&s->blocks); /* bindings depend on features */
    return 0;
}

/* ---- state --------------------------------------------------------------------------- */

int soft_get(struct vcpu *v, unsigned groups)
{
    emu_get_state(&soft(v)->cpu, v->state, groups);
    if (groups & X86_MSRS)
        soft(v)->tsc_told = v->state->msr.tsc;
    return 0;
}

static void nmi_waits(struct soft_vcpu *s, bool waits)
{
    s->cpu.intr.nmi_pending = waits;
    if (waits)
        atomic_fetch_or(&s->attention, SOFT_NMI);
    else
        atomic_fetch_and(&s->attention, ~(unsigned)SOFT_NMI);
}

int soft_set(struct vcpu *v, unsigned groups)
{
    uint64_t offset = soft(v)->cpu.msr.tsc, tsc = v->state->msr.tsc;

    emu_set_state(&soft(v)->cpu, v->state, groups);
    if ((groups & X86_MSRS) && (!tsc || tsc == soft(v)->tsc_told))
        soft(v)->cpu.msr.tsc = offset;
    if (groups & X86_GPRS)
        soft(v)->assist.unanswered = false; /* rip may be elsewhere now */
    if (groups & X86_INTR)
        nmi_waits(soft(v), soft(v)->cpu.intr.nmi_pending);
    check_state_changed(soft(v)->check);
    tell_tsc_offset(soft(v));
    return 0;
}

/* What the shared page was changed to goes in before the CPU is looked at. */
static void state_flush(struct vcpu *v)
{
    if (v->dirty)
        soft_set(v, v->dirty);
    v->dirty = 0;
}

int soft_inject(struct vcpu *v, const struct mote_event *event)
{
    struct soft_vcpu *s = soft(v);
    struct emu_cpu *c = &s->cpu;

    state_flush(v);
    if (event->kind == X86_EVENT_NMI &&
        (c->intr.pending.kind != X86_EVENT_NONE || c->intr.nmi_masked || c->intr.shadow)) {
        nmi_waits(s, true); /* one is kept, as in hardware */
        v->valid &= ~(unsigned)X86_INTR;
        return 0;
    }
    if (c->intr.pending.kind != X86_EVENT_NONE)
        return err_set(EAGAIN, "vCPU %u: an event is already pending", v->id);
    if (event->kind == X86_EVENT_INTR && (!(c->rflags & FLAG_IF) || c->intr.shadow))
        return err_set(EAGAIN, "vCPU %u: interrupts are masked", v->id);
    if (event->kind == X86_EVENT_INTR)
        steal_interrupted(s);
    c->intr.pending = *event;
    check_state_changed(s->check);
    v->valid &= ~(unsigned)X86_INTR;
    return 0;
}

void soft_request_window(struct vcpu *v, bool intr, bool nmi)
{
    struct soft_vcpu *s = soft(v);

    atomic_fetch_and(&s->attention, ~(unsigned)(SOFT_INTR_WINDOW | SOFT_NMI_WINDOW));
    if (intr || nmi)
        atomic_fetch_or(&s->attention, (intr ? SOFT_INTR_WINDOW : 0) | (nmi ? SOFT_NMI_WINDOW : 0));
}

void soft_kick(struct vcpu *v)
{
    atomic_fetch_or(&soft(v)->attention, SOFT_KICK);
}

int soft_translate(struct vcpu *v, uint64_t gva, gpa_t *gpa)
{
    struct emu_cpu *c = &soft(v)->cpu;
    struct x86_paging paging;
    struct x86_access access = {.no_smap = true};
    struct x86_page page;

    state_flush(v);
    paging = (struct x86_paging){c->cr0, c->cr3, c->cr4, c->msr.efer};
    if (c->long_mode && !x86_canonical(gva))
        return -EFAULT;
    if (x86_walk(&paging, c->mem, gva, &access, &page))
        return -EFAULT;
    *gpa = gpa_add(page.gpa, gva & PAGE_MASK);
    return 0;
}

unsigned soft_stats(struct vcpu *v, struct accel_stat stats[ACCEL_STATS])
{
    const struct block_stats *b = &soft(v)->blocks.stats;
    const struct soft_parts *p = &soft(v)->parts;
    const struct accel_stat all[] = {
        {"instructions", soft(v)->cpu.retired},
        {"instructions outside of blocks", b->uncached},
        {"blocks decoded", b->built},
        {"blocks evicted", b->evicted},
        {"... decoded again, as code needs them", b->again},
        {"blocks dropped by writes to code", b->dropped},
        {"flushes of all blocks", b->flushes},
        {"instructions while pages became code", b->waited},
        {"bytes of decoded instructions", b->ring},
        {"bytes of blocks, and instructions kept", b->arena},
        {"single instructions", p->retired[PART_SINGLE]},
        {"instructions of blocks not translated", p->retired[PART_COLD]},
    };
    unsigned n = p->on ? ARRAY_SIZE(all) : ARRAY_SIZE(all) - 2;

    memcpy(stats, all, n * sizeof(all[0]));
    n += parts_stats(p, stats + n, ACCEL_STATS - n);
    return n + translate_stats(soft(v), stats + n, ACCEL_STATS - n);
}

/* ---- run ------------------------------------------------------------------------------- */

/* Do what others asked for: drop code they wrote to, and writable entries for pages that they
 * cache code from. */
static void inbox_empty(struct soft_vcpu *s)
{
    struct code_request request[CODE_REQUESTS];
    const uint8_t *pages[CODE_REQUESTS];
    unsigned writable = 0;
    uint64_t epoch;
    bool all;
    unsigned count = code_peer_take(&s->peer, request, &all, &epoch);

    for (unsigned n = 0; n < count; n++) {
        const struct code_request *r = &request[n];

        if (r->begin < r->end)
            block_written(&s->blocks, &s->cpu, r->page + r->begin, r->end - r->begin);
        if (r->host && emu_tlb_may_write(&s->cpu, r->host))
            pages[writable++] = r->host;
    }
    if (writable)
        emu_tlb_drop_writes(&s->cpu, pages, writable);
    if (all) {
        block_flush(&s->blocks);
        emu_tlb_flush(&s->cpu);
    }
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
    enter(s);
    check_state_changed(s->assist.unanswered ? s->check : NULL);
    err = assist_unanswered(&s->assist);
    if (err) {
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
    if (s->cpu.exit.reason == VCPU_EXIT_HALT)
        steal_halted(s);
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

int soft_complete_msr(struct vcpu *v, uint64_t value, bool fault)
{
    state_flush(v);
    v->valid = 0;
    check_state_changed(soft(v)->check);
    return assist_msr(&soft(v)->assist, value, fault);
}
