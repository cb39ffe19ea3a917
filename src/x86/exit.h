/*
 * Why a vCPU stopped running guest code. Written once; every accelerator, the
 * interpreter and the boards speak it.
 */
#ifndef MOTE_X86_EXIT_H
#define MOTE_X86_EXIT_H

#include "mem/gpa.h"

#include <stdbool.h>
#include <stdint.h>

#define VCPU_EXITS(X)                                                                              \
    X(NONE, "none")               /* interrupted: a kick or a signal; just run again */            \
    X(IO, "io")                   /* IN/OUT/INS/OUTS; answer with an assist */                     \
    X(MMIO, "mmio")               /* access where no slot is; answer with an assist */             \
    X(RDMSR, "rdmsr")             /* answer with vcpu_complete_msr */                              \
    X(WRMSR, "wrmsr")             /* ditto */                                                      \
    X(HALT, "halt")               /* HLT was executed, rip is behind it; a run goes on there */    \
    X(SHUTDOWN, "shutdown")       /* triple fault */                                               \
    X(INTR_WINDOW, "intr-window") /* an interrupt can be injected now, as requested */             \
    X(NMI_WINDOW, "nmi-window")                                                                    \
    X(TPR, "tpr")               /* CR8 was lowered; only with a local APIC outside */              \
    X(IOAPIC_EOI, "ioapic-eoi") /* local APIC inside: level-triggered vector was EOIed */          \
    X(HYPERCALL, "hypercall")   /* VMCALL/VMMCALL; rip is behind it, answer goes to RAX */         \
    X(DEBUG, "debug")           /* a debugger outside the guest wants to know */                   \
    X(MEM_FAULT, "mem-fault")   /* access that the slot's rights forbid */                         \
    X(DIRTY_FULL, "dirty-full") /* dirty ring full */                                              \
    X(CPUID, "cpuid")           /* a leaf of vcpu_exit_cpuid; answer with vcpu_complete_cpuid */   \
    X(MONITOR, "monitor")       /* only by capability */                                           \
    X(MWAIT, "mwait")           /* only by capability */                                           \
    X(SYSTEM, "system")         /* the guest asked the accelerator for the machine's end */        \
    X(FAIL, "fail")             /* the accelerator cannot go on; exit.fail says why */

enum vcpu_exit_reason {
#define X(id, name) VCPU_EXIT_##id,
    VCPU_EXITS(X)
#undef X
        VCPU_EXIT_COUNT
};

enum vcpu_system_event {
    VCPU_SYSTEM_POWEROFF,
    VCPU_SYSTEM_RESET,
    VCPU_SYSTEM_CRASH, /* the guest panicked */
};

struct vcpu_exit {
    enum vcpu_exit_reason reason;
    union {
        struct {
            uint16_t port;
            uint8_t size; /* bytes: 1, 2 or 4 */
            bool in;      /* guest reads */
            bool string;  /* INS or OUTS */
        } io;
        struct { /* MMIO and MEM_FAULT */
            gpa_t gpa;
            uint8_t size; /* bytes; 0 when only an assist can tell */
            bool write;
        } mem;
        struct {
            uint32_t index;
            uint64_t value; /* WRMSR */
        } msr;
        struct {
            uint32_t leaf, subleaf;
            uint32_t regs[4]; /* EAX, EBX, ECX, EDX as the guest's table has them */
        } cpuid;
        struct {
            uint8_t vector;
        } eoi;
        enum vcpu_system_event system;
        struct {          /* see vcpu_set_debug */
            uint64_t rip; /* of the INT3 or the instruction to be executed next */
            bool int3;
            bool step;
            uint8_t watches; /* bit n: watch n was hit */
        } debug;
        struct {
            const char *why; /* static text for the report */
            uint64_t detail[2];
            uint8_t insn[16]; /* bytes at rip, as far as known */
            uint8_t insn_len;
        } fail;
    };
    /* Always valid: enough to decide about interrupts without a state get. */
    uint64_t rflags;
    uint64_t cr8;
    bool intr_ready; /* an external interrupt injected now is accepted */
};

const char *vcpu_exit_name(enum vcpu_exit_reason reason);

#endif
