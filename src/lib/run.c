/* Running a vCPU, and answering its exits. */
#include "lib/lib.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    [MOTE_EXIT_NONE] = "none",
    [MOTE_EXIT_IO] = "io",
    [MOTE_EXIT_MEMORY] = "memory",
    [MOTE_EXIT_RDMSR] = "rdmsr",
    [MOTE_EXIT_WRMSR] = "wrmsr",
    [MOTE_EXIT_HALT] = "halt",
    [MOTE_EXIT_SHUTDOWN] = "shutdown",
    [MOTE_EXIT_INTR_WINDOW] = "intr-window",
    [MOTE_EXIT_NMI_WINDOW] = "nmi-window",
    [MOTE_EXIT_TPR] = "tpr",
    [MOTE_EXIT_HYPERCALL] = "hypercall",
    [MOTE_EXIT_DEBUG] = "debug",
    [MOTE_EXIT_FAIL] = "fail",
    [MOTE_EXIT_CPUID] = "cpuid",
};

_Static_assert(sizeof(names) / sizeof(*names) == MOTE_EXIT_COUNT, "each exit has a name");

const char *mote_exit_name(unsigned reason)
{
    return reason < MOTE_EXIT_COUNT ? names[reason] : "?";
}

static void failed(struct mote_exit *out, const char *why, const struct vcpu_exit *in)
{
    out->reason = MOTE_EXIT_FAIL;
    snprintf(out->u.fail.why, sizeof(out->u.fail.why), "%s", why);
    if (in->reason != VCPU_EXIT_FAIL)
        return;
    out->u.fail.insn_size = in->fail.insn_len < 15 ? in->fail.insn_len : 15;
    memcpy(out->u.fail.insn, in->fail.insn, out->u.fail.insn_size);
}

static struct mote_cpuid cpuid(struct x86_cpuid *table, const struct vcpu_exit *in)
{
    const struct x86_cpuid_leaf *l = x86_cpuid_find(table, in->cpuid.leaf, in->cpuid.subleaf);
    const uint32_t *regs = in->cpuid.regs;

    return (struct mote_cpuid){in->cpuid.leaf, in->cpuid.subleaf, l && l->indexed, regs[0],
                               regs[1],        regs[2],           regs[3]};
}

static void convert(struct lib_vcpu *lv, struct mote_exit *out, const struct vcpu_exit *in)
{
    static const uint8_t same[VCPU_EXIT_COUNT] = {
        [VCPU_EXIT_NONE] = MOTE_EXIT_NONE,
        [VCPU_EXIT_HALT] = MOTE_EXIT_HALT,
        [VCPU_EXIT_SHUTDOWN] = MOTE_EXIT_SHUTDOWN,
        [VCPU_EXIT_INTR_WINDOW] = MOTE_EXIT_INTR_WINDOW,
        [VCPU_EXIT_NMI_WINDOW] = MOTE_EXIT_NMI_WINDOW,
        [VCPU_EXIT_TPR] = MOTE_EXIT_TPR,
        [VCPU_EXIT_HYPERCALL] = MOTE_EXIT_HYPERCALL,
    };

    out->intr_ready = in->intr_ready;
    out->rflags = in->rflags;
    out->cr8 = in->cr8;
    switch (in->reason) {
    case VCPU_EXIT_NONE:
    case VCPU_EXIT_HALT:
    case VCPU_EXIT_SHUTDOWN:
    case VCPU_EXIT_INTR_WINDOW:
    case VCPU_EXIT_NMI_WINDOW:
    case VCPU_EXIT_TPR:
    case VCPU_EXIT_HYPERCALL: out->reason = same[in->reason]; break;
    case VCPU_EXIT_IO:
        out->reason = MOTE_EXIT_IO;
        out->u.io.port = in->io.port;
        out->u.io.size = in->io.size;
        out->u.io.in = in->io.in;
        out->u.io.string = in->io.string;
        break;
    case VCPU_EXIT_MMIO:
    case VCPU_EXIT_MEM_FAULT:
        out->reason = MOTE_EXIT_MEMORY;
        out->u.memory.gpa = in->mem.gpa.v;
        out->u.memory.size = in->mem.size;
        out->u.memory.write = in->mem.write;
        break;
    case VCPU_EXIT_RDMSR:
    case VCPU_EXIT_WRMSR:
        out->reason = in->reason == VCPU_EXIT_RDMSR ? MOTE_EXIT_RDMSR : MOTE_EXIT_WRMSR;
        out->u.msr.index = in->msr.index;
        out->u.msr.value = in->msr.value;
        break;
    case VCPU_EXIT_CPUID:
        out->reason = MOTE_EXIT_CPUID;
        out->u.cpuid = cpuid(&lv->cpuid, in);
        break;
    case VCPU_EXIT_DEBUG:
        out->reason = MOTE_EXIT_DEBUG;
        out->u.debug.rip = in->debug.rip;
        out->u.debug.int3 = in->debug.int3;
        out->u.debug.step = in->debug.step;
        out->u.debug.watches = in->debug.watches;
        break;
    case VCPU_EXIT_FAIL: failed(out, in->fail.why, in); break;
    default: failed(out, vcpu_exit_name(in->reason), in); break;
    }
}

/* A kick of lib_hold's is nobody's business; out, so that it gets its way, and in again. */
static int run(struct lib_vcpu *lv, struct vcpu_exit *e)
{
    bool held, stop;
    int err;

    for (;;) {
        err = vcpu_run(lv->v, e);
        if (err || likely(e->reason != VCPU_EXIT_NONE))
            return err;
        stop = atomic_exchange(&lv->stop, false);
        held = atomic_exchange(&lv->held, false);
        if (stop || !held)
            return 0;
        handle_leave(lv->handle);
        handle_enter(lv->handle);
    }
}

/* The program's own error counts, whatever was made of it on the way. */
static int result(struct lib_vcpu *lv, int err)
{
    if (likely(!err) || !lv->refused)
        return err;
    err_set(EIO, "vCPU %u: a callback returned %d, or there is none", lv->v->id, lv->refused);
    return lv->refused;
}

int mote_vcpu_run(struct mote_vcpu *vcpu, struct mote_exit *exit)
{
    struct vcpu_exit e;
    struct lib_vcpu *lv;
    int err;

    if (!exit)
        return err_set(EINVAL, "no place for the exit");
    err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    lv->has_run = true;
    lv->refused = 0;
    err = result(lv, run(lv, &e));
    lv->open = VCPU_EXIT_NONE;
    if (!err) {
        convert(lv, exit, &e);
        lv->open = e.reason;
    }
    lib_leave(lv);
    return err;
}

int mote_vcpu_stop(struct mote_vcpu *vcpu)
{
    struct lib_vcpu *lv;
    void *object;

    if (handle_pin(vcpu, HANDLE_VCPU, &object))
        return -EINVAL;
    lv = object;
    atomic_store(&lv->stop, true);
    vcpu_kick(lv->v);
    handle_unpin(lv->handle);
    return 0;
}

/* ---- answers ---- */

/* The program's code runs outside: whatever it changes, and whoever else does, waits for nobody. */
static int call(struct lib_vcpu *lv,
                int (*device)(struct mote_vcpu *, struct mote_access *, void *), uint64_t address,
                unsigned size, bool write, uint64_t *data)
{
    struct mote_access access = {.address = address, .size = (uint8_t)size, .write = write};

    if (!device) {
        lv->refused = -ENOTSUP;
        return -ENOTSUP;
    }
    if (write)
        access.data = *data;
    handle_leave(lv->handle);
    lv->refused = device((struct mote_vcpu *)lv->handle, &access, lv->callbacks.user);
    handle_enter(lv->handle);
    if (!write)
        *data = access.data;
    return lv->refused;
}

static int on_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    struct lib_vcpu *lv = user;

    return call(lv, lv->callbacks.io, port, size, write, data);
}

static int on_memory(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    struct lib_vcpu *lv = user;

    return call(lv, lv->callbacks.memory, gpa.v, size, write, data);
}

static bool is_access(enum vcpu_exit_reason reason)
{
    return reason == VCPU_EXIT_IO || reason == VCPU_EXIT_MMIO || reason == VCPU_EXIT_MEM_FAULT;
}

int mote_vcpu_assist(struct mote_vcpu *vcpu)
{
    struct lib_vcpu *lv;
    int err = lib_enter(vcpu, &lv);

    if (err)
        return err;
    if (!is_access(lv->open)) {
        err = err_set(EINVAL, "vCPU %u: no access to assist with", lv->v->id);
    } else {
        lv->callbacks = lv->machine->callbacks;
        lv->refused = 0;
        err = result(lv, vcpu_assist(lv->v, &(struct accel_bus_ops){on_io, on_memory, lv}));
        if (!err)
            lv->open = VCPU_EXIT_NONE;
    }
    lib_leave(lv);
    return err;
}

int mote_vcpu_complete_msr(struct mote_vcpu *vcpu, uint64_t value, bool fault)
{
    struct lib_vcpu *lv;
    int err = lib_enter(vcpu, &lv);

    if (err)
        return err;
    if (lv->open != VCPU_EXIT_RDMSR && lv->open != VCPU_EXIT_WRMSR) {
        err = err_set(EINVAL, "vCPU %u: no access to an MSR to complete", lv->v->id);
    } else {
        err = vcpu_complete_msr(lv->v, value, fault);
        if (!err)
            lv->open = VCPU_EXIT_NONE;
    }
    lib_leave(lv);
    return err;
}

int mote_vcpu_complete_cpuid(struct mote_vcpu *vcpu, const struct mote_cpuid *answer)
{
    struct lib_vcpu *lv;
    int err;

    if (!answer)
        return err_set(EINVAL, "no answer to CPUID");
    err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    if (lv->open != VCPU_EXIT_CPUID) {
        err = err_set(EINVAL, "vCPU %u: no CPUID to complete", lv->v->id);
    } else {
        const uint32_t regs[4] = {answer->eax, answer->ebx, answer->ecx, answer->edx};

        err = vcpu_complete_cpuid(lv->v, regs);
        if (!err)
            lv->open = VCPU_EXIT_NONE;
    }
    lib_leave(lv);
    return err;
}
