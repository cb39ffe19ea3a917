/*
 * CPU features that instructions depend on: one list, from which the feature
 * mask of a vCPU (from its CPUID table) and the binders' checks derive.
 * Where their bits are is in x86/cpu_features.h.
 */
#ifndef MOTE_EMU_FEATURES_H
#define MOTE_EMU_FEATURES_H

#include "x86/cpu_features.h"

#include <stdint.h>

#define EMU_FEATURES(X)                                                                            \
    X(FPU)                                                                                         \
    X(TSC)                                                                                         \
    X(MSR)                                                                                         \
    X(CX8)                                                                                         \
    X(SEP)                                                                                         \
    X(CMOV)                                                                                        \
    X(MMX)                                                                                         \
    X(FXSR)                                                                                        \
    X(SSE)                                                                                         \
    X(SSE2)                                                                                        \
    X(SSE3)                                                                                        \
    X(PCLMUL)                                                                                      \
    X(MONITOR)                                                                                     \
    X(SSSE3)                                                                                       \
    X(FMA)                                                                                         \
    X(CX16)                                                                                        \
    X(PCID)                                                                                        \
    X(SSE41)                                                                                       \
    X(SSE42)                                                                                       \
    X(MOVBE)                                                                                       \
    X(POPCNT)                                                                                      \
    X(AES)                                                                                         \
    X(XSAVE)                                                                                       \
    X(AVX)                                                                                         \
    X(F16C)                                                                                        \
    X(RDRAND)                                                                                      \
    X(FSGSBASE)                                                                                    \
    X(BMI1)                                                                                        \
    X(AVX2)                                                                                        \
    X(SMEP)                                                                                        \
    X(BMI2)                                                                                        \
    X(ERMS)                                                                                        \
    X(INVPCID)                                                                                     \
    X(RDSEED)                                                                                      \
    X(ADX)                                                                                         \
    X(SMAP)                                                                                        \
    X(CLFLUSHOPT)                                                                                  \
    X(CLWB)                                                                                        \
    X(SHA)                                                                                         \
    X(UMIP)                                                                                        \
    X(RDPID)                                                                                       \
    X(GFNI)                                                                                        \
    X(VAES)                                                                                        \
    X(VPCLMUL)                                                                                     \
    X(LAHF)                                                                                        \
    X(ABM)                                                                                         \
    X(SSE4A)                                                                                       \
    X(PREFETCHW)                                                                                   \
    X(SYSCALL)                                                                                     \
    X(NX)                                                                                          \
    X(RDTSCP)                                                                                      \
    X(LM)                                                                                          \
    X(WBNOINVD)

enum {
#define X(name) EMU_FBIT_##name,
    EMU_FEATURES(X)
#undef X
        EMU_FEATURE_COUNT
};

#define EMU_F(name) (UINT64_C(1) << EMU_FBIT_##name)

/* EMU_F bits of everything the table offers. */
uint64_t emu_features(const struct x86_cpuid *table);

/* The CPUID table of the software engine: what the interpreter implements and
 * (for vector instructions, which run on the host) what the host has. */
void emu_default_cpuid(const struct x86_cpuid_topology *topology, struct x86_cpuid *table);

#endif
