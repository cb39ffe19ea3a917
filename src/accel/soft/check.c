/*
 * --engine-check: the witness's memory and state, what comes from outside, and the verdict on
 * each unit.
 */
#include "accel/soft/check_internal.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <x86intrin.h>

#define SWEEP (UINT64_C(1) << 24) /* units between two comparisons of all memory */

/* ---- what comes from outside -------------------------------------------------------- */

static void log_put(struct check_log *l, uint64_t value)
{
    if (l->count < CHECK_LOG)
        l->value[l->count] = value;
    l->count++;
}

uint64_t check_log_get(struct check_log *l)
{
    unsigned n = l->read++;

    return n < CHECK_LOG ? l->value[n] : 0;
}

uint64_t check_tsc(struct soft_check *k)
{
    uint64_t now = __rdtsc();

    if (k->unit != CHECK_NOTHING)
        log_put(&k->in, now);
    return now;
}

static int bus_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    struct soft_check *k = user;
    int err = k->bus->io(k->bus->user, port, size, write, data);

    log_put(&k->in, *data);
    return err;
}

static int bus_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    struct soft_check *k = user;
    int err = k->bus->mmio(k->bus->user, gpa, size, write, data);

    log_put(&k->in, *data);
    return err;
}

const struct accel_bus_ops *check_bus(struct soft_check *k, const struct accel_bus_ops *ops)
{
    k->bus = ops;
    k->logging = (struct accel_bus_ops){bus_io, bus_mmio, k};
    return &k->logging;
}

/* ---- the witness's callbacks ------------------------------------------------------------ */

/* All pages: so each of its stores is told. Not while it does a long string, which is told whole.
 */
static bool every_page(void *user, gpa_t gpa)
{
    return !((struct soft_check *)user)->bulk;
}

void check_stored(void *user, gpa_t gpa, uint64_t len)
{
    struct soft_check *k = user;

    if (k->writes < CHECK_WRITES)
        k->write[k->writes++] = (struct check_stretch){gpa.v, len};
}

static uint64_t replayed_tsc(void *user)
{
    return check_log_get(&((struct soft_check *)user)->in);
}

static const struct emu_ops ref_ops = {
    .page_has_code = every_page,
    .code_written = check_stored,
    .tsc = replayed_tsc,
};

void check_cpuid(struct x86_cpuid *table)
{
    struct x86_cpuid_leaf *basic = x86_cpuid_find(table, 1, 0), *more = x86_cpuid_find(table, 7, 0);

    if (basic)
        basic->ecx &= ~(uint32_t)BIT(30); /* RDRAND */
    if (more)
        more->ebx &= ~(uint32_t)BIT(18); /* RDSEED */
}

/* ---- life --------------------------------------------------------------------------------- */

int check_create(struct soft_vcpu *s)
{
    struct soft_check *k =
        mmap(NULL, sizeof(*k), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (k == MAP_FAILED)
        return err_set(ENOMEM, "out of memory for the engine's check");
    guest_mem_init(&k->mem);
    k->theirs = s->cpu.mem;
    emu_init(&k->ref, &k->mem, &s->cpuid, &ref_ops, k);
    k->stale = true;
    s->check = k;
    s->tr.lockstep = true;
    return 0;
}

static void copy_free(struct soft_check *k)
{
    while (k->mem.count) {
        struct mem_slot slot = k->mem.slot[0];

        guest_mem_unmap(&k->mem, slot.gpa);
        if (slot.rights & MEM_WRITE)
            munmap(slot.hva, slot.size);
    }
    k->copied = false;
}

void check_destroy(struct soft_vcpu *s)
{
    if (!s->check)
        return;
    copy_free(s->check);
    munmap(s->check, sizeof(*s->check));
    s->check = NULL;
}

static bool is_zero(const uint8_t *page)
{
    static const uint8_t zero[PAGE_SIZE];

    return !memcmp(page, zero, PAGE_SIZE);
}

/* What the guest cannot write needs no copy: devices change it as they like. */
static int slot_copy(struct soft_check *k, const struct mem_slot *slot)
{
    uint8_t *copy;

    if (!(slot->rights & MEM_WRITE))
        return guest_mem_map(&k->mem, slot->gpa, slot->size, slot->hva, slot->rights);
    copy = mmap(NULL, slot->size, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copy == MAP_FAILED)
        return -ENOMEM;
    for (uint64_t at = 0; at < slot->size; at += PAGE_SIZE) {
        if (!is_zero(slot->hva + at))
            memcpy(copy + at, slot->hva + at, PAGE_SIZE);
    }
    return guest_mem_map(&k->mem, slot->gpa, slot->size, copy, slot->rights);
}

int check_ready(struct soft_check *k)
{
    for (unsigned n = 0; !k->copied && n < k->theirs->count; n++) {
        if (slot_copy(k, &k->theirs->slot[n])) {
            copy_free(k);
            return err_set(ENOMEM, "out of memory for a copy of the guest's, to compare engines");
        }
    }
    k->copied = true;
    return 0;
}

void check_map_changed(struct soft_check *k)
{
    copy_free(k);
    emu_tlb_flush(&k->ref);
}

/* The byte in the vCPU's memory and in the copy; NULL: none. */
uint8_t *check_memory_at(struct guest_mem *mem, uint64_t gpa, uint64_t len)
{
    const struct mem_slot *slot = guest_mem_find(mem, GPA(gpa));

    if (!slot || gpa - slot->gpa.v + len > slot->size)
        return NULL;
    return slot->hva + (gpa - slot->gpa.v);
}

void check_memory_written(struct soft_check *k, gpa_t gpa, uint64_t len)
{
    for (unsigned n = 0; k->copied && n < k->theirs->count; n++) {
        const struct mem_slot *slot = &k->theirs->slot[n];
        uint64_t begin = MAX(gpa.v, slot->gpa.v);
        uint64_t end = MIN(gpa.v + len - 1, slot->gpa.v + slot->size - 1);
        uint8_t *to = check_memory_at(&k->mem, begin, 1);

        if (len && begin <= end && to && to != slot->hva + (begin - slot->gpa.v))
            memcpy(to, slot->hva + (begin - slot->gpa.v), end - begin + 1);
    }
}

void check_state_changed(struct soft_check *k)
{
    if (k)
        k->stale = true;
}

/* The witness becomes what the vCPU is. */
static void take_over(struct soft_vcpu *s)
{
    struct soft_check *k = s->check;

    emu_get_state(&s->cpu, &k->state, X86_ALL);
    emu_set_state(&k->ref, &k->state, X86_ALL);
    k->ref.msr = s->cpu.msr;
    k->ref.hit = s->cpu.hit;
    k->ref.intr = s->cpu.intr;
    k->ref.fpu = s->cpu.fpu;
    emu_set_cpuid(&k->ref, &s->cpuid);
    k->stale = false;
}
/* ---- units ------------------------------------------------------------------------------------
 */

void check_begin(struct soft_vcpu *s, enum check_unit unit, const struct block *block,
                 const struct mote_event *event)
{
    struct soft_check *k = s->check;

    if (k->stale)
        take_over(s);
    k->unit = unit;
    k->block = block;
    k->retired = s->cpu.retired;
    k->rip = s->cpu.r[X86_RIP_SLOT];
    k->in.count = k->in.read = 0;
    k->writes = 0;
    k->foreign = false;
    if (event)
        k->event = *event;
}
static bool fail(struct soft_vcpu *s)
{
    struct soft_check *k = s->check;

    check_print_code(k);
    k->unit = CHECK_NOTHING;
    s->cpu.exit.reason = VCPU_EXIT_FAIL;
    s->cpu.exit.fail.why = "translator and interpreter differ (--engine-check)";
    s->cpu.exit.fail.detail[0] = k->rip;
    return false;
}
/* A fault of the vCPU's by an entry that the guest has changed since: tried anew, there is none. If
 * there is, with the TLB empty, they differ. */
static bool void_fault(struct soft_vcpu *s, int code, int ref_code)
{
    bool before = s->check->voided;

    s->check->voided =
        !before && code == EMU_UNWIND_RAISE && !ref_code && s->cpu.event.vector == EXC_PF;
    return s->check->voided;
}

/* What the witness stored is not to be: the vCPU will do it, and then the witness again. */
static void undo(struct soft_check *k)
{
    for (unsigned n = 0; n < k->writes; n++)
        check_memory_written(k, GPA(k->write[n].gpa), k->write[n].len);
    k->stale = true;
    k->unit = CHECK_NOTHING;
}

/* The vCPU's word is taken for these flags. */
static void adopt_flags(struct soft_vcpu *s, uint64_t flags)
{
    struct emu_cpu *ref = &s->check->ref;

    ref->rflags = (ref->rflags & ~flags) | (s->cpu.rflags & flags);
}

bool check_end(struct soft_vcpu *s, int code, bool *retry)
{
    struct soft_check *k = s->check;
    struct emu_cpu *c = &s->cpu;
    bool sweep = !(++k->units % SWEEP);
    uint64_t count;
    int ref_code;

    if (k->unit == CHECK_NOTHING) /* the fetch of a block's first instruction faulted */
        check_begin(s, CHECK_ONE, NULL, NULL);
    count = c->retired - k->retired;
    ref_code = check_witness(s, count, code);
    *retry = void_fault(s, code, ref_code);
    if (*retry) {
        c->cr2 = k->ref.cr2;
        emu_tlb_flush(c);
        undo(k);
        return true;
    }
    check_follow_undefined(k, count);
    adopt_flags(s, k->undefined |
                       (code || check_stopped_within(s, count) ? check_dead_flags(k, count) : 0));
    if (unlikely(!check_same_unwinding(s, code, ref_code))) {
        check_report_begin(s, count);
        check_print_unwinding("translator ", c, code);
        check_print_unwinding("interpreter", &k->ref, ref_code);
        check_compare_state(s, true);
        return fail(s);
    }
    if (unlikely(check_compare_state(s, false) || check_compare_writes(s, false) || k->foreign ||
                 (sweep && check_compare_memory(s, false)))) {
        check_report_begin(s, count);
        check_compare_state(s, true);
        check_compare_writes(s, true);
        if (sweep)
            check_compare_memory(s, true);
        if (k->foreign)
            fprintf(stderr, "mote: engine-check: a device was written other values\n");
        return fail(s);
    }
    k->unit = CHECK_NOTHING;
    return true;
}
