/*
 * NVMM's interface over libmote's: what the files of this layer share. NVMM's objects are
 * numbers; ours are found in a table of machines by them.
 *
 * The state that a program sees is the comm page's. Groups in state_cached are current there;
 * those in state_commit reach libmote at the next run, or before an assist.
 */
#ifndef MOTE_NVMM_LAYER_H
#define MOTE_NVMM_LAYER_H

#include <mote/mote.h>
#include <nvmm.h>

#define MACHINES_MAX  128
#define CPUID_OPS_MAX 32
#define GUEST_PAGE    4096u

struct nv_vcpu {
    struct nvmm_comm_page page;
    struct nvmm_vcpu_exit exit;
    struct mote_vcpu *v;
    struct mote_state *state;
    struct nv_machine *machine;
    unsigned id;

    /* The program's, of its last run or assist: callbacks are told them. */
    struct nvmm_machine *user_machine;
    struct nvmm_vcpu *user_vcpu;

    uint64_t open;   /* NVMM_VCPU_EXIT_* that no assist has answered; NONE */
    bool insn_known; /* exit.u.io.npc and so on were decoded */
    bool assisting;  /* inside mote_vcpu_assist: the state is that of before */
    bool calling;    /* inside a callback apart from it: the vCPU is to stay */
    bool canned;     /* the callback is called apart from the assist, ... */
    uint64_t data;   /* ... for this */
    bool int_window; /* asked for */
    bool nmi_window; /* ... or an NMI is being handled */
    bool tpr_exit;   /* NVMM_VCPU_CONF_TPR */
    char why[104];   /* of the last EXIT_INVALID */
    struct mote_cpuid base[MOTE_CPUID_MAX]; /* what CPUID tells without the operations */
    unsigned base_count;
    struct nvmm_vcpu_conf_cpuid op[CPUID_OPS_MAX];
    unsigned ops;
};

struct nv_machine {
    struct mote_machine *m;
    struct mote_capabilities caps;
    uint64_t ram; /* bytes that are registered */
    time_t since;
    struct nvmm_comm_page *page[MOTE_VCPUS_MAX];
    struct nv_vcpu *vcpu[MOTE_VCPUS_MAX];
};

/* 0 as it is; -errno becomes -1 and errno. */
int nv_result(int err);

/* NULL and errno ENOENT: there is none. */
struct nv_machine *nv_machine(const struct nvmm_machine *mach);
struct nv_vcpu *nv_vcpu(const struct nvmm_machine *mach, const struct nvmm_vcpu *vcpu);

/* When libmote has none of it any more. */
void nv_vcpu_free(struct nv_vcpu *nv);

/* Make groups (NVMM_X64_STATE_*) of the comm page current. 0 or -errno. */
int nv_get(struct nv_vcpu *nv, uint64_t groups);

/* Hand over what is to be committed. 0 or -errno. */
int nv_commit(struct nv_vcpu *nv);

/* libmote's callbacks of a machine. */
int nv_on_io(struct mote_vcpu *v, struct mote_access *access, void *user);
int nv_on_memory(struct mote_vcpu *v, struct mote_access *access, void *user);

/* Through the page tables that the comm page's CRS, and with `efer` that EFER, name. -EFAULT. */
int nv_walk(struct nv_vcpu *nv, uint64_t efer, uint64_t gva, uint64_t *gpa, nvmm_prot_t *prot);

/* The instruction at rip, as far as it is one that exits. */
struct nv_insn {
    enum { NV_INSN_OTHER, NV_INSN_IO, NV_INSN_MSR, NV_INSN_CPUID } kind;
    uint64_t npc;
    bool in, string, rep;
    int8_t seg;           /* NVMM_X64_SEG_*; -1: no memory */
    uint8_t address_size; /* bytes */
    uint8_t operand_size; /* bytes */
};

/* Makes GPRS, SEGS and CRS of the comm page current. */
void nv_decode(struct nv_vcpu *nv, struct nv_insn *insn);

#endif
