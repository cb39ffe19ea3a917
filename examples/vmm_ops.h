/*
 * A table of operations as the machine-dependent half of bhyve's and xhyve's vmm offers it to the
 * other half (struct vmm_ops), filled with calls of libmote. A monitor that was written against
 * such a table keeps its shape: cookies, register and exit codes, positive errno as results.
 *
 * What differs from the kernel's:
 * - There is no vmspace or EPT map to hand over: memory is the program's own, and the table has
 *   vmmmap and vmmunmap for it.
 * - There are no vlapic_init and vlapic_cleanup: libmote's machines have no local APIC inside, so
 *   the program's own, if it has one, sits in its device callbacks (MMIO at 0xfee00000), and
 *   what it has for the vCPU goes in by vminject, or waits for VM_CAP_INTR_WINDOW's exit.
 * - vmemulate stands for what bhyve has above the table, its instruction emulation: the library
 *   knows what the accelerator knows of the instruction.
 * - The host's suspend and resume are no matter of a process; there is no vmresume.
 */
#ifndef VMM_OPS_H
#define VMM_OPS_H

#include <stdint.h>

enum vm_reg_name {
    VM_REG_GUEST_RAX,
    VM_REG_GUEST_RBX,
    VM_REG_GUEST_RCX,
    VM_REG_GUEST_RDX,
    VM_REG_GUEST_RSI,
    VM_REG_GUEST_RDI,
    VM_REG_GUEST_RBP,
    VM_REG_GUEST_R8,
    VM_REG_GUEST_R9,
    VM_REG_GUEST_R10,
    VM_REG_GUEST_R11,
    VM_REG_GUEST_R12,
    VM_REG_GUEST_R13,
    VM_REG_GUEST_R14,
    VM_REG_GUEST_R15,
    VM_REG_GUEST_CR0,
    VM_REG_GUEST_CR2,
    VM_REG_GUEST_CR3,
    VM_REG_GUEST_CR4,
    VM_REG_GUEST_DR7,
    VM_REG_GUEST_RSP,
    VM_REG_GUEST_RIP,
    VM_REG_GUEST_RFLAGS,
    VM_REG_GUEST_EFER,
    VM_REG_GUEST_ES, /* selectors; the rest of a segment is a descriptor */
    VM_REG_GUEST_CS,
    VM_REG_GUEST_SS,
    VM_REG_GUEST_DS,
    VM_REG_GUEST_FS,
    VM_REG_GUEST_GS,
    VM_REG_GUEST_LDTR,
    VM_REG_GUEST_TR,
    VM_REG_GUEST_GDTR, /* descriptors only */
    VM_REG_GUEST_IDTR,
    VM_REG_LAST,
};

struct seg_desc {
    uint64_t base;
    uint32_t limit;
    uint32_t access; /* as in a VMCS; not for GDTR and IDTR */
};

enum vm_cap_type {
    VM_CAP_HALT_EXIT,   /* HLT exits: always on */
    VM_CAP_MTRAP_EXIT,  /* exit after each instruction */
    VM_CAP_INTR_WINDOW, /* exit as soon as an interrupt can be injected */
    VM_CAP_PAUSE_EXIT,  /* PAUSE exits: not to be had */
    VM_CAP_MAX,
};

enum vm_exitcode {
    VM_EXITCODE_BOGUS, /* nothing to be done: vmstop, or a signal */
    VM_EXITCODE_INOUT, /* vmemulate */
    VM_EXITCODE_INST_EMUL,
    VM_EXITCODE_RDMSR,
    VM_EXITCODE_WRMSR,
    VM_EXITCODE_HLT,
    VM_EXITCODE_MTRAP,
    VM_EXITCODE_INTR_WINDOW,
    VM_EXITCODE_SUSPENDED, /* triple fault */
    VM_EXITCODE_VMX,       /* the accelerator gave up, or an exit that the table knows not */
};

struct vm_exit {
    enum vm_exitcode exitcode;
    uint64_t rip;
    union {
        struct {
            uint16_t port;
            uint8_t bytes;
            uint8_t in, string;
            uint32_t eax; /* of an OUT */
        } inout;
        struct {
            uint64_t gpa;
        } inst_emul;
        struct {
            uint32_t code;
            uint64_t wval;
        } msr;
    } u;
};

/* The monitor's devices, for vmemulate: 0 or an errno. */
struct vm_bus {
    int (*inout)(void *arg, int in, uint16_t port, int bytes, uint64_t *val);
    int (*mmio)(void *arg, int write, uint64_t gpa, int bytes, uint64_t *val);
    void *arg;
};

struct vmm_ops {
    int (*init)(void); /* is there anything to run guests on? */
    int (*cleanup)(void);
    void *(*vminit)(int vcpus); /* the cookie of all others; NULL: there is none */
    void (*vmcleanup)(void *vmi);
    int (*vcpu_init)(void *vmi, int vcpu);
    int (*vmrun)(void *vmi, int vcpu, struct vm_exit *vme);
    int (*vmstop)(void *vmi, int vcpu); /* any thread */
    int (*vmemulate)(void *vmi, int vcpu, const struct vm_bus *bus);
    int (*vmgetreg)(void *vmi, int vcpu, int num, uint64_t *retval);
    int (*vmsetreg)(void *vmi, int vcpu, int num, uint64_t val);
    int (*vmgetdesc)(void *vmi, int vcpu, int num, struct seg_desc *desc);
    int (*vmsetdesc)(void *vmi, int vcpu, int num, const struct seg_desc *desc);
    int (*vmgetcap)(void *vmi, int vcpu, int num, int *retval);
    int (*vmsetcap)(void *vmi, int vcpu, int num, int val);
    int (*vminject)(void *vmi, int vcpu, int vector);
    int (*vmmmap)(void *vmi, uint64_t gpa, void *hva, uint64_t len, int writable);
    int (*vmmunmap)(void *vmi, uint64_t gpa, uint64_t len);
};

/* The table, on the accelerator named by the environment's VMM_ACCEL, or the best. */
extern const struct vmm_ops vmm_ops_mote;

#endif
