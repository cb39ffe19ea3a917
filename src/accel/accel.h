/*
 * The accelerator seam: what every engine that runs guest code can honour,
 * shaped like NetBSD's NVMM and bhyve's vmm_ops. Two stand behind it: kvm and
 * soft. Nothing above this header knows which.
 *
 * Errors are -errno with err_text set. A vCPU is driven by one thread at a
 * time; only vcpu_kick may come from others.
 */
#ifndef MOTE_ACCEL_ACCEL_H
#define MOTE_ACCEL_ACCEL_H

#include "mem/guest_mem.h"
#include "x86/cpu_model.h"
#include "x86/exit.h"
#include "x86/irqchip.h"
#include "x86/state.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct machine;
struct vcpu;

/* What an accelerator offers beyond the common part (machine_caps). */
enum {
    ACCEL_CAP_LAPIC = 1,        /* local APICs inside; PICs and IOAPIC are the board's */
    ACCEL_CAP_CLOCK = 2,        /* kvmclock: the guest may be offered its CPUID bits */
    ACCEL_CAP_TSC_DEADLINE = 4, /* the inside LAPIC has the TSC-deadline timer */
    ACCEL_CAP_IRQCHIP = 8,      /* PICs, IOAPIC, PIT and port 0x61 inside; has LAPIC and IRQFD */
    ACCEL_CAP_IRQFD = 16,       /* machine_irqfd_add; has LAPIC */
    ACCEL_CAP_IOEVENTFD = 32,   /* doorbells ring in the accelerator, not on the vCPU's thread */
};

struct accel_info {
    bool usable;
    char reason[256]; /* why (not), one clause for `mote info` */
    char device[64];  /* "/dev/kvm", or "" */
    double mips;      /* ring-0 64-bit speed measured by probe, million insn/s; 0 unknown */
};

/* How mote's own engine runs code; other accelerators have nothing to choose. */
enum accel_engine {
    ACCEL_ENGINE_BEST,      /* translate, where the host can */
    ACCEL_ENGINE_TRANSLATE, /* hot code becomes host code */
    ACCEL_ENGINE_INTERPRET,
    ACCEL_ENGINE_CHECK, /* translate, and compare with the interpreter block by block; one vCPU */
};

struct machine_config {
    const char *device; /* accelerator's device node, NULL for the default */
    enum accel_engine engine;
    unsigned vcpus; /* how many will be created at most */
    unsigned want;  /* ACCEL_CAP_* to switch on where offered */
    bool count;     /* vcpu_stats is to be complete, at some cost */
};

/*
 * A doorbell: a write of the guest's that signals an eventfd, and does nothing else. It is
 * an access of this size at this very address; one that begins elsewhere and reaches over
 * it is none, but what crosses a page is two accesses. Reads go to the board as ever.
 */
struct machine_ioeventfd {
    bool mmio;        /* else a port */
    bool match;       /* only writes of `data` */
    uint8_t size;     /* bytes: 1, 2, 4 or 8 (MMIO only); 0: any, without match */
    uint64_t address; /* guest-physical, or a port */
    uint64_t data;    /* below 2^(8 * size) */
    int fd;           /* an eventfd, the caller's */
};
#define MACHINE_IOEVENTFDS 512 /* a machine */

/*
 * Global system interrupts: the first IOAPIC_PINS are inputs of PICs and IOAPIC, the others
 * up to MACHINE_GSIS messages, each that of machine_msi_route.
 */
#define MACHINE_GSIS 1024

/* An eventfd that raises an interrupt. */
struct machine_irqfd {
    int fd; /* an eventfd, the caller's */
    unsigned gsi;
    /*
     * -1: each signal is an edge. Else the input is asserted until its interrupt's end, and
     * then this eventfd, the caller's, is signalled. Not for messages.
     */
    int resample;
};

/* Callbacks of an assist: 0, or -errno to give up. data holds `size` bytes. */
struct accel_bus_ops {
    int (*io)(void *user, uint16_t port, unsigned size, bool write, uint64_t *data);
    int (*mmio)(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data);
    void *user;
};

/*
 * What a debugger outside the guest wants of a vCPU. It has breakpoints of its
 * own: the guest's debug registers, TF and #DB handler see nothing of them.
 */
enum vcpu_watch_kind {
    VCPU_WATCH_OFF,
    VCPU_WATCH_EXEC,  /* exit before the instruction at gva; size is 1 */
    VCPU_WATCH_WRITE, /* exit after the instruction that wrote */
    VCPU_WATCH_ACCESS /* ... that read or wrote */
};

#define VCPU_WATCHES 4 /* as many as the processor has debug registers */

struct vcpu_watch {
    uint64_t gva; /* linear; a multiple of size */
    uint8_t size; /* bytes: 1, 2, 4 or 8 */
    uint8_t kind; /* enum vcpu_watch_kind */
};

struct vcpu_debug {
    bool breakpoints; /* INT3 (0xcc) exits instead of raising #BP */
    bool step;        /* exit after one instruction; interrupts wait meanwhile */
    struct vcpu_watch watch[VCPU_WATCHES];
};

/* A counter of an engine, for people who tune it. */
struct accel_stat {
    char name[48];
    uint64_t value;
};
#define ACCEL_STATS 56

/* One engine: a const table. Back ends embed struct machine and struct vcpu
 * at the head of their own. */
struct accel {
    const char *name;  /* "kvm", "soft" */
    const char *title; /* for people */
    unsigned rights;   /* MEM_* that a mapping can withhold; others are always granted */
    bool hypercalls;   /* VCPU_EXIT_HYPERCALL happens */
    void (*probe)(const char *device, struct accel_info *info);
    int (*machine_create)(struct machine **out, const struct machine_config *cfg);
    void (*machine_destroy)(struct machine *m);
    int (*map)(struct machine *m, const struct mem_slot *slot);
    int (*unmap)(struct machine *m, const struct mem_slot *slot);
    /* With ACCEL_CAP_LAPIC, arguments checked. */
    int (*msi)(struct machine *m, uint64_t address, uint32_t data);
    int (*route)(struct machine *m, unsigned gsi, uint64_t address, uint32_t data);
    int (*irqfd)(struct machine *m, const struct machine_irqfd *irqfd, bool add);
    int (*get_lapic)(struct vcpu *v, struct lapic_state *out);
    int (*set_lapic)(struct vcpu *v, const struct lapic_state *in);
    /* With ACCEL_CAP_IRQCHIP, arguments checked. */
    int (*irq_line)(struct machine *m, unsigned gsi, int level);
    int (*get_irqchip)(struct machine *m, uint64_t now, struct irqchip_state *out);
    int (*set_irqchip)(struct machine *m, uint64_t now, const struct irqchip_state *in);
    /* With ACCEL_CAP_IOEVENTFD, arguments checked; the seam keeps a table, too. */
    int (*ioeventfd)(struct machine *m, const struct machine_ioeventfd *e, bool add);
    int (*vcpu_create)(struct vcpu **out, struct machine *m, unsigned id);
    void (*vcpu_destroy)(struct vcpu *v);
    int (*set_cpuid)(struct vcpu *v, const struct x86_cpuid *table);
    int (*get)(struct vcpu *v, unsigned groups);
    int (*set)(struct vcpu *v, unsigned groups);
    int (*inject)(struct vcpu *v, const struct mote_event *event);
    void (*request_window)(struct vcpu *v, bool intr, bool nmi);
    int (*run)(struct vcpu *v, struct vcpu_exit *exit);
    void (*kick)(struct vcpu *v);
    int (*assist)(struct vcpu *v, const struct accel_bus_ops *ops);
    int (*complete_msr)(struct vcpu *v, uint64_t value, bool fault);
    /* NULL: CPUID is answered where nobody can be asked. */
    int (*exit_cpuid)(struct vcpu *v, const uint32_t *leaves, unsigned count);
    int (*complete_cpuid)(struct vcpu *v, const uint32_t regs[4]);
    /* What it can honour, but for x86_cpuid_place. */
    int (*default_cpuid)(struct machine *m, const struct x86_cpuid_topology *topology,
                         struct x86_cpuid *table);
    int (*translate)(struct vcpu *v, uint64_t gva, gpa_t *gpa);
    int (*set_debug)(struct vcpu *v, const struct vcpu_debug *debug);
    void (*paused)(struct vcpu *v);
    unsigned (*stats)(struct vcpu *v, struct accel_stat stats[ACCEL_STATS]); /* NULL: none */
};

struct ioeventfd_table;

struct machine {
    const struct accel *accel;
    uint64_t caps;    /* ACCEL_CAP_* that are on */
    uint32_t tsc_khz; /* guest TSC frequency, 0 unknown */
    struct guest_mem mem;
    pthread_mutex_t lock; /* of the next two, for those who change them */
    struct vcpu *vcpus;
    struct ioeventfd_table *_Atomic ioeventfds; /* NULL: none */
};

struct vcpu {
    const struct accel *accel;
    struct machine *machine;
    unsigned id;
    unsigned valid;              /* X86_* groups of *state that equal the engine's */
    unsigned dirty;              /* X86_* groups of *state to hand over before the next run */
    _Atomic uint64_t tsc_offset; /* guest's TSC less the host's, without ACCEL_CAP_LAPIC; any
                                    thread may read it */
    uint64_t rescued;         /* instructions that the interpreter did, as the engine could not */
    struct mote_state *state; /* the shared page; see vcpu_get and vcpu_set */
    struct accel_bus_ops ops; /* the last assist's */
    struct vcpu *next;        /* of the machine's */
    atomic_bool rings;        /* looks through the machine's doorbells */
};

/* The accelerators built in, best first; NULL-terminated. */
extern const struct accel *const accel_list[];

/* By name ("kvm", "soft"); NULL: none such. */
const struct accel *accel_find(const char *name);

/*
 * What --accel auto chooses: runs 64-bit ring-0 code with a cmpxchg16b in it on
 * KVM, and takes soft where KVM is missing, refuses, fails or is slower. The
 * answer is cached per boot and user. infos, if not NULL, holds one entry for
 * each of accel_list; `why` one sentence.
 */
const struct accel *accel_choose(struct accel_info *infos, char *why, size_t why_size);

/* Life of a machine. The accelerator owns what it allocates, never guest memory. */
int machine_create(struct machine **out, const struct accel *accel,
                   const struct machine_config *cfg);
void machine_destroy(struct machine *m); /* vCPUs first; NULL is fine */

/* Errors of guest_mem_map, and the accelerator's. */
int machine_map(struct machine *m, gpa_t gpa, uint64_t size, void *hva, unsigned rights);
int machine_unmap(struct machine *m, gpa_t gpa);

/*
 * With ACCEL_CAP_LAPIC (else -ENODEV): send an interrupt message to the local APICs,
 * given as the memory write of x86/msi.h. One that no APIC takes vanishes. -EINVAL:
 * no address of a message. Any thread.
 */
int machine_msi(struct machine *m, uint64_t address, uint32_t data);

/*
 * This is the message that `pin` of the board's IOAPIC sends from now on. When it is
 * level-triggered, the end of its interrupt is a VCPU_EXIT_IOAPIC_EOI; so tell it
 * before the first such message. Errors as above, and -ENODEV with ACCEL_CAP_IRQCHIP.
 * Any thread.
 */
int machine_ioapic_route(struct machine *m, unsigned pin, uint64_t address, uint32_t data);

/*
 * This is the message that `gsi` sends from now on, IOAPIC_PINS or above; address 0: none.
 * Errors as above. Any thread. KVM takes a whole table at a time, and a grace period.
 */
int machine_msi_route(struct machine *m, unsigned gsi, uint64_t address, uint32_t data);

/*
 * With ACCEL_CAP_IRQFD (else -ENODEV): let an eventfd raise a message, or, with
 * ACCEL_CAP_IRQCHIP, an input; board/irqfd.h is for all machines. Without a route a signal
 * is lost. -EBUSY: the eventfd is in use. Any thread. To remove, fd and gsi count; after it
 * the eventfd raises nothing.
 */
int machine_irqfd_add(struct machine *m, const struct machine_irqfd *irqfd);
int machine_irqfd_remove(struct machine *m, const struct machine_irqfd *irqfd);

/* With ACCEL_CAP_IRQCHIP (else -ENODEV): drive an input of PICs and IOAPIC. Any thread. */
int machine_irq_line(struct machine *m, unsigned gsi, int level);

/*
 * With ACCEL_CAP_IRQCHIP (else -ENODEV): the state of the chips inside. The machine stands
 * still. `now` is the time on the clock that pit_state.loaded_ns counts on, in ns. KVM's
 * counters begin their counts anew when they are set, and know none that waits for one.
 */
int machine_get_irqchip(struct machine *m, uint64_t now, struct irqchip_state *out);
int machine_set_irqchip(struct machine *m, uint64_t now, const struct irqchip_state *in);

/*
 * Doorbells; any machine, any thread. -EEXIST: a write could mean another one as well;
 * -ENOSPC: MACHINE_IOEVENTFDS are there; -ENOENT: there is none with all these values;
 * -EINVAL. Once removed it rings no more, and the eventfd may be closed; a ring that
 * nobody has read stays in it. A vCPU looks them up without a lock: they are changed by
 * replacing the table, and its predecessor goes when no vCPU looks at it any more.
 */
int machine_ioeventfd_add(struct machine *m, const struct machine_ioeventfd *e);
int machine_ioeventfd_remove(struct machine *m, const struct machine_ioeventfd *e);

/*
 * The CPUID table of `cpu`, as far as the accelerator can honour it, for a vCPU at its
 * place; x86_cpuid_place turns it into another's. To ask takes KVM 0.4 ms.
 * -ENOTSUP: the accelerator lacks features that were asked for.
 */
int machine_cpuid(struct machine *m, const struct x86_cpu *cpu,
                  const struct x86_cpuid_topology *topology, struct x86_cpuid *table);

/* The same for "host". */
int machine_default_cpuid(struct machine *m, const struct x86_cpuid_topology *topology,
                          struct x86_cpuid *table);

/*
 * id is the APIC ID, 0 the boot processor's. With ACCEL_CAP_LAPIC the others begin as
 * X86_UNINITIALIZED and wait in vcpu_run for the messages that start them.
 */
int vcpu_create(struct vcpu **out, struct machine *m, unsigned id);
void vcpu_destroy(struct vcpu *v);
int vcpu_set_cpuid(struct vcpu *v, const struct x86_cpuid *table);

/*
 * vcpu_get makes `groups` of v->state current; groups that still are cost
 * nothing. After changing v->state, vcpu_set marks the groups; they reach the
 * engine at the next run. Change only groups that were got or are written whole.
 */
int vcpu_get(struct vcpu *v, unsigned groups);
int vcpu_set(struct vcpu *v, unsigned groups);

/*
 * With ACCEL_CAP_LAPIC (else -ENODEV): the local APIC, while the vCPU does not run. CR8 and
 * its TPR are one. Events that are no vectors are in X86_INTR. -EINVAL: the ID
 * is another's, in x2APIC mode, where it is read-only.
 */
int vcpu_get_lapic(struct vcpu *v, struct lapic_state *out);
int vcpu_set_lapic(struct vcpu *v, const struct lapic_state *in);

/*
 * Queue an event for delivery at the next run. An interrupt only when
 * exit.intr_ready (else -EAGAIN): use vcpu_request_window and wait for the
 * window exit. With ACCEL_CAP_LAPIC it is the PICs' (ExtINT), and ready means that
 * LINT0 lets it pass, too; the others are messages.
 */
int vcpu_inject(struct vcpu *v, const struct mote_event *event);
void vcpu_request_window(struct vcpu *v, bool intr, bool nmi);

/* Run until an exit. 0 and *exit filled, or -errno when even that failed. */
int vcpu_run(struct vcpu *v, struct vcpu_exit *exit);

/*
 * Make vcpu_run return VCPU_EXIT_NONE soon; if the vCPU is not running, the
 * next vcpu_run returns so at once. Any thread, async-signal-safe.
 */
void vcpu_kick(struct vcpu *v);

/*
 * Complete the IO or MMIO exit that vcpu_run returned last: perform the
 * instruction's accesses through ops and the rest of it on the vCPU's state.
 * What ops points to must live until the vCPU's next run or get: one
 * instruction may access several times. Doorbells are answered by the seam. A
 * callback's error leaves the exit unanswered; a triple fault is the next run's exit. Callbacks may
 * change the map, where no vCPU runs. What nobody answers reads as all ones at the next
 * run, unless X86_GPRS was set: then the run starts from that state.
 */
int vcpu_assist(struct vcpu *v, const struct accel_bus_ops *ops);

/* Complete RDMSR (value) or WRMSR; fault: inject #GP(0) instead. */
int vcpu_complete_msr(struct vcpu *v, uint64_t value, bool fault);

/*
 * From the next run on, CPUID with one of these leaves is VCPU_EXIT_CPUID, whatever the subleaf;
 * they are copied, in place of those before. -EINVAL: more than X86_CPUID_MAX; -ENOTSUP: the
 * accelerator answers by itself.
 */
int vcpu_exit_cpuid(struct vcpu *v, const uint32_t *leaves, unsigned count);

/* Complete CPUID: EAX, EBX, ECX, EDX. What nobody completes is so with what the exit said. */
int vcpu_complete_cpuid(struct vcpu *v, const uint32_t regs[4]);

/* Walk the guest's page tables without side effects. -EFAULT: not mapped. */
int vcpu_translate(struct vcpu *v, uint64_t gva, gpa_t *gpa);

/*
 * From the next run on, do what *debug says; it is copied. The exits are
 * VCPU_EXIT_DEBUG. An INT3 that is the guest's own is given back with
 * vcpu_inject of #BP, rip left as the exit said; without such an exit before,
 * KVM cannot inject #BP on Intel's processors. An execution watch at rip
 * does not exit again at the next run, so that a debugger can go on from it.
 * The instruction of a step may exit first; answer that as ever. What of it all
 * a guest on KVM can notice is in docs/architecture.md.
 * -EINVAL: a watch is misaligned, of another size, or not canonical.
 */
int vcpu_set_debug(struct vcpu *v, const struct vcpu_debug *debug);

/*
 * The vCPU stood still for a while though its clocks went on, and now it runs
 * again: tell the guest's kvmclock (PVCLOCK_GUEST_STOPPED, Linux
 * Documentation/virt/kvm/x86/msr.rst), so that its watchdogs do not take the
 * time for a lock-up. Nothing happens to a guest without kvmclock.
 */
void vcpu_paused(struct vcpu *v);

/* The engine's own counters of a vCPU that is not running: how many were filled in. */
unsigned vcpu_stats(struct vcpu *v, struct accel_stat stats[ACCEL_STATS]);

#endif
