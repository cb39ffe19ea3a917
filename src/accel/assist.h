/*
 * Completing an exit with the interpreter that left it open: the instruction is
 * executed once more, and this time somebody answers its accesses. Accelerators
 * that run instructions on an interpreter share it; each moves the vCPU's state
 * there before, and takes it back afterwards.
 */
#ifndef MOTE_ACCEL_ASSIST_H
#define MOTE_ACCEL_ASSIST_H

#include "accel/accel.h"
#include "emu/emu.h"

struct assist {
    const struct vcpu *v;
    struct emu_cpu *cpu;
    bool unanswered; /* the last exit was an access, an MSR's or CPUID's, and no answer came */
    bool shutdown;   /* the last assist ended in a triple fault, which nobody was told */
};

/* A run of the interpreter has ended: cpu->exit is to be completed if it can be. */
void assist_expect(struct assist *a);

/* vcpu_assist, vcpu_complete_msr and _cpuid: their errors. */
int assist_access(struct assist *a, const struct accel_bus_ops *ops);
int assist_msr(struct assist *a, uint64_t value, bool fault);
int assist_cpuid(struct assist *a, const uint32_t regs[4]);

/* At the next run, unless it begins with other registers: is that its exit? */
bool assist_shuts_down(struct assist *a, struct vcpu_exit *exit);

/* Before the next run: an access nobody answered reads as all ones, like any where nothing lives,
 * an MSR nobody knows is #GP(0), and CPUID says what it would have said. */
int assist_unanswered(struct assist *a);

#endif
