/* A virtual machine: its file descriptor, its capabilities, its memory slots. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/steps.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* MSRs that KVM does not know exit instead of raising #GP (api.rst 7.21). */
static int exit_on_unknown_msrs(struct kvm_machine *m)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR};

    if (!kvm_cap(m->vm, KVM_CAP_X86_USER_SPACE_MSR))
        return 0;
    cap.args[0] = KVM_MSR_EXIT_REASON_UNKNOWN;
    return KVM_CALL(m->vm, KVM_ENABLE_CAP, &cap);
}

/* No failing instruction becomes a #UD that the processor would not raise (api.rst 7.31). */
static int exit_on_failed_emulation(struct kvm_machine *m)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};

    m->exit_on_failure = kvm_cap(m->vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE);
    return m->exit_on_failure ? KVM_CALL(m->vm, KVM_ENABLE_CAP, &cap) : 0;
}

/* IDs go from 0, the boot processor's (KVM's default), and are below their number. */
static int check_vcpus(struct kvm_machine *m, unsigned vcpus)
{
    int max = kvm_cap(m->vm, KVM_CAP_MAX_VCPUS), ids = kvm_cap(m->vm, KVM_CAP_MAX_VCPU_ID);

    if (ids > 0)
        max = MIN(max, ids);
    if (max > 0 && vcpus > (unsigned)max)
        return err_set(EINVAL, KVM_DEVICE ": %u vCPUs, expected at most %d", vcpus, max);
    return 0;
}

static int vm_setup(struct kvm_machine *m, const struct machine_config *cfg)
{
    uint64_t identity = KVM_IDENTITY_MAP;
    int ret = check_vcpus(m, cfg->vcpus);

    if (ret)
        return ret;
    ret = KVM_CALL(m->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (ret < 0)
        return ret;
    if ((size_t)ret < sizeof(struct kvm_run))
        return err_set(ENODEV, KVM_DEVICE ": kvm_run has %d bytes, expected %zu or more", ret,
                       sizeof(struct kvm_run));
    m->run_size = (size_t)ret;
    m->sync_regs = kvm_cap(m->vm, KVM_CAP_SYNC_REGS) & KVM_SYNC_X86_REGS;
    m->debug_flags = (uint32_t)kvm_cap(m->vm, KVM_CAP_SET_GUEST_DEBUG2);
    ret = exit_on_unknown_msrs(m);
    if (ret >= 0)
        ret = exit_on_failed_emulation(m);
    if (ret < 0)
        return ret;
    ret = kvm_ioctl(m->vm, KVM_GET_TSC_KHZ, NULL); /* old kernels: only a vCPU knows */
    m->m.tsc_khz = ret > 0 ? (uint32_t)ret : 0;
    kvm_lapic_offer(m, cfg->want);
    step_end(STEP_VM);
    if (kvm_cap(m->vm, KVM_CAP_SET_IDENTITY_MAP_ADDR)) {
        ret = KVM_CALL(m->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
        if (ret < 0)
            return ret;
    }
    ret = step_done(STEP_TSS, KVM_CALL(m->vm, KVM_SET_TSS_ADDR, (uintptr_t)KVM_TSS));
    return ret < 0 ? ret : step_done(STEP_IRQCHIP, kvm_lapic_enable(m));
}

int kvm_machine_create(struct machine **out, const struct machine_config *cfg)
{
    struct kvm_machine *m;
    int err;

    if (cfg->engine != ACCEL_ENGINE_BEST)
        return err_set(ENOTSUP, "kvm: there is no engine to choose, expected --accel soft");
    m = calloc(1, sizeof(*m));
    if (!m)
        return err_set(ENOMEM, KVM_DEVICE ": out of memory");
    guest_mem_init(&m->m.mem);
    pthread_mutex_init(&m->route_lock, NULL);
    m->vm = -1;
    m->dev = err = step_done(STEP_OPEN, kvm_open(cfg->device));
    if (err < 0)
        goto fail;
    m->vm = err = KVM_CALL(m->dev, KVM_CREATE_VM, 0);
    if (err < 0)
        goto fail;
    err = vm_setup(m, cfg);
    if (err < 0)
        goto fail;
    *out = &m->m;
    return 0;
fail:
    kvm_machine_destroy(&m->m);
    return err;
}

void kvm_machine_destroy(struct machine *m)
{
    struct kvm_machine *k = kvm_machine(m);

    kvm_park_free(k);
    if (k->vm >= 0)
        close(k->vm);
    if (k->dev >= 0)
        close(k->dev);
    pthread_mutex_destroy(&k->route_lock);
    free(k);
}

/*
 * KVM knows read-only and read-write; a slot is always executable. Where a slot
 * grants no reading nothing can be offered. A write to a read-only slot comes
 * back as an MMIO exit (api.rst 4.35).
 */
int kvm_map(struct machine *m, const struct mem_slot *slot)
{
    struct kvm_machine *k = kvm_machine(m);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = slot->gpa.v,
        .memory_size = slot->size,
        .userspace_addr = (uintptr_t)slot->hva,
    };
    int err;

    if (!(slot->rights & MEM_READ))
        return err_set(ENOTSUP, KVM_DEVICE ": a slot that cannot be read");
    if (!(slot->rights & MEM_WRITE)) {
        if (!kvm_cap(k->vm, KVM_CAP_READONLY_MEM))
            return err_set(ENOTSUP, KVM_DEVICE ": this kernel lacks read-only memory slots");
        region.flags = KVM_MEM_READONLY;
    }
    while (region.slot < GUEST_MEM_SLOTS && k->slot[region.slot].size)
        region.slot++;
    if (region.slot == GUEST_MEM_SLOTS)
        return err_set(ENOSPC, KVM_DEVICE ": too many slots");
    err = KVM_CALL(k->vm, KVM_SET_USER_MEMORY_REGION, &region);
    if (err < 0)
        return err;
    k->slot[region.slot].gpa = slot->gpa;
    k->slot[region.slot].size = slot->size;
    return 0;
}

int kvm_unmap(struct machine *m, const struct mem_slot *slot)
{
    struct kvm_machine *k = kvm_machine(m);
    struct kvm_userspace_memory_region region = {.guest_phys_addr = slot->gpa.v};
    int err;

    while (region.slot < GUEST_MEM_SLOTS &&
           (!k->slot[region.slot].size || k->slot[region.slot].gpa.v != slot->gpa.v))
        region.slot++;
    if (region.slot == GUEST_MEM_SLOTS)
        return err_set(ENOENT, KVM_DEVICE ": no such slot");
    err = KVM_CALL(k->vm, KVM_SET_USER_MEMORY_REGION, &region); /* size 0 removes */
    if (err < 0)
        return err;
    k->slot[region.slot].size = 0;
    kvm_rescue_unmapped(m);
    return 0;
}
