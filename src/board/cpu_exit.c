#include "board/cpu_exit.h"

#include "base/err.h"
#include "base/log.h"
#include "board/cpus.h"
#include "board/hypercall.h"

#include <errno.h>
#include <inttypes.h>

static int bus_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    struct cpu *cpu = user;

    if (write)
        dev_bus_write(cpu->cpus->ports, port, size, *data);
    else
        *data = dev_bus_read(cpu->cpus->ports, port, size);
    return 0;
}

static int bus_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    struct cpu *cpu = user;

    if (cpu_intc_mmio(&cpu->intc, gpa, size, write, data))
        return 0;
    if (write)
        dev_bus_write(cpu->cpus->mmio, gpa.v, size, *data);
    else
        *data = dev_bus_read(cpu->cpus->mmio, gpa.v, size);
    return 0;
}

static int answer_msr(struct cpu *cpu)
{
    bool write = cpu->exit.reason == VCPU_EXIT_WRMSR;
    uint64_t value = write ? cpu->exit.msr.value : 0;
    bool known = cpu_intc_msr(&cpu->intc, cpu->exit.msr.index, write, &value);

    if (!known) {
        if (write)
            trace(TRACE_MSR, "WRMSR 0x%" PRIx32 " = 0x%" PRIx64 ": #GP", cpu->exit.msr.index,
                  value);
        else
            trace(TRACE_MSR, "RDMSR 0x%" PRIx32 ": #GP", cpu->exit.msr.index);
    }
    return vcpu_complete_msr(cpu->vcpu, value, !known);
}

/* The debugger's matter: it is told once all stand still. */
static void stop(struct cpu *cpu)
{
    cpus_hold(cpu->cpus, CPU_HOLD_STOP);
}

/* HLT was executed. A debugger that steps need not wait for what wakes the vCPU. */
static void halted(struct cpu *cpu)
{
    cpu->activity = CPU_HALTED;
    if (!cpu->stepping)
        return;
    cpu->exit.reason = VCPU_EXIT_DEBUG;
    cpu->exit.debug.step = true;
    cpu->exit.debug.int3 = false;
    cpu->exit.debug.watches = 0;
    stop(cpu);
}

static void end_machine(struct cpu *cpu)
{
    static const enum life_end ends[] = {
        [VCPU_SYSTEM_POWEROFF] = LIFE_POWEROFF,
        [VCPU_SYSTEM_RESET] = LIFE_RESET,
        [VCPU_SYSTEM_CRASH] = LIFE_PANIC,
    };

    life_finish(cpu->cpus->life, ends[cpu->exit.system], 0, NULL);
}

int cpu_answer_exit(struct cpu *cpu)
{
    const struct accel_bus_ops bus = {bus_io, bus_mmio, cpu};

    switch (cpu->exit.reason) {
    case VCPU_EXIT_NONE:
    case VCPU_EXIT_INTR_WINDOW:
    case VCPU_EXIT_NMI_WINDOW:
    case VCPU_EXIT_TPR: return 0; /* only there to come by the delivery of interrupts */
    case VCPU_EXIT_IO:
    case VCPU_EXIT_MMIO: return vcpu_assist(cpu->vcpu, &bus);
    case VCPU_EXIT_RDMSR:
    case VCPU_EXIT_WRMSR: return answer_msr(cpu);
    case VCPU_EXIT_HYPERCALL: return hypercall_answer(cpu);
    case VCPU_EXIT_IOAPIC_EOI: intc_eoi(cpu->intc.intc, cpu->exit.eoi.vector); return 0;
    case VCPU_EXIT_HALT: halted(cpu); return 0;
    case VCPU_EXIT_DEBUG: stop(cpu); return 0;
    case VCPU_EXIT_SHUTDOWN: life_finish(cpu->cpus->life, LIFE_TRIPLE_FAULT, 0, NULL); return 0;
    case VCPU_EXIT_SYSTEM: end_machine(cpu); return 0;
    case VCPU_EXIT_FAIL: return err_set(EIO, "%s", cpu->exit.fail.why);
    default: return err_set(EIO, "unexpected exit '%s'", vcpu_exit_name(cpu->exit.reason));
    }
}
