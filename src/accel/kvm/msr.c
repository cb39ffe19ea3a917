/* The model-specific registers of struct mote_msrs. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/err.h"
#include "x86/msrs.h"

#include <errno.h>
#include <inttypes.h>
#include <x86intrin.h>

struct msr_list {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[KVM_MSRS];
};

struct index_list {
    struct kvm_msr_list head;
    uint32_t index[1024];
};

static uint64_t *field(struct mote_msrs *msr, unsigned at)
{
    return (uint64_t *)((char *)msr + x86_msr_list[at].offset);
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
        list.entry[i - first].index = x86_msr_list[m->msr[i]].index;
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
    for (unsigned i = 0; i < x86_msr_count && i < KVM_MSRS; i++) {
        if (listed(&list, x86_msr_list[i].index))
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
                       x86_msr_list[m->msr[done]].index);
    return 0;
}

int kvm_get_msrs(struct kvm_vcpu *k)
{
    struct kvm_machine *m = kvm_machine(k->v.machine);
    uint64_t efer = k->v.state->msr.efer;
    int err = msrs_refresh(k);

    if (err)
        return err;
    k->msrs_fresh = true;
    k->v.state->msr = (struct mote_msrs){.efer = efer}; /* what this KVM lacks is 0 */
    for (unsigned i = 0; i < m->msr_count; i++)
        *field(&k->v.state->msr, m->msr[i]) = k->msr_value[i];
    return 0;
}

/*
 * A TSC of 0 is a new vCPU's, whose counter KVM has made equal to those of the others.
 * To KVM that value asks for it once more, which where the host's TSC is unstable sets
 * a third vCPU back by the time between the first two. Others it takes as an attempt to
 * synchronise if that is what they amount to within a second.
 */
static bool tsc_differs(uint64_t value, uint64_t now, bool whole)
{
    return value && (whole || value != now);
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
        uint32_t index = x86_msr_list[m->msr[i]].index;
        uint64_t value = *field(&k->v.state->msr, m->msr[i]);

        if (index == MSR_TSC ? !tsc_differs(value, k->msr_value[i], whole)
                             : value == k->msr_value[i])
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
