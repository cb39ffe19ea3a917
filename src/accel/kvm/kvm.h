/*
 * The KVM back end's own structures. linux/kvm.h is included below this folder
 * and nowhere else. Facts come from Documentation/virt/kvm/api.rst of Linux;
 * "api.rst 4.x" in comments gives its section.
 */
#ifndef MOTE_ACCEL_KVM_KVM_H
#define MOTE_ACCEL_KVM_KVM_H

#include "accel/accel.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#define KVM_DEVICE "/dev/kvm"

/* Newer than the oldest headers that mote is built with. */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif
#ifndef KVM_EXIT_TDX
#define KVM_EXIT_TDX 40
#endif

/* kvm_run's, of KVM_EXIT_MEMORY_FAULT */
struct kvm_memory_fault {
    uint64_t flags, gpa, size;
};

/* Where Intel's real-mode task lives: below the BIOS, apart from all memory (api.rst 4.30). */
#define KVM_IDENTITY_MAP 0xfffbc000u
#define KVM_TSS          0xfffbd000u

/* The most entries msr.c moves. */
#define KVM_MSRS 64

/* What a GSI sends where no chip of KVM's is behind it; address 0: nothing. */
struct kvm_route {
    uint64_t address;
    uint32_t data;
};

/*
 * A vCPU that was destroyed: KVM has it until the machine ends, and makes no other of that ID, so
 * the next one is this one again, with its CPUID once it has run: KVM takes no other.
 */
struct kvm_parked {
    struct kvm_parked *next;
    unsigned id;
    int fd;
    struct x86_cpuid cpuid; /* that KVM has; no leaves: none */
};

struct kvm_machine {
    struct machine m;
    int dev; /* the device node: system ioctls */
    int vm;
    size_t run_size;      /* bytes of a vCPU's shared kvm_run mapping */
    bool sync_regs;       /* kvm_run carries the general registers */
    uint32_t debug_flags; /* KVM_GUESTDBG_* that this KVM knows, 0 if it does not tell */
    bool exit_on_failure; /* a failing instruction exits and leaves no #UD behind */
    struct {
        gpa_t gpa;
        uint64_t size; /* 0: free */
    } slot[GUEST_MEM_SLOTS];
    pthread_mutex_t route_lock;
    unsigned routes; /* GSIs from this on have none */
    struct kvm_route route[MACHINE_GSIS];
    unsigned msr_count;
    uint8_t msr[KVM_MSRS]; /* the entries of x86_msr_list that this KVM has */
    struct kvm_parked *parked;
};

/*
 * KVM finishes the instruction behind an IO, MMIO or MSR exit at the start of
 * the next KVM_RUN (api.rst 5, KVM_EXIT_IO).
 */
enum kvm_pending {
    KVM_PENDING_NONE,
    KVM_PENDING_OPEN,     /* the exit was handed out and not answered */
    KVM_PENDING_ANSWERED, /* answered; finished before any state is read or written */
};

struct kvm_vcpu {
    struct vcpu v;
    int fd;
    struct kvm_run *run;
    enum kvm_pending pending;
    bool stashed;    /* finishing an instruction led to an exit: in *run, not yet handed out */
    bool regs_fresh; /* run->s.regs.regs is the vCPU's */
    bool intr_ready; /* KVM_INTERRUPT would be accepted */
    bool nmi_window; /* asked for */
    bool has_ops;
    struct accel_bus_ops ops; /* the last assist's, for accesses that follow on */
    atomic_int tid;           /* thread inside KVM_RUN, or 0 */
    atomic_bool kicked;
    struct vcpu_debug debug;
    bool debugged;           /* anything of it is on */
    bool debug_changed;      /* KVM does not know yet */
    bool step_due;           /* the step is done, without an exit for it */
    bool debug_told;         /* the last debug exit was at debug_rip */
    bool passing;            /* going on from there by a step without its watch */
    bool rf_lent;            /* since then RF was set to go on from there */
    uint64_t debug_rip;      /* offset in CS */
    uint64_t debug_linear;   /* ditto, linear */
    struct kvm_parked *park; /* where it will be parked */
    bool msrs_fresh;         /* msr_value is what KVM holds */
    uint64_t msr_value[KVM_MSRS];
    struct x86_cpuid cpuid;     /* the guest's, for the interpreter */
    struct kvm_rescue *rescuer; /* NULL: not needed so far */
};

static inline struct kvm_machine *kvm_machine(struct machine *m)
{
    return (struct kvm_machine *)m;
}

static inline struct kvm_vcpu *kvm_vcpu(struct vcpu *v)
{
    return (struct kvm_vcpu *)v;
}

/* ioctl(2), retried on EINTR. The result, or -errno without a record. */
int kvm_ioctl(int fd, unsigned long request, void *arg);

/* The same, and a failure is recorded as "/dev/kvm: NAME: reason". */
int kvm_call(int fd, unsigned long request, const char *name, void *arg);
#define KVM_CALL(fd, request, arg) kvm_call((fd), (request), #request, (void *)(arg))

/* Value of a KVM_CAP_*; 0: not there. fd is the device's or the VM's. */
int kvm_cap(int fd, int cap);

/* Open the device node and check version and capabilities. fd or -errno. */
int kvm_open(const char *device);

/* machine.c */
int kvm_machine_create(struct machine **out, const struct machine_config *cfg);
void kvm_machine_destroy(struct machine *m);
int kvm_map(struct machine *m, const struct mem_slot *slot);
int kvm_unmap(struct machine *m, const struct mem_slot *slot);

/* lapic.c: m.caps, as far as want asks for it and KVM offers it. */
void kvm_lapic_offer(struct kvm_machine *m, unsigned want);
/* Switch on what was offered, before the first vCPU. */
int kvm_lapic_enable(struct kvm_machine *m);
/* The chip inside KVM that the exit's access belongs to, NULL: none. */
const char *kvm_chip_of(const struct machine *m, const struct vcpu_exit *exit);
int kvm_get_lapic(struct vcpu *v, struct lapic_state *out);
int kvm_set_lapic(struct vcpu *v, const struct lapic_state *in);
/* Between struct lapic_state's register page and KVM's, by the mode in apic_base. */
void kvm_lapic_from(struct lapic_state *out, const struct kvm_lapic_state *in);
void kvm_lapic_to(struct kvm_lapic_state *out, const struct lapic_state *in);

/* irqchip.c: PICs, IOAPIC and PIT inside KVM. */
int kvm_irqchip_create(struct kvm_machine *m);
int kvm_get_irqchip(struct machine *m, uint64_t now, struct irqchip_state *out);
int kvm_set_irqchip(struct machine *m, uint64_t now, const struct irqchip_state *in);

/* routing.c: messages, and what a GSI means. */
int kvm_msi(struct machine *m, uint64_t address, uint32_t data);
int kvm_irq_line(struct machine *m, unsigned gsi, int level);
int kvm_route(struct machine *m, unsigned gsi, uint64_t address, uint32_t data);
int kvm_irqfd(struct machine *m, const struct machine_irqfd *irqfd, bool add);
int kvm_ioeventfd(struct machine *m, const struct machine_ioeventfd *e, bool add);
/* Hand the whole table over; lock held, or the machine not in use yet. */
int kvm_routes_set(struct kvm_machine *m);

/* cpuid.c */
int kvm_default_cpuid(struct machine *m, const struct x86_cpuid_topology *topology,
                      struct x86_cpuid *table);
int kvm_set_cpuid(struct vcpu *v, const struct x86_cpuid *table);

/* vcpu.c */
int kvm_vcpu_create(struct vcpu **out, struct machine *m, unsigned id);
void kvm_vcpu_destroy(struct vcpu *v);
int kvm_run(struct vcpu *v, struct vcpu_exit *exit);
void kvm_kick(struct vcpu *v);
void kvm_request_window(struct vcpu *v, bool intr, bool nmi);
int kvm_inject(struct vcpu *v, const struct mote_event *event);
int kvm_translate(struct vcpu *v, uint64_t gva, gpa_t *gpa);
void kvm_paused(struct vcpu *v);
unsigned kvm_stats(struct vcpu *v, struct accel_stat stats[ACCEL_STATS]);

/* Finish the instruction behind the last exit without running further. */
int kvm_finish(struct kvm_vcpu *k);

/* exit.c: what *run says, as an exit; and the answers to it. */
void kvm_exit_decode(struct kvm_vcpu *k, struct vcpu_exit *exit);
int kvm_assist(struct vcpu *v, const struct accel_bus_ops *ops);
int kvm_complete_msr(struct vcpu *v, uint64_t value, bool fault);
/* Perform the access in *run through ops; NULL: reads give all ones. */
int kvm_access(struct kvm_run *run, const struct accel_bus_ops *ops);

/* park.c: a vCPU's file descriptor, and its end, with debugging switched off and no instruction
 * left half done. */
int kvm_park_open(struct kvm_vcpu *k, unsigned id);
void kvm_park(struct kvm_vcpu *k);
void kvm_park_free(struct kvm_machine *m);

/* debug.c */
int kvm_set_debug(struct vcpu *v, const struct vcpu_debug *debug);
/* Before KVM_RUN, with all state handed over: may stash an exit instead. */
int kvm_debug_enter(struct kvm_vcpu *k);
/* After KVM_RUN: again, when it stopped where it was to go on from. */
int kvm_debug_pass(struct kvm_vcpu *k, bool *again);
/* KVM_EXIT_DEBUG in *run. */
void kvm_debug_decode(struct kvm_vcpu *k, struct vcpu_exit *exit);
/*
 * rescue.c: the interpreter executes the instruction at rip. 1: done, run on;
 * 0: *exit is what the run ends with; -errno. After an emulation failure, but
 * any instruction will do.
 */
int kvm_rescue(struct kvm_vcpu *k, struct vcpu_exit *exit);
bool kvm_wants_rescue(const struct kvm_run *run);
/* Is the last exit one of the interpreter's? Then it is completed there. */
bool kvm_rescue_is_open(const struct kvm_vcpu *k);
int kvm_rescue_assist(struct kvm_vcpu *k, const struct accel_bus_ops *ops);
int kvm_rescue_msr(struct kvm_vcpu *k, uint64_t value, bool fault);
/* Before the next run: an access that nobody answered reads as all ones. */
int kvm_rescue_finish(struct kvm_vcpu *k);
/* An assist since the last run ended in a triple fault: *exit is it. */
bool kvm_rescue_shuts_down(struct kvm_vcpu *k, struct vcpu_exit *exit);
void kvm_rescue_set_cpuid(struct kvm_vcpu *k);
void kvm_rescue_free(struct kvm_vcpu *k);
/* Memory goes while vCPUs stand still, perhaps in the midst of an instruction that is assisted. */
void kvm_rescue_unmapped(struct machine *m);

/* state.c: struct mote_state's groups from and to KVM, with the ioctls they need. */
int kvm_get(struct vcpu *v, unsigned groups);
int kvm_set(struct vcpu *v, unsigned groups);

/* msr.c: all of struct mote_msrs but EFER, which travels with the segments. */
/* Which of them this KVM has; once a machine, as its first vCPU is created. */
int kvm_find_msrs(struct kvm_vcpu *k, struct kvm_machine *m);
int kvm_get_msrs(struct kvm_vcpu *k);
int kvm_set_msrs(struct kvm_vcpu *k);

#endif
