/* Machines: their life, what they can do, and whose devices they have. */
#include "lib/lib.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int lib_lock(struct mote_machine *machine, struct lib_machine **out)
{
    void *object;
    struct lib_machine *lm;

    if (handle_pin(machine, HANDLE_MACHINE, &object))
        return err_set(EINVAL, "no such machine, or it was destroyed");
    lm = object;
    pthread_mutex_lock(&lm->lock);
    if (lm->dying) {
        lib_unlock(lm);
        return err_set(EINVAL, "the machine is being destroyed");
    }
    *out = lm;
    return 0;
}

void lib_unlock(struct lib_machine *lm)
{
    struct handle *handle = lm->handle;

    pthread_mutex_unlock(&lm->lock);
    handle_unpin(handle);
}

static int choose(const char *name, const struct accel **out)
{
    char why[256];

    *out = name && strcmp(name, "auto") ? accel_find(name) : accel_choose(NULL, why, sizeof(why));
    return *out ? 0 : err_set(EINVAL, "no accelerator \"%s\"", name ? name : "auto");
}

static int set_up(struct lib_machine *lm, const struct accel *accel, const struct x86_cpu *cpu)
{
    const struct machine_config cfg = {.vcpus = lm->vcpus_max};
    struct x86_cpuid_topology topology = {.vcpus = lm->vcpus_max};
    int err = machine_create(&lm->m, accel, &cfg);

    if (err)
        return err;
    topology.tsc_khz = lm->m->tsc_khz;
    err = machine_cpuid(lm->m, cpu, &topology, &lm->cpuid);
    return err ? err : handle_create(&lm->handle, HANDLE_MACHINE, lm);
}

static void free_machine(struct lib_machine *lm)
{
    machine_destroy(lm->m);
    pthread_mutex_destroy(&lm->lock);
    free(lm);
}

int mote_machine_create(struct mote_machine **machine, const struct mote_machine_config *config)
{
    const struct mote_machine_config any = {0};
    const struct accel *accel;
    struct x86_cpu cpu = {0};
    struct lib_machine *lm;
    int err;

    if (!machine)
        return err_set(EINVAL, "no place for the machine");
    *machine = NULL;
    if (!config)
        config = &any;
    if (config->vcpus > MOTE_VCPUS_MAX)
        return err_set(EINVAL, "%u vCPUs, expected at most %d", config->vcpus, MOTE_VCPUS_MAX);
    err = config->cpu ? x86_cpu_parse(&cpu, config->cpu) : 0;
    if (!err)
        err = choose(config->accel, &accel);
    if (err)
        return err;
    lm = calloc(1, sizeof(*lm));
    if (!lm)
        return err_set(ENOMEM, "out of memory for a machine");
    pthread_mutex_init(&lm->lock, NULL);
    lm->vcpus_max = config->vcpus ? config->vcpus : 1;
    err = set_up(lm, accel, &cpu);
    if (err) {
        free_machine(lm);
        return err;
    }
    *machine = (struct mote_machine *)lm->handle;
    return 0;
}

/* All or none. */
static int own_vcpus(struct lib_machine *lm)
{
    void *object;
    int err = 0;

    for (unsigned i = 0; i < lm->vcpus_max && !err; i++) {
        if (!lm->vcpu[i])
            continue;
        err = handle_own(lm->vcpu[i]->handle, HANDLE_VCPU, HANDLE_OWNED, &object);
        while (err && i--) {
            if (lm->vcpu[i])
                handle_release(lm->vcpu[i]->handle, HANDLE_OWNED);
        }
    }
    return err;
}

int mote_machine_destroy(struct mote_machine *machine)
{
    struct lib_machine *lm;
    void *object;
    int err = handle_own(machine, HANDLE_MACHINE, HANDLE_OWNED, &object);

    if (err)
        return err;
    lm = object;
    pthread_mutex_lock(&lm->lock);
    err = own_vcpus(lm);
    if (err) {
        pthread_mutex_unlock(&lm->lock);
        handle_release(lm->handle, HANDLE_OWNED);
        return err;
    }
    lm->dying = true;
    for (unsigned i = 0; i < lm->vcpus_max; i++) {
        if (lm->vcpu[i])
            lib_vcpu_free(lm->vcpu[i]);
    }
    pthread_mutex_unlock(&lm->lock);
    handle_destroy(lm->handle);
    free_machine(lm);
    return 0;
}

unsigned lib_rights(const struct lib_machine *lm)
{
    return lm->m->accel->rights;
}

/* What page tables of the guest can reach (SDM Vol. 3A 4.1.4). */
unsigned lib_gpa_bits(struct lib_machine *lm)
{
    const struct x86_cpuid_leaf *leaf = x86_cpuid_find(&lm->cpuid, 0x80000008, 0);

    return leaf ? leaf->eax & 0xff : 36;
}

static uint32_t exits(const struct machine *m)
{
    uint32_t all = (1u << MOTE_EXIT_COUNT) - 1;

    if (m->caps & ACCEL_CAP_LAPIC)
        all &= ~(1u << MOTE_EXIT_TPR);
    if (!m->accel->exit_cpuid)
        all &= ~(1u << MOTE_EXIT_CPUID);
    return m->accel->hypercalls ? all : all & ~(1u << MOTE_EXIT_HYPERCALL);
}

int mote_machine_capabilities(struct mote_machine *machine, struct mote_capabilities *caps)
{
    struct lib_machine *lm;
    const struct x86_cpuid_leaf *xcr0;
    int err;

    if (!caps)
        return err_set(EINVAL, "no place for the capabilities");
    err = lib_lock(machine, &lm);
    if (err)
        return err;
    memset(caps, 0, sizeof(*caps));
    strncpy(caps->accel, lm->m->accel->name, sizeof(caps->accel) - 1);
    caps->vcpus_max = lm->vcpus_max;
    caps->ranges_max = MOTE_RANGES_MAX;
    caps->tsc_khz = lm->m->tsc_khz;
    xcr0 = x86_cpuid_find(&lm->cpuid, 0xd, 0);
    caps->xcr0 = xcr0 ? (uint64_t)xcr0->edx << 32 | xcr0->eax : 1;
    caps->rights = lib_rights(lm);
    caps->exits = exits(lm->m);
    caps->gpa_bits = lib_gpa_bits(lm);
    caps->debug_watches = VCPU_WATCHES;
    lib_unlock(lm);
    return 0;
}

int mote_machine_set_callbacks(struct mote_machine *machine, const struct mote_callbacks *ops)
{
    struct lib_machine *lm;
    int err;

    if (!ops)
        return err_set(EINVAL, "no callbacks");
    err = lib_lock(machine, &lm);
    if (err)
        return err;
    lib_hold(lm);
    lm->callbacks = *ops;
    lib_go(lm);
    lib_unlock(lm);
    return 0;
}
