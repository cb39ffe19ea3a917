/*
 * A safe point for changes of a machine: its vCPUs leave the accelerator for a moment. The bits
 * that say who is inside and who may not enter are in one word, the vCPU's handle.
 */
#include "lib/lib.h"

#include "base/err.h"

#include <errno.h>

static _Thread_local const struct lib_call *calls; /* callbacks that this thread is in */

void lib_call_begin(struct lib_call *call, const struct lib_machine *lm)
{
    *call = (struct lib_call){lm, calls};
    calls = call;
}

void lib_call_end(const struct lib_call *call)
{
    calls = call->up;
}

int lib_check_outside(const struct lib_machine *lm)
{
    for (const struct lib_call *c = calls; c; c = c->up) {
        if (c->machine == lm)
            return err_set(EBUSY, "the machine cannot be changed in one of its callbacks");
    }
    return 0;
}

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
