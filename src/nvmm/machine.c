/* Machines, and their memory. */
#include "nvmm/layer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define MAX_RAM (128ULL << 30) /* what NetBSD says, too */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows, to change it */
static struct nv_machine *_Atomic table[MACHINES_MAX];
static atomic_bool ready;
static struct mote_capabilities offer; /* of a machine that nvmm_init made for a moment */

int nv_result(int err)
{
    if (err >= 0)
        return 0;
    errno = -err;
    return -1;
}

struct nv_machine *nv_machine(const struct nvmm_machine *mach)
{
    struct nv_machine *nm = mach && mach->machid < MACHINES_MAX ? table[mach->machid] : NULL;

    if (!nm)
        errno = ENOENT;
    return nm;
}

/* ---- what there is ---- */

static const char *accel_wanted(void)
{
    const char *name = getenv("NVMM_ACCEL");

    return name && *name ? name : "auto";
}

static int create(struct mote_machine **m)
{
    return mote_machine_create(
        m, &(struct mote_machine_config){.accel = accel_wanted(), .vcpus = MOTE_VCPUS_MAX});
}

int nvmm_init(void)
{
    struct mote_machine *m = NULL;
    int err = 0;

    pthread_mutex_lock(&lock);
    if (!ready) {
        err = create(&m);
        if (!err)
            err = mote_machine_capabilities(m, &offer);
        if (!err)
            ready = true;
        mote_machine_destroy(m);
    }
    pthread_mutex_unlock(&lock);
    return nv_result(err);
}

int nvmm_root_init(void)
{
    return nvmm_init();
}

static uint32_t mxcsr_mask(void)
{
    struct fxsave area = {0};

    _fxsave64(&area);
    return area.fx_mxcsr_mask ? area.fx_mxcsr_mask : 0xffbf;
}

int nvmm_capability(struct nvmm_capability *cap)
{
    if (!ready)
        return nv_result(-EBADF);
    if (!cap)
        return nv_result(-EFAULT);
    memset(cap, 0, sizeof(*cap));
    cap->version = NVMM_KERN_VERSION;
    cap->state_size = sizeof(struct nvmm_vcpu_state);
    cap->max_machines = MACHINES_MAX;
    cap->max_vcpus = MOTE_VCPUS_MAX;
    cap->max_ram = MAX_RAM;
    cap->arch.vcpu_conf_support = NVMM_CAP_ARCH_VCPU_CONF_CPUID;
    if (offer.exits & (1u << MOTE_EXIT_TPR))
        cap->arch.vcpu_conf_support |= NVMM_CAP_ARCH_VCPU_CONF_TPR;
    cap->arch.xcr0_mask = offer.xcr0;
    cap->arch.mxcsr_mask = mxcsr_mask();
    cap->arch.conf_cpuid_maxops = CPUID_OPS_MAX;
    return 0;
}

int nvmm_ctl(int op, void *data, size_t size)
{
    struct nvmm_ctl_mach_info *info = data;
    struct nv_machine *nm;

    if (op != NVMM_CTL_MACH_INFO || size != sizeof(*info))
        return nv_result(-EINVAL);
    if (!info)
        return nv_result(-EFAULT);
    nm = nv_machine(&(struct nvmm_machine){.machid = info->machid});
    if (!nm)
        return -1;
    info->nvcpus = 0;
    for (unsigned i = 0; i < MOTE_VCPUS_MAX; i++)
        info->nvcpus += nm->vcpu[i] != NULL;
    info->nram = nm->ram;
    info->pid = getpid();
    info->time = nm->since;
    return 0;
}

/* ---- life ---- */

static int set_up(struct nv_machine *nm)
{
    int err = create(&nm->m);

    if (!err)
        err = mote_machine_capabilities(nm->m, &nm->caps);
    if (!err)
        err =
            mote_machine_set_callbacks(nm->m, &(struct mote_callbacks){nv_on_io, nv_on_memory, nm});
    return err;
}

int nvmm_machine_create(struct nvmm_machine *mach)
{
    struct nv_machine *nm;
    unsigned id = 0;
    int err;

    if (!ready)
        return nv_result(-EBADF);
    if (!mach)
        return nv_result(-EFAULT);
    nm = calloc(1, sizeof(*nm));
    if (!nm)
        return -1;
    nm->since = time(NULL);
    pthread_mutex_lock(&lock);
    while (id < MACHINES_MAX && table[id])
        id++;
    err = id < MACHINES_MAX ? set_up(nm) : -ENOBUFS;
    if (!err)
        table[id] = nm;
    pthread_mutex_unlock(&lock);
    if (err) {
        mote_machine_destroy(nm->m);
        free(nm);
        return nv_result(err);
    }
    memset(mach, 0, sizeof(*mach));
    mach->machid = id;
    mach->pages = nm->page;
    mach->areas = nm;
    return 0;
}

int nvmm_machine_destroy(struct nvmm_machine *mach)
{
    struct nv_machine *nm = nv_machine(mach);
    int err = 0;

    if (!nm)
        return -1;
    for (unsigned i = 0; i < MOTE_VCPUS_MAX && !err; i++)
        err = nm->vcpu[i] && nm->vcpu[i]->calling ? -EBUSY : 0;
    if (!err)
        err = mote_machine_destroy(nm->m);
    if (err)
        return nv_result(err);
    for (unsigned i = 0; i < MOTE_VCPUS_MAX; i++) {
        if (nm->vcpu[i])
            nv_vcpu_free(nm->vcpu[i]);
    }
    table[mach->machid] = NULL;
    free(nm);
    return 0;
}

/* There is nothing to configure, in NetBSD neither. */
int nvmm_machine_configure(struct nvmm_machine *mach, uint64_t op, void *conf)
{
    return nv_machine(mach) ? nv_result(-EINVAL) : -1;
}

/* ---- memory ---- */

int nvmm_hva_map(struct nvmm_machine *mach, uintptr_t hva, size_t size)
{
    struct nv_machine *nm = nv_machine(mach);
    int err;

    if (!nm)
        return -1;
    if (!size || (hva | size) % GUEST_PAGE)
        return nv_result(-EINVAL);
    if (mprotect((void *)hva, size, PROT_READ | PROT_WRITE))
        return -1;
    err = mote_hva_register(nm->m, (void *)hva, size);
    if (!err)
        __atomic_fetch_add(&nm->ram, size, __ATOMIC_RELAXED);
    return nv_result(err == -ENOSPC ? -ENOBUFS : err);
}

int nvmm_hva_unmap(struct nvmm_machine *mach, uintptr_t hva, size_t size)
{
    struct nv_machine *nm = nv_machine(mach);
    int err;

    if (!nm)
        return -1;
    err = mote_hva_unregister(nm->m, (void *)hva, size);
    if (!err)
        __atomic_fetch_sub(&nm->ram, size, __ATOMIC_RELAXED);
    return nv_result(err);
}

_Static_assert(PROT_READ == MOTE_READ && PROT_WRITE == MOTE_WRITE && PROT_EXEC == MOTE_EXEC,
               "rights have the same bits");
_Static_assert(NVMM_PROT_READ == MOTE_READ && NVMM_PROT_WRITE == MOTE_WRITE &&
                   NVMM_PROT_EXEC == MOTE_EXEC,
               "NVMM's have, too");

/* Rights that an accelerator cannot withhold are granted, as on processors that cannot. */
int nvmm_gpa_map(struct nvmm_machine *mach, uintptr_t hva, gpaddr_t gpa, size_t size, int prot)
{
    struct nv_machine *nm = nv_machine(mach);
    unsigned rights = (unsigned)prot;
    int err;

    if (!nm)
        return -1;
    if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC))
        return nv_result(-EINVAL);
    rights |= MOTE_RWX & ~nm->caps.rights;
    err = mote_gpa_map(nm->m, gpa, (void *)hva, size, rights);
    if (err == -EEXIST || err == -EFAULT)
        err = -EINVAL;
    return nv_result(err);
}

int nvmm_gpa_unmap(struct nvmm_machine *mach, uintptr_t hva, gpaddr_t gpa, size_t size)
{
    struct nv_machine *nm = nv_machine(mach);
    void *there;
    int err;

    if (!nm)
        return -1;
    err = mote_gpa_to_hva(nm->m, gpa, &there, NULL);
    if (!err && there != (void *)hva)
        err = -ENOENT;
    return nv_result(err ? err : mote_gpa_unmap(nm->m, gpa, size));
}

int nvmm_gpa_to_hva(struct nvmm_machine *mach, gpaddr_t gpa, uintptr_t *hva, nvmm_prot_t *prot)
{
    struct nv_machine *nm = nv_machine(mach);
    unsigned rights;
    void *there;
    int err;

    if (!nm)
        return -1;
    if (gpa % GUEST_PAGE || !hva || !prot)
        return nv_result(-EINVAL);
    err = mote_gpa_to_hva(nm->m, gpa, &there, &rights);
    if (!err) {
        *hva = (uintptr_t)there;
        *prot = rights;
    }
    return nv_result(err);
}
