/*
 * A safe point for changes of a machine: its vCPUs leave the accelerator for a moment. The bits
 * that say who is inside and who may not enter are in one word, the vCPU's handle.
 */
#include "lib/lib.h"

void lib_hold(struct lib_machine *lm)
{
    bool inside[MOTE_VCPUS_MAX] = {false};

    for (unsigned i = 0; i < lm->vcpus_max; i++) {
        struct lib_vcpu *lv = lm->vcpu[i];

        inside[i] = lv && handle_hold(lv->handle);
        if (!inside[i])
            continue;
        atomic_store(&lv->held, true);
        vcpu_kick(lv->v);
    }
    for (unsigned i = 0; i < lm->vcpus_max; i++) {
        if (inside[i])
            handle_await(lm->vcpu[i]->handle);
    }
}

void lib_go(struct lib_machine *lm)
{
    for (unsigned i = 0; i < lm->vcpus_max; i++) {
        if (lm->vcpu[i])
            handle_go(lm->vcpu[i]->handle);
    }
}
