/*
 * libmote: run x86-64 guest code on any accelerator. Accelerators are KVM and mote's own
 * engine, which needs nothing of the host; no call tells them apart.
 *
 * A machine is guest-physical memory and vCPUs. It belongs to its process and ends with it.
 * The program maps memory of its own into the machine, sets a vCPU's registers, runs it, and
 * answers its exits: accesses to ports and to addresses without memory, halts, and so on.
 *
 * Functions return 0 or a negative errno; mote_error() then has a sentence for people. Nothing
 * a guest does and no wrong call ends the process: a machine or vCPU that is NULL, or was
 * destroyed, is refused with -EINVAL; so is a NULL where something is to be read or written.
 *
 * Threads: any thread may call anything at any time. A vCPU is driven by one at a time: while
 * it runs or is assisted, other calls for it return -EBUSY, but for mote_vcpu_stop, also in its
 * callbacks. Changes of a machine's memory and vCPUs interrupt its running vCPUs for a moment by
 * themselves; callbacks may make them.
 *
 * On KVM the library has a handler for SIGRTMIN, and unblocks it in threads that run vCPUs.
 *
 * libmote(3) and the pages it names have the details, and programs.
 */
#ifndef MOTE_MOTE_H
#define MOTE_MOTE_H

#include <mote/state.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mote_machine;
struct mote_vcpu;

/* The library's version, "MAJOR.MINOR.PATCH". */
const char *mote_version(void);

/* What went wrong in the calling thread's last call that failed: one sentence without a
 * newline. Valid until the thread's next call; "" before the first failure. */
const char *mote_error(void);

/* ---- accelerators ---- */

struct mote_accel {
    char name[16];    /* "kvm", "soft": for mote_machine_config.accel */
    char title[64];   /* for people */
    bool usable;      /* a small guest was run */
    bool chosen;      /* what "auto" takes: the fastest that is complete */
    char reason[256]; /* why (not), one clause */
    double mips;      /* 64-bit ring-0 speed measured, million instructions/s; 0: unknown */
};

/*
 * All accelerators, best first, into at most `count` entries of `list`. How many there are is
 * returned. Runs a small guest on each that was not probed since the host's boot.
 */
int mote_accel_list(struct mote_accel *list, unsigned count);

/* ---- machines ---- */

#define MOTE_VCPUS_MAX  64 /* of a machine */
#define MOTE_RANGES_MAX 64 /* of guest-physical memory, and of registered host memory */

/* All zero is a good one. */
struct mote_machine_config {
    const char *accel; /* a name of mote_accel_list; NULL or "auto": the one chosen */
    unsigned vcpus;    /* at most so many will exist at a time, up to MOTE_VCPUS_MAX; 0: 1 */
    const char *cpu;   /* MODEL[,+FEATURE][,-FEATURE]... as for mote(1) --cpu; NULL: "host" */
};

/* -EINVAL: no such accelerator or CPU model, too many vCPUs; -ENOTSUP: the accelerator lacks a
 * feature of the CPU; -ENOMEM, -EMFILE; -ENOENT, -EACCES, -ENODEV: it is not usable here. */
int mote_machine_create(struct mote_machine **machine, const struct mote_machine_config *config);

/* With its vCPUs; registered memory stays the caller's. -EBUSY: a vCPU runs or is in a callback. */
int mote_machine_destroy(struct mote_machine *machine);

struct mote_capabilities {
    char accel[16];
    unsigned vcpus_max;     /* of this machine */
    unsigned ranges_max;    /* MOTE_RANGES_MAX */
    uint32_t tsc_khz;       /* of guests; 0: unknown */
    uint64_t xcr0;          /* bits that a guest may set in XCR0 */
    uint32_t rights;        /* MOTE_READ... that mappings can grant or withhold one by one */
    uint32_t exits;         /* bit n: MOTE_EXIT of number n may happen */
    unsigned gpa_bits;      /* width of guest-physical addresses */
    uint32_t debug_watches; /* mote_vcpu_debug.watch entries that work */
};
int mote_machine_capabilities(struct mote_machine *machine, struct mote_capabilities *caps);

/* One access by an instruction that is assisted. */
struct mote_access {
    uint64_t address; /* a port, or a guest-physical address */
    uint64_t data;    /* the low `size` bytes: of a write, or to be filled in by a read */
    uint8_t size;     /* bytes: 1, 2, 4, and for memory 8; never across a page */
    bool write;
};

/*
 * Devices. Called by mote_vcpu_assist on its thread, for each access in program order; also by
 * the next mote_vcpu_run or _get where the accelerator finishes an instruction then. They may
 * read what mote_vcpu_get got into the state page before, call mote_vcpu_stop, and change the
 * machine's memory and other vCPUs: the instruction's next access finds it so. A value other than 0
 * (-errno) is what mote_vcpu_assist returns; the exit is unanswered then.
 */
struct mote_callbacks {
    int (*io)(struct mote_vcpu *vcpu, struct mote_access *access, void *user);
    int (*memory)(struct mote_vcpu *vcpu, struct mote_access *access, void *user);
    void *user;
};

/* The machine's devices, for all its vCPUs; copied. NULL members: such accesses fail with
 * -ENOTSUP. */
int mote_machine_set_callbacks(struct mote_machine *machine, const struct mote_callbacks *ops);

/* ---- memory ---- */

enum mote_rights {
    MOTE_READ = 1,
    MOTE_WRITE = 2,
    MOTE_EXEC = 4,
    MOTE_RWX = 7,
};

/*
 * Announce host memory [hva, hva + size), which must be mapped readable and writable in the
 * process and stay so. -EINVAL: not page-aligned or empty, or wraps; -EEXIST: overlaps registered
 * memory; -ENOSPC; -EFAULT: not mapped so.
 */
int mote_hva_register(struct mote_machine *machine, void *hva, size_t size);

/* -ENOENT: it was not registered as this; -EBUSY: some of it is mapped. */
int mote_hva_unregister(struct mote_machine *machine, void *hva, size_t size);

/*
 * Put registered host memory at [gpa, gpa + size). The same memory may be at several places.
 * Rights are MOTE_READ, and MOTE_WRITE and MOTE_EXEC as the capabilities have them. What they
 * forbid exits as MOTE_EXIT_MEMORY: a write, to be assisted as a device's (ROM); a fetch, which no
 * assist can complete: -EINVAL.
 * -EINVAL: not page-aligned, empty, past capabilities.gpa_bits, no or unknown rights; -EFAULT:
 * not registered; -EEXIST: something is mapped there; -ENOTSUP: such rights; -ENOSPC.
 */
int mote_gpa_map(struct mote_machine *machine, uint64_t gpa, void *hva, size_t size,
                 unsigned rights);

/*
 * Take all memory out of [gpa, gpa + size), also parts of what was mapped in one call; what was
 * unmapped is a device's from then on, but for fetches: they end in #UD or MOTE_EXIT_FAIL. -EINVAL;
 * -ENOENT: nothing is there; -ENOSPC.
 */
int mote_gpa_unmap(struct mote_machine *machine, uint64_t gpa, size_t size);

/* Where a guest-physical byte is, to the end of its page at least, and the guest's rights.
 * hva and rights may be NULL. -ENOENT: nothing is mapped there. */
int mote_gpa_to_hva(struct mote_machine *machine, uint64_t gpa, void **hva, unsigned *rights);

/*
 * Through the vCPU's page tables, without side effects; the rights are those of the tables for
 * the vCPU's present privilege level. -EFAULT: not mapped by the tables. gpa and rights may be
 * NULL.
 */
int mote_gva_to_gpa(struct mote_vcpu *vcpu, uint64_t gva, uint64_t *gpa, unsigned *rights);

/* To be called after the program wrote to mapped memory that the guest may have executed: an
 * engine drops what it derived from the old bytes. All of memory, 0 and SIZE_MAX, is for programs
 * that don't know where they wrote: before code is executed again, it is compared then. Any thread,
 * a callback too. */
int mote_gpa_written(struct mote_machine *machine, uint64_t gpa, size_t size);

/* ---- vCPUs ---- */

/* id is the APIC ID. The state is that after RESET: real mode, f000:fff0. -EINVAL: id is not
 * below capabilities.vcpus_max; -EEXIST; -ENOMEM. */
int mote_vcpu_create(struct mote_vcpu **vcpu, struct mote_machine *machine, unsigned id);
int mote_vcpu_destroy(struct mote_vcpu *vcpu); /* -EBUSY: it runs or is in a callback */

struct mote_cpuid {
    uint32_t leaf, subleaf;
    uint32_t indexed; /* 0 or 1: the subleaf matters */
    uint32_t eax, ebx, ecx, edx;
};
#define MOTE_CPUID_MAX 128

/* What CPUID tells the guest. *count: room in `leaves`, and then how many there are; -E2BIG: more
 * than there is room for. A vCPU begins with the table of mote_machine_config.cpu. To set
 * replaces the table as a whole, before the first run. -EINVAL: too many; -EBUSY: it has run. */
int mote_vcpu_get_cpuid(struct mote_vcpu *vcpu, struct mote_cpuid *leaves, unsigned *count);
int mote_vcpu_set_cpuid(struct mote_vcpu *vcpu, const struct mote_cpuid *leaves, unsigned count);

/*
 * From the next run on, CPUID with one of these leaves exits, whatever the subleaf; they replace
 * those before. -EINVAL: more than MOTE_CPUID_MAX; -ENOTSUP: MOTE_EXIT_CPUID is not among
 * capabilities.exits, as KVM answers CPUID where nobody can be asked.
 */
int mote_vcpu_exit_cpuid(struct mote_vcpu *vcpu, const uint32_t *leaves, unsigned count);

/*
 * The page that state is exchanged in; it lives as long as the vCPU. NULL: no such vCPU.
 * mote_vcpu_get makes groups (enum mote_state_groups) of it current; those that still are cost
 * nothing. After changes to the page mote_vcpu_set says which groups; they reach the engine at
 * the next run. Change only groups that were got or are written whole. It is one thread's at a
 * time: while one changes it, no other calls mote_vcpu_get, _set, _run or mote_gva_to_gpa with
 * this vCPU, which use it too.
 */
struct mote_state *mote_vcpu_state(struct mote_vcpu *vcpu);
int mote_vcpu_get(struct mote_vcpu *vcpu, unsigned groups); /* -EINVAL: unknown group; -EBUSY */
int mote_vcpu_set(struct mote_vcpu *vcpu, unsigned groups); /* ditto */

/* Deliver an event at the next run. -EAGAIN: an interrupt though the last exit said
 * !intr_ready, or an event waits already; -EINVAL: no such event. */
int mote_vcpu_inject(struct mote_vcpu *vcpu, const struct mote_event *event);

/* Exit as soon as an interrupt (or NMI) can be injected. */
int mote_vcpu_request_window(struct mote_vcpu *vcpu, bool intr, bool nmi);

enum mote_exit_reason {
    MOTE_EXIT_NONE,        /* mote_vcpu_stop, or a signal: run again */
    MOTE_EXIT_IO,          /* IN, OUT, INS, OUTS: mote_vcpu_assist */
    MOTE_EXIT_MEMORY,      /* an access where no memory is, or that its rights forbid: ditto */
    MOTE_EXIT_RDMSR,       /* an MSR that is not in the state: mote_vcpu_complete_msr */
    MOTE_EXIT_WRMSR,       /* ditto */
    MOTE_EXIT_HALT,        /* HLT; rip is behind it */
    MOTE_EXIT_SHUTDOWN,    /* triple fault */
    MOTE_EXIT_INTR_WINDOW, /* as requested */
    MOTE_EXIT_NMI_WINDOW,
    MOTE_EXIT_TPR,       /* CR8 was lowered */
    MOTE_EXIT_HYPERCALL, /* VMCALL or VMMCALL; rip is behind it */
    MOTE_EXIT_DEBUG,     /* mote_vcpu_set_debug */
    MOTE_EXIT_FAIL,      /* the accelerator cannot go on: fail says why */
    MOTE_EXIT_CPUID,     /* a leaf of mote_vcpu_exit_cpuid: mote_vcpu_complete_cpuid */
    MOTE_EXIT_COUNT,
};

struct mote_exit {
    uint32_t reason; /* enum mote_exit_reason */
    bool intr_ready; /* an interrupt injected now is accepted */
    uint64_t rflags, cr8;
    union {
        struct {
            uint16_t port;
            uint8_t size; /* bytes: 1, 2 or 4 */
            bool in;      /* the guest reads */
            bool string;  /* INS or OUTS */
        } io;
        struct {
            uint64_t gpa;
            uint8_t size; /* bytes; 0: only an assist can tell */
            bool write;
        } memory;
        struct {
            uint32_t index;
            uint64_t value; /* WRMSR */
        } msr;
        struct mote_cpuid cpuid; /* of which leaf and subleaf, and what it would have told */
        struct {
            uint64_t rip; /* of the INT3, or of the instruction to be executed next */
            bool int3;
            bool step;
            uint8_t watches; /* bit n: watch n was hit */
        } debug;
        struct {
            char why[104]; /* for people */
            uint8_t insn_size;
            uint8_t insn[15]; /* bytes at rip, as far as known */
        } fail;
    } u;
};

/*
 * Run until an exit. What was not answered of the last one reads as all ones; an MSR is #GP(0);
 * CPUID is as it would have been. All that does not hold once MOTE_GPRS was set: then the run
 * begins with these.
 * -EBUSY: it runs, or is in a callback; or -errno of the accelerator.
 */
int mote_vcpu_run(struct mote_vcpu *vcpu, struct mote_exit *exit);

/*
 * The run under way, or, if there is none, the next, returns MOTE_EXIT_NONE soon. Any thread,
 * and async-signal-safe; never lost.
 */
int mote_vcpu_stop(struct mote_vcpu *vcpu);

/*
 * Execute the instruction of the MOTE_EXIT_IO or _MEMORY that was last, with the machine's
 * callbacks as devices: all its accesses, and the rest of it. -EINVAL: the last exit was
 * another, or is answered.
 */
int mote_vcpu_assist(struct mote_vcpu *vcpu);

/* Complete RDMSR with `value`, or WRMSR; or raise #GP(0). -EINVAL: no such exit is open. */
int mote_vcpu_complete_msr(struct mote_vcpu *vcpu, uint64_t value, bool fault);

/* Complete CPUID with eax to edx of *answer, for instance those of the exit. -EINVAL: no such exit
 * is open. */
int mote_vcpu_complete_cpuid(struct mote_vcpu *vcpu, const struct mote_cpuid *answer);

enum mote_watch_kind {
    MOTE_WATCH_OFF,
    MOTE_WATCH_EXEC,  /* exit before the instruction at gva; size is 1 */
    MOTE_WATCH_WRITE, /* exit after the instruction that wrote */
    MOTE_WATCH_ACCESS /* ... that read or wrote */
};

/* What a debugger outside the guest wants; the guest's own debug registers stay its own. */
struct mote_vcpu_debug {
    bool int3; /* INT3 exits instead of raising #BP */
    bool step; /* exit after one instruction */
    struct {
        uint64_t gva; /* linear, a multiple of size */
        uint8_t size; /* bytes: 1, 2, 4 or 8 */
        uint8_t kind; /* enum mote_watch_kind */
    } watch[4];
};

/* From the next run on; copied. -EINVAL: no such watch. */
int mote_vcpu_set_debug(struct mote_vcpu *vcpu, const struct mote_vcpu_debug *debug);

/* "io" and so on; "?" for others. */
const char *mote_exit_name(unsigned reason);

#ifdef __cplusplus
}
#endif

#endif
