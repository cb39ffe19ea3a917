/*
 * The state of an x86 vCPU: what programs that use libmote, snapshots and every
 * accelerator agree on. Versioned, no accelerator's private layout. Fields only
 * ever get appended, with the version raised.
 */
#ifndef MOTE_STATE_H
#define MOTE_STATE_H

#include <stdint.h>

#define MOTE_STATE_VERSION 2 /* intr.activity was a flag before, 1 for halted; more MSRs */

/* Groups of the state: what one get or set moves. */
enum mote_state_groups {
    MOTE_GPRS = 1,  /* gpr, rip, rflags */
    MOTE_SEGS = 2,  /* seg, gdtr, idtr */
    MOTE_CRS = 4,   /* cr0..cr8, xcr0 */
    MOTE_DRS = 8,   /* dr */
    MOTE_MSRS = 16, /* msr */
    MOTE_INTR = 32, /* intr */
    MOTE_FPU = 64,  /* xsave */
    MOTE_ALL = 127,
};

/* General registers, in encoding order (SDM Vol. 2A 2.1). */
enum mote_gpr {
    MOTE_RAX,
    MOTE_RCX,
    MOTE_RDX,
    MOTE_RBX,
    MOTE_RSP,
    MOTE_RBP,
    MOTE_RSI,
    MOTE_RDI,
    MOTE_R8,
    MOTE_R9,
    MOTE_R10,
    MOTE_R11,
    MOTE_R12,
    MOTE_R13,
    MOTE_R14,
    MOTE_R15,
    MOTE_GPR_COUNT,
};

/* Segment registers in encoding order, then the two system segments. */
enum mote_seg_register {
    MOTE_ES,
    MOTE_CS,
    MOTE_SS,
    MOTE_DS,
    MOTE_FS,
    MOTE_GS,
    MOTE_LDTR,
    MOTE_TR,
    MOTE_SEG_COUNT,
};

/* Bits of mote_seg.attrib: the access rights of SDM Vol. 3C table 24-2. */
enum mote_seg_attrib {
    MOTE_SEG_TYPE = 0x0000f, /* SDM Vol. 3A 3.4.5.1, or of a system segment 3.5 */
    MOTE_SEG_S = 0x00010,    /* code or data, not system */
    MOTE_SEG_DPL = 0x00060,
    MOTE_SEG_P = 0x00080, /* present */
    MOTE_SEG_AVL = 0x01000,
    MOTE_SEG_L = 0x02000,  /* 64-bit code */
    MOTE_SEG_DB = 0x04000, /* 32-bit operands */
    MOTE_SEG_G = 0x08000,  /* the descriptor's limit was in pages */
    MOTE_SEG_UNUSABLE = 0x10000,
};

struct mote_seg {
    uint64_t base;
    uint32_t limit;  /* in bytes, granularity applied: the last valid offset */
    uint32_t attrib; /* enum mote_seg_attrib */
    uint16_t selector;
    uint16_t pad[3];
};

struct mote_table {
    uint64_t base;
    uint16_t limit; /* bytes, less 1 */
    uint16_t pad[3];
};

/* An event on its way into the guest (SDM Vol. 3C 24.8.3, in spirit). */
enum mote_event_kind {
    MOTE_EVENT_NONE,
    MOTE_EVENT_INTR, /* external interrupt, by vector */
    MOTE_EVENT_NMI,
    MOTE_EVENT_EXCEPTION, /* vector, and error where the vector has one */
};

struct mote_event {
    uint32_t kind; /* enum mote_event_kind */
    uint8_t vector;
    uint8_t has_error;
    uint16_t pad;
    uint32_t error;
};

/*
 * What the processor is doing, numbered as the activity states of SDM Vol. 3C 24.4.2; its
 * 2, shutdown, is an exit here. Where the local APICs are inside the accelerator, a get and
 * a set move it. Else it is the program's own, and no engine looks at it.
 */
enum mote_activity {
    MOTE_ACTIVE = 0,
    MOTE_HALTED = 1,        /* HLT; an interrupt or NMI ends it */
    MOTE_WAITS_SIPI = 3,    /* INIT came; only a SIPI ends it */
    MOTE_UNINITIALIZED = 4, /* an application processor before its first INIT */
};

struct mote_intr {
    uint8_t shadow;     /* STI or MOV SS was the last instruction */
    uint8_t nmi_masked; /* an NMI handler has not run IRET yet */
    uint8_t nmi_pending;
    uint8_t activity;          /* enum mote_activity */
    struct mote_event pending; /* accepted and not yet delivered */
};

struct mote_msrs {
    uint64_t efer;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat;
    uint64_t tsc; /* guest's counter at the moment of the get; a set of 0 leaves it as it is */
    uint64_t tsc_aux;
    uint64_t tsc_adjust;
    uint64_t spec_ctrl;
    uint64_t misc_enable;
    uint64_t mtrr_def_type;
    uint64_t mtrr_fixed[11];                  /* 64K, 16K x2, 4K x8 in MSR order */
    uint64_t mtrr_var[16];                    /* base and mask in turn */
    uint64_t kvm_wall_clock, kvm_system_time; /* kvmclock (MSR_KVM_*_NEW) */
    /* since version 2 */
    uint64_t virt_spec_ctrl, tsx_ctrl, misc_features, xss;
    uint64_t tsc_deadline; /* of a local APIC inside the accelerator */
    uint64_t kvm_steal_time, kvm_pv_eoi, kvm_poll_control, kvm_async_pf_int, kvm_async_pf;
};

/* XSAVE area in the standard, non-compacted format (SDM Vol. 1 13.4). */
#define MOTE_XSAVE_SIZE 4096

struct mote_state {
    uint32_t version; /* MOTE_STATE_VERSION */
    uint32_t size;    /* sizeof(struct mote_state) of the writer */
    uint64_t gpr[MOTE_GPR_COUNT];
    uint64_t rip, rflags;
    struct mote_seg seg[MOTE_SEG_COUNT];
    struct mote_table gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8, xcr0;
    uint64_t dr[8]; /* 4 and 5 unused */
    struct mote_msrs msr;
    struct mote_intr intr;
    uint8_t xsave[MOTE_XSAVE_SIZE] __attribute__((aligned(64)));
};

#endif
