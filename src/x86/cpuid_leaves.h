/* Leaves that every table has, whoever builds it. All: 0, or -ENOSPC. */
#ifndef MOTE_X86_CPUID_LEAVES_H
#define MOTE_X86_CPUID_LEAVES_H

#include "x86/cpu_features.h"

/* Leaves 0 and 80000000h: the maker's 12 letters, and the last leaves. */
int x86_cpuid_put_maker(struct x86_cpuid *t, const char *maker, uint32_t basic, uint32_t extended);

/* Leaves 80000002h to 80000004h: at most 47 letters. */
int x86_cpuid_put_brand(struct x86_cpuid *t, const char *brand);

/*
 * KVM's leaves 40000000h and 40000010h (Linux Documentation/virt/kvm/x86/cpuid.rst); the
 * features between them are X86_FEATURE_KVM_*. tsc_khz 0: unknown.
 */
int x86_cpuid_put_hypervisor(struct x86_cpuid *t, uint32_t tsc_khz);

/*
 * Leaf 0dh for the registers of `set`, their places in an XSAVE area from *offer: the
 * processor alone says where they are. No supervisor state is offered. */
int x86_cpuid_put_xsave(struct x86_cpuid *t, const struct x86_cpuid *offer,
                        const struct x86_features *set);

#endif
