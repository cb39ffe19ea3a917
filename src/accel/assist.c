#include "accel/assist.h"

#include "base/err.h"

#include <errno.h>

static int ones_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    *data = UINT64_MAX;
    return 0;
}

static int ones_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    *data = UINT64_MAX;
    return 0;
}

static bool is_msr(const struct assist *a)
{
    return a->cpu->exit.reason == VCPU_EXIT_RDMSR || a->cpu->exit.reason == VCPU_EXIT_WRMSR;
}

static bool is_cpuid(const struct assist *a)
{
    return a->cpu->exit.reason == VCPU_EXIT_CPUID;
}

void assist_expect(struct assist *a)
{
    enum vcpu_exit_reason reason = a->cpu->exit.reason;

    a->unanswered = reason == VCPU_EXIT_IO || reason == VCPU_EXIT_MMIO || is_msr(a) || is_cpuid(a);
}

int assist_access(struct assist *a, const struct accel_bus_ops *ops)
{
    const struct emu_bus bus = {ops->io, ops->mmio, ops->user};
    struct emu_cpu *c = a->cpu;
    bool done;

    if (!a->unanswered || is_msr(a) || is_cpuid(a))
        return err_set(EINVAL, "vCPU %u: no access to assist with", a->v->id);
    c->bus = &bus;
    done = emu_step(c);
    c->bus = NULL;
    a->unanswered = !done && c->exit.reason == VCPU_EXIT_FAIL;
    a->shutdown = !done && c->exit.reason == VCPU_EXIT_SHUTDOWN;
    if (done || a->shutdown)
        return 0;
    return err_set(EIO, "vCPU %u: %s", a->v->id,
                   c->exit.reason == VCPU_EXIT_FAIL ? c->exit.fail.why
                                                    : vcpu_exit_name(c->exit.reason));
}

bool assist_shuts_down(struct assist *a, struct vcpu_exit *exit)
{
    if (likely(!a->shutdown))
        return false;
    a->shutdown = false;
    exit->reason = VCPU_EXIT_SHUTDOWN;
    emu_fill_exit(a->cpu, exit);
    return true;
}

int assist_unanswered(struct assist *a)
{
    static const struct accel_bus_ops ones = {ones_io, ones_mmio, NULL};

    if (!a->unanswered)
        return 0;
    if (is_cpuid(a))
        return assist_cpuid(a, a->cpu->exit.cpuid.regs);
    return is_msr(a) ? assist_msr(a, 0, true) : assist_access(a, &ones);
}

int assist_cpuid(struct assist *a, const uint32_t regs[4])
{
    struct emu_cpu *c = a->cpu;

    if (!is_cpuid(a))
        return err_set(EINVAL, "vCPU %u: no CPUID to complete", a->v->id);
    a->unanswered = false;
    c->exit.reason = VCPU_EXIT_NONE;
    c->r[RAX] = regs[0];
    c->r[RBX] = regs[1];
    c->r[RCX] = regs[2];
    c->r[RDX] = regs[3];
    emu_skip(c);
    return 0;
}

int assist_msr(struct assist *a, uint64_t value, bool fault)
{
    struct emu_cpu *c = a->cpu;
    bool read = c->exit.reason == VCPU_EXIT_RDMSR;

    if (!is_msr(a))
        return err_set(EINVAL, "vCPU %u: no MSR exit to complete", a->v->id);
    a->unanswered = false;
    c->exit.reason = VCPU_EXIT_NONE;
    if (fault) {
        c->intr.pending =
            (struct mote_event){.kind = X86_EVENT_EXCEPTION, .vector = EXC_GP, .has_error = 1};
        return 0;
    }
    if (read) {
        c->r[RAX] = (uint32_t)value;
        c->r[RDX] = value >> 32;
    }
    emu_skip(c);
    return 0;
}
