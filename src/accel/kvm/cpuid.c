/* CPUID: what KVM can honour, and telling a vCPU. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/cpuid_leaves.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct kvm_cpuid_table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entry[256];
};

static int supported(struct kvm_machine *m, struct x86_cpuid *table)
{
    struct kvm_cpuid_table *k = calloc(1, sizeof(*k));
    int err;

    if (!k)
        return err_set(ENOMEM, KVM_DEVICE ": out of memory");
    k->head.nent = ARRAY_SIZE(k->entry);
    err = KVM_CALL(m->dev, KVM_GET_SUPPORTED_CPUID, k);
    memset(table, 0, sizeof(*table));
    for (uint32_t i = 0; err >= 0 && i < k->head.nent; i++) {
        const struct kvm_cpuid_entry2 *e = &k->entry[i];

        if (table->count == X86_CPUID_MAX) {
            err = err_set(ENOSPC, KVM_DEVICE ": %u CPUID entries, expected at most %d",
                          k->head.nent, X86_CPUID_MAX);
            break;
        }
        if (!(e->eax | e->ebx | e->ecx | e->edx)) /* as good as absent */
            continue;
        table->leaf[table->count++] = (struct x86_cpuid_leaf){
            .leaf = e->function,
            .subleaf = e->index,
            .indexed = !!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
            .eax = e->eax,
            .ebx = e->ebx,
            .ecx = e->ecx,
            .edx = e->edx,
        };
    }
    free(k);
    return MIN(err, 0);
}

/* What KVM offers whether its local APIC is in use or not, and is of no use without. */
static void hide_lapic(struct kvm_machine *m, struct x86_features *set)
{
    static const uint8_t lapic[] = {
        X86_FEATURE_X2APIC,           X86_FEATURE_KVM_ASYNC_PF,       X86_FEATURE_KVM_ASYNC_PF_INT,
        X86_FEATURE_KVM_PV_EOI,       X86_FEATURE_KVM_PV_UNHALT,      X86_FEATURE_KVM_PV_IPI,
        X86_FEATURE_KVM_POLL_CONTROL, X86_FEATURE_KVM_PV_SCHED_YIELD,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(lapic) && !(m->m.caps & ACCEL_CAP_LAPIC); i++)
        x86_features_remove(set, lapic[i]);
}

static int put_features(struct kvm_machine *m, struct x86_cpuid *t)
{
    struct x86_features set;

    x86_features_get(t, &set);
    hide_lapic(m, &set);
    if (m->m.caps & ACCEL_CAP_TSC_DEADLINE) /* KVM may not say so (api.rst 4.46) */
        x86_features_add(&set, X86_FEATURE_TSC_DEADLINE);
    else
        x86_features_remove(&set, X86_FEATURE_TSC_DEADLINE);
    if (!(m->m.caps & ACCEL_CAP_CLOCK)) {
        x86_features_remove(&set, X86_FEATURE_KVM_CLOCK);
        x86_features_remove(&set, X86_FEATURE_KVM_CLOCK_STABLE);
    }
    x86_features_add(&set, X86_FEATURE_HYPERVISOR);
    if (x86_cpuid_is_amd(t)) /* Intel's; KVM offers it all the same, and then refuses the MSR */
        x86_features_remove(&set, X86_FEATURE_ARCH_CAPABILITIES);
    return x86_features_put(t, &set);
}

/* KVM leaves the processor's name empty; the host's is true of the guest. */
static int put_brand(struct x86_cpuid *t)
{
    struct x86_cpuid_leaf *l = x86_cpuid_find(t, 0x80000002, 0);
    char brand[49] = "";

    if (l && l->eax)
        return 0;
    for (uint32_t n = 0; n < 3; n++) {
        uint32_t regs[4];

        x86_cpuid_host(0x80000002 + n, 0, regs);
        memcpy(brand + 16 * n, regs, 16);
    }
    return x86_cpuid_put_brand(t, brand);
}

/* A feature in an MSR: what the device says of it, the guest gets. */
static uint64_t arch_capabilities(struct kvm_machine *m, const struct x86_cpuid *t)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = {.head.nmsrs = 1, .entry.index = MSR_ARCH_CAPABILITIES};

    if (!x86_cpuid_has(t, X86_FEATURE_ARCH_CAPABILITIES))
        return 0;
    return kvm_ioctl(m->dev, KVM_GET_MSRS, &msr) == 1 ? msr.entry.data : 0;
}

int kvm_default_cpuid(struct machine *m, const struct x86_cpuid_topology *topology,
                      struct x86_cpuid *table)
{
    struct kvm_machine *k = kvm_machine(m);
    int err = supported(k, table);

    if (!err)
        err = x86_cpuid_put_hypervisor(table, topology->tsc_khz ? topology->tsc_khz : m->tsc_khz);
    if (!err)
        err = put_features(k, table);
    if (!err)
        err = put_brand(table);
    if (err == -ENOSPC)
        return err_set(ENOSPC, KVM_DEVICE ": more than %d CPUID entries", X86_CPUID_MAX);
    table->arch_capabilities = arch_capabilities(k, table);
    return err;
}

/* KVM gives a new vCPU all bits, none, or the device's, by its version. */
static int set_arch_capabilities(struct kvm_vcpu *k, const struct x86_cpuid *table)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = {.head.nmsrs = 1,
             .entry = {.index = MSR_ARCH_CAPABILITIES, .data = table->arch_capabilities}};

    if (!x86_cpuid_has(table, X86_FEATURE_ARCH_CAPABILITIES))
        return 0;
    if (kvm_ioctl(k->fd, KVM_SET_MSRS, &msr) != 1)
        return err_set(EINVAL, KVM_DEVICE ": ARCH_CAPABILITIES of 0x%" PRIx64 " are refused",
                       table->arch_capabilities);
    return 0;
}

static bool is_same(const struct x86_cpuid *a, const struct x86_cpuid *b)
{
    if (a->count != b->count || !a->count)
        return false;
    for (unsigned i = 0; i < a->count; i++) {
        const struct x86_cpuid_leaf *l = &a->leaf[i], *m = &b->leaf[i];

        if (l->leaf != m->leaf || l->subleaf != m->subleaf || l->indexed != m->indexed ||
            l->eax != m->eax || l->ebx != m->ebx || l->ecx != m->ecx || l->edx != m->edx)
            return false;
    }
    return true;
}

static int set_table(struct vcpu *v, const struct x86_cpuid *table)
{
    struct kvm_cpuid_table *k;
    int err;

    if (table->count > X86_CPUID_MAX)
        return err_set(EINVAL, KVM_DEVICE ": a CPUID table of %u entries", table->count);
    k = calloc(1, sizeof(*k));
    if (!k)
        return err_set(ENOMEM, KVM_DEVICE ": out of memory");
    k->head.nent = table->count;
    for (unsigned i = 0; i < table->count; i++) {
        const struct x86_cpuid_leaf *l = &table->leaf[i];

        k->entry[i] = (struct kvm_cpuid_entry2){
            .function = l->leaf,
            .index = l->subleaf,
            .flags = l->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = l->eax,
            .ebx = l->ebx,
            .ecx = l->ecx,
            .edx = l->edx,
        };
    }
    err = KVM_CALL(kvm_vcpu(v)->fd, KVM_SET_CPUID2, k);
    free(k);
    return err;
}

int kvm_set_cpuid(struct vcpu *v, const struct x86_cpuid *table)
{
    struct kvm_parked *park = kvm_vcpu(v)->park;
    int err = is_same(table, &park->cpuid) ? 0 : set_table(v, table);

    if (err >= 0) {
        park->cpuid = *table;
        kvm_vcpu(v)->cpuid = *table;
        kvm_rescue_set_cpuid(kvm_vcpu(v));
        err = set_arch_capabilities(kvm_vcpu(v), table);
    }
    return MIN(err, 0);
}
