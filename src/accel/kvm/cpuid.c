/* CPUID: what KVM can honour, with the machine's topology filled in. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <stdlib.h>

#define KVM_LEAF_TSC   0x40000010u /* EAX: TSC kHz, EBX: APIC timer kHz (VMware's convention) */
#define APIC_TIMER_KHZ 1000000u    /* KVM's local APIC counts nanoseconds */

#define EDX1_HTT          (1u << 28)
#define ECX1_VMX          (1u << 5)
#define ECX1_X2APIC       (1u << 21)
#define ECX1_TSC_DEADLINE (1u << 24)
#define ECX1_HYPERVISOR   (1u << 31)
#define ECX81_SVM         (1u << 2)

/* Paravirtual features whose state struct x86_msrs carries. */
#define PV_CLOCK (1u << KVM_FEATURE_CLOCKSOURCE2 | 1u << KVM_FEATURE_CLOCKSOURCE_STABLE_BIT)
#define PV_PLAIN (1u << KVM_FEATURE_NOP_IO_DELAY)

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

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;

    while (bits < 31 && (1u << bits) < count)
        bits++;
    return bits;
}

/* Leaves 0xb and 0x1f (SDM Vol. 2A, CPUID): threads, then cores. */
static int put_x2apic_levels(struct x86_cpuid *t, uint32_t leaf,
                             const struct x86_cpuid_topology *topo)
{
    const struct x86_cpuid_leaf level[3] = {
        {leaf, 0, true, 0, 1, 1 << 8 | 0, topo->apic_id},
        {leaf, 1, true, bits_for(topo->vcpus), topo->vcpus, 2 << 8 | 1, topo->apic_id},
        {leaf, 2, true, 0, 0, 2, topo->apic_id},
    };
    int err = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(level) && !err; i++)
        err = x86_cpuid_put(t, &level[i]);
    return err;
}

/* Guests of the guest: struct x86_state does not carry what they need. */
static void hide_nesting(struct x86_cpuid *t)
{
    struct x86_cpuid_leaf *l = x86_cpuid_find(t, 1, 0);

    if (l)
        l->ecx &= ~ECX1_VMX;
    l = x86_cpuid_find(t, 0x80000001, 0);
    if (l)
        l->ecx &= ~ECX81_SVM;
    l = x86_cpuid_find(t, 0x8000000a, 0); /* SVM's features */
    if (l)
        l->eax = l->ebx = l->ecx = l->edx = 0;
}

/* How many others share a cache, told by the leaf of it: level 3 is everybody's. */
static unsigned cache_sharing(const struct x86_cpuid_leaf *l, const struct x86_cpuid_topology *topo)
{
    return (l->eax >> 5 & 7) >= 3 ? MIN(topo->vcpus, 4096u) - 1 : 0;
}

/* One package, a core each, one thread a core. */
static int put_topology(struct kvm_machine *m, struct x86_cpuid *t,
                        const struct x86_cpuid_topology *topo)
{
    unsigned bits = bits_for(topo->vcpus), cores = MIN(1u << bits, 64u) - 1;
    struct x86_cpuid_leaf *l = x86_cpuid_find(t, 1, 0);
    uint32_t max;
    int err = 0;

    if (l) {
        l->ebx = (l->ebx & 0xffff) | MIN(topo->vcpus, 255u) << 16 | topo->apic_id << 24;
        l->edx = topo->vcpus > 1 ? l->edx | EDX1_HTT : l->edx & ~EDX1_HTT;
        l->ecx |= ECX1_HYPERVISOR;
        /* KVM may offer them whether its local APIC is in use or not (api.rst 4.46). */
        l->ecx &= ~(ECX1_TSC_DEADLINE | ECX1_X2APIC);
        if (m->m.caps & ACCEL_CAP_TSC_DEADLINE)
            l->ecx |= ECX1_TSC_DEADLINE;
        if (m->m.caps & ACCEL_CAP_LAPIC)
            l->ecx |= ECX1_X2APIC;
    }
    for (unsigned i = 0; i < t->count; i++) {
        l = &t->leaf[i];
        if (l->leaf == 4 && (l->eax & 31)) {
            l->eax = (l->eax & 0x3fff) | cache_sharing(l, topo) << 14 | cores << 26;
        } else if (l->leaf == 0x8000001d && (l->eax & 31)) { /* AMD's leaf 4 */
            l->eax = (l->eax & 0x3fff) | cache_sharing(l, topo) << 14;
        } else if (l->leaf == 0x80000008) { /* AMD: NC and ApicIdSize */
            l->ecx = (l->ecx & ~0xf0ffu) | MIN(topo->vcpus - 1, 255u) | bits << 12;
        } else if (l->leaf == 0x8000001e) { /* AMD: extended APIC id, core, node */
            l->eax = topo->apic_id;
            l->ebx = topo->apic_id & 0xff;
            l->ecx = 0;
        }
    }
    l = x86_cpuid_find(t, 0, 0);
    max = l ? l->eax : 0;
    if (max >= 0xb)
        err = put_x2apic_levels(t, 0xb, topo);
    if (!err && max >= 0x1f)
        err = put_x2apic_levels(t, 0x1f, topo);
    return err;
}

/* KVM leaves the processor's name empty; the host's is true of the guest. */
static int put_brand(struct x86_cpuid *t)
{
    struct x86_cpuid_leaf *l = x86_cpuid_find(t, 0x80000000, 0);
    int err = 0;

    if (!l || l->eax < 0x80000004)
        return 0;
    for (uint32_t leaf = 0x80000002; leaf <= 0x80000004 && !err; leaf++) {
        uint32_t regs[4];

        l = x86_cpuid_find(t, leaf, 0);
        if (l && (l->eax || l->ebx || l->ecx || l->edx))
            continue;
        x86_cpuid_host(leaf, 0, regs);
        err = x86_cpuid_put(
            t, &(struct x86_cpuid_leaf){
                   .leaf = leaf, .eax = regs[0], .ebx = regs[1], .ecx = regs[2], .edx = regs[3]});
    }
    return err;
}

/* KVM's own leaves (Documentation/virt/kvm/x86/cpuid.rst). */
static int put_signature(struct kvm_machine *m, struct x86_cpuid *t,
                         const struct x86_cpuid_topology *topo)
{
    uint32_t khz = topo->tsc_khz ? topo->tsc_khz : m->m.tsc_khz;
    struct x86_cpuid_leaf *old = x86_cpuid_find(t, KVM_CPUID_FEATURES, 0);
    uint32_t offered = old ? old->eax : 0;
    struct x86_cpuid_leaf sig = {.leaf = KVM_CPUID_SIGNATURE}, features, tsc;
    int err;

    sig.eax = khz ? KVM_LEAF_TSC : KVM_CPUID_FEATURES;
    memcpy(&sig.ebx, "KVMK", 4);
    memcpy(&sig.ecx, "VMKV", 4);
    memcpy(&sig.edx, "M\0\0\0", 4);
    features = (struct x86_cpuid_leaf){.leaf = KVM_CPUID_FEATURES};
    features.eax = offered & (PV_PLAIN | (m->m.caps & ACCEL_CAP_CLOCK ? PV_CLOCK : 0));
    tsc = (struct x86_cpuid_leaf){.leaf = KVM_LEAF_TSC, .eax = khz, .ebx = APIC_TIMER_KHZ};
    err = x86_cpuid_put(t, &sig);
    if (!err)
        err = x86_cpuid_put(t, &features);
    if (!err && khz)
        err = x86_cpuid_put(t, &tsc);
    return err;
}

int kvm_default_cpuid(struct machine *m, const struct x86_cpuid_topology *topology,
                      struct x86_cpuid *table)
{
    struct kvm_machine *k = kvm_machine(m);
    int err;

    if (!topology->vcpus)
        return err_set(EINVAL, KVM_DEVICE ": a topology of 0 vCPUs");
    err = supported(k, table);
    if (!err) {
        hide_nesting(table);
        err = put_topology(k, table, topology);
    }
    if (!err)
        err = put_brand(table);
    if (!err)
        err = put_signature(k, table, topology);
    if (err == -ENOSPC)
        return err_set(ENOSPC, KVM_DEVICE ": more than %d CPUID entries", X86_CPUID_MAX);
    return err;
}

int kvm_set_cpuid(struct vcpu *v, const struct x86_cpuid *table)
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
    if (err >= 0) {
        kvm_vcpu(v)->cpuid = *table;
        kvm_rescue_set_cpuid(kvm_vcpu(v));
    }
    return MIN(err, 0);
}
