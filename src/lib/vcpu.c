/* vCPUs: their life, their state, and what is put into them. */
#include "lib/lib.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int lib_enter(struct mote_vcpu *vcpu, struct lib_vcpu **out)
{
    void *object;
    int err = handle_own(vcpu, HANDLE_VCPU, HANDLE_OWNED | HANDLE_INSIDE, &object);

    if (!err)
        *out = object;
    return err;
}

void lib_leave(struct lib_vcpu *lv)
{
    handle_release(lv->handle, HANDLE_OWNED | HANDLE_INSIDE);
}

static int set_up(struct lib_vcpu *lv, unsigned id)
{
    struct lib_machine *lm = lv->machine;
    int err = vcpu_create(&lv->v, lm->m, id);

    if (err)
        return err;
    lv->cpuid = lm->cpuid;
    err = x86_cpuid_place(&lv->cpuid,
                          &(struct x86_cpuid_topology){id, lm->vcpus_max, lm->m->tsc_khz});
    if (!err)
        err = vcpu_set_cpuid(lv->v, &lv->cpuid);
    return err ? err : handle_create(&lv->handle, HANDLE_VCPU, lv);
}

static int create(struct lib_machine *lm, unsigned id, struct lib_vcpu **out)
{
    struct lib_vcpu *lv;
    int err;

    if (id >= lm->vcpus_max)
        return err_set(EINVAL, "vCPU %u, expected one from 0 to %u", id, lm->vcpus_max - 1);
    if (lm->vcpu[id])
        return err_set(EEXIST, "vCPU %u is there", id);
    lv = calloc(1, sizeof(*lv));
    if (!lv)
        return err_set(ENOMEM, "vCPU %u: out of memory", id);
    lv->machine = lm;
    lib_hold(lm);
    err = set_up(lv, id);
    if (err) {
        vcpu_destroy(lv->v);
        free(lv);
    } else {
        lm->vcpu[id] = *out = lv;
    }
    lib_go(lm);
    return err;
}

int mote_vcpu_create(struct mote_vcpu **vcpu, struct mote_machine *machine, unsigned id)
{
    struct lib_machine *lm;
    struct lib_vcpu *lv = NULL;
    int err;

    if (!vcpu)
        return err_set(EINVAL, "no place for the vCPU");
    *vcpu = NULL;
    err = lib_lock(machine, &lm);
    if (err)
        return err;
    err = create(lm, id, &lv);
    if (!err)
        *vcpu = (struct mote_vcpu *)lv->handle;
    lib_unlock(lm);
    return err;
}

void lib_vcpu_free(struct lib_vcpu *lv)
{
    lv->machine->vcpu[lv->v->id] = NULL;
    handle_destroy(lv->handle);
    vcpu_destroy(lv->v);
    free(lv);
}

int mote_vcpu_destroy(struct mote_vcpu *vcpu)
{
    struct lib_machine *lm;
    struct lib_vcpu *lv;
    void *object;
    int err = handle_own(vcpu, HANDLE_VCPU, HANDLE_OWNED, &object);

    if (err)
        return err;
    lv = object;
    /* The machine is there, as it is not destroyed while somebody has one of its vCPUs. */
    err = lib_lock((struct mote_machine *)lv->machine->handle, &lm);
    if (err) {
        handle_release(lv->handle, HANDLE_OWNED);
        return err;
    }
    lib_hold(lm);
    lib_vcpu_free(lv);
    lib_go(lm);
    lib_unlock(lm);
    return 0;
}

/* ---- CPUID ---- */

int mote_vcpu_get_cpuid(struct mote_vcpu *vcpu, struct mote_cpuid *leaves, unsigned *count)
{
    struct lib_vcpu *lv;
    unsigned room;
    int err;

    if (!count || (*count && !leaves))
        return err_set(EINVAL, "no place for CPUID leaves");
    err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    room = *count;
    *count = lv->cpuid.count;
    for (unsigned i = 0; i < lv->cpuid.count && i < room; i++) {
        const struct x86_cpuid_leaf *l = &lv->cpuid.leaf[i];

        leaves[i] =
            (struct mote_cpuid){l->leaf, l->subleaf, l->indexed, l->eax, l->ebx, l->ecx, l->edx};
    }
    if (room < lv->cpuid.count)
        err = err_set(E2BIG, "%u CPUID leaves, there is room for %u", lv->cpuid.count, room);
    lib_leave(lv);
    return err;
}

int mote_vcpu_set_cpuid(struct mote_vcpu *vcpu, const struct mote_cpuid *leaves, unsigned count)
{
    struct x86_cpuid table = {.count = 0};
    struct lib_vcpu *lv;
    int err;

    if (count > MOTE_CPUID_MAX || (count && !leaves))
        return err_set(EINVAL, "%u CPUID leaves, expected at most %d", count, MOTE_CPUID_MAX);
    err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    table.arch_capabilities = lv->cpuid.arch_capabilities;
    for (unsigned i = 0; i < count; i++) {
        const struct mote_cpuid *l = &leaves[i];

        table.leaf[table.count++] = (struct x86_cpuid_leaf){
            l->leaf, l->subleaf, l->indexed != 0, l->eax, l->ebx, l->ecx, l->edx};
    }
    if (lv->has_run)
        err = err_set(EBUSY, "vCPU %u has run", lv->v->id);
    else
        err = vcpu_set_cpuid(lv->v, &table);
    if (!err)
        lv->cpuid = table;
    lib_leave(lv);
    return err;
}

int mote_vcpu_exit_cpuid(struct mote_vcpu *vcpu, const uint32_t *leaves, unsigned count)
{
    struct lib_vcpu *lv;
    int err;

    if (count > MOTE_CPUID_MAX || (count && !leaves))
        return err_set(EINVAL, "%u leaves of CPUID, expected at most %d", count, MOTE_CPUID_MAX);
    err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    err = vcpu_exit_cpuid(lv->v, leaves, count);
    lib_leave(lv);
    return err;
}

/* ---- state ---- */

struct mote_state *mote_vcpu_state(struct mote_vcpu *vcpu)
{
    struct mote_state *state;
    struct lib_vcpu *lv;
    void *object;

    if (handle_pin(vcpu, HANDLE_VCPU, &object)) {
        err_set(EINVAL, "no such vCPU, or it was destroyed");
        return NULL;
    }
    lv = object;
    state = lv->v->state;
    handle_unpin(lv->handle);
    return state;
}

static int check_groups(unsigned groups)
{
    return groups & ~(unsigned)MOTE_ALL ? err_set(EINVAL, "no such state group in 0x%x", groups)
                                        : 0;
}

int mote_vcpu_get(struct mote_vcpu *vcpu, unsigned groups)
{
    struct lib_vcpu *lv;
    int err = check_groups(groups);

    if (!err)
        err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    err = vcpu_get(lv->v, groups);
    lib_leave(lv);
    return err;
}

int mote_vcpu_set(struct mote_vcpu *vcpu, unsigned groups)
{
    struct lib_vcpu *lv;
    int err = check_groups(groups);

    if (!err)
        err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    err = vcpu_set(lv->v, groups);
    lib_leave(lv);
    return err;
}

/* ---- events ---- */

int mote_vcpu_inject(struct mote_vcpu *vcpu, const struct mote_event *event)
{
    struct lib_vcpu *lv;
    int err;

    if (!event || event->kind < MOTE_EVENT_INTR || event->kind > MOTE_EVENT_EXCEPTION)
        return err_set(EINVAL, "no event to inject");
    err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    err = vcpu_inject(lv->v, event);
    lib_leave(lv);
    return err;
}

int mote_vcpu_request_window(struct mote_vcpu *vcpu, bool intr, bool nmi)
{
    struct lib_vcpu *lv;
    int err = lib_enter(vcpu, &lv);

    if (err)
        return err;
    vcpu_request_window(lv->v, intr, nmi);
    lib_leave(lv);
    return 0;
}

int mote_vcpu_set_debug(struct mote_vcpu *vcpu, const struct mote_vcpu_debug *debug)
{
    struct vcpu_debug d = {0};
    struct lib_vcpu *lv;
    int err;

    if (!debug)
        return err_set(EINVAL, "no debug settings");
    err = lib_enter(vcpu, &lv);
    if (err)
        return err;
    d.breakpoints = debug->int3;
    d.step = debug->step;
    for (unsigned i = 0; i < VCPU_WATCHES; i++)
        d.watch[i] =
            (struct vcpu_watch){debug->watch[i].gva, debug->watch[i].size, debug->watch[i].kind};
    err = vcpu_set_debug(lv->v, &d);
    lib_leave(lv);
    return err;
}
