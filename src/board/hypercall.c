#include "board/hypercall.h"

#include "base/bits.h"
#include "board/cpus.h"

#include <sched.h>

/* Linux include/uapi/linux/kvm_para.h */
enum {
    KVM_HC_KICK_CPU = 5,
    KVM_HC_SEND_IPI = 10,
    KVM_HC_SCHED_YIELD = 11,
};

#define KVM_EPERM  1
#define KVM_EINVAL 22
#define KVM_ENOSYS 1000

#define SEND_IPI_BITS 64 /* in one argument; 32 outside of 64-bit mode */

/* Bits of ICR that would name other destinations (SDM Vol. 3A 10.6.1). */
#define ICR_LOGICAL   0x00800u
#define ICR_SHORTHAND 0xc0000u

struct hypercall {
    uint64_t number, arg[4];
    bool in_64_bit_mode;
};

/* The vCPU's index is its APIC ID. */
static int64_t kick_cpu(struct cpus *cpus, uint64_t apic_id)
{
    if (apic_id < cpus->count) {
        atomic_store(&cpus->cpu[apic_id].kicked, true);
        cpu_wake(&cpus->cpu[apic_id]);
    }
    return 0;
}

/* Arguments: two words of a bitmap, the APIC ID of its first bit, and ICR's low half. */
static int64_t send_ipi(struct cpu *cpu, const struct hypercall *call)
{
    const unsigned bits = call->in_64_bit_mode ? SEND_IPI_BITS : SEND_IPI_BITS / 2;
    uint64_t first = call->arg[2], icr = call->arg[3];
    unsigned sent = 0;

    if (cpu->intc.intc->inside || (icr & (ICR_LOGICAL | ICR_SHORTHAND)))
        return -KVM_EINVAL;
    if (first >= CPUS_MAX)
        return 0;
    for (unsigned n = 0; n < 2 * bits; n++) {
        if (call->arg[n / bits] >> n % bits & 1)
            sent += cpu_intc_send_ipi(&cpu->intc, (uint32_t)first + n, (uint32_t)icr);
    }
    return sent;
}

static int64_t do_call(struct cpu *cpu, const struct hypercall *call)
{
    switch (call->number) {
    case KVM_HC_KICK_CPU: return kick_cpu(cpu->cpus, call->arg[1]);
    case KVM_HC_SEND_IPI: return send_ipi(cpu, call);
    /* No system call lets a thread make way for a certain other one. */
    case KVM_HC_SCHED_YIELD: sched_yield(); return 0;
    default: return -KVM_ENOSYS;
    }
}

static void read_call(const struct mote_state *s, struct hypercall *call)
{
    static const unsigned args[4] = {RBX, RCX, RDX, RSI};
    bool wide = (s->msr.efer & EFER_LMA) && (s->seg[SEG_CS].attrib & SEG_L);
    uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;

    call->in_64_bit_mode = wide;
    call->number = s->gpr[RAX] & mask;
    for (unsigned i = 0; i < 4; i++)
        call->arg[i] = s->gpr[args[i]] & mask;
}

int hypercall_answer(struct cpu *cpu)
{
    struct mote_state *s = cpu->vcpu->state;
    struct hypercall call;
    int64_t result;
    int err = vcpu_get(cpu->vcpu, X86_GPRS | X86_SEGS | X86_MSRS);

    if (err)
        return err;
    read_call(s, &call);
    result = s->seg[SEG_SS].attrib & SEG_DPL ? -KVM_EPERM : do_call(cpu, &call);
    s->gpr[RAX] = call.in_64_bit_mode ? (uint64_t)result : (uint32_t)result;
    return vcpu_set(cpu->vcpu, X86_GPRS);
}
