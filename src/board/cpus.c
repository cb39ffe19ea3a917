#include "board/cpus.h"

#include "base/err.h"
#include "base/futex.h"

int cpus_start(struct cpus *cpus)
{
    int err = 0;

    for (unsigned i = 0; i < cpus->count && !err; i++)
        err = cpu_start(&cpus->cpu[i]);
    return err;
}

void cpus_join(struct cpus *cpus)
{
    cpus_hold(cpus, CPU_HOLD_END);
    for (unsigned i = 0; i < cpus->count; i++) {
        futex_wake(&cpus->cpu[i].hold); /* one that stood still had a holder before */
        cpu_nudge(&cpus->cpu[i]);
    }
    for (unsigned i = 0; i < cpus->count; i++)
        cpu_join(&cpus->cpu[i]);
}

/* ---- the safe point ---- */

#define HOLDERS(word) ((word) & ~(unsigned)CPU_STILL)

/* One after the other will do: who is there and has a holder stays. */
bool cpus_are_held(struct cpus *cpus)
{
    for (unsigned i = 0; i < cpus->count; i++) {
        unsigned word = atomic_load(&cpus->cpu[i].hold);

        if (!(word & CPU_STILL) || !HOLDERS(word))
            return false;
    }
    return cpus->count;
}

static void tell_held(struct cpus *cpus)
{
    if (cpus->held && cpus_are_held(cpus))
        cpus->held(cpus->user);
}

void cpus_hold(struct cpus *cpus, enum cpu_hold who)
{
    for (unsigned i = 0; i < cpus->count; i++) {
        /* With another holder it was told already. */
        if (!HOLDERS(atomic_fetch_or(&cpus->cpu[i].hold, who)))
            cpu_wake(&cpus->cpu[i]);
    }
    tell_held(cpus);
}

void cpu_release(struct cpu *cpu, enum cpu_hold who)
{
    if (!HOLDERS(atomic_fetch_and(&cpu->hold, ~(unsigned)who) & ~(unsigned)who))
        futex_wake(&cpu->hold);
}

void cpus_release(struct cpus *cpus, enum cpu_hold who)
{
    for (unsigned i = 0; i < cpus->count; i++)
        cpu_release(&cpus->cpu[i], who);
}

unsigned cpus_holders(struct cpus *cpus)
{
    unsigned who = 0;

    for (unsigned i = 0; i < cpus->count; i++)
        who |= atomic_load(&cpus->cpu[i].hold);
    return HOLDERS(who);
}

/* CPU_HOLD_END changes the word that is waited for, so the end of life is not missed. */
static bool must_stay(struct cpu *cpu, unsigned *hold)
{
    *hold = atomic_load(&cpu->hold);
    return HOLDERS(*hold) && life_running(cpu->cpus->life);
}

/* Wait until the vCPU may leave, and leave: false when a new holder was first. */
static bool leave(struct cpu *cpu)
{
    unsigned hold;

    while (must_stay(cpu, &hold))
        futex_wait(&cpu->hold, hold, FUTEX_FOREVER);
    return atomic_compare_exchange_strong(&cpu->hold, &hold, HOLDERS(hold));
}

void cpu_stand_still(struct cpu *cpu)
{
    struct cpus *cpus = cpu->cpus;

    /* An instruction that an access is left of is finished here: devices may make us wait. */
    if (vcpu_get(cpu->vcpu, X86_GPRS))
        life_finish(cpus->life, LIFE_FAILED, 0, err_text());
    atomic_fetch_or(&cpu->hold, CPU_STILL);
    tell_held(cpus);
    while (!leave(cpu))
        ;
    vcpu_paused(cpu->vcpu);
}
