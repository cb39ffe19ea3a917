/* The soft engine's entry in the accelerator table, and its machine. */
#include "accel/soft/soft.h"

#include "accel/backends.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/steps.h"
#include "base/tsc.h"
#include "emu/features.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

static void soft_probe(const char *device, struct accel_info *info)
{
    memset(info, 0, sizeof(*info));
    info->usable = true;
    snprintf(info->reason, sizeof(info->reason), "needs nothing of the host");
}

/* Someone other than a vCPU's code wrote memory: a loader, an assist, a device. */
static void memory_written(void *user, gpa_t gpa, uint64_t len)
{
    struct soft_machine *m = user;

    if (m->vcpu[0] && m->vcpu[0]->check)
        check_memory_written(m->vcpu[0]->check, gpa, len);
    code_map_written(&m->code, NULL, gpa.v, len);
}

static int soft_machine_create(struct machine **out, const struct machine_config *cfg)
{
    struct soft_machine *m;

    if (cfg->vcpus > SOFT_VCPUS)
        return err_set(EINVAL, "soft: %u vCPUs, expected at most %d", cfg->vcpus, SOFT_VCPUS);
    if (cfg->engine == ACCEL_ENGINE_CHECK && cfg->vcpus > 1)
        return err_set(EINVAL, "soft: %u vCPUs, expected 1 where engines are compared", cfg->vcpus);
    m = calloc(1, sizeof(*m));
    if (!m)
        return err_set(ENOMEM, "soft: out of memory");
    m->engine = cfg->engine;
    guest_mem_init(&m->machine.mem);
    m->machine.mem.written = memory_written;
    m->machine.mem.user = m;
    m->machine.caps = ACCEL_CAP_CLOCK;
    m->count = cfg->count;
    m->vcpus = cfg->vcpus;
    m->machine.tsc_khz = host_tsc_khz();
    m->start_ns = clock_ns(CLOCK_MONOTONIC);
    m->start_tsc = __rdtsc();
    *out = &m->machine;
    step_end(STEP_VM);
    return 0;
}

static void soft_machine_destroy(struct machine *machine)
{
    struct soft_machine *m = (struct soft_machine *)machine;

    code_map_free(&m->code);
    free(m);
}

static void map_changed(struct soft_machine *m)
{
    if (m->vcpu[0] && m->vcpu[0]->check)
        check_map_changed(m->vcpu[0]->check);
}

static int soft_map(struct machine *machine, const struct mem_slot *slot)
{
    struct soft_machine *m = (struct soft_machine *)machine;

    if (code_map_add(&m->code, slot->gpa.v, slot->size, slot->hva))
        return err_set(ENOMEM, "soft: out of memory for a slot");
    map_changed(m);
    return 0;
}

static int soft_unmap(struct machine *machine, const struct mem_slot *slot)
{
    struct soft_machine *m = (struct soft_machine *)machine;

    for (unsigned i = 0; i < SOFT_VCPUS; i++) {
        if (!m->vcpu[i])
            continue;
        block_flush(&m->vcpu[i]->blocks);
        emu_tlb_flush(&m->vcpu[i]->cpu);
    }
    code_map_remove(&m->code, slot->gpa.v);
    map_changed(m);
    return 0;
}

static int soft_default_cpuid(struct machine *m, const struct x86_cpuid_topology *topology,
                              struct x86_cpuid *table)
{
    emu_default_cpuid(topology, table);
    if (((struct soft_machine *)m)->engine == ACCEL_ENGINE_CHECK)
        check_cpuid(table);
    return 0;
}

const struct accel accel_soft = {
    .name = "soft",
    .title = "mote's own engine",
    .rights = MEM_WRITE | MEM_EXEC,
    .hypercalls = true,
    .probe = soft_probe,
    .machine_create = soft_machine_create,
    .machine_destroy = soft_machine_destroy,
    .map = soft_map,
    .unmap = soft_unmap,
    .vcpu_create = soft_vcpu_create,
    .vcpu_destroy = soft_vcpu_destroy,
    .set_cpuid = soft_set_cpuid,
    .get = soft_get,
    .set = soft_set,
    .inject = soft_inject,
    .request_window = soft_request_window,
    .run = soft_run,
    .kick = soft_kick,
    .assist = soft_assist,
    .complete_msr = soft_complete_msr,
    .exit_cpuid = soft_exit_cpuid,
    .complete_cpuid = soft_complete_cpuid,
    .default_cpuid = soft_default_cpuid,
    .translate = soft_translate,
    .set_debug = soft_set_debug,
    .paused = soft_paused,
    .stats = soft_stats,
};
