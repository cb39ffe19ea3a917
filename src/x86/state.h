/*
 * The public state of a vCPU: what snapshots, the library and every
 * accelerator agree on. Versioned; no accelerator's private layout and no
 * structure of linux/kvm.h. Fields only ever get appended, with the version
 * raised.
 */
#ifndef MOTE_X86_STATE_H
#define MOTE_X86_STATE_H

#include "x86/regs.h"

#include <stdint.h>

#define X86_STATE_VERSION 2 /* intr.activity was a flag before, 1 for X86_HALTED; more MSRs */

/* State groups: what one get or set moves. */
enum {
    X86_GPRS = 1,  /* gpr, rip, rflags */
    X86_SEGS = 2,  /* seg, gdtr, idtr */
    X86_CRS = 4,   /* cr0..cr8, xcr0 */
    X86_DRS = 8,   /* dr0..dr7 */
    X86_MSRS = 16, /* the msr struct */
    X86_INTR = 32, /* the intr struct */
    X86_FPU = 64,  /* xsave */
    X86_ALL = 127,
};

struct x86_seg {
    uint64_t base;
    uint32_t limit;  /* in bytes, granularity applied: the last valid offset */
    uint32_t attrib; /* SEG_* of x86/regs.h */
    uint16_t selector;
    uint16_t pad[3];
};

struct x86_table {
    uint64_t base;
    uint16_t limit;
    uint16_t pad[3];
};

/* An event on its way into the guest (SDM Vol. 3C 24.8.3, in spirit). */
enum x86_event_kind {
    X86_EVENT_NONE,
    X86_EVENT_INTR, /* external interrupt, by vector */
    X86_EVENT_NMI,
    X86_EVENT_EXCEPTION, /* vector, and error where the vector has one */
};

struct x86_event {
    uint32_t kind; /* enum x86_event_kind */
    uint8_t vector;
    uint8_t has_error;
    uint16_t pad;
    uint32_t error;
};

/*
 * What the processor is doing, numbered as the activity states of SDM Vol. 3C 24.4.2; its
 * 2, shutdown, is an exit here. With the local APICs inside the accelerator (ACCEL_CAP_LAPIC)
 * it is the accelerator's: a get and a set move it. Else the vCPU's thread on the board owns
 * it (struct cpu: halted, waits), and no engine looks at this field.
 */
enum x86_activity {
    X86_ACTIVE = 0,
    X86_HALTED = 1,        /* HLT; an interrupt or NMI ends it */
    X86_WAITS_SIPI = 3,    /* INIT came; only a SIPI ends it */
    X86_UNINITIALIZED = 4, /* an application processor before its first INIT */
};

struct x86_intr {
    uint8_t shadow;     /* STI or MOV SS was the last instruction */
    uint8_t nmi_masked; /* an NMI handler has not run IRET yet */
    uint8_t nmi_pending;
    uint8_t activity;         /* enum x86_activity */
    struct x86_event pending; /* accepted and not yet delivered */
};

struct x86_msrs {
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
#define X86_XSAVE_SIZE 4096

struct x86_state {
    uint32_t version; /* X86_STATE_VERSION */
    uint32_t size;    /* sizeof(struct x86_state) of the writer */
    uint64_t gpr[16]; /* by RAX..R15 */
    uint64_t rip, rflags;
    struct x86_seg seg[SEG_COUNT];
    struct x86_table gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8, xcr0;
    uint64_t dr[8]; /* 4 and 5 unused */
    struct x86_msrs msr;
    struct x86_intr intr;
    uint8_t xsave[X86_XSAVE_SIZE] __attribute__((aligned(64)));
};

/*
 * Fill *s with the state after RESET (SDM Vol. 3A table 9-1): real mode,
 * cs:ip = f000:fff0, x87 and SSE in their initial configuration.
 */
void x86_state_reset(struct x86_state *s);

/*
 * Linear address of the instruction to be executed next; GPRS, SEGS and MSRS of *s
 * are current. In 64-bit mode the base of CS counts as 0, whatever the cache holds.
 */
uint64_t x86_linear_rip(const struct x86_state *s);

/* Vector's error-code flag (X86_EXCEPTIONS). */
int x86_exception_has_error(unsigned vector);

/* "#PF" and so on; "#?" for others. Never NULL. */
const char *x86_exception_name(unsigned vector);

#endif
