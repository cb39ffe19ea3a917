/* --engine-check: what is different, and where. */
#include "accel/soft/check_internal.h"

#include <stdio.h>

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

void check_print_code(const struct soft_check *k)
{
    const struct block *b = k->block;

    if (k->unit != CHECK_BLOCK)
        return;
    fprintf(stderr, "mote: engine-check: the block's instructions (offset in the page: bytes):\n");
    for (unsigned n = 0; n < b->count; n++) {
        unsigned len = b->op[n].i.len, from = b->op[n].next - len;
        const uint8_t *code = check_memory_at(k->theirs, align_down(b->gpa, PAGE_SIZE) + from, len);

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

void check_report_begin(struct soft_vcpu *s, uint64_t count)
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

unsigned check_compare_state(struct soft_vcpu *s, bool report)
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

unsigned check_compare_writes(struct soft_vcpu *s, bool report)
{
    struct soft_check *k = s->check;
    unsigned differ = 0;

    for (unsigned n = 0; n < k->writes; n++) {
        const struct check_stretch *w = &k->write[n];

        for (uint64_t gpa = w->gpa, left = w->len, part; left; gpa += part, left -= part) {
            const uint8_t *theirs = check_memory_at(k->theirs, gpa, 1),
                          *ours = check_memory_at(&k->mem, gpa, 1);

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
unsigned check_compare_memory(struct soft_vcpu *s, bool report)
{
    struct soft_check *k = s->check;
    unsigned differ = 0;

    for (unsigned n = 0; n < k->mem.count; n++) {
        const struct mem_slot *slot = &k->mem.slot[n];
        const uint8_t *theirs = check_memory_at(k->theirs, slot->gpa.v, 1);

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

bool check_same_unwinding(const struct soft_vcpu *s, int code, int ref_code)
{
    const struct emu_cpu *c = &s->cpu, *ref = &s->check->ref;

    if (code != ref_code)
        return false;
    if (code == EMU_UNWIND_RAISE)
        return c->event.vector == ref->event.vector && c->event.has_error == ref->event.has_error &&
               c->event.error == ref->event.error;
    return code != EMU_UNWIND_EXIT || c->exit.reason == ref->exit.reason;
}

void check_print_unwinding(const char *who, const struct emu_cpu *c, int code)
{
    if (code == EMU_UNWIND_RAISE)
        fprintf(stderr, "  %s: exception %u, error 0x%x, cr2 0x%llx\n", who, c->event.vector,
                c->event.error, (unsigned long long)c->cr2);
    else if (code == EMU_UNWIND_EXIT)
        fprintf(stderr, "  %s: exit %s\n", who, vcpu_exit_name(c->exit.reason));
    else
        fprintf(stderr, "  %s: goes on\n", who);
}
