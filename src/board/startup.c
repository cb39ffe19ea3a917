#include "board/startup.h"

#include "base/bits.h"
#include "board/cpus.h"

#include <string.h>

/*
 * The state after INIT: as after RESET, but MSRs, x87 and vector state, and the caches'
 * bits of CR0 stay (SDM Vol. 3A table 9-1); EFER goes with the modes. kvmclock and steal time are
 * off until the guest's next start asks for them, as their pages may be others' then.
 */
static int init(struct cpu *cpu)
{
    struct mote_state *s = cpu->vcpu->state;
    const uint64_t kept = CR0_CD | CR0_NW;
    struct mote_state fresh;
    int err = vcpu_get(cpu->vcpu, X86_CRS | X86_MSRS);

    if (err)
        return err;
    x86_state_reset(&fresh);
    fresh.msr = s->msr;
    fresh.msr.efer = 0;
    fresh.msr.kvm_system_time = fresh.msr.kvm_wall_clock = fresh.msr.kvm_steal_time = 0;
    fresh.xcr0 = s->xcr0;
    fresh.cr0 = (fresh.cr0 & ~kept) | (s->cr0 & kept);
    memcpy(fresh.xsave, s->xsave, sizeof(fresh.xsave));
    *s = fresh;
    cpu->activity = CPU_WAIT_SIPI;
    cpu->exit.intr_ready = false;
    cpu->exit.rflags = FLAG_R1;
    cpu->exit.cr8 = 0;
    atomic_store(&cpu->kicked, false);
    return vcpu_set(cpu->vcpu, X86_ALL & ~(unsigned)X86_FPU);
}

/* The vector is the page that real-mode code begins at (SDM Vol. 3A 8.4.3). */
static int start(struct cpu *cpu, uint8_t page)
{
    struct mote_state *s = cpu->vcpu->state;
    int err = vcpu_get(cpu->vcpu, X86_GPRS | X86_SEGS);

    if (err)
        return err;
    s->seg[SEG_CS].selector = (uint16_t)(page << 8);
    s->seg[SEG_CS].base = (uint64_t)page << 12;
    s->rip = 0;
    cpu->activity = CPU_ACTIVE;
    return vcpu_set(cpu->vcpu, X86_GPRS | X86_SEGS);
}

int startup_take(struct cpu *cpu)
{
    uint8_t page = 0;
    unsigned events = cpu_intc_take_startup(&cpu->intc, &page);
    int err = 0;

    if ((events & LAPIC_EVENT_INIT) && !cpu->vcpu->id) {
        life_finish(cpu->cpus->life, LIFE_RESET, 0, NULL);
        return 0;
    }
    if (events & LAPIC_EVENT_INIT)
        err = init(cpu);
    if (!err && (events & LAPIC_EVENT_SIPI) && cpu->activity == CPU_WAIT_SIPI)
        err = start(cpu, page);
    return err;
}
