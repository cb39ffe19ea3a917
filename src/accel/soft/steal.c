#include "accel/soft/steal.h"

#include "accel/soft/soft.h"
#include "base/clock.h"

#include <stddef.h>

#define ENABLED    1
#define RESERVED   UINT64_C(0x3e)
#define ADDRESS    (~UINT64_C(0x3f))
#define PREEMPTED  1       /* KVM_VCPU_PREEMPTED */
#define ACCOUNT_NS 1000000 /* not at each of many interrupts */

/* Layout fixed by the ABI, all little-endian. Other vCPUs of the guest read it at any time. */
struct steal_page {
    _Atomic uint64_t steal;   /* ns */
    _Atomic uint32_t version; /* odd while steal is being written */
    uint32_t flags;
    _Atomic uint8_t preempted;
    uint8_t pad[47];
};

_Static_assert(sizeof(struct steal_page) == 64, "kvm_steal_time is 64 bytes");

static bool is_enabled(const struct soft_vcpu *s)
{
    return s->cpu.msr.kvm_steal_time & ENABLED;
}

/* NULL: it is not on, or where no memory is. */
static struct steal_page *find(struct soft_vcpu *s)
{
    gpa_t gpa = GPA(s->cpu.msr.kvm_steal_time & ADDRESS);

    return is_enabled(s) ? guest_mem_at(&s->vcpu.machine->mem, gpa, sizeof(struct steal_page),
                                        MEM_READ | MEM_WRITE)
                         : NULL;
}

static void tell_written(struct soft_vcpu *s)
{
    guest_mem_written(&s->vcpu.machine->mem, GPA(s->cpu.msr.kvm_steal_time & ADDRESS),
                      sizeof(struct steal_page));
}

static void publish(struct soft_vcpu *s)
{
    struct steal_page *page = find(s);
    uint32_t version;

    s->steal.preempted = !s->steal.measures;
    if (!page)
        return;
    version = atomic_load(&page->version) | 1;
    atomic_store(&page->version, version);
    atomic_store(&page->steal, s->steal.stolen);
    atomic_store(&page->version, version + 1);
    atomic_store(&page->preempted, s->steal.preempted ? PREEMPTED : 0);
    tell_written(s);
}

static void begin(struct soft_steal *t, uint64_t wall, uint64_t cpu)
{
    t->thread = pthread_self();
    t->wall = wall;
    t->cpu = cpu;
    t->measures = true;
}

/* What came before another thread took the vCPU over is nobody's. */
static void account(struct soft_steal *t)
{
    uint64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    if (t->measures && pthread_equal(t->thread, pthread_self()) && wall - t->wall > cpu - t->cpu)
        t->stolen += (wall - t->wall) - (cpu - t->cpu);
    begin(t, wall, cpu);
}

static bool is_ours(const struct soft_vcpu *s, uint32_t index)
{
    return index == MSR_KVM_STEAL_TIME && x86_cpuid_has(&s->cpuid, X86_FEATURE_KVM_STEAL_TIME);
}

bool steal_write(struct soft_vcpu *s, uint32_t index, uint64_t value)
{
    if (!is_ours(s, index) || (value & RESERVED))
        return false;
    if (!is_enabled(s)) /* nor was the time since then stolen */
        s->steal.measures = false;
    s->cpu.msr.kvm_steal_time = value;
    if (is_enabled(s)) {
        account(&s->steal);
        publish(s);
    }
    return true;
}

bool steal_read(const struct soft_vcpu *s, uint32_t index, uint64_t *value)
{
    if (!is_ours(s, index))
        return false;
    *value = s->cpu.msr.kvm_steal_time;
    return true;
}

void steal_run(struct soft_vcpu *s)
{
    if (!is_enabled(s) || s->steal.measures)
        return;
    begin(&s->steal, clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_THREAD_CPUTIME_ID));
    if (s->steal.preempted)
        publish(s);
}

void steal_halted(struct soft_vcpu *s)
{
    if (!is_enabled(s))
        return;
    account(&s->steal);
    s->steal.measures = false;
    publish(s);
}

void steal_paused(struct soft_vcpu *s)
{
    s->steal.measures = false;
}

void steal_interrupted(struct soft_vcpu *s)
{
    if (!is_enabled(s) || !s->steal.measures ||
        clock_ns(CLOCK_MONOTONIC) - s->steal.wall < ACCOUNT_NS)
        return;
    account(&s->steal);
    publish(s);
}
