/*
 * kvmclock: the guest reads time from a page we fill once, because the guest's
 * TSC is the host's and invariant (Linux Documentation/virt/kvm/x86/msr.rst).
 * Every vCPU's page tells of the same instant, the machine's creation, so that
 * all of them say the same time, whenever each was filled.
 */
#include "accel/soft/soft.h"

#include "base/clock.h"

#include <stddef.h>

#define PVCLOCK_TSC_STABLE    1
#define PVCLOCK_GUEST_STOPPED 2 /* set by us, cleared by the guest */

/* Layout fixed by the ABI: all little-endian. */
struct pvclock_time {
    uint32_t version; /* odd while being written */
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time; /* ns at tsc_timestamp */
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad[2];
};

struct pvclock_wall {
    uint32_t version, sec, nsec; /* wall time when system_time was 0 */
};

_Static_assert(sizeof(struct pvclock_time) == 32, "pvclock_vcpu_time_info is 32 bytes");

/* ns = (tsc << shift) * mul >> 32, with mul as large as fits 32 bits. */
static void scale_of(uint32_t tsc_khz, struct pvclock_time *t)
{
    uint64_t base = (uint64_t)tsc_khz * 1000;
    int shift = 0;

    while (base > UINT64_C(2000000000)) {
        base >>= 1;
        shift--;
    }
    while (base <= UINT64_C(1000000000)) {
        base <<= 1;
        shift++;
    }
    t->tsc_shift = (int8_t)shift;
    t->tsc_to_system_mul = (uint32_t)((UINT64_C(1000000000) << 32) / base);
}

static void publish_time(struct soft_vcpu *s, gpa_t gpa)
{
    struct soft_machine *m = (struct soft_machine *)s->vcpu.machine;
    struct pvclock_time t = {.flags = PVCLOCK_TSC_STABLE};
    uint32_t version = 0;

    guest_mem_read(&m->machine.mem, gpa, &version, sizeof(version));
    t.version = (version | 1) + 1;
    scale_of(m->machine.tsc_khz, &t);
    t.tsc_timestamp = m->start_tsc + s->cpu.msr.tsc; /* when system_time was 0 */
    /* Only this vCPU reads it, and it is not running now. */
    guest_mem_write(&m->machine.mem, gpa, &t, sizeof(t));
}

static void publish_wall(struct soft_vcpu *s, gpa_t gpa)
{
    struct soft_machine *m = (struct soft_machine *)s->vcpu.machine;
    uint64_t ns = clock_ns(CLOCK_REALTIME) - (clock_ns(CLOCK_MONOTONIC) - m->start_ns);
    struct pvclock_wall w = {2, (uint32_t)(ns / 1000000000), (uint32_t)(ns % 1000000000)};

    guest_mem_write(&m->machine.mem, gpa, &w, sizeof(w));
}

bool soft_pvclock_write(struct soft_vcpu *s, uint32_t index, uint64_t value)
{
    switch (index) {
    case MSR_KVM_SYSTEM_TIME_NEW:
        s->cpu.msr.kvm_system_time = value;
        if (value & 1)
            publish_time(s, GPA(value & ~UINT64_C(1)));
        return true;
    case MSR_KVM_WALL_CLOCK_NEW:
        s->cpu.msr.kvm_wall_clock = value;
        publish_wall(s, GPA(value));
        return true;
    default: return false;
    }
}

bool soft_pvclock_read(const struct soft_vcpu *s, uint32_t index, uint64_t *value)
{
    switch (index) {
    case MSR_KVM_SYSTEM_TIME_NEW: *value = s->cpu.msr.kvm_system_time; return true;
    case MSR_KVM_WALL_CLOCK_NEW: *value = s->cpu.msr.kvm_wall_clock; return true;
    default: return false;
    }
}

void soft_paused(struct vcpu *v)
{
    struct soft_vcpu *s = (struct soft_vcpu *)v;
    uint64_t msr = s->cpu.msr.kvm_system_time;
    gpa_t flags_at = GPA((msr & ~UINT64_C(1)) + offsetof(struct pvclock_time, flags));
    uint8_t flags;

    steal_paused(s);
    if (!(msr & 1) || guest_mem_read(&v->machine->mem, flags_at, &flags, 1))
        return;
    if (flags & PVCLOCK_GUEST_STOPPED)
        return; /* the guest has not looked since; a write would cost it its cached code */
    flags |= PVCLOCK_GUEST_STOPPED;
    guest_mem_write(&v->machine->mem, flags_at, &flags, 1);
}
