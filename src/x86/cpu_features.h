/*
 * CPUID's feature bits by name: the one table from which models, masks and the
 * interpreter's features come. Names are Linux's (/proc/cpuinfo, cpufeatures.h).
 *
 * A bit that is not here is offered to no guest. That keeps out what struct
 * x86_state cannot carry: guests of guests (vmx, svm), AMX, CET, SGX, processor
 * trace, last-branch records, performance counters, MPX, WAITPKG, FRED.
 */
#ifndef MOTE_X86_CPU_FEATURES_H
#define MOTE_X86_CPU_FEATURES_H

#include "x86/cpuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why a baseline has a feature. */
enum x86_feature_class {
    X86_FEATURE_PLAIN, /* it has not */
    X86_FEATURE_V1,    /* levels of the x86-64 psABI, "Micro-Architecture Levels" */
    X86_FEATURE_V2,
    X86_FEATURE_V3,
    X86_FEATURE_V4,
    X86_FEATURE_KERNEL,  /* what kernels take for granted in long mode: all processors with it have
                            these */
    X86_FEATURE_MACHINE, /* mote's machine has it where the accelerator lets it */
};

/*
 * X(id, name, leaf, subleaf, register 0-3 = EAX..EDX, bit, class)
 * Rows of one leaf and subleaf stand together.
 */
#define X86_FEATURES(X)                                                                            \
    X(FPU, "fpu", 1, 0, 3, 0, V1)                                                                  \
    X(VME, "vme", 1, 0, 3, 1, PLAIN)                                                               \
    X(DE, "de", 1, 0, 3, 2, KERNEL)                                                                \
    X(PSE, "pse", 1, 0, 3, 3, KERNEL)                                                              \
    X(TSC, "tsc", 1, 0, 3, 4, KERNEL)                                                              \
    X(MSR, "msr", 1, 0, 3, 5, KERNEL)                                                              \
    X(PAE, "pae", 1, 0, 3, 6, KERNEL)                                                              \
    X(MCE, "mce", 1, 0, 3, 7, KERNEL)                                                              \
    X(CX8, "cx8", 1, 0, 3, 8, V1)                                                                  \
    X(APIC, "apic", 1, 0, 3, 9, KERNEL)                                                            \
    X(SEP, "sep", 1, 0, 3, 11, KERNEL)                                                             \
    X(MTRR, "mtrr", 1, 0, 3, 12, KERNEL)                                                           \
    X(PGE, "pge", 1, 0, 3, 13, KERNEL)                                                             \
    X(MCA, "mca", 1, 0, 3, 14, KERNEL)                                                             \
    X(CMOV, "cmov", 1, 0, 3, 15, V1)                                                               \
    X(PAT, "pat", 1, 0, 3, 16, KERNEL)                                                             \
    X(PSE36, "pse36", 1, 0, 3, 17, KERNEL)                                                         \
    X(CLFLUSH, "clflush", 1, 0, 3, 19, KERNEL)                                                     \
    X(MMX, "mmx", 1, 0, 3, 23, V1)                                                                 \
    X(FXSR, "fxsr", 1, 0, 3, 24, V1)                                                               \
    X(SSE, "sse", 1, 0, 3, 25, V1)                                                                 \
    X(SSE2, "sse2", 1, 0, 3, 26, V1)                                                               \
    X(SELFSNOOP, "ss", 1, 0, 3, 27, PLAIN)                                                         \
    X(SSE3, "pni", 1, 0, 2, 0, V2)                                                                 \
    X(PCLMUL, "pclmulqdq", 1, 0, 2, 1, PLAIN)                                                      \
    X(MONITOR, "monitor", 1, 0, 2, 3, PLAIN)                                                       \
    X(SSSE3, "ssse3", 1, 0, 2, 9, V2)                                                              \
    X(FMA, "fma", 1, 0, 2, 12, V3)                                                                 \
    X(CX16, "cx16", 1, 0, 2, 13, V2)                                                               \
    X(PCID, "pcid", 1, 0, 2, 17, PLAIN)                                                            \
    X(SSE41, "sse4_1", 1, 0, 2, 19, V2)                                                            \
    X(SSE42, "sse4_2", 1, 0, 2, 20, V2)                                                            \
    X(X2APIC, "x2apic", 1, 0, 2, 21, MACHINE)                                                      \
    X(MOVBE, "movbe", 1, 0, 2, 22, V3)                                                             \
    X(POPCNT, "popcnt", 1, 0, 2, 23, V2)                                                           \
    X(TSC_DEADLINE, "tsc_deadline_timer", 1, 0, 2, 24, MACHINE)                                    \
    X(AES, "aes", 1, 0, 2, 25, PLAIN)                                                              \
    X(XSAVE, "xsave", 1, 0, 2, 26, V3)                                                             \
    X(AVX, "avx", 1, 0, 2, 28, V3)                                                                 \
    X(F16C, "f16c", 1, 0, 2, 29, V3)                                                               \
    X(RDRAND, "rdrand", 1, 0, 2, 30, PLAIN)                                                        \
    X(HYPERVISOR, "hypervisor", 1, 0, 2, 31, MACHINE)                                              \
    X(ARAT, "arat", 6, 0, 0, 2, MACHINE)                                                           \
    X(FSGSBASE, "fsgsbase", 7, 0, 1, 0, PLAIN)                                                     \
    X(TSC_ADJUST, "tsc_adjust", 7, 0, 1, 1, PLAIN)                                                 \
    X(BMI1, "bmi1", 7, 0, 1, 3, V3)                                                                \
    X(HLE, "hle", 7, 0, 1, 4, PLAIN)                                                               \
    X(AVX2, "avx2", 7, 0, 1, 5, V3)                                                                \
    X(FDP_EXCPTN_ONLY, "fdp_excptn_only", 7, 0, 1, 6, PLAIN)                                       \
    X(SMEP, "smep", 7, 0, 1, 7, PLAIN)                                                             \
    X(BMI2, "bmi2", 7, 0, 1, 8, V3)                                                                \
    X(ERMS, "erms", 7, 0, 1, 9, PLAIN)                                                             \
    X(INVPCID, "invpcid", 7, 0, 1, 10, PLAIN)                                                      \
    X(RTM, "rtm", 7, 0, 1, 11, PLAIN)                                                              \
    X(ZERO_FCS_FDS, "zero_fcs_fds", 7, 0, 1, 13, PLAIN)                                            \
    X(AVX512F, "avx512f", 7, 0, 1, 16, V4)                                                         \
    X(AVX512DQ, "avx512dq", 7, 0, 1, 17, V4)                                                       \
    X(RDSEED, "rdseed", 7, 0, 1, 18, PLAIN)                                                        \
    X(ADX, "adx", 7, 0, 1, 19, PLAIN)                                                              \
    X(SMAP, "smap", 7, 0, 1, 20, PLAIN)                                                            \
    X(AVX512IFMA, "avx512ifma", 7, 0, 1, 21, PLAIN)                                                \
    X(CLFLUSHOPT, "clflushopt", 7, 0, 1, 23, PLAIN)                                                \
    X(CLWB, "clwb", 7, 0, 1, 24, PLAIN)                                                            \
    X(AVX512CD, "avx512cd", 7, 0, 1, 28, V4)                                                       \
    X(SHA, "sha_ni", 7, 0, 1, 29, PLAIN)                                                           \
    X(AVX512BW, "avx512bw", 7, 0, 1, 30, V4)                                                       \
    X(AVX512VL, "avx512vl", 7, 0, 1, 31, V4)                                                       \
    X(AVX512VBMI, "avx512vbmi", 7, 0, 2, 1, PLAIN)                                                 \
    X(UMIP, "umip", 7, 0, 2, 2, PLAIN)                                                             \
    X(PKU, "pku", 7, 0, 2, 3, PLAIN)                                                               \
    X(AVX512VBMI2, "avx512_vbmi2", 7, 0, 2, 6, PLAIN)                                              \
    X(GFNI, "gfni", 7, 0, 2, 8, PLAIN)                                                             \
    X(VAES, "vaes", 7, 0, 2, 9, PLAIN)                                                             \
    X(VPCLMUL, "vpclmulqdq", 7, 0, 2, 10, PLAIN)                                                   \
    X(AVX512VNNI, "avx512_vnni", 7, 0, 2, 11, PLAIN)                                               \
    X(AVX512BITALG, "avx512_bitalg", 7, 0, 2, 12, PLAIN)                                           \
    X(AVX512VPOPCNTDQ, "avx512_vpopcntdq", 7, 0, 2, 14, PLAIN)                                     \
    X(LA57, "la57", 7, 0, 2, 16, PLAIN)                                                            \
    X(RDPID, "rdpid", 7, 0, 2, 22, PLAIN)                                                          \
    X(CLDEMOTE, "cldemote", 7, 0, 2, 25, PLAIN)                                                    \
    X(MOVDIRI, "movdiri", 7, 0, 2, 27, PLAIN)                                                      \
    X(MOVDIR64B, "movdir64b", 7, 0, 2, 28, PLAIN)                                                  \
    X(FSRM, "fsrm", 7, 0, 3, 4, PLAIN)                                                             \
    X(AVX512VP2INTERSECT, "avx512_vp2intersect", 7, 0, 3, 8, PLAIN)                                \
    X(MD_CLEAR, "md_clear", 7, 0, 3, 10, PLAIN)                                                    \
    X(SERIALIZE, "serialize", 7, 0, 3, 14, PLAIN)                                                  \
    X(TSXLDTRK, "tsxldtrk", 7, 0, 3, 16, PLAIN)                                                    \
    X(AVX512FP16, "avx512_fp16", 7, 0, 3, 23, PLAIN)                                               \
    X(SPEC_CTRL, "spec_ctrl", 7, 0, 3, 26, PLAIN)                                                  \
    X(INTEL_STIBP, "intel_stibp", 7, 0, 3, 27, PLAIN)                                              \
    X(FLUSH_L1D, "flush_l1d", 7, 0, 3, 28, PLAIN)                                                  \
    X(ARCH_CAPABILITIES, "arch_capabilities", 7, 0, 3, 29, PLAIN)                                  \
    X(INTEL_SSBD, "spec_ctrl_ssbd", 7, 0, 3, 31, PLAIN)                                            \
    X(SHA512, "sha512", 7, 1, 0, 0, PLAIN)                                                         \
    X(SM3, "sm3", 7, 1, 0, 1, PLAIN)                                                               \
    X(SM4, "sm4", 7, 1, 0, 2, PLAIN)                                                               \
    X(AVX_VNNI, "avx_vnni", 7, 1, 0, 4, PLAIN)                                                     \
    X(AVX512BF16, "avx512_bf16", 7, 1, 0, 5, PLAIN)                                                \
    X(CMPCCXADD, "cmpccxadd", 7, 1, 0, 7, PLAIN)                                                   \
    X(FZRM, "fzrm", 7, 1, 0, 10, PLAIN)                                                            \
    X(FSRS, "fsrs", 7, 1, 0, 11, PLAIN)                                                            \
    X(FSRC, "fsrc", 7, 1, 0, 12, PLAIN)                                                            \
    X(AVX_IFMA, "avx_ifma", 7, 1, 0, 23, PLAIN)                                                    \
    X(LAM, "lam", 7, 1, 0, 26, PLAIN)                                                              \
    X(AVX_VNNI_INT8, "avx_vnni_int8", 7, 1, 3, 4, PLAIN)                                           \
    X(AVX_NE_CONVERT, "avx_ne_convert", 7, 1, 3, 5, PLAIN)                                         \
    X(AVX_VNNI_INT16, "avx_vnni_int16", 7, 1, 3, 10, PLAIN)                                        \
    X(PREFETCHITI, "prefetchiti", 7, 1, 3, 14, PLAIN)                                              \
    X(INTEL_PSFD, "intel_psfd", 7, 2, 3, 0, PLAIN)                                                 \
    X(IPRED_CTRL, "ipred_ctrl", 7, 2, 3, 1, PLAIN)                                                 \
    X(RRSBA_CTRL, "rrsba_ctrl", 7, 2, 3, 2, PLAIN)                                                 \
    X(DDPD_U, "ddpd_u", 7, 2, 3, 3, PLAIN)                                                         \
    X(BHI_CTRL, "bhi_ctrl", 7, 2, 3, 4, PLAIN)                                                     \
    X(MCDT_NO, "mcdt_no", 7, 2, 3, 5, PLAIN)                                                       \
    X(XSAVEOPT, "xsaveopt", 0xd, 1, 0, 0, PLAIN)                                                   \
    X(XSAVEC, "xsavec", 0xd, 1, 0, 1, PLAIN)                                                       \
    X(XGETBV1, "xgetbv1", 0xd, 1, 0, 2, PLAIN)                                                     \
    X(XSAVES, "xsaves", 0xd, 1, 0, 3, PLAIN)                                                       \
    X(KVM_NOP_IO_DELAY, "kvm_nopiodelay", 0x40000001, 0, 0, 1, MACHINE)                            \
    X(KVM_CLOCK, "kvmclock", 0x40000001, 0, 0, 3, MACHINE)                                         \
    X(KVM_ASYNC_PF, "kvm_asyncpf", 0x40000001, 0, 0, 4, PLAIN)                                     \
    X(KVM_STEAL_TIME, "kvm_steal_time", 0x40000001, 0, 0, 5, PLAIN)                                \
    X(KVM_PV_EOI, "kvm_pv_eoi", 0x40000001, 0, 0, 6, PLAIN)                                        \
    X(KVM_PV_UNHALT, "kvm_pv_unhalt", 0x40000001, 0, 0, 7, PLAIN)                                  \
    X(KVM_PV_TLB_FLUSH, "kvm_pv_tlb_flush", 0x40000001, 0, 0, 9, PLAIN)                            \
    X(KVM_PV_IPI, "kvm_pv_ipi", 0x40000001, 0, 0, 11, PLAIN)                                       \
    X(KVM_POLL_CONTROL, "kvm_poll_control", 0x40000001, 0, 0, 12, PLAIN)                           \
    X(KVM_PV_SCHED_YIELD, "kvm_pv_sched_yield", 0x40000001, 0, 0, 13, PLAIN)                       \
    X(KVM_ASYNC_PF_INT, "kvm_asyncpf_int", 0x40000001, 0, 0, 14, PLAIN)                            \
    X(KVM_CLOCK_STABLE, "kvmclock_stable_bit", 0x40000001, 0, 0, 24, MACHINE)                      \
    X(LAHF, "lahf_lm", 0x80000001, 0, 2, 0, V2)                                                    \
    X(CR8_LEGACY, "cr8_legacy", 0x80000001, 0, 2, 4, PLAIN)                                        \
    X(ABM, "abm", 0x80000001, 0, 2, 5, V3)                                                         \
    X(SSE4A, "sse4a", 0x80000001, 0, 2, 6, PLAIN)                                                  \
    X(MISALIGNSSE, "misalignsse", 0x80000001, 0, 2, 7, PLAIN)                                      \
    X(PREFETCHW, "3dnowprefetch", 0x80000001, 0, 2, 8, PLAIN)                                      \
    X(OSVW, "osvw", 0x80000001, 0, 2, 9, PLAIN)                                                    \
    X(XOP, "xop", 0x80000001, 0, 2, 11, PLAIN)                                                     \
    X(FMA4, "fma4", 0x80000001, 0, 2, 16, PLAIN)                                                   \
    X(TBM, "tbm", 0x80000001, 0, 2, 21, PLAIN)                                                     \
    X(TOPOEXT, "topoext", 0x80000001, 0, 2, 22, PLAIN)                                             \
    X(SYSCALL, "syscall", 0x80000001, 0, 3, 11, V1)                                                \
    X(NX, "nx", 0x80000001, 0, 3, 20, KERNEL)                                                      \
    X(MMXEXT, "mmxext", 0x80000001, 0, 3, 22, PLAIN)                                               \
    X(FXSR_OPT, "fxsr_opt", 0x80000001, 0, 3, 25, PLAIN)                                           \
    X(PDPE1GB, "pdpe1gb", 0x80000001, 0, 3, 26, PLAIN)                                             \
    X(RDTSCP, "rdtscp", 0x80000001, 0, 3, 27, PLAIN)                                               \
    X(LM, "lm", 0x80000001, 0, 3, 29, KERNEL)                                                      \
    X(CONSTANT_TSC, "constant_tsc", 0x80000007, 0, 3, 8, PLAIN)                                    \
    X(CLZERO, "clzero", 0x80000008, 0, 1, 0, PLAIN)                                                \
    X(XSAVEERPTR, "xsaveerptr", 0x80000008, 0, 1, 2, PLAIN)                                        \
    X(WBNOINVD, "wbnoinvd", 0x80000008, 0, 1, 9, PLAIN)                                            \
    X(AMD_IBPB, "amd_ibpb", 0x80000008, 0, 1, 12, PLAIN)                                           \
    X(AMD_IBRS, "amd_ibrs", 0x80000008, 0, 1, 14, PLAIN)                                           \
    X(AMD_STIBP, "amd_stibp", 0x80000008, 0, 1, 15, PLAIN)                                         \
    X(AMD_STIBP_ALWAYS_ON, "amd_stibp_always_on", 0x80000008, 0, 1, 17, PLAIN)                     \
    X(AMD_IBRS_SAME_MODE, "amd_ibrs_same_mode", 0x80000008, 0, 1, 19, PLAIN)                       \
    X(AMD_SSBD, "amd_ssbd", 0x80000008, 0, 1, 24, PLAIN)                                           \
    X(VIRT_SSBD, "virt_ssbd", 0x80000008, 0, 1, 25, PLAIN)                                         \
    X(AMD_SSB_NO, "amd_ssb_no", 0x80000008, 0, 1, 26, PLAIN)                                       \
    X(AMD_PSFD, "amd_psfd", 0x80000008, 0, 1, 28, PLAIN)                                           \
    X(BTC_NO, "btc_no", 0x80000008, 0, 1, 29, PLAIN)                                               \
    X(AMD_IBPB_RET, "amd_ibpb_ret", 0x80000008, 0, 1, 30, PLAIN)                                   \
    X(NO_NESTED_DATA_BP, "no_nested_data_bp", 0x80000021, 0, 0, 0, PLAIN)                          \
    X(WRMSR_XX_BASE_NS, "wrmsr_xx_base_ns", 0x80000021, 0, 0, 1, PLAIN)                            \
    X(LFENCE_RDTSC, "lfence_rdtsc", 0x80000021, 0, 0, 2, PLAIN)                                    \
    X(VERW_CLEAR, "verw_clear", 0x80000021, 0, 0, 5, PLAIN)                                        \
    X(NULL_SEL_CLR_BASE, "null_sel_clr_base", 0x80000021, 0, 0, 6, PLAIN)                          \
    X(AUTOIBRS, "autoibrs", 0x80000021, 0, 0, 8, PLAIN)                                            \
    X(NO_SMM_CTL_MSR, "no_smm_ctl_msr", 0x80000021, 0, 0, 9, PLAIN)                                \
    X(AMD_FSRS, "amd_fsrs", 0x80000021, 0, 0, 10, PLAIN)                                           \
    X(AMD_FSRC, "amd_fsrc", 0x80000021, 0, 0, 11, PLAIN)                                           \
    X(PREFETCHI, "prefetchi", 0x80000021, 0, 0, 20, PLAIN)                                         \
    X(SBPB, "sbpb", 0x80000021, 0, 0, 27, PLAIN)                                                   \
    X(IBPB_BRTYPE, "ibpb_brtype", 0x80000021, 0, 0, 28, PLAIN)                                     \
    X(SRSO_NO, "srso_no", 0x80000021, 0, 0, 29, PLAIN)                                             \
    X(SRSO_USER_KERNEL_NO, "srso_user_kernel_no", 0x80000021, 0, 0, 30, PLAIN)                     \
    X(TSA_SQ_NO, "tsa_sq_no", 0x80000021, 0, 2, 1, PLAIN)                                          \
    X(TSA_L1_NO, "tsa_l1_no", 0x80000021, 0, 2, 2, PLAIN)

enum x86_feature {
#define X(id, name, leaf, subleaf, reg, bit, class) X86_FEATURE_##id,
    X86_FEATURES(X)
#undef X
        X86_FEATURE_COUNT
};

struct x86_feature_info {
    const char *name;
    uint32_t leaf;
    uint8_t subleaf, reg, bit;
    uint8_t class; /* enum x86_feature_class */
};

extern const struct x86_feature_info x86_feature_info[X86_FEATURE_COUNT];

struct x86_features {
    uint64_t word[(X86_FEATURE_COUNT + 63) / 64];
};

static inline bool x86_features_has(const struct x86_features *set, unsigned feature)
{
    return set->word[feature / 64] >> feature % 64 & 1;
}

static inline void x86_features_add(struct x86_features *set, unsigned feature)
{
    set->word[feature / 64] |= UINT64_C(1) << feature % 64;
}

static inline void x86_features_remove(struct x86_features *set, unsigned feature)
{
    set->word[feature / 64] &= ~(UINT64_C(1) << feature % 64);
}

/* The feature of this name of `len` bytes, or -1. */
int x86_feature_find(const char *name, size_t len);

/* Remove whatever needs a feature that is not in the set. */
void x86_features_close(struct x86_features *set);

/* Add whatever the features of the set need. */
void x86_features_complete(struct x86_features *set);

/* What the table offers; and whether it offers this one. */
void x86_features_get(const struct x86_cpuid *t, struct x86_features *set);
bool x86_cpuid_has(const struct x86_cpuid *t, enum x86_feature feature);

/*
 * Make the registers with feature bits say exactly `set`, in leaves that are added
 * where needed; what only AMD's processors repeat in leaf 80000001h as leaf 0 names
 * the maker. Bits of the topology are left out (x86_cpuid_place). -ENOSPC.
 */
int x86_features_put(struct x86_cpuid *t, const struct x86_features *set);

#endif
