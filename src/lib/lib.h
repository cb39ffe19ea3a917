/* What the library's files share: the objects behind its handles. */
#ifndef MOTE_LIB_LIB_H
#define MOTE_LIB_LIB_H

#include "accel/accel.h"
#include "lib/handle.h"

#include <mote/mote.h>
#include <pthread.h>

struct lib_range { /* registered host memory */
    uint8_t *hva;
    uint64_t size;
};

struct lib_machine {
    struct machine *m;
    struct handle *handle;
    pthread_mutex_t lock;            /* of all below, and of changes of *m */
    struct mote_callbacks callbacks; /* changed while vCPUs are held, which read it */
    struct x86_cpuid cpuid;          /* of vCPU 0 */
    unsigned vcpus_max;
    struct lib_vcpu *vcpu[MOTE_VCPUS_MAX]; /* by ID; NULL: none */
    unsigned ranges;
    struct lib_range range[MOTE_RANGES_MAX];
    bool dying; /* nobody new gets it */
};

struct lib_vcpu {
    struct vcpu *v;
    struct lib_machine *machine;
    struct handle *handle;
    struct x86_cpuid cpuid;
    struct mote_callbacks callbacks; /* of the assist under way; they outlive it (vcpu_assist) */
    bool has_run;
    enum vcpu_exit_reason open; /* the exit that waits for an answer; NONE: none does */
    int refused;                /* what a callback returned, not 0, during a call */
    atomic_bool held;           /* a kick was lib_hold's */
    atomic_bool stop;           /* a kick was mote_vcpu_stop's */
};

static inline struct lib_machine *lib_machine_of(void *object)
{
    return (struct lib_machine *)object;
}

/*
 * Bring all vCPUs of the machine out of the accelerator and keep them out, until lib_go. Its lock
 * is held. A vCPU in a callback is out, so this may come from one, and never waits for the
 * program's code.
 */
void lib_hold(struct lib_machine *lm);
void lib_go(struct lib_machine *lm);

/* Take a vCPU by its handle and be inside, where the accelerator may be asked to do something;
 * and give it back. Errors of handle_own. */
int lib_enter(struct mote_vcpu *vcpu, struct lib_vcpu **out);
void lib_leave(struct lib_vcpu *lv);

/* Take the machine by its handle, with its lock. */
int lib_lock(struct mote_machine *machine, struct lib_machine **out);
void lib_unlock(struct lib_machine *lm);

/* Members of struct mote_capabilities. */
unsigned lib_rights(const struct lib_machine *lm);
unsigned lib_gpa_bits(struct lib_machine *lm);

/* Is all of it mapped in this process, and may be read and written? */
bool lib_can_be_memory(void *hva, uint64_t size);

/* Free a vCPU that is owned, with its machine locked and held. */
void lib_vcpu_free(struct lib_vcpu *lv);

#endif
