/*
 * A safe point for changes of a machine: its vCPUs leave the accelerator for a moment. A vCPU
 * says that it is inside before it looks whether it may be, and who holds says so before it looks
 * who is inside, so one of them sees the other.
 */
#include "lib/lib.h"

#include "base/futex.h"

#include <limits.h>

void lib_enter(struct lib_vcpu *lv)
{
    struct lib_machine *lm = lv->machine;

    for (;;) {
        atomic_store(&lv->inside, 1);
        if (!atomic_load(&lm->holding))
            return;
        lib_leave(lv);
        futex_wait(&lm->holding, 1, FUTEX_FOREVER);
    }
}

void lib_leave(struct lib_vcpu *lv)
{
    atomic_store(&lv->inside, 0);
    if (atomic_load(&lv->machine->holding))
        futex_wake(&lv->inside);
}

void lib_hold(struct lib_machine *lm)
{
    atomic_store(&lm->holding, 1);
    for (unsigned i = 0; i < lm->vcpus_max; i++) {
        struct lib_vcpu *lv = lm->vcpu[i];

        if (!lv || !atomic_load(&lv->inside))
            continue;
        atomic_store(&lv->held, true);
        vcpu_kick(lv->v);
        while (atomic_load(&lv->inside))
            futex_wait(&lv->inside, 1, FUTEX_FOREVER);
    }
}

void lib_go(struct lib_machine *lm)
{
    atomic_store(&lm->holding, 0);
    for (unsigned i = 0; i < lm->vcpus_max; i++)
        futex_wake(&lm->holding);
}
