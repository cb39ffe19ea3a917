/* A vCPU of the soft engine: its life, its state, what the interpreter asks it. */
#include "accel/soft/vcpu.h"
#include "base/err.h"
#include "base/steps.h"
#include "emu/event.h"
#include "emu/features.h"
#include "x86/paging.h"

#include <asm/hwcap2.h>
#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <x86intrin.h>

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

static const struct emu_ops run_ops = {
    .page_has_code = page_has_code,
    .code_written = code_written,
    .tsc = tsc,
    .tlb_flushed = tlb_flushed,
    .writes_dropped = writes_dropped,
    .paused = spin_paused,
};

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
    .paused = spin_paused,
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
    s->assist = (struct assist){.v = &s->vcpu, .cpu = &s->cpu};
    ((struct soft_machine *)m)->vcpu[id] = s;
    err = engine_start(s, ((struct soft_machine *)m)->engine);
    s->cpu.tells_pause = spin_init(s);
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
    spin_halted(s);
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

/* The witness asks nobody. */
int soft_exit_cpuid(struct vcpu *v, const uint32_t *leaves, unsigned count)
{
    struct soft_vcpu *s = soft(v);

    if (s->check)
        return err_set(ENOTSUP, "soft: CPUID does not exit where engines are compared");
    for (unsigned n = 0; n < count; n++)
        s->exit_leaf[n] = leaves[n];
    s->cpu.exit_leaf = s->exit_leaf;
    s->cpu.exit_leaves = count;
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

int soft_set(struct vcpu *v, unsigned groups)
{
    uint64_t offset = soft(v)->cpu.msr.tsc, tsc = v->state->msr.tsc;

    emu_set_state(&soft(v)->cpu, v->state, groups);
    if ((groups & X86_MSRS) && (!tsc || tsc == soft(v)->tsc_told))
        soft(v)->cpu.msr.tsc = offset;
    if (groups & X86_GPRS) { /* rip may be elsewhere now */
        soft(v)->assist.unanswered = false;
        soft(v)->assist.shutdown = false;
    }
    if (groups & X86_INTR)
        nmi_waits(soft(v), soft(v)->cpu.intr.nmi_pending);
    check_state_changed(soft(v)->check);
    tell_tsc_offset(soft(v));
    return 0;
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
        {"times a spinning vCPU made way", soft(v)->spin.yields},
        {"single instructions", p->retired[PART_SINGLE]},
        {"instructions of blocks not translated", p->retired[PART_COLD]},
    };
    unsigned n = p->on ? ARRAY_SIZE(all) : ARRAY_SIZE(all) - 2;

    memcpy(stats, all, n * sizeof(all[0]));
    n += parts_stats(p, stats + n, ACCEL_STATS - n);
    return n + translate_stats(soft(v), stats + n, ACCEL_STATS - n);
}
