/*
 * Names and bits of the architecture's registers, as the Intel SDM and AMD APM
 * spell them. Facts only.
 */
#ifndef MOTE_X86_REGS_H
#define MOTE_X86_REGS_H

#include <stdint.h>

/* General registers in encoding order (SDM Vol. 2A 2.1). */
enum {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
};

/* Segment registers in encoding order, then the two system segments. */
enum {
    SEG_ES,
    SEG_CS,
    SEG_SS,
    SEG_DS,
    SEG_FS,
    SEG_GS,
    SEG_LDTR,
    SEG_TR,
    SEG_COUNT,
};

/* RFLAGS (SDM Vol. 1 3.4.3) */
#define FLAG_CF     0x000001u
#define FLAG_R1     0x000002u /* always one */
#define FLAG_PF     0x000004u
#define FLAG_AF     0x000010u
#define FLAG_ZF     0x000040u
#define FLAG_SF     0x000080u
#define FLAG_TF     0x000100u
#define FLAG_IF     0x000200u
#define FLAG_DF     0x000400u
#define FLAG_OF     0x000800u
#define FLAG_IOPL   0x003000u
#define FLAG_NT     0x004000u
#define FLAG_RF     0x010000u
#define FLAG_VM     0x020000u
#define FLAG_AC     0x040000u
#define FLAG_VIF    0x080000u
#define FLAG_VIP    0x100000u
#define FLAG_ID     0x200000u
#define FLAG_STATUS (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

/* CR0, CR4, EFER, XCR0 (SDM Vol. 3A 2.5, 2.2.1, 13.3) */
#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)
#define CR0_PG (1u << 31)

#define CR4_VME        (1u << 0)
#define CR4_PVI        (1u << 1)
#define CR4_TSD        (1u << 2)
#define CR4_DE         (1u << 3)
#define CR4_PSE        (1u << 4)
#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_PGE        (1u << 7)
#define CR4_PCE        (1u << 8)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP       (1u << 11)
#define CR4_LA57       (1u << 12)
#define CR4_FSGSBASE   (1u << 16)
#define CR4_PCIDE      (1u << 17)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)

#define EFER_SCE      (1u << 0)
#define EFER_LME      (1u << 8)
#define EFER_LMA      (1u << 10)
#define EFER_NXE      (1u << 11)
#define EFER_SVME     (1u << 12)
#define EFER_FFXSR    (1u << 14)
#define EFER_AUTOIBRS (1u << 21)

#define XCR0_X87    (1u << 0)
#define XCR0_SSE    (1u << 1)
#define XCR0_AVX    (1u << 2)
#define XCR0_AVX512 (7u << 5)
#define XCR0_PKRU   (1u << 9)

#define DR6_FIXED 0xffff0ff0u
#define DR6_BS    (1u << 14)
#define DR6_BD    (1u << 13)
#define DR6_BT    (1u << 15)
#define DR7_FIXED 0x400u
#define DR7_GD    (1u << 13)

/* Exceptions (SDM Vol. 3A 6.3.1): name, vector, has an error code */
#define X86_EXCEPTIONS(X)                                                                          \
    X(DE, 0, 0)                                                                                    \
    X(DB, 1, 0)                                                                                    \
    X(NMI, 2, 0)                                                                                   \
    X(BP, 3, 0)                                                                                    \
    X(OF, 4, 0)                                                                                    \
    X(BR, 5, 0)                                                                                    \
    X(UD, 6, 0)                                                                                    \
    X(NM, 7, 0)                                                                                    \
    X(DF, 8, 1)                                                                                    \
    X(TS, 10, 1)                                                                                   \
    X(NP, 11, 1)                                                                                   \
    X(SS, 12, 1)                                                                                   \
    X(GP, 13, 1)                                                                                   \
    X(PF, 14, 1)                                                                                   \
    X(MF, 16, 0)                                                                                   \
    X(AC, 17, 1)                                                                                   \
    X(MC, 18, 0)                                                                                   \
    X(XM, 19, 0)

enum {
#define X(name, vector, code) EXC_##name = vector,
    X86_EXCEPTIONS(X)
#undef X
};

/* Page-fault error code (SDM Vol. 3A 4.7) */
#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_R 8u /* reserved bit set */
#define PF_I 16u

/*
 * Segment attributes: bits 0-7 and 12-15 as in bits 40-47 and 52-55 of a
 * descriptor (SDM Vol. 3A 3.4.5), bit 16 "unusable" as in VMX and KVM.
 */
#define SEG_TYPE      0x0000fu
#define SEG_TYPE_A    0x00001u /* accessed */
#define SEG_TYPE_RW   0x00002u /* data: writable; code: readable */
#define SEG_TYPE_EC   0x00004u /* data: expand down; code: conforming */
#define SEG_TYPE_CODE 0x00008u
#define SEG_S         0x00010u /* code or data, not system */
#define SEG_DPL_SHIFT 5
#define SEG_DPL       0x00060u
#define SEG_P         0x00080u
#define SEG_AVL       0x01000u
#define SEG_L         0x02000u
#define SEG_DB        0x04000u
#define SEG_G         0x08000u
#define SEG_UNUSABLE  0x10000u

/* MSRs the project knows by name */
#define MSR_TSC                 0x00000010u
#define MSR_APIC_BASE           0x0000001bu
#define MSR_FEATURE_CTL         0x0000003au
#define MSR_TSC_ADJUST          0x0000003bu
#define MSR_SPEC_CTRL           0x00000048u
#define MSR_PRED_CMD            0x00000049u
#define MSR_ARCH_CAPABILITIES   0x0000010au
#define MSR_TSX_CTRL            0x00000122u
#define MSR_MISC_FEATURES       0x00000140u
#define MSR_UCODE_REV           0x0000008bu
#define MSR_MTRRCAP             0x000000feu
#define MSR_SYSENTER_CS         0x00000174u
#define MSR_SYSENTER_ESP        0x00000175u
#define MSR_SYSENTER_EIP        0x00000176u
#define MSR_MCG_CAP             0x00000179u
#define MSR_MCG_STATUS          0x0000017au
#define MSR_MISC_ENABLE         0x000001a0u
#define MSR_MTRR_PHYSBASE0      0x00000200u /* 16 of them, base and mask in turn */
#define MSR_MTRR_FIX64K         0x00000250u
#define MSR_MTRR_FIX16K_0       0x00000258u
#define MSR_MTRR_FIX16K_1       0x00000259u
#define MSR_MTRR_FIX4K_0        0x00000268u /* eight of them */
#define MSR_PAT                 0x00000277u
#define MSR_MTRR_DEF_TYPE       0x000002ffu
#define MSR_TSC_DEADLINE        0x000006e0u
#define MSR_X2APIC_FIRST        0x00000800u
#define MSR_X2APIC_LAST         0x000008ffu
#define MSR_XSS                 0x00000da0u
#define MSR_EFER                0xc0000080u
#define MSR_STAR                0xc0000081u
#define MSR_LSTAR               0xc0000082u
#define MSR_CSTAR               0xc0000083u
#define MSR_SFMASK              0xc0000084u
#define MSR_FS_BASE             0xc0000100u
#define MSR_GS_BASE             0xc0000101u
#define MSR_KERNEL_GS_BASE      0xc0000102u
#define MSR_TSC_AUX             0xc0000103u
#define MSR_KVM_WALL_CLOCK_NEW  0x4b564d00u
#define MSR_VIRT_SPEC_CTRL      0xc001011fu
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
#define MSR_KVM_ASYNC_PF_EN     0x4b564d02u
#define MSR_KVM_STEAL_TIME      0x4b564d03u
#define MSR_KVM_PV_EOI_EN       0x4b564d04u
#define MSR_KVM_POLL_CONTROL    0x4b564d05u
#define MSR_KVM_ASYNC_PF_INT    0x4b564d06u
#define MSR_KVM_ASYNC_PF_ACK    0x4b564d07u

#define APIC_BASE_BSP    (1u << 8)
#define APIC_BASE_X2APIC (1u << 10)
#define APIC_BASE_ENABLE (1u << 11)

#endif
