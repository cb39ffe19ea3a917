#include "accel/accel.h"

#include "accel/backends.h"
#include "accel/ioeventfd.h"
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
    if (err)
        return err;
    (*out)->accel = accel;
    pthread_mutex_init(&(*out)->lock, NULL);
    return 0;
}

void machine_destroy(struct machine *m)
{
    if (!m)
        return;
    ioeventfds_free(m);
    pthread_mutex_destroy(&m->lock);
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

/* ---- interrupts ---- */

static int check_cap(const struct machine *m, unsigned cap, const char *what)
{
    return m->caps & cap ? 0 : err_set(ENODEV, "%s: no %s inside", m->accel->name, what);
}

static int check_msi(const struct machine *m, uint64_t address)
{
    int err = check_cap(m, ACCEL_CAP_LAPIC, "local APIC");

    if (!err && !msi_is_address(address))
        err = err_set(EINVAL, "interrupt message to 0x%" PRIx64 ", expected 0x%" PRIx64 "+1M",
                      address, MSI_BASE);
    return err;
}

static int check_gsi(unsigned gsi, unsigned first, unsigned end)
{
    if (gsi >= first && gsi < end)
        return 0;
    return err_set(EINVAL, "interrupt %u, expected one from %u to %u", gsi, first, end - 1);
}

int machine_msi(struct machine *m, uint64_t address, uint32_t data)
{
    int err = check_msi(m, address);

    return err ? err : m->accel->msi(m, address, data);
}

int machine_ioapic_route(struct machine *m, unsigned pin, uint64_t address, uint32_t data)
{
    int err = check_msi(m, address);

    if (!err && (m->caps & ACCEL_CAP_IRQCHIP))
        err = err_set(ENODEV, "%s: the IOAPIC is inside", m->accel->name);
    if (!err)
        err = check_gsi(pin, 0, IOAPIC_PINS);
    return err ? err : m->accel->route(m, pin, address, data);
}

int machine_msi_route(struct machine *m, unsigned gsi, uint64_t address, uint32_t data)
{
    int err = check_msi(m, address ? address : MSI_BASE);

    if (!err)
        err = check_gsi(gsi, IOAPIC_PINS, MACHINE_GSIS);
    return err ? err : m->accel->route(m, gsi, address, data);
}

static int check_irqfd(const struct machine *m, const struct machine_irqfd *irqfd)
{
    int err = check_cap(m, ACCEL_CAP_IRQFD, "interrupts by eventfd");

    if (!err)
        err = check_gsi(irqfd->gsi, m->caps & ACCEL_CAP_IRQCHIP ? 0 : IOAPIC_PINS, MACHINE_GSIS);
    if (!err && irqfd->gsi >= IOAPIC_PINS && irqfd->resample >= 0)
        err = err_set(EINVAL, "interrupt %u: a message is no level", irqfd->gsi);
    return err;
}

int machine_irqfd_add(struct machine *m, const struct machine_irqfd *irqfd)
{
    int err = check_irqfd(m, irqfd);

    return err ? err : m->accel->irqfd(m, irqfd, true);
}

int machine_irqfd_remove(struct machine *m, const struct machine_irqfd *irqfd)
{
    int err = check_irqfd(m, irqfd);

    return err ? err : m->accel->irqfd(m, irqfd, false);
}

int machine_irq_line(struct machine *m, unsigned gsi, int level)
{
    int err = check_cap(m, ACCEL_CAP_IRQCHIP, "IOAPIC");

    if (!err)
        err = check_gsi(gsi, 0, IOAPIC_PINS);
    return err ? err : m->accel->irq_line(m, gsi, level);
}

int machine_get_irqchip(struct machine *m, uint64_t now, struct irqchip_state *out)
{
    int err = check_cap(m, ACCEL_CAP_IRQCHIP, "IOAPIC");

    return err ? err : m->accel->get_irqchip(m, now, out);
}

int machine_set_irqchip(struct machine *m, uint64_t now, const struct irqchip_state *in)
{
    int err = check_cap(m, ACCEL_CAP_IRQCHIP, "IOAPIC");

    return err ? err : m->accel->set_irqchip(m, now, in);
}

int vcpu_get_lapic(struct vcpu *v, struct lapic_state *out)
{
    int err = check_cap(v->machine, ACCEL_CAP_LAPIC, "local APIC");

    return err ? err : v->accel->get_lapic(v, out);
}

int vcpu_set_lapic(struct vcpu *v, const struct lapic_state *in)
{
    int err = check_cap(v->machine, ACCEL_CAP_LAPIC, "local APIC");

    if (!err)
        err = v->accel->set_lapic(v, in);
    v->valid &= v->dirty | ~(unsigned)X86_CRS; /* CR8 */
    return err;
}

/* ---- vCPUs ---- */

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
    struct mote_state *state;
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
    if ((m->caps & ACCEL_CAP_LAPIC) && id)
        state->intr.activity = X86_UNINITIALIZED;
    ioeventfds_join(v);
    *out = v;
    return 0;
}

void vcpu_destroy(struct vcpu *v)
{
    struct mote_state *state;

    if (!v)
        return;
    state = v->state;
    ioeventfds_leave(v);
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

int vcpu_inject(struct vcpu *v, const struct mote_event *event)
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
    int err;

    do
        err = v->accel->run(v, exit);
    while (!err && ioeventfds_answer(v, exit));
    return err;
}

void vcpu_kick(struct vcpu *v)
{
    v->accel->kick(v);
}

/* An access of an assist's: a doorbell's, or the caller's. */
static int assist_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    struct vcpu *v = user;

    if (write && ioeventfds_ring(v, false, port, size, *data))
        return 0;
    return v->ops.io ? v->ops.io(v->ops.user, port, size, write, data) : -ENOTSUP;
}

static int assist_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    struct vcpu *v = user;

    if (write && ioeventfds_ring(v, true, gpa.v, size, *data))
        return 0;
    return v->ops.mmio ? v->ops.mmio(v->ops.user, gpa, size, write, data) : -ENOTSUP;
}

int vcpu_assist(struct vcpu *v, const struct accel_bus_ops *ops)
{
    v->ops = *ops;
    return v->accel->assist(v, &(struct accel_bus_ops){assist_io, assist_mmio, v});
}

int vcpu_complete_msr(struct vcpu *v, uint64_t value, bool fault)
{
    return v->accel->complete_msr(v, value, fault);
}

int vcpu_exit_cpuid(struct vcpu *v, const uint32_t *leaves, unsigned count)
{
    if (count > X86_CPUID_MAX)
        return err_set(EINVAL, "%u leaves of CPUID, expected at most %d", count, X86_CPUID_MAX);
    if (!v->accel->exit_cpuid)
        return err_set(ENOTSUP, "%s executes CPUID by itself", v->accel->name);
    return v->accel->exit_cpuid(v, leaves, count);
}

int vcpu_complete_cpuid(struct vcpu *v, const uint32_t regs[4])
{
    if (!v->accel->complete_cpuid)
        return err_set(EINVAL, "vCPU %u: no CPUID to complete", v->id);
    return v->accel->complete_cpuid(v, regs);
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
