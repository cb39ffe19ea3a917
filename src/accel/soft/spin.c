#include "accel/soft/spin.h"

#include "accel/soft/soft.h"

#include <sched.h>
#include <x86intrin.h>

#define WINDOW   1024 /* PAUSEs within a millisecond: some microseconds of most loops that wait */
#define SOME_KHZ 2000000 /* of a TSC whose frequency is not known */

static struct soft_machine *machine(const struct soft_vcpu *s)
{
    return (struct soft_machine *)s->vcpu.machine;
}

bool spin_init(struct soft_vcpu *s)
{
    const struct soft_machine *m = machine(s);

    s->spin.left = WINDOW;
    s->spin.within = m->machine.tsc_khz ? m->machine.tsc_khz : SOME_KHZ;
    return m->vcpus > 1;
}

/* Mostly it is the same as before, and the others keep the line. */
static void note_place(struct soft_vcpu *s, unsigned cpu)
{
    struct spin_place *p = &machine(s)->place[s->vcpu.id];

    if (atomic_load_explicit(&p->cpu, memory_order_relaxed) != cpu)
        atomic_store_explicit(&p->cpu, cpu, memory_order_relaxed);
}

/* The same for all where it is not known. */
static unsigned host_cpu(void)
{
    return (unsigned)sched_getcpu() + 2;
}

void spin_run(struct soft_vcpu *s)
{
    if (s->cpu.tells_pause)
        note_place(s, host_cpu());
}

void spin_halted(struct soft_vcpu *s)
{
    if (s->cpu.tells_pause)
        note_place(s, 0);
}

/* Where this thread runs, another that was last seen there does not. */
static bool keeps_waiting(struct soft_vcpu *s)
{
    const struct soft_machine *m = machine(s);
    unsigned here = host_cpu();

    note_place(s, here);
    for (unsigned n = 0; n < m->vcpus; n++) {
        if (n != s->vcpu.id && atomic_load_explicit(&m->place[n].cpu, memory_order_relaxed) == here)
            return true;
    }
    return false;
}

void spin_paused(void *user)
{
    struct soft_vcpu *s = user;
    uint64_t now, since = s->spin.tsc;

    if (--s->spin.left >= 0)
        return;
    now = __rdtsc();
    s->spin.left = WINDOW;
    s->spin.tsc = now;
    if (now - since <= s->spin.within && keeps_waiting(s))
        atomic_fetch_or(&s->attention, SOFT_SPIN);
}

void spin_make_way(struct soft_vcpu *s)
{
    s->spin.yields++;
    sched_yield();
    s->spin.tsc = __rdtsc(); /* the time of the others is not its own */
}
