/* The witness of --engine-check: runs, compares, reports. */
#include "accel/soft/check.h"

#include "accel/soft/translate/tr.h"
#include "base/err.h"
#include "emu/event.h"
#include "emu/host.h"
#include "x86/paging.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <x86intrin.h>

#define LOG   4096 /* values from outside within a unit: an instruction's, for REP INS many */
#define WRITE 8192 /* stretches that the witness stores in a unit */
#define SWEEP (UINT64_C(1) << 24) /* units between two comparisons of all memory */

struct value_log {
    uint64_t value[LOG];
    unsigned count, read;
};

struct stretch {
    uint64_t gpa, len;
};

struct soft_check {
    struct emu_cpu ref;       /* the witness */
    struct guest_mem mem;     /* its memory: the slots of the vCPU's, backed by the copy */
    struct guest_mem *theirs; /* the vCPU's */
    bool copied;              /* it has been made */
    bool stale;               /* the vCPU's state was changed from outside */
    struct mote_state state;

    enum check_unit unit;
    const struct block *block;
    struct mote_event event;
    uint64_t retired; /* the vCPU's count when the unit began */
    uint64_t rip;     /* ditto */
    uint64_t units;

    struct value_log in; /* TSC, and device reads */
    struct stretch write[WRITE];
    unsigned writes;
    const struct accel_bus_ops *bus;
    struct accel_bus_ops logging;
    uint16_t undefined; /* status flags */
    uint64_t bulk_from; /* RDI before it */
    bool bulk;          /* it may have TLB entries to write by */
    bool foreign;       /* a device write of the witness's was another one */
    bool voided;        /* the unit before was void: see void_fault */
};

/* ---- what comes from outside -------------------------------------------------------- */

static void log_put(struct value_log *l, uint64_t value)
{
    if (l->count < LOG)
        l->value[l->count] = value;
    l->count++;
}

static uint64_t log_get(struct value_log *l)
{
    unsigned n = l->read++;

    return n < LOG ? l->value[n] : 0;
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

/* To the witness the devices answer as they did. */
static void replay(struct soft_check *k, bool write, uint64_t *data)
{
    uint64_t was = log_get(&k->in);

    if (write)
        k->foreign |= was != *data;
    else
        *data = was;
}

static int replay_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    replay(user, write, data);
    return 0;
}

static int replay_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    replay(user, write, data);
    return 0;
}

/* ---- the witness's callbacks ------------------------------------------------------------ */

/* All pages: so each of its stores is told. Not while it does a long string, which is told whole.
 */
static bool every_page(void *user, gpa_t gpa)
{
    return !((struct soft_check *)user)->bulk;
}

static void stored(void *user, gpa_t gpa, uint64_t len)
{
    struct soft_check *k = user;

    if (k->writes < WRITE)
        k->write[k->writes++] = (struct stretch){gpa.v, len};
}

static uint64_t replayed_tsc(void *user)
{
    return log_get(&((struct soft_check *)user)->in);
}

static const struct emu_ops ref_ops = {
    .page_has_code = every_page,
    .code_written = stored,
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
static uint8_t *at(struct guest_mem *mem, uint64_t gpa, uint64_t len)
{
    const struct mem_slot *slot = guest_mem_find(mem, GPA(gpa));

    if (!slot || gpa - slot->gpa.v + len > slot->size)
        return NULL;
    return slot->hva + (gpa - slot->gpa.v);
}

void check_memory_written(struct soft_check *k, gpa_t gpa, uint64_t len)
{
    struct guest_mem *mem = k->theirs;

    for (uint64_t part; k->copied && len; gpa.v += part, len -= part) {
        uint8_t *from = at(mem, gpa.v, 1), *to = at(&k->mem, gpa.v, 1);

        part = MIN(len, PAGE_SIZE - (gpa.v & PAGE_MASK));
        if (from && to)
            memcpy(to, from, part);
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

static bool is_jcc(const struct x86_insn *i)
{
    return (i->map == X86_MAP_1B && (i->opcode & 0xf0) == 0x70) ||
           (i->map == X86_MAP_0F && (i->opcode & 0xf0) == 0x80);
}

static bool is_string(const struct x86_insn *i)
{
    return i->map == X86_MAP_1B && (i->flags & (X86_REP | X86_REPNE)) &&
           ((i->opcode >= 0xa4 && i->opcode <= 0xa7) || (i->opcode >= 0xaa && i->opcode <= 0xaf) ||
            (i->opcode >= 0x6c && i->opcode <= 0x6f));
}

static void do_op(struct emu_cpu *ref, const struct emu_op *op)
{
    ref->op = op;
    ref->r[X86_RIP_SLOT] += op->i.len;
    ref->end = op;
    ref->intr.shadow = 0; /* that of the instruction before */
    op->fn(ref, op);
    ref->r[X86_RIP_SLOT] &= ref->rip_mask;
    ref->op = NULL;
    ref->hit &= (uint16_t)~EMU_HIT_STEP;
}

/* Say that the witness stored to [linear, linear + len). */
static void tell_stored(struct soft_check *k, uint64_t linear, uint64_t len)
{
    const struct emu_cpu *ref = &k->ref;
    const struct x86_paging paging = {ref->cr0, ref->cr3, ref->cr4, ref->msr.efer};
    const struct x86_access access = {.no_smap = true};
    struct x86_page page;

    for (uint64_t part; len; linear += part, len -= part) {
        part = MIN(len, PAGE_SIZE - (linear & PAGE_MASK));
        if (x86_walk(&paging, ref->mem, linear, &access, &page) == 0)
            stored(k, gpa_add(page.gpa, linear & PAGE_MASK), part);
    }
}

/* Long copies and fills go by pages. */
static bool is_bulk(const struct emu_cpu *ref, const struct x86_insn *i)
{
    return i->opcode != 0xa6 && i->opcode != 0xa7 && i->opcode >= 0xa4 && i->opcode <= 0xab &&
           ref->code64 && i->asize == 8 && ref->r[RCX] > 16 && !(ref->rflags & FLAG_DF);
}

static void bulk_over(struct soft_check *k)
{
    if (!k->bulk)
        return;
    k->bulk = false;
    emu_tlb_flush(&k->ref);
    tell_stored(k, k->bulk_from, k->ref.r[RDI] - k->bulk_from);
}

/* It may unwind with `bulk` set: bulk_over is to follow. */
static void do_bulk(struct soft_check *k, const struct emu_op *op)
{
    struct emu_cpu *ref = &k->ref;
    uint64_t start = ref->r[X86_RIP_SLOT];

    k->bulk = true;
    k->bulk_from = ref->r[RDI];
    do
        do_op(ref, op);
    while (ref->r[X86_RIP_SLOT] == start);
    bulk_over(k);
}

/* A repeated instruction may have stopped in the middle: element by element until there. */
static void do_string(struct soft_vcpu *s, const struct emu_op *op, bool last)
{
    struct emu_cpu *c = &s->cpu, *ref = &s->check->ref;
    uint64_t start = ref->r[X86_RIP_SLOT];
    bool midway = last && c->r[X86_RIP_SLOT] == start;
    uint64_t left = midway ? c->r[RCX] : 0;

    if (is_bulk(ref, &op->i) && left < ref->r[RCX]) {
        ref->r[RCX] -= left;
        do_bulk(s->check, op);
        ref->r[RCX] = left;
        if (midway)
            ref->r[X86_RIP_SLOT] = start;
        return;
    }
    ref->debug_step = true;
    do
        do_op(ref, op);
    while (ref->r[X86_RIP_SLOT] == start && !(midway && left == ref->r[RCX]));
    ref->debug_step = false;
}

/* As many instructions of the block as the vCPU did; one more if that unwound. */
static void do_block(struct soft_vcpu *s, uint64_t count, bool unwound)
{
    const struct block *b = s->check->block;

    count = MIN(count + unwound, b->count);
    for (uint64_t n = 0; n < count; n++) {
        if (is_string(&b->op[n].i))
            do_string(s, &b->op[n], n + 1 == count && !unwound);
        else
            do_op(&s->check->ref, &b->op[n]);
    }
}

/* One instruction, fetched; a repeated one as far as the vCPU went. */
static void do_one(struct soft_vcpu *s, bool unwound)
{
    struct emu_cpu *c = &s->cpu, *ref = &s->check->ref;
    uint64_t start = ref->r[X86_RIP_SLOT];

    if (!is_string(&c->scratch.i)) {
        emu_one(ref);
        return;
    }
    ref->debug_step = true;
    do {
        emu_one(ref);
        ref->hit &= (uint16_t)~EMU_HIT_STEP;
    } while (ref->r[X86_RIP_SLOT] == start &&
             (unwound || c->r[X86_RIP_SLOT] != start || c->r[RCX] != ref->r[RCX]));
    ref->debug_step = false;
}

/* The unit, by the witness: 0, or the code it unwound with. */
static int do_unit(struct soft_vcpu *s, uint64_t count, int unwound)
{
    struct soft_check *k = s->check;
    const struct emu_bus bus = {replay_io, replay_mmio, k};
    int code = setjmp(k->ref.unwind);

    if (code) {
        k->ref.debug_step = false;
        k->ref.hit &= (uint16_t)~EMU_HIT_STEP;
        return code;
    }
    k->ref.first = NULL;
    k->ref.op = NULL;
    switch (k->unit) {
    case CHECK_BLOCK: do_block(s, count, unwound); break;
    case CHECK_ONE: do_one(s, unwound); break;
    case CHECK_DELIVER: emu_unwound(&k->ref, EMU_UNWIND_RAISE); break;
    case CHECK_INJECT:
        k->ref.intr.pending.kind = X86_EVENT_NONE;
        emu_inject(&k->ref, &k->event);
        break;
    case CHECK_ASSIST:
        k->ref.bus = &bus;
        emu_step(&k->ref);
        k->ref.bus = NULL;
        break;
    case CHECK_NOTHING: break;
    }
    return 0;
}

static int witness(struct soft_vcpu *s, uint64_t count, int unwound)
{
    int code = do_unit(s, count, unwound);

    if (code)
        bulk_over(s->check);
    return code;
}

/* ---- undefined flags ------------------------------------------------------------------------- */

#define ZSAP ((uint16_t)(FLAG_ZF | FLAG_SF | FLAG_AF | FLAG_PF))

/*
 * What the instruction leaves undefined (SDM Vol. 1 appendix A). A processor may leave such a
 * flag as it was, which is not the same in the two, as the translator gives up flags that the
 * instruction is said to write.
 */
static uint16_t undefined(const struct x86_insn *i)
{
    unsigned op = i->opcode, group = i->modrm >> 3 & 7;

    if (i->map == X86_MAP_1B && !(i->flags & X86_VEX)) {
        switch (op) {
        case 0x69:
        case 0x6b: return ZSAP;
        case 0xc0:
        case 0xc1:
        case 0xd0 ... 0xd3: return group < 4 ? FLAG_OF : FLAG_OF | FLAG_AF | FLAG_CF;
        case 0xf6:
        case 0xf7: return group >= 6 ? FLAG_STATUS : group >= 4 ? ZSAP : 0;
        default: return 0;
        }
    }
    if (i->map != X86_MAP_0F)
        return i->flags & X86_VEX ? FLAG_AF | FLAG_PF | FLAG_SF : 0; /* BMI */
    switch (op) {
    case 0xa3:
    case 0xab:
    case 0xb3:
    case 0xba:
    case 0xbb: return (uint16_t)(FLAG_OF | (ZSAP & ~FLAG_ZF));
    case 0xa4:
    case 0xa5:
    case 0xac:
    case 0xad: return FLAG_STATUS;
    case 0xaf: return ZSAP;
    case 0xbc:
    case 0xbd: return FLAG_STATUS;
    default: return 0;
    }
}

/* Flags that are undefined now, after the first `count` instructions of the unit. */
static void follow_undefined(struct soft_check *k, uint64_t count)
{
    for (uint64_t n = 0; k->unit == CHECK_BLOCK && n < MIN(count, k->block->count); n++) {
        const struct emu_op *op = &k->block->op[n];

        k->undefined &= (uint16_t)~tr_effects(op).kills;
        k->undefined |= undefined(&op->i);
    }
}

/* Flags that are written before they are read, from instruction n of the unit on: the translator
 * may have given them up when that one unwinds. */
static uint16_t dead_flags(const struct soft_check *k, uint64_t n)
{
    uint16_t undecided = FLAG_STATUS, dead = 0;

    for (; k->unit == CHECK_BLOCK && n < k->block->count; n++) {
        const struct emu_op *op = &k->block->op[n];
        struct tr_effects e = tr_effects(op);

        if (is_jcc(&op->i))
            break;
        undecided &= (uint16_t)~e.reads;
        dead |= e.kills & undecided;
        undecided &= (uint16_t)~e.kills;
    }
    return dead;
}

/* Was the block left between two of its instructions, without a jump, or amid a repeated one? */
static bool stopped_within(const struct soft_vcpu *s, uint64_t count)
{
    const struct soft_check *k = s->check;
    uint64_t at = s->cpu.r[X86_RIP_SLOT] & PAGE_MASK;
    const struct emu_op *last;

    if (k->unit != CHECK_BLOCK || !count || count >= k->block->count)
        return false;
    last = &k->block->op[count - 1];
    return at == last->next || (is_string(&last->i) && at == last->next - (uint64_t)last->i.len);
}

/* ---- comparison ------------------------------------------------------------------------------ */

static const struct field {
    const char *name;
    size_t offset, size;
} fields[] = {
#define F(name, member)                                                                            \
    {                                                                                              \
        name, offsetof(struct emu_cpu, member), sizeof(((struct emu_cpu *)NULL)->member)           \
    }
    F("rax", r[RAX]),
    F("rcx", r[RCX]),
    F("rdx", r[RDX]),
    F("rbx", r[RBX]),
    F("rsp", r[RSP]),
    F("rbp", r[RBP]),
    F("rsi", r[RSI]),
    F("rdi", r[RDI]),
    F("r8", r[R8]),
    F("r9", r[R9]),
    F("r10", r[R10]),
    F("r11", r[R11]),
    F("r12", r[R12]),
    F("r13", r[R13]),
    F("r14", r[R14]),
    F("r15", r[R15]),
    F("rip", r[X86_RIP_SLOT]),
    F("rflags", rflags),
    F("cpl", cpl),
    F("mmu", mmu),
    F("segments", seg),
    F("gdtr", gdtr),
    F("idtr", idtr),
    F("cr0", cr0),
    F("cr2", cr2),
    F("cr3", cr3),
    F("cr4", cr4),
    F("cr8", cr8),
    F("debug registers", dr),
    F("MSRs", msr),
    F("interrupt state", intr),
    F("mxcsr", fpu.mxcsr),
    F("vector registers", fpu.ymm),
    F("x87 registers", fpu.x87),
    F("xcr0", fpu.xcr0),
#undef F
};

static void print_code(const struct soft_check *k)
{
    const struct block *b = k->block;

    if (k->unit != CHECK_BLOCK)
        return;
    fprintf(stderr, "mote: engine-check: the block's instructions (offset in the page: bytes):\n");
    for (unsigned n = 0; n < b->count; n++) {
        unsigned len = b->op[n].i.len, from = b->op[n].next - len;
        const uint8_t *code = at(k->theirs, align_down(b->gpa, PAGE_SIZE) + from, len);

        fprintf(stderr, "  %03x:", from);
        for (unsigned i = 0; code && i < len; i++)
            fprintf(stderr, " %02x", code[i]);
        fprintf(stderr, "\n");
    }
}

static const char *unit_name(const struct soft_check *k)
{
    static const char *const names[] = {"nothing", "a block",      "one instruction",
                                        "a fault", "an interrupt", "an access"};

    return names[k->unit];
}

/* The first line says what was done; others what is different. */
static void report_begin(struct soft_vcpu *s, uint64_t count)
{
    struct soft_check *k = s->check;

    fprintf(stderr,
            "mote: engine-check: translator and interpreter differ after unit %llu: %s from rip "
            "0x%llx",
            (unsigned long long)k->units, unit_name(k), (unsigned long long)k->rip);
    if (k->unit == CHECK_BLOCK)
        fprintf(stderr, " (gpa 0x%llx), %llu instructions of %u", (unsigned long long)k->block->gpa,
                (unsigned long long)count, k->block->count);
    fprintf(stderr, "\n");
}

static void print_bytes(const char *who, const uint8_t *p, size_t len)
{
    fprintf(stderr, "  %s", who);
    for (size_t n = 0; n < MIN(len, 32); n++)
        fprintf(stderr, "%02x", p[len <= 8 ? len - 1 - n : n]); /* registers as numbers */
    fprintf(stderr, "\n");
}

static void report_difference(const char *what, uint64_t where, const void *theirs,
                              const void *ours, size_t len)
{
    fprintf(stderr, "mote: engine-check: %s", what);
    if (where)
        fprintf(stderr, " 0x%llx", (unsigned long long)where);
    fprintf(stderr, "\n");
    print_bytes("translator:  ", theirs, len);
    print_bytes("interpreter: ", ours, len);
}

static unsigned compare_state(struct soft_vcpu *s, bool report)
{
    const uint8_t *theirs = (const uint8_t *)&s->cpu, *ours = (const uint8_t *)&s->check->ref;
    unsigned differ = 0;

    for (unsigned n = 0; n < ARRAY_SIZE(fields); n++) {
        const struct field *f = &fields[n];
        size_t from = 0;

        if (!memcmp(theirs + f->offset, ours + f->offset, f->size))
            continue;
        differ++;
        while (theirs[f->offset + from] == ours[f->offset + from])
            from++;
        from = f->size > 8 ? align_down(from, 8) : 0;
        if (report)
            report_difference(f->name, from, theirs + f->offset + from, ours + f->offset + from,
                              MIN(f->size - from, 32));
    }
    return differ;
}

static unsigned compare_writes(struct soft_vcpu *s, bool report)
{
    struct soft_check *k = s->check;
    unsigned differ = 0;

    for (unsigned n = 0; n < k->writes; n++) {
        const struct stretch *w = &k->write[n];

        for (uint64_t gpa = w->gpa, left = w->len, part; left; gpa += part, left -= part) {
            const uint8_t *theirs = at(k->theirs, gpa, 1), *ours = at(&k->mem, gpa, 1);

            part = MIN(left, PAGE_SIZE - (gpa & PAGE_MASK));
            if (!theirs || !ours || !memcmp(theirs, ours, part))
                continue;
            differ++;
            if (report)
                report_difference("memory at gpa", gpa, theirs, ours, part);
        }
    }
    return differ;
}

/* Accessed and dirty bits of page-table entries come when the TLB misses, which may differ. */
static bool accessed_only(uint64_t theirs, uint64_t ours)
{
    return (theirs & 1) && !((theirs ^ ours) & ~UINT64_C(0x60));
}

/* Stores of the translator's that the interpreter did not do are found here. */
static unsigned compare_memory(struct soft_vcpu *s, bool report)
{
    struct soft_check *k = s->check;
    unsigned differ = 0;

    for (unsigned n = 0; n < k->mem.count; n++) {
        const struct mem_slot *slot = &k->mem.slot[n];
        const uint8_t *theirs = at(k->theirs, slot->gpa.v, 1);

        for (uint64_t page = 0; theirs && page < slot->size; page += PAGE_SIZE) {
            if (!memcmp(theirs + page, slot->hva + page, PAGE_SIZE))
                continue;
            for (uint64_t off = page; off < page + PAGE_SIZE; off += 8) {
                uint64_t a = le64_get(theirs + off), b = le64_get(slot->hva + off);

                if (a == b || accessed_only(a, b))
                    continue;
                if (++differ <= 8 && report)
                    report_difference(
                        "memory, by a store that only the translator did before, at gpa",
                        slot->gpa.v + off, &a, &b, 8);
            }
        }
    }
    return differ;
}

static bool same_unwinding(const struct soft_vcpu *s, int code, int ref_code)
{
    const struct emu_cpu *c = &s->cpu, *ref = &s->check->ref;

    if (code != ref_code)
        return false;
    if (code == EMU_UNWIND_RAISE)
        return c->event.vector == ref->event.vector && c->event.has_error == ref->event.has_error &&
               c->event.error == ref->event.error;
    return code != EMU_UNWIND_EXIT || c->exit.reason == ref->exit.reason;
}

static void print_unwinding(const char *who, const struct emu_cpu *c, int code)
{
    if (code == EMU_UNWIND_RAISE)
        fprintf(stderr, "  %s: exception %u, error 0x%x, cr2 0x%llx\n", who, c->event.vector,
                c->event.error, (unsigned long long)c->cr2);
    else if (code == EMU_UNWIND_EXIT)
        fprintf(stderr, "  %s: exit %s\n", who, vcpu_exit_name(c->exit.reason));
    else
        fprintf(stderr, "  %s: goes on\n", who);
}

static bool fail(struct soft_vcpu *s)
{
    struct soft_check *k = s->check;

    print_code(k);
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
    ref_code = witness(s, count, code);
    *retry = void_fault(s, code, ref_code);
    if (*retry) {
        c->cr2 = k->ref.cr2;
        emu_tlb_flush(c);
        undo(k);
        return true;
    }
    follow_undefined(k, count);
    adopt_flags(s, k->undefined | (code || stopped_within(s, count) ? dead_flags(k, count) : 0));
    if (unlikely(!same_unwinding(s, code, ref_code))) {
        report_begin(s, count);
        print_unwinding("translator ", c, code);
        print_unwinding("interpreter", &k->ref, ref_code);
        compare_state(s, true);
        return fail(s);
    }
    if (unlikely(compare_state(s, false) || compare_writes(s, false) || k->foreign ||
                 (sweep && compare_memory(s, false)))) {
        report_begin(s, count);
        compare_state(s, true);
        compare_writes(s, true);
        if (sweep)
            compare_memory(s, true);
        if (k->foreign)
            fprintf(stderr, "mote: engine-check: a device was written other values\n");
        return fail(s);
    }
    k->unit = CHECK_NOTHING;
    return true;
}
