/* A vCPU: its life, running it, stopping it, and the events it is given. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/steps.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Makes KVM_RUN return EINTR. The handler does nothing; the arrival does it. */
#define KICK_SIGNAL SIGRTMIN

static void on_kick(int sig)
{
}

static void kick_install(void)
{
    struct sigaction act = {.sa_handler = on_kick, .sa_flags = SA_RESTART};

    sigemptyset(&act.sa_mask);
    sigaction(KICK_SIGNAL, &act, NULL); /* cannot fail: the signal exists */
}

/* The calling thread's id, ready to be kicked. */
static int thread_prepare(void)
{
    static __thread int tid;
    sigset_t set;

    if (!tid) {
        sigemptyset(&set);
        sigaddset(&set, KICK_SIGNAL);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        tid = (int)syscall(SYS_gettid);
    }
    return tid;
}

int kvm_vcpu_create(struct vcpu **out, struct machine *m, unsigned id)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct kvm_machine *km = kvm_machine(m);
    struct kvm_vcpu *k = calloc(1, sizeof(*k));
    int err;

    if (!k)
        return err_set(ENOMEM, "vCPU %u: out of memory", id);
    pthread_once(&once, kick_install);
    k->v.machine = m;
    k->run = MAP_FAILED;
    k->fd = -1;
    k->fd = err = step_done(STEP_VCPU, kvm_park_open(k, id));
    if (err < 0)
        goto fail;
    k->run = mmap(NULL, km->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
    if (k->run == MAP_FAILED) {
        err = err_sys(errno, KVM_DEVICE ": mapping kvm_run");
        goto fail;
    }
    step_end(STEP_RUN_PAGE);
    k->run->immediate_exit = k->run->request_interrupt_window = 0; /* of one before it */
    k->run->kvm_dirty_regs = 0;
    if (km->sync_regs)
        k->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    err = km->msr_count ? 0 : step_done(STEP_MSRS, kvm_find_msrs(k, km));
    if (err)
        goto fail;
    if (!m->tsc_khz) {
        err = kvm_ioctl(k->fd, KVM_GET_TSC_KHZ, NULL);
        m->tsc_khz = err > 0 ? (uint32_t)err : 0;
    }
    *out = &k->v;
    return 0;
fail:
    kvm_vcpu_destroy(&k->v);
    return err;
}

void kvm_vcpu_destroy(struct vcpu *v)
{
    struct kvm_vcpu *k = kvm_vcpu(v);

    kvm_park(k);
    if (k->run != MAP_FAILED)
        munmap(k->run, kvm_machine(v->machine)->run_size);
    kvm_rescue_free(k);
    free(k);
}

/*
 * Stores to immediate_exit, which KVM reads at entry, and to kicked. A kick
 * sets kicked, then immediate_exit, then signals; whoever clears immediate_exit
 * looks at kicked afterwards, so no kick is lost between the two.
 */
static void immediate_exit(struct kvm_vcpu *k, uint8_t on)
{
    __atomic_store_n(&k->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

void kvm_kick(struct vcpu *v)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    int tid, saved = errno;

    atomic_store(&k->kicked, true);
    immediate_exit(k, 1);
    tid = atomic_load(&k->tid);
    if (tid)
        syscall(SYS_tgkill, getpid(), tid, KICK_SIGNAL);
    errno = saved;
}

/* KVM_RUN once. 0: *run holds an exit; -EINTR: interrupted; others: recorded. */
static int run_once(struct kvm_vcpu *k)
{
    int err, tid = thread_prepare();

    step_end(STEP_START);
    atomic_store(&k->tid, tid);
    err = ioctl(k->fd, KVM_RUN, 0) < 0 ? -errno : 0;
    atomic_store(&k->tid, 0);
    k->regs_fresh = k->run->kvm_valid_regs & KVM_SYNC_X86_REGS;
    k->msrs_fresh = false;
    /* An exit for all that (api.rst 5, KVM_EXIT_MEMORY_FAULT). */
    if ((err == -EFAULT || err == -EHWPOISON) && k->run->exit_reason == KVM_EXIT_MEMORY_FAULT)
        return 0;
    if (!err || err == -EINTR || err == -EAGAIN) /* EAGAIN: a processor awaiting its SIPI woke */
        return err == -EAGAIN ? -EINTR : err;
    return err_sys(-err, KVM_DEVICE ": KVM_RUN");
}

static bool more_accesses(const struct kvm_run *run)
{
    return run->exit_reason == KVM_EXIT_IO || run->exit_reason == KVM_EXIT_MMIO;
}

/*
 * One instruction may take several exits: an access that crosses a page, or
 * the elements of a string. They are answered like the first one; KVM bounds
 * their number (it goes back to the guest after 1024 elements).
 */
int kvm_finish(struct kvm_vcpu *k)
{
    bool fault =
        k->run->exit_reason == KVM_EXIT_X86_RDMSR || k->run->exit_reason == KVM_EXIT_X86_WRMSR;
    int err;

    fault = fault && k->run->msr.error;
    immediate_exit(k, 1);
    while (!(err = run_once(k)) && more_accesses(k->run)) {
        err = kvm_access(k->run, k->has_ops ? &k->ops : NULL);
        if (err)
            break;
    }
    immediate_exit(k, 0);
    if (atomic_load(&k->kicked))
        immediate_exit(k, 1);
    if (err && err != -EINTR)
        return err;
    k->pending = KVM_PENDING_NONE;
    k->stashed = !err;
    k->step_due = k->debug.step && !k->stashed && !fault; /* KVM may forget it here */
    return 0;
}

static void interrupted(struct kvm_vcpu *k)
{
    immediate_exit(k, 0);
    atomic_store(&k->kicked, false);
    k->run->exit_reason = KVM_EXIT_INTR;
}

/* KVM keeps NMIs until they can be delivered, so that window is always open. */
static bool nmi_window(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    if (!k->nmi_window)
        return false;
    k->nmi_window = false;
    k->run->exit_reason = KVM_EXIT_INTR;
    kvm_exit_decode(k, exit);
    exit->reason = VCPU_EXIT_NMI_WINDOW;
    return true;
}

static int run_watched(struct kvm_vcpu *k)
{
    bool again = false;
    int err;

    do {
        err = run_once(k);
        if (!err && k->debugged)
            err = kvm_debug_pass(k, &again);
    } while (!err && again);
    return err;
}

/* KVM_RUN until *run holds an exit, or *exit a window's. */
static int next_exit(struct kvm_vcpu *k, struct vcpu_exit *exit)
{
    int err = k->debugged || k->debug_changed ? kvm_debug_enter(k) : 0;

    if (err)
        return err;
    k->v.valid = 0;
    if (k->stashed) {
        k->stashed = false;
    } else {
        if (k->nmi_window && k->pending != KVM_PENDING_NONE)
            err = kvm_finish(k);
        if (!err && !k->stashed && nmi_window(k, exit))
            return 0;
        if (!err && !k->stashed)
            err = run_watched(k);
        k->stashed = false;
        if (err == -EINTR)
            interrupted(k);
        else if (err)
            return err;
    }
    if (kvm_wants_rescue(k->run))
        return kvm_rescue(k, exit);
    kvm_exit_decode(k, exit);
    return 0;
}

/* A kick between two rescues is kept by immediate_exit: the next KVM_RUN returns at once. */
int kvm_run(struct vcpu *v, struct vcpu_exit *exit)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    int err = kvm_rescue_finish(k);

    if (err || kvm_rescue_shuts_down(k, exit))
        return err;
    if (v->dirty) {
        /* State that was written without answering the exit: it is what counts. */
        if (k->pending == KVM_PENDING_OPEN)
            err = kvm_finish(k);
        if (!err)
            err = kvm_set(v, v->dirty);
        if (err)
            return err;
    }
    do
        err = next_exit(k, exit);
    while (err > 0);
    return err;
}

unsigned kvm_stats(struct vcpu *v, struct accel_stat stats[ACCEL_STATS])
{
    stats[0] = (struct accel_stat){"instructions rescued", v->rescued};
    return 1;
}

void kvm_request_window(struct vcpu *v, bool intr, bool nmi)
{
    struct kvm_vcpu *k = kvm_vcpu(v);

    k->run->request_interrupt_window = intr;
    k->nmi_window = nmi;
}

static int inject_intr(struct kvm_vcpu *k, uint8_t vector)
{
    struct kvm_interrupt irq = {.irq = vector};
    int err;

    if (!k->intr_ready)
        return err_set(EAGAIN, "vCPU %u: no interrupt is accepted now", k->v.id);
    err = kvm_ioctl(k->fd, KVM_INTERRUPT, &irq);
    if (err == -EEXIST)
        return err_set(EAGAIN, "vCPU %u: an interrupt is queued already", k->v.id);
    if (err < 0)
        return err_sys(-err, KVM_DEVICE ": KVM_INTERRUPT");
    k->intr_ready = false;
    k->v.valid &= ~X86_INTR;
    return 0;
}

/* Goes through the X86_INTR group, so that it survives whatever else is dirty. */
static int inject_exception(struct kvm_vcpu *k, const struct mote_event *event)
{
    int err = vcpu_get(&k->v, X86_INTR);

    if (err)
        return err;
    if (k->v.state->intr.pending.kind != X86_EVENT_NONE)
        return err_set(EAGAIN, "vCPU %u: an event is queued already", k->v.id);
    k->v.state->intr.pending = *event;
    return vcpu_set(&k->v, X86_INTR);
}

int kvm_inject(struct vcpu *v, const struct mote_event *event)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    int err = 0;

    if (event->kind == X86_EVENT_NONE)
        return 0;
    if (event->kind == X86_EVENT_EXCEPTION)
        return inject_exception(k, event);
    /* A dirty X86_INTR handed over later would overwrite what KVM queues now. */
    if (v->dirty & X86_INTR)
        err = kvm_set(v, v->dirty);
    if (err)
        return err;
    if (event->kind == X86_EVENT_INTR)
        return inject_intr(k, event->vector);
    err = KVM_CALL(k->fd, KVM_NMI, NULL);
    v->valid &= ~X86_INTR;
    return MIN(err, 0);
}

int kvm_translate(struct vcpu *v, uint64_t gva, gpa_t *gpa)
{
    struct kvm_vcpu *k = kvm_vcpu(v);
    struct kvm_translation tr = {.linear_address = gva};
    unsigned groups = v->dirty & (X86_SEGS | X86_CRS | X86_MSRS);
    int err = groups ? kvm_set(v, groups) : 0;

    if (!err)
        err = KVM_CALL(k->fd, KVM_TRANSLATE, &tr);
    if (err < 0)
        return err;
    if (!tr.valid)
        return err_set(EFAULT, "vCPU %u: 0x%" PRIx64 " is not mapped", v->id, gva);
    *gpa = GPA(tr.physical_address);
    return 0;
}

void kvm_paused(struct vcpu *v)
{
    /* EINVAL: the guest has no kvmclock (api.rst 4.70). */
    kvm_ioctl(kvm_vcpu(v)->fd, KVM_KVMCLOCK_CTRL, NULL);
}
