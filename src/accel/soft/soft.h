/*
 * The soft engine's insides: a machine, and a vCPU that is an interpreter CPU
 * plus a cache of decoded blocks.
 */
#ifndef MOTE_ACCEL_SOFT_SOFT_H
#define MOTE_ACCEL_SOFT_SOFT_H

#include "accel/accel.h"
#include "accel/assist.h"
#include "accel/soft/block.h"
#include "accel/soft/check.h"
#include "accel/soft/parts.h"
#include "accel/soft/spin.h"
#include "accel/soft/steal.h"
#include "accel/soft/translate/translate.h"
#include "emu/emu.h"

#include <stdatomic.h>

struct soft_vcpu;

#define SOFT_VCPUS CODE_PEERS

struct soft_machine {
    struct machine machine;
    uint64_t start_ns;  /* CLOCK_MONOTONIC at creation: kvmclock's zero */
    uint64_t start_tsc; /* the host's then: zero of all vCPUs' TSCs */
    struct code_map code;
    enum accel_engine engine;
    bool count;     /* machine_config.count */
    unsigned vcpus; /* machine_config.vcpus */
    struct spin_place place[SOFT_VCPUS];
    struct soft_vcpu *vcpu[SOFT_VCPUS]; /* by ID; NULL: none; all are created before one runs */
};

/* soft_vcpu.attention: why the run loop must look up between two blocks. */
enum {
    SOFT_KICK = 1,        /* leave with VCPU_EXIT_NONE */
    SOFT_INTR_WINDOW = 2, /* leave as soon as an interrupt is accepted */
    SOFT_NMI_WINDOW = 4,  /* ... an NMI is */
    SOFT_INBOX = 8,       /* others' stores to code, or pages becoming code */
    SOFT_NMI = 16,        /* deliver the NMI that waits */
    SOFT_SPIN = 32,       /* make way for another vCPU: set by the vCPU itself */
    SOFT_ATTENTION = 63,  /* all of them */
};

struct soft_vcpu {
    struct vcpu vcpu;
    struct emu_cpu cpu;
    _Atomic unsigned attention;
    struct x86_cpuid cpuid;
    uint32_t exit_leaf[X86_CPUID_MAX]; /* cpu.exit_leaf */
    uint64_t tsc_told;                 /* by the last get; set again, it is no new value */
    struct code_peer peer;
    struct block_cache blocks;
    struct assist assist;
    bool fsgsbase;            /* the host lets programs change the GS base */
    bool gs_taken;            /* it is the vCPU's */
    uint64_t host_gs;         /* then: the program's */
    struct soft_check *check; /* NULL: nobody compares */
    struct soft_parts parts;  /* on: with machine_config.count */
    struct soft_steal steal;
    struct soft_spin spin;
    struct translator tr;
};

/* kvmclock (MSR_KVM_*_NEW): false when `index` is another register. */
bool soft_pvclock_write(struct soft_vcpu *s, uint32_t index, uint64_t value);
bool soft_pvclock_read(const struct soft_vcpu *s, uint32_t index, uint64_t *value);
void soft_paused(struct vcpu *v);

int soft_vcpu_create(struct vcpu **out, struct machine *m, unsigned id);
void soft_vcpu_destroy(struct vcpu *v);
int soft_set_cpuid(struct vcpu *v, const struct x86_cpuid *table);
int soft_get(struct vcpu *v, unsigned groups);
int soft_set(struct vcpu *v, unsigned groups);
int soft_inject(struct vcpu *v, const struct mote_event *event);
void soft_request_window(struct vcpu *v, bool intr, bool nmi);
int soft_run(struct vcpu *v, struct vcpu_exit *exit);
void soft_kick(struct vcpu *v);
int soft_assist(struct vcpu *v, const struct accel_bus_ops *ops);
int soft_complete_msr(struct vcpu *v, uint64_t value, bool fault);
int soft_exit_cpuid(struct vcpu *v, const uint32_t *leaves, unsigned count);
int soft_complete_cpuid(struct vcpu *v, const uint32_t regs[4]);
int soft_translate(struct vcpu *v, uint64_t gva, gpa_t *gpa);
int soft_set_debug(struct vcpu *v, const struct vcpu_debug *debug);
unsigned soft_stats(struct vcpu *v, struct accel_stat stats[ACCEL_STATS]);

#endif
