/* Interrupt controllers and PIT inside KVM. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"

int kvm_irqchip_create(struct kvm_machine *m, unsigned want)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY}; /* port 0x61 too */
    int err;

    if ((want & ACCEL_CAP_CLOCK) && kvm_cap(m->vm, KVM_CAP_ADJUST_CLOCK))
        m->m.caps |= ACCEL_CAP_CLOCK;
    if (!(want & ACCEL_CAP_IRQCHIP) || !kvm_cap(m->vm, KVM_CAP_IRQCHIP))
        return 0;
    err = KVM_CALL(m->vm, KVM_CREATE_IRQCHIP, 0);
    if (err < 0)
        return err;
    m->m.caps |= ACCEL_CAP_IRQCHIP;
    if ((want & ACCEL_CAP_TSC_DEADLINE) && kvm_cap(m->vm, KVM_CAP_TSC_DEADLINE_TIMER))
        m->m.caps |= ACCEL_CAP_TSC_DEADLINE;
    if ((want & ACCEL_CAP_PIT) && kvm_cap(m->vm, KVM_CAP_PIT2)) {
        err = KVM_CALL(m->vm, KVM_CREATE_PIT2, &pit);
        if (err < 0)
            return err;
        m->m.caps |= ACCEL_CAP_PIT;
    }
    return 0;
}

int kvm_irq_line(struct machine *m, unsigned gsi, int level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = level != 0};
    int err = KVM_CALL(kvm_machine(m)->vm, KVM_IRQ_LINE, &line);

    return MIN(err, 0);
}
