/* The model-specific registers of struct x86_msrs. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <x86intrin.h>

#define FIELD(msr, name)                                                                           \
    {                                                                                              \
        msr, offsetof(struct x86_msrs, name)                                                       \
    }
#define FIXED(msr, i)                                                                              \
    {                                                                                              \
        msr, offsetof(struct x86_msrs, mtrr_fixed[i])                                              \
    }
#define VARIABLE(i)                                                                                \
    {                                                                                              \
        MSR_MTRR_PHYSBASE0 + (i), offsetof(struct x86_msrs, mtrr_var[i])                           \
    }
#define VARIABLE4(i) VARIABLE(i), VARIABLE(i + 1), VARIABLE(i + 2), VARIABLE(i + 3)

/* TSC_ADJUST before TSC: the counter written is the counter meant. */
static const struct {
    uint32_t index;
    uint32_t offset;
} table[] = {
    FIELD(MSR_STAR, star),
    FIELD(MSR_LSTAR, lstar),
    FIELD(MSR_CSTAR, cstar),
    FIELD(MSR_SFMASK, sfmask),
    FIELD(MSR_KERNEL_GS_BASE, kernel_gs_base),
    FIELD(MSR_SYSENTER_CS, sysenter_cs),
    FIELD(MSR_SYSENTER_ESP, sysenter_esp),
    FIELD(MSR_SYSENTER_EIP, sysenter_eip),
    FIELD(MSR_PAT, pat),
    FIELD(MSR_TSC_ADJUST, tsc_adjust),
    FIELD(MSR_TSC, tsc),
    FIELD(MSR_TSC_AUX, tsc_aux),
    FIELD(MSR_SPEC_CTRL, spec_ctrl),
    FIELD(MSR_MISC_ENABLE, misc_enable),
    FIXED(MSR_MTRR_FIX64K, 0),
    FIXED(MSR_MTRR_FIX16K_0, 1),
    FIXED(MSR_MTRR_FIX16K_1, 2),
    FIXED(MSR_MTRR_FIX4K_0 + 0, 3),
    FIXED(MSR_MTRR_FIX4K_0 + 1, 4),
    FIXED(MSR_MTRR_FIX4K_0 + 2, 5),
    FIXED(MSR_MTRR_FIX4K_0 + 3, 6),
    FIXED(MSR_MTRR_FIX4K_0 + 4, 7),
    FIXED(MSR_MTRR_FIX4K_0 + 5, 8),
    FIXED(MSR_MTRR_FIX4K_0 + 6, 9),
    FIXED(MSR_MTRR_FIX4K_0 + 7, 10),
    VARIABLE4(0),
    VARIABLE4(4),
    VARIABLE4(8),
    VARIABLE4(12),
    FIELD(MSR_MTRR_DEF_TYPE, mtrr_def_type), /* enables the others */
    FIELD(MSR_KVM_WALL_CLOCK_NEW, kvm_wall_clock),
    FIELD(MSR_KVM_SYSTEM_TIME_NEW, kvm_system_time),
};
_Static_assert(ARRAY_SIZE(table) <= KVM_MSRS, "struct kvm_machine holds all");

struct msr_list {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[KVM_MSRS];
};

struct index_list {
    struct kvm_msr_list head;
    uint32_t index[1024];
};

static uint64_t *field(struct x86_msrs *msr, unsigned at)
{
    return (uint64_t *)((char *)msr + table[at].offset);
}

/* KVM_GET_MSR_INDEX_LIST leaves out the MTRRs, though KVM has them. */
static bool listed(const struct index_list *list, uint32_t index)
{
    if (index >= MSR_MTRR_PHYSBASE0 && index <= MSR_MTRR_DEF_TYPE && index != MSR_PAT)
        return true;
    for (uint32_t i = 0; i < list->head.nmsrs; i++) {
        if (list->index[i] == index)
            return true;
    }
    return false;
}

/* KVM_GET_MSRS into k->msr_value, in the order of m->msr. How many were read. */
static int msrs_read(struct kvm_vcpu *k, const struct kvm_machine *m, unsigned first)
{
    struct msr_list list = {.head.nmsrs = m->msr_count - first};
    int done;

    for (unsigned i = first; i < m->msr_count; i++)
        list.entry[i - first].index = table[m->msr[i]].index;
    done = KVM_CALL(k->fd, KVM_GET_MSRS, &list);
    for (int i = 0; i < done; i++) {
        k->msr_value[first + (unsigned)i] = list.entry[i].data;
        if (list.entry[i].index == MSR_TSC)
            atomic_store_explicit(&k->v.tsc_offset, list.entry[i].data - __rdtsc(),
                                  memory_order_relaxed);
    }
    return done;
}

int kvm_find_msrs(struct kvm_vcpu *k, struct kvm_machine *m)
{
    struct index_list list = {.head.nmsrs = ARRAY_SIZE(list.index)};
    unsigned first = 0;
    int done = KVM_CALL(m->dev, KVM_GET_MSR_INDEX_LIST, &list);

    if (done < 0)
        return done;
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if (listed(&list, table[i].index))
            m->msr[m->msr_count++] = (uint8_t)i;
    }
    while (first < m->msr_count) {
        done = msrs_read(k, m, first);
        if (done < 0) {
            m->msr_count = 0;
            return done;
        }
        first += (unsigned)done;
        if (first < m->msr_count) { /* it stopped at one that it lacks */
            m->msr_count--;
            memmove(&m->msr[first], &m->msr[first + 1], m->msr_count - first);
        }
    }
    return 0;
}

static int msrs_refresh(struct kvm_vcpu *k)
{
    struct kvm_machine *m = kvm_machine(k->v.machine);
    int done = msrs_read(k, m, 0);

    if (done < 0)
        return done;
    if ((unsigned)done < m->msr_count)
        return err_set(EIO, KVM_DEVICE ": MSR 0x%" PRIx32 " cannot be read",
                       table[m->msr[done]].index);
    return 0;
}

int kvm_get_msrs(struct kvm_vcpu *k)
{
    struct kvm_machine *m = kvm_machine(k->v.machine);
    int err = msrs_refresh(k);

    if (err)
        return err;
    k->msrs_fresh = true;
    for (unsigned i = 0; i < m->msr_count; i++)
        *field(&k->v.state->msr, m->msr[i]) = k->msr_value[i];
    return 0;
}

/*
 * Only what differs is written: an unchanged TSC would turn the clock back, and
 * what the guest's CPUID lacks may not be writable even with its own value.
 */
int kvm_set_msrs(struct kvm_vcpu *k)
{
    struct kvm_machine *m = kvm_machine(k->v.machine);
    struct msr_list list = {.head.nmsrs = 0};
    bool whole = !k->msrs_fresh;
    int done, err = whole ? msrs_refresh(k) : 0;

    if (err)
        return err;
    for (unsigned i = 0; i < m->msr_count; i++) {
        uint32_t index = table[m->msr[i]].index;
        uint64_t value = *field(&k->v.state->msr, m->msr[i]);

        if (value == k->msr_value[i] && !(whole && index == MSR_TSC))
            continue;
        list.entry[list.head.nmsrs++] = (struct kvm_msr_entry){.index = index, .data = value};
    }
    k->msrs_fresh = false;
    done = list.head.nmsrs ? KVM_CALL(k->fd, KVM_SET_MSRS, &list) : 0;
    if (done < 0)
        return done;
    if ((unsigned)done < list.head.nmsrs)
        return err_set(EINVAL, KVM_DEVICE ": MSR 0x%" PRIx32 ": value 0x%" PRIx64 " is refused",
                       list.entry[done].index, (uint64_t)list.entry[done].data);
    return msrs_refresh(k); /* the TSC's offset is to be known */
}
