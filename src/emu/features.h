/*
 * CPU features that instructions depend on: one list, from which the feature
 * mask of a vCPU (from its CPUID table) and the binders' checks derive.
 * X(name, leaf, register 0-3 = EAX..EDX, bit)   subleaf 0
 */
#ifndef MOTE_EMU_FEATURES_H
#define MOTE_EMU_FEATURES_H

#include "x86/cpuid.h"

#include <stdint.h>

#define EMU_FEATURES(X)                                                                            \
    X(FPU, 1, 3, 0)                                                                                \
    X(TSC, 1, 3, 4)                                                                                \
    X(MSR, 1, 3, 5)                                                                                \
    X(CX8, 1, 3, 8)                                                                                \
    X(SEP, 1, 3, 11)                                                                               \
    X(CMOV, 1, 3, 15)                                                                              \
    X(MMX, 1, 3, 23)                                                                               \
    X(FXSR, 1, 3, 24)                                                                              \
    X(SSE, 1, 3, 25)                                                                               \
    X(SSE2, 1, 3, 26)                                                                              \
    X(SSE3, 1, 2, 0)                                                                               \
    X(PCLMUL, 1, 2, 1)                                                                             \
    X(MONITOR, 1, 2, 3)                                                                            \
    X(SSSE3, 1, 2, 9)                                                                              \
    X(FMA, 1, 2, 12)                                                                               \
    X(CX16, 1, 2, 13)                                                                              \
    X(PCID, 1, 2, 17)                                                                              \
    X(SSE41, 1, 2, 19)                                                                             \
    X(SSE42, 1, 2, 20)                                                                             \
    X(MOVBE, 1, 2, 22)                                                                             \
    X(POPCNT, 1, 2, 23)                                                                            \
    X(AES, 1, 2, 25)                                                                               \
    X(XSAVE, 1, 2, 26)                                                                             \
    X(AVX, 1, 2, 28)                                                                               \
    X(F16C, 1, 2, 29)                                                                              \
    X(RDRAND, 1, 2, 30)                                                                            \
    X(FSGSBASE, 7, 1, 0)                                                                           \
    X(BMI1, 7, 1, 3)                                                                               \
    X(AVX2, 7, 1, 5)                                                                               \
    X(SMEP, 7, 1, 7)                                                                               \
    X(BMI2, 7, 1, 8)                                                                               \
    X(ERMS, 7, 1, 9)                                                                               \
    X(INVPCID, 7, 1, 10)                                                                           \
    X(RDSEED, 7, 1, 18)                                                                            \
    X(ADX, 7, 1, 19)                                                                               \
    X(SMAP, 7, 1, 20)                                                                              \
    X(CLFLUSHOPT, 7, 1, 23)                                                                        \
    X(CLWB, 7, 1, 24)                                                                              \
    X(SHA, 7, 1, 29)                                                                               \
    X(UMIP, 7, 2, 2)                                                                               \
    X(RDPID, 7, 2, 22)                                                                             \
    X(GFNI, 7, 2, 8)                                                                               \
    X(VAES, 7, 2, 9)                                                                               \
    X(VPCLMUL, 7, 2, 10)                                                                           \
    X(LAHF, 0x80000001, 2, 0)                                                                      \
    X(ABM, 0x80000001, 2, 5)                                                                       \
    X(SSE4A, 0x80000001, 2, 6)                                                                     \
    X(PREFETCHW, 0x80000001, 2, 8)                                                                 \
    X(SYSCALL, 0x80000001, 3, 11)                                                                  \
    X(NX, 0x80000001, 3, 20)                                                                       \
    X(RDTSCP, 0x80000001, 3, 27)                                                                   \
    X(LM, 0x80000001, 3, 29)                                                                       \
    X(WBNOINVD, 0x80000008, 1, 9)

enum {
#define X(name, leaf, reg, bit) EMU_FBIT_##name,
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
