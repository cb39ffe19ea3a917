#include "board/cpus.h"

int cpus_start(struct cpus *cpus)
{
    int err = 0;

    for (unsigned i = 0; i < cpus->count && !err; i++)
        err = cpu_start(&cpus->cpu[i]);
    return err;
}

void cpus_join(struct cpus *cpus)
{
    for (unsigned i = 0; i < cpus->count; i++)
        cpu_stop(&cpus->cpu[i]);
    for (unsigned i = 0; i < cpus->count; i++)
        cpu_join(&cpus->cpu[i]);
}

bool cpus_hold(struct cpus *cpus, enum cpu_hold who)
{
    bool all = true;

    for (unsigned i = 0; i < cpus->count; i++)
        all &= cpu_hold(&cpus->cpu[i], who);
    return all;
}

void cpus_release(struct cpus *cpus, enum cpu_hold who)
{
    for (unsigned i = 0; i < cpus->count; i++)
        cpu_release(&cpus->cpu[i], who);
}

bool cpus_are_held(struct cpus *cpus)
{
    for (unsigned i = 0; i < cpus->count; i++) {
        if (!cpu_is_held(&cpus->cpu[i]))
            return false;
    }
    return true;
}

unsigned cpus_holders(struct cpus *cpus)
{
    unsigned who = 0;

    for (unsigned i = 0; i < cpus->count; i++)
        who |= cpu_holders(&cpus->cpu[i]);
    return who;
}
