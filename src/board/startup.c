#include "board/startup.h"

#include "base/bits.h"

/*
 * The state after INIT: as after RESET, but MSRs, x87 and vector state, and the caches'
 * bits of CR0 stay (SDM Vol. 3A table 9-1).
 */
static int init(struct cpu *cpu)
{
    struct x86_state *s = cpu->vcpu->state;
    const uint64_t kept = CR0_CD | CR0_NW;
    struct x86_msrs msr;
    uint64_t cr0, xcr0;
    int err = vcpu_get(cpu->vcpu, X86_CRS | X86_MSRS);

    if (err)
        return err;
    msr = s->msr;
    msr.efer = 0;
    cr0 = s->cr0;
    xcr0 = s->xcr0;
    x86_state_reset(s);
    s->msr = msr;
    s->xcr0 = xcr0;
    s->cr0 = (s->cr0 & ~kept) | (cr0 & kept);
    return vcpu_set(cpu->vcpu, X86_ALL & ~(unsigned)X86_FPU);
}

/* The vector is the page that real-mode code begins at (SDM Vol. 3A 8.4.3). */
static int start(struct cpu *cpu, uint8_t page)
{
    struct x86_state *s = cpu->vcpu->state;
    int err = vcpu_get(cpu->vcpu, X86_GPRS | X86_SEGS);

    if (err)
        return err;
    s->seg[SEG_CS].selector = (uint16_t)(page << 8);
    s->seg[SEG_CS].base = (uint64_t)page << 12;
    s->rip = 0;
    return vcpu_set(cpu->vcpu, X86_GPRS | X86_SEGS);
}

int startup_take(struct cpu *cpu)
{
    uint8_t page = 0;
    unsigned events = cpu_intc_take_startup(&cpu->intc, &page);
    int err = 0;

    if (events & LAPIC_EVENT_INIT) {
        err = init(cpu);
        cpu->waits = cpu->vcpu->id != 0;
        cpu->halted = false;
        cpu->exit.intr_ready = false;
        cpu->exit.rflags = FLAG_R1;
        cpu->exit.cr8 = 0;
    }
    if (!err && (events & LAPIC_EVENT_SIPI) && cpu->waits) {
        err = start(cpu, page);
        cpu->waits = false;
    }
    return err;
}
