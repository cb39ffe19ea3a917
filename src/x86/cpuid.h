/*
 * CPUID tables: what a guest is told. One table a vCPU, built by policy,
 * looked up by every accelerator.
 */
#ifndef MOTE_X86_CPUID_H
#define MOTE_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#define X86_CPUID_MAX 128

struct x86_cpuid_leaf {
    uint32_t leaf;
    uint32_t subleaf;
    bool indexed; /* the subleaf matters */
    uint32_t eax, ebx, ecx, edx;
};

struct x86_cpuid {
    uint64_t arch_capabilities; /* MSR 10ah, where the table has its bit: more of the same */
    unsigned count;
    struct x86_cpuid_leaf leaf[X86_CPUID_MAX];
};

/* The entry for (leaf, subleaf) or NULL; does not apply the out-of-range rule. */
struct x86_cpuid_leaf *x86_cpuid_find(struct x86_cpuid *t, uint32_t leaf, uint32_t subleaf);

/* Replace or add. -ENOSPC: the table is full. */
int x86_cpuid_put(struct x86_cpuid *t, const struct x86_cpuid_leaf *leaf);

/*
 * What the CPUID instruction returns for (leaf, subleaf): regs[0..3] = EAX,
 * EBX, ECX, EDX. Leaves past the basic or extended maximum and unknown leaves
 * return zeros (AMD APM Vol. 3, CPUID).
 */
void x86_cpuid_query(const struct x86_cpuid *t, uint32_t leaf, uint32_t subleaf, uint32_t regs[4]);

/* What depends on the machine rather than on the CPU. */
struct x86_cpuid_topology {
    unsigned apic_id;
    unsigned vcpus;
    uint32_t tsc_khz; /* 0: unknown */
};

/* Is the maker AMD, or Hygon, whose leaves are AMD's? */
bool x86_cpuid_is_amd(const struct x86_cpuid *t);

/*
 * Tell the vCPU where it is, in whichever leaves the table's maker has for that (SDM
 * Vol. 3A 8.9; AMD APM Vol. 3 E.5): one package of vcpus (1 or more) cores, one thread
 * in each; caches of level 3 and up are everybody's, the others a core's own. Only this
 * differs from vCPU to vCPU. -ENOSPC, when not even one place fits the table.
 */
int x86_cpuid_place(struct x86_cpuid *t, const struct x86_cpuid_topology *topology);

/*
 * Host's CPUID instruction, for policies: for the feature leaves as the libc found it
 * on some processor before main, since a hypervisor takes up to 0.1 ms for each.
 */
void x86_cpuid_host(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]);

#endif
