/* Save and restore through the register page of x86/irqchip.h. */
#include "base/bits.h"
#include "base/err.h"
#include "dev/chip/lapic_internal.h"

#include <errno.h>

void lapic_save(struct lapic *l, struct lapic_state *out)
{
    struct lapic_timer timer = lapic_timer_get(l);

    memset(out, 0, sizeof(*out));
    out->apic_base = l->base;
    out->reg[LAPIC_ID] = lapic_is_x2apic(l) ? l->id : l->id << 24;
    out->reg[LAPIC_VERSION] = LAPIC_VERSION_VALUE;
    out->reg[LAPIC_TPR] = l->tpr;
    out->reg[LAPIC_PPR] = lapic_ppr(l);
    out->reg[LAPIC_LDR] = l->ldr;
    out->reg[LAPIC_DFR] = l->dfr;
    out->reg[LAPIC_SVR] = l->svr;
    for (unsigned i = 0; i < 8; i++) {
        out->reg[LAPIC_ISR + i] = l->isr[i];
        out->reg[LAPIC_TMR + i] = l->tmr[i];
        out->reg[LAPIC_IRR + i] = l->irr[i];
    }
    out->reg[LAPIC_ESR] = l->esr;
    out->reg[LAPIC_ICR] = l->icr_low;
    out->reg[LAPIC_ICR_HIGH] = l->icr_high;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        out->reg[LAPIC_LVT + i] = l->lvt[i];
    out->reg[LAPIC_INITIAL] = timer.initial;
    out->reg[LAPIC_CURRENT] = lapic_timer_current(l);
    out->reg[LAPIC_DCR] = timer.divide;
    out->timer_left = lapic_timer_left(l);
    out->tsc_deadline = timer.tsc_deadline;
}

static bool state_valid(const struct lapic *l, const struct lapic_state *in)
{
    const uint32_t mode = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    bool x2 = (in->apic_base & mode) == mode;

    if ((in->apic_base & ~BASE_BITS) || (in->apic_base & mode) == APIC_BASE_X2APIC)
        return false;
    if (in->reg[LAPIC_ID] != (x2 ? l->id : l->id << 24))
        return false;
    if ((in->reg[LAPIC_ISR] | in->reg[LAPIC_IRR] | in->reg[LAPIC_TMR]) & 0xffff)
        return false; /* vectors below 16 */
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++) {
        if (in->reg[LAPIC_LVT + i] & ~lapic_lvt_bits[i])
            return false;
    }
    /* The longest count there is, 2^32 - 1, or another divisor would make it longer still. */
    return in->reg[LAPIC_TPR] <= 0xff && !(in->reg[LAPIC_SVR] & ~SVR_BITS) &&
           in->timer_left <= (uint64_t)UINT32_MAX << lapic_divide_shift(in->reg[LAPIC_DCR]);
}

int lapic_restore(struct lapic *l, const struct lapic_state *in)
{
    if (!state_valid(l, in))
        return err_set(EINVAL, "local APIC %u: the saved state is not one that it can have", l->id);
    l->base = in->apic_base;
    l->tpr = in->reg[LAPIC_TPR];
    l->ldr = in->reg[LAPIC_LDR];
    l->dfr = in->reg[LAPIC_DFR] | 0x0fffffff;
    l->svr = in->reg[LAPIC_SVR];
    for (unsigned i = 0; i < 8; i++) {
        l->isr[i] = in->reg[LAPIC_ISR + i];
        l->tmr[i] = in->reg[LAPIC_TMR + i];
        l->irr[i] = in->reg[LAPIC_IRR + i];
    }
    l->esr = in->reg[LAPIC_ESR] & 0xff;
    l->errors = 0;
    l->icr_low = in->reg[LAPIC_ICR];
    l->icr_high = in->reg[LAPIC_ICR_HIGH];
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        l->lvt[i] = in->reg[LAPIC_LVT + i];
    lapic_timer_start(l, in->reg[LAPIC_INITIAL], in->reg[LAPIC_DCR], in->timer_left,
                      in->tsc_deadline);
    l->ops.kick(l->ops.user);
    return 0;
}
