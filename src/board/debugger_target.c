#include "board/debugger_target.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/parse.h"
#include "board/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static struct vcpu *vcpu_of(void *user, unsigned cpu)
{
    struct debugger *d = user;

    return d->cpus->cpu[cpu].vcpu;
}

/* ---- state and memory ---- */

static struct mote_state *target_get(void *user, unsigned cpu, unsigned groups)
{
    struct vcpu *v = vcpu_of(user, cpu);

    return vcpu_get(v, groups) ? NULL : v->state;
}

static int target_set(void *user, unsigned cpu, unsigned groups)
{
    struct debugger *d = user;
    struct cpu *c = &d->cpus->cpu[cpu];

    /* RFLAGS may say another thing now than at the last exit. */
    c->exit.intr_ready = false;
    if (groups & X86_GPRS)
        c->exit.rflags = c->vcpu->state->rflags;
    return vcpu_set(c->vcpu, groups);
}

/* As much of [gva, gva + len) as lies in one page. */
static size_t in_page(uint64_t gva, size_t len)
{
    return MIN(len, PAGE_SIZE - (gva & PAGE_MASK));
}

static size_t target_read(void *user, unsigned cpu, uint64_t gva, void *buf, size_t len)
{
    struct debugger *d = user;
    size_t done = 0;

    while (done < len) {
        size_t n = in_page(gva + done, len - done);
        gpa_t gpa;

        if (vcpu_translate(vcpu_of(d, cpu), gva + done, &gpa) ||
            breakpoints_read(&d->breaks, gpa, (uint8_t *)buf + done, n))
            break;
        done += n;
    }
    return done;
}

static bool is_memory(struct debugger *d, unsigned cpu, uint64_t gva, size_t len)
{
    gpa_t gpa;

    for (size_t done = 0, n; done < len; done += n) {
        n = in_page(gva + done, len - done);
        if (vcpu_translate(vcpu_of(d, cpu), gva + done, &gpa) ||
            !guest_mem_at(d->mem, gpa, n, MEM_READ))
            return false;
    }
    return true;
}

static int target_write(void *user, unsigned cpu, uint64_t gva, const void *buf, size_t len)
{
    struct debugger *d = user;

    if (!is_memory(d, cpu, gva, len))
        return err_set(EFAULT, "0x%" PRIx64 "+0x%zx is not all memory", gva, len);
    for (size_t done = 0, n; done < len; done += n) {
        gpa_t gpa;
        int err;

        n = in_page(gva + done, len - done);
        err = vcpu_translate(vcpu_of(d, cpu), gva + done, &gpa);
        if (!err)
            err = breakpoints_write(&d->breaks, gpa, (const uint8_t *)buf + done, n);
        if (err)
            return err;
    }
    return 0;
}

/* ---- breakpoints ---- */

static int target_insert(void *user, unsigned cpu, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    struct debugger *d = user;

    return breakpoints_insert(&d->breaks, vcpu_of(d, cpu), kind, gva, size);
}

static int target_remove(void *user, unsigned cpu, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    struct debugger *d = user;

    breakpoints_remove(&d->breaks, kind, gva, size);
    return 0;
}

/* true: the INT3 at the exit's address is one of ours. */
static bool our_int3(struct debugger *d, struct vcpu *v, struct gdb_stop *stop)
{
    const struct soft_break *s;
    uint64_t linear;
    gpa_t gpa;

    if (vcpu_get(v, X86_GPRS | X86_SEGS | X86_MSRS))
        return true; /* the machine is about to end */
    linear = x86_linear_rip(v->state);
    if (vcpu_translate(v, linear, &gpa))
        return false;
    s = breakpoints_find(&d->breaks, gpa);
    /* By another linear address gdb knows no breakpoint: to it that is a trap. */
    if (s && s->gva == linear)
        stop->kind = GDB_STOP_SOFT;
    return s;
}

static void hit_watch(struct debugger *d, unsigned watches, struct gdb_stop *stop)
{
    static const enum gdb_stop_kind kinds[GDB_BREAK_KINDS] = {
        [GDB_BREAK_SOFT] = GDB_STOP_SOFT,           [GDB_BREAK_HARD] = GDB_STOP_HARD,
        [GDB_WATCH_WRITE] = GDB_STOP_WATCH_WRITE,   [GDB_WATCH_READ] = GDB_STOP_WATCH_READ,
        [GDB_WATCH_ACCESS] = GDB_STOP_WATCH_ACCESS,
    };

    for (unsigned i = 0; i < VCPU_WATCHES; i++) {
        const struct hard_break *h = &d->breaks.hard[i];

        if (!(watches & 1u << i) || h->watch.kind == VCPU_WATCH_OFF)
            continue;
        stop->kind = kinds[h->kind];
        stop->gva = h->gva;
        return;
    }
}

bool debugger_reason(struct debugger *d, unsigned cpu, struct gdb_stop *stop)
{
    static const struct mote_event bp = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_BP};
    struct cpu *c = &d->cpus->cpu[cpu];

    *stop = (struct gdb_stop){.cpu = cpu, .signal = GDB_SIGTRAP};
    if (c->exit.debug.int3 && !our_int3(d, c->vcpu, stop)) {
        vcpu_inject(c->vcpu, &bp);
        return false;
    }
    hit_watch(d, c->exit.debug.watches, stop);
    return true;
}

void debugger_resume(struct debugger *d, unsigned cpu, bool step)
{
    struct vcpu_debug debug = {.step = step};

    breakpoints_apply(&d->breaks, &debug);
    if (vcpu_set_debug(d->cpus->cpu[cpu].vcpu, &debug))
        life_finish(d->life, LIFE_FAILED, 0, err_text());
    d->cpus->cpu[cpu].stepping = step;
}

/* ---- monitor ---- */

static void print_translation(struct vcpu *v, const char *address, FILE *out)
{
    uint64_t gva;
    gpa_t gpa;

    if (parse_u64(address, UINT64_MAX, &gva))
        fprintf(out, "translate: '%s', expected an address such as 0xffffffff81000000\n", address);
    else if (vcpu_translate(v, gva, &gpa))
        fprintf(out, "0x%" PRIx64 " is not mapped\n", gva);
    else
        fprintf(out, "0x%" PRIx64 " is guest-physical 0x%" PRIx64 "\n", gva, gpa.v);
}

static void target_monitor(void *user, unsigned cpu, const char *command, char *text, size_t size)
{
    struct debugger *d = user;
    FILE *out = fmemopen(text, size, "w");

    if (!out)
        return;
    if (!strcmp(command, "registers"))
        report_print(out, vcpu_of(d, cpu), &d->cpus->cpu[cpu].exit);
    else if (!strncmp(command, "translate ", 10))
        print_translation(vcpu_of(d, cpu), command + 10, out);
    else
        fprintf(out, "monitor help               this help\n"
                     "monitor registers          all registers of the vCPU, and the code at rip\n"
                     "monitor translate ADDRESS  where a linear address is in guest-physical "
                     "memory\n");
    fclose(out);
}

void debugger_target_init(struct debugger *d, unsigned cpus, bool avx)
{
    d->target.user = d;
    d->target.cpus = cpus;
    d->target.avx = avx;
    d->target.get = target_get;
    d->target.set = target_set;
    d->target.read = target_read;
    d->target.write = target_write;
    d->target.insert = target_insert;
    d->target.remove = target_remove;
    d->target.monitor = target_monitor;
}
