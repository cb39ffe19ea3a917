#include "accel/accel.h"

#include "accel/backends.h"
#include "base/bits.h"
#include "base/err.h"
#include "x86/msi.h"
#include "x86/paging.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

const struct accel *const accel_list[] = {
    &accel_kvm,
    &accel_soft,
    NULL,
};

const struct accel *accel_find(const char *name)
{
    for (unsigned i = 0; accel_list[i]; i++) {
        if (!strcmp(accel_list[i]->name, name))
            return accel_list[i];
    }
    return NULL;
}

int machine_create(struct machine **out, const struct accel *accel,
                   const struct machine_config *cfg)
{
    int err;

    *out = NULL;
    err = accel->machine_create(out, cfg);
    if (!err)
        (*out)->accel = accel;
    return err;
}

void machine_destroy(struct machine *m)
{
    if (m)
        m->accel->machine_destroy(m);
}

static int map_refused(int err, gpa_t gpa, uint64_t size)
{
    const char *why = "not page-aligned, empty or past 2^52";

    if (err == -EEXIST)
        why = "overlaps another slot";
    else if (err == -ENOSPC)
        why = "too many slots";
    return err_set(-err, "guest memory 0x%" PRIx64 "+0x%" PRIx64 ": %s", gpa.v, size, why);
}

int machine_map(struct machine *m, gpa_t gpa, uint64_t size, void *hva, unsigned rights)
{
    int err = guest_mem_map(&m->mem, gpa, size, hva, rights);

    if (err)
        return map_refused(err, gpa, size);
    err = m->accel->map(m, guest_mem_find(&m->mem, gpa));
    if (err)
        guest_mem_unmap(&m->mem, gpa);
    return err;
}

int machine_unmap(struct machine *m, gpa_t gpa)
{
    const struct mem_slot *slot = guest_mem_find(&m->mem, gpa);
    int err;

    if (!slot || slot->gpa.v != gpa.v)
        return err_set(ENOENT, "guest memory 0x%" PRIx64 ": no slot starts here", gpa.v);
    err = m->accel->unmap(m, slot);
    return err ? err : guest_mem_unmap(&m->mem, gpa);
}

static int check_msi(const struct machine *m, uint64_t address)
{
    if (!(m->caps & ACCEL_CAP_LAPIC))
        return err_set(ENODEV, "%s: no local APIC inside", m->accel->name);
    if (!msi_is_address(address))
        return err_set(EINVAL, "interrupt message to 0x%" PRIx64 ", expected 0x%" PRIx64 "+1M",
                       address, MSI_BASE);
    return 0;
}

int machine_msi(struct machine *m, uint64_t address, uint32_t data)
{
    int err = check_msi(m, address);

    return err ? err : m->accel->msi(m, address, data);
}

int machine_ioapic_route(struct machine *m, unsigned pin, uint64_t address, uint32_t data)
{
    int err = check_msi(m, address);

    if (!err && pin >= IOAPIC_PINS)
        err = err_set(EINVAL, "pin %u of the IOAPIC, expected one below %d", pin, IOAPIC_PINS);
    return err ? err : m->accel->ioapic_route(m, pin, address, data);
}

int machine_cpuid(struct machine *m, const struct x86_cpu *cpu,
                  const struct x86_cpuid_topology *topology, struct x86_cpuid *table)
{
    struct x86_cpuid offer;
    int err;

    if (!topology->vcpus)
        return err_set(EINVAL, "a topology of 0 vCPUs");
    err = m->accel->default_cpuid(m, topology, &offer);
    if (!err)
        err = x86_cpu_apply(cpu, m->accel->name, &offer, table);
    return err ? err : x86_cpuid_place(table, topology);
}

int machine_default_cpuid(struct machine *m, const struct x86_cpuid_topology *topology,
                          struct x86_cpuid *table)
{
    return machine_cpuid(m, &(struct x86_cpu){0}, topology, table);
}

/* Every engine starts from the same state, RESET's, handed over by the first run. */
int vcpu_create(struct vcpu **out, struct machine *m, unsigned id)
{
    struct x86_state *state;
    struct vcpu *v = NULL;
    int err;

    *out = NULL;
    state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (state == MAP_FAILED)
        return err_set(ENOMEM, "vCPU %u: out of memory", id);
    x86_state_reset(state);
    err = m->accel->vcpu_create(&v, m, id);
    if (err) {
        munmap(state, sizeof(*state));
        return err;
    }
    v->accel = m->accel;
    v->machine = m;
    v->id = id;
    v->state = state;
    v->valid = v->dirty = X86_ALL;
    *out = v;
    return 0;
}

void vcpu_destroy(struct vcpu *v)
{
    struct x86_state *state;

    if (!v)
        return;
    state = v->state;
    v->accel->vcpu_destroy(v);
    munmap(state, sizeof(*state));
}

int vcpu_set_cpuid(struct vcpu *v, const struct x86_cpuid *table)
{
    return v->accel->set_cpuid(v, table);
}

int vcpu_get(struct vcpu *v, unsigned groups)
{
    unsigned need = groups & X86_ALL & ~v->valid;
    int err;

    if (!need)
        return 0;
    err = v->accel->get(v, need);
    if (!err)
        v->valid |= need;
    return err;
}

int vcpu_set(struct vcpu *v, unsigned groups)
{
    if (groups & ~X86_ALL)
        return err_set(EINVAL, "vCPU %u: no such state group in 0x%x", v->id, groups);
    v->valid |= groups;
    v->dirty |= groups;
    return 0;
}

int vcpu_inject(struct vcpu *v, const struct x86_event *event)
{
    if (event->kind == X86_EVENT_EXCEPTION && event->vector > 31)
        return err_set(EINVAL, "vCPU %u: exception vector %u is above 31", v->id, event->vector);
    return v->accel->inject(v, event);
}

void vcpu_request_window(struct vcpu *v, bool intr, bool nmi)
{
    v->accel->request_window(v, intr, nmi);
}

int vcpu_run(struct vcpu *v, struct vcpu_exit *exit)
{
    return v->accel->run(v, exit);
}

void vcpu_kick(struct vcpu *v)
{
    v->accel->kick(v);
}

int vcpu_assist(struct vcpu *v, const struct accel_bus_ops *ops)
{
    return v->accel->assist(v, ops);
}

int vcpu_complete_msr(struct vcpu *v, uint64_t value, bool fault)
{
    return v->accel->complete_msr(v, value, fault);
}

int vcpu_translate(struct vcpu *v, uint64_t gva, gpa_t *gpa)
{
    return v->accel->translate(v, gva, gpa);
}

static bool watch_is_good(const struct vcpu_watch *w)
{
    if (w->kind == VCPU_WATCH_OFF)
        return true;
    if (w->kind == VCPU_WATCH_EXEC && w->size != 1)
        return false;
    return w->kind <= VCPU_WATCH_ACCESS &&
           (w->size == 1 || w->size == 2 || w->size == 4 || w->size == 8) &&
           !(w->gva & (w->size - 1u)) && x86_canonical(w->gva);
}

int vcpu_set_debug(struct vcpu *v, const struct vcpu_debug *debug)
{
    for (unsigned i = 0; i < VCPU_WATCHES; i++) {
        const struct vcpu_watch *w = &debug->watch[i];

        if (!watch_is_good(w))
            return err_set(EINVAL, "vCPU %u: no watch of kind %u for %u bytes at 0x%" PRIx64, v->id,
                           w->kind, w->size, w->gva);
    }
    return v->accel->set_debug(v, debug);
}

void vcpu_paused(struct vcpu *v)
{
    v->accel->paused(v);
}

unsigned vcpu_stats(struct vcpu *v, struct accel_stat stats[ACCEL_STATS])
{
    return v->accel->stats ? v->accel->stats(v, stats) : 0;
}
