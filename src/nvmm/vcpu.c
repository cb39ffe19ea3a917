/* vCPUs: their life, and what they are configured with. */
#include "nvmm/layer.h"

#include <stdlib.h>
#include <string.h>

struct nv_vcpu *nv_vcpu(const struct nvmm_machine *mach, const struct nvmm_vcpu *vcpu)
{
    struct nv_machine *nm = nv_machine(mach);
    struct nv_vcpu *nv = nm && vcpu && vcpu->cpuid < MOTE_VCPUS_MAX ? nm->vcpu[vcpu->cpuid] : NULL;

    if (!nv)
        errno = ENOENT;
    return nv;
}

/* ---- CPUID ---- */

enum { /* leaf 1 */
       ECX_MONITOR = 1 << 3,
       ECX_VMX = 1 << 5,
       ECX_X2APIC = 1 << 21,
       ECX_TSC_DEADLINE = 1 << 24,
       EDX_HTT = 1 << 28,
};

#define HYPERVISOR     0x40000000u
#define HYPERVISOR_MAX 0x40000010u

/*
 * The local APIC is the program's, so what libmote's own would offer is not there; neither are
 * paravirtual devices. Each vCPU is a package.
 */
static void adapt(struct mote_cpuid *l, unsigned id)
{
    switch (l->leaf) {
    case 1:
        l->ecx &= ~(uint32_t)(ECX_MONITOR | ECX_VMX | ECX_X2APIC | ECX_TSC_DEADLINE);
        l->edx &= ~(uint32_t)EDX_HTT;
        l->ebx = (l->ebx & 0xff00ffff) | 1u << 16;
        break;
    case 4: l->eax &= 0x3fff; break;
    case 0xb:
    case 0x1f:
        l->eax = l->ebx = 0;
        l->ecx = l->subleaf & 0xff;
        l->edx = id;
        break;
    case 0x80000008: l->ecx = 0; break;
    default: break;
    }
}

static void signature(struct nv_vcpu *nv)
{
    struct mote_cpuid *first = &nv->base[nv->base_count], *clocks = first + 1;

    *first = (struct mote_cpuid){.leaf = HYPERVISOR, .eax = HYPERVISOR_MAX};
    memcpy(&first->ebx, "___ ", 4);
    memcpy(&first->ecx, "NVMM", 4);
    memcpy(&first->edx, " ___", 4);
    *clocks = (struct mote_cpuid){.leaf = HYPERVISOR_MAX, .eax = nv->machine->caps.tsc_khz};
    nv->base_count += 2;
}

static int read_cpuid(struct nv_vcpu *nv)
{
    struct mote_cpuid all[MOTE_CPUID_MAX];
    unsigned count = MOTE_CPUID_MAX;
    int err = mote_vcpu_get_cpuid(nv->v, all, &count);

    if (err)
        return err;
    for (unsigned i = 0; i < count && nv->base_count < MOTE_CPUID_MAX - 2; i++) {
        if (all[i].leaf >> 8 == HYPERVISOR >> 8)
            continue;
        adapt(&all[i], nv->id);
        nv->base[nv->base_count++] = all[i];
    }
    signature(nv);
    return 0;
}

/* True: the table has the leaf, and what was asked for is in it. */
static bool apply(const struct nvmm_vcpu_conf_cpuid *op, struct mote_cpuid *table, unsigned count)
{
    bool found = false;

    for (unsigned i = 0; i < count; i++) {
        struct mote_cpuid *l = &table[i];

        if (l->leaf != op->leaf)
            continue;
        l->eax = (l->eax & ~op->u.mask.del.eax) | op->u.mask.set.eax;
        l->ebx = (l->ebx & ~op->u.mask.del.ebx) | op->u.mask.set.ebx;
        l->ecx = (l->ecx & ~op->u.mask.del.ecx) | op->u.mask.set.ecx;
        l->edx = (l->edx & ~op->u.mask.del.edx) | op->u.mask.set.edx;
        found = true;
    }
    return found;
}

static int set_cpuid(struct nv_vcpu *nv)
{
    struct mote_cpuid table[MOTE_CPUID_MAX];
    unsigned count = nv->base_count;

    memcpy(table, nv->base, sizeof(table));
    for (unsigned i = 0; i < nv->ops; i++) {
        if (!nv->op[i].mask || apply(&nv->op[i], table, count))
            continue;
        if (count == MOTE_CPUID_MAX)
            return -ENOBUFS;
        table[count++] = (struct mote_cpuid){.leaf = nv->op[i].leaf};
        apply(&nv->op[i], table, count);
    }
    return mote_vcpu_set_cpuid(nv->v, table, count);
}

static int set_exits(struct nv_vcpu *nv)
{
    uint32_t leaves[CPUID_OPS_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < nv->ops; i++) {
        if (nv->op[i].exit)
            leaves[count++] = nv->op[i].leaf;
    }
    return mote_vcpu_exit_cpuid(nv->v, leaves, count);
}

static bool both(const struct nvmm_vcpu_conf_cpuid *op)
{
    return (op->u.mask.set.eax & op->u.mask.del.eax) | (op->u.mask.set.ebx & op->u.mask.del.ebx) |
           (op->u.mask.set.ecx & op->u.mask.del.ecx) | (op->u.mask.set.edx & op->u.mask.del.edx);
}

/* One operation for a leaf: another one replaces it, one that asks for nothing removes it. */
static int configure_cpuid(struct nv_vcpu *nv, const struct nvmm_vcpu_conf_cpuid *op)
{
    struct nvmm_vcpu_conf_cpuid old[CPUID_OPS_MAX];
    unsigned i = 0, ops = nv->ops;
    bool masks = op->mask, exits = op->exit;
    int err;

    if ((op->mask && op->exit) || (op->mask && both(op)))
        return -EINVAL;
    memcpy(old, nv->op, sizeof(old));
    while (i < nv->ops && nv->op[i].leaf != op->leaf)
        i++;
    if (i < nv->ops) {
        masks = masks || nv->op[i].mask;
        exits = exits || nv->op[i].exit;
    }
    if (!op->mask && !op->exit) {
        if (i == nv->ops)
            return 0;
        nv->op[i] = nv->op[--nv->ops];
    } else if (i == CPUID_OPS_MAX) {
        return -ENOBUFS;
    } else {
        nv->op[i] = *op;
        nv->ops += i == nv->ops;
    }
    err = masks ? set_cpuid(nv) : 0; /* which changes nothing when it fails */
    if (!err && exits)
        err = set_exits(nv);
    if (!err)
        return 0;
    memcpy(nv->op, old, sizeof(old));
    nv->ops = ops;
    if (masks)
        set_cpuid(nv);
    return err;
}

int nvmm_vcpu_configure(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu, uint64_t op, void *conf)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);

    if (!nv)
        return -1;
    if (!conf)
        return nv_result(-EFAULT);
    switch (op) {
    case NVMM_VCPU_CONF_CALLBACKS: memcpy(&vcpu->cbs, conf, sizeof(vcpu->cbs)); return 0;
    case NVMM_VCPU_CONF_CPUID: return nv_result(configure_cpuid(nv, conf));
    case NVMM_VCPU_CONF_TPR:
        nv->tpr_exit = ((const struct nvmm_vcpu_conf_tpr *)conf)->exit_changed;
        return 0;
    default: return nv_result(-EINVAL);
    }
}

/* ---- life ---- */

static int set_up(struct nv_vcpu *nv)
{
    int err = mote_vcpu_create(&nv->v, nv->machine->m, nv->id);

    if (err)
        return err;
    nv->state = mote_vcpu_state(nv->v);
    err = read_cpuid(nv);
    return err ? err : set_cpuid(nv);
}

int nvmm_vcpu_create(struct nvmm_machine *mach, nvmm_cpuid_t cpuid, struct nvmm_vcpu *vcpu)
{
    struct nv_machine *nm = nv_machine(mach);
    struct nv_vcpu *nv;
    int err;

    if (!nm)
        return -1;
    if (!vcpu || cpuid >= MOTE_VCPUS_MAX)
        return nv_result(-EINVAL);
    if (nm->vcpu[cpuid])
        return nv_result(-EEXIST);
    nv = calloc(1, sizeof(*nv));
    if (!nv)
        return -1;
    nv->machine = nm;
    nv->id = cpuid;
    err = set_up(nv);
    if (err) {
        mote_vcpu_destroy(nv->v);
        free(nv);
        return nv_result(err);
    }
    nm->vcpu[cpuid] = nv;
    nm->page[cpuid] = &nv->page;
    *vcpu = (struct nvmm_vcpu){
        .cpuid = cpuid,
        .state = &nv->page.state,
        .event = &nv->page.event,
        .exit = &nv->exit,
        .stop = &nv->page.stop,
    };
    return 0;
}

void nv_vcpu_free(struct nv_vcpu *nv)
{
    nv->machine->vcpu[nv->id] = NULL;
    nv->machine->page[nv->id] = NULL;
    free(nv);
}

int nvmm_vcpu_destroy(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);
    int err;

    if (!nv)
        return -1;
    err = nv->calling ? -EBUSY : mote_vcpu_destroy(nv->v);
    if (!err)
        nv_vcpu_free(nv);
    return nv_result(err);
}
