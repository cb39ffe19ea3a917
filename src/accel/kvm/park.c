/* vCPUs that were destroyed, and their IDs. */
#include "accel/kvm/kvm.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int find(struct kvm_vcpu *k, struct kvm_machine *m, unsigned id)
{
    for (struct kvm_parked **at = &m->parked; *at; at = &(*at)->next) {
        if ((*at)->id != id)
            continue;
        k->park = *at;
        *at = k->park->next;
        return k->park->fd;
    }
    return -ENOENT;
}

int kvm_park_open(struct kvm_vcpu *k, unsigned id)
{
    struct kvm_machine *m = kvm_machine(k->v.machine);
    int fd = find(k, m, id);

    if (fd >= 0)
        return fd;
    k->park = malloc(sizeof(*k->park));
    if (!k->park)
        return err_set(ENOMEM, "vCPU %u: out of memory", id);
    fd = KVM_CALL(m->vm, KVM_CREATE_VCPU, (uintptr_t)id);
    *k->park = (struct kvm_parked){.id = id, .fd = fd};
    return fd;
}

void kvm_park(struct kvm_vcpu *k)
{
    struct kvm_machine *m = kvm_machine(k->v.machine);
    struct kvm_guest_debug none = {0};

    if (!k->park)
        return;
    if (k->fd < 0) {
        free(k->park);
        return;
    }
    /* Whatever comes of it: the next one begins with a state of its own. */
    k->has_ops = false; /* nobody is called for a vCPU that is gone */
    if (k->pending != KVM_PENDING_NONE)
        kvm_finish(k);
    if (k->debugged)
        kvm_ioctl(k->fd, KVM_SET_GUEST_DEBUG, &none);
    k->park->next = m->parked;
    m->parked = k->park;
}

void kvm_park_free(struct kvm_machine *m)
{
    while (m->parked) {
        struct kvm_parked *p = m->parked;

        m->parked = p->next;
        close(p->fd);
        free(p);
    }
}
