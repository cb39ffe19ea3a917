/* The registers, as memory (10.4.1) and as MSRs (10.12.1). */
#include "base/bits.h"
#include "dev/chip/lapic_internal.h"

#include <errno.h>

const uint32_t lapic_lvt_bits[LAPIC_LVT_COUNT] = {
    [LAPIC_LVT_TIMER] = 0x710ff, [LAPIC_LVT_THERMAL] = 0x117ff, [LAPIC_LVT_PERF] = 0x117ff,
    [LAPIC_LVT_LINT0] = 0x1f7ff, [LAPIC_LVT_LINT1] = 0x1f7ff,   [LAPIC_LVT_ERROR] = 0x110ff,
};

#define ICR_BITS    0xcdfffu /* without the bits that are reserved everywhere */
#define ICR_BUSY    0x01000u
#define ICR_LOGICAL 0x00800u
#define ICR_ASSERT  0x04000u
#define ICR_LEVEL   0x08000u

static bool is_lvt(unsigned reg)
{
    return reg >= LAPIC_LVT && reg < LAPIC_LVT + LAPIC_LVT_COUNT;
}

/* Send what ICR describes (10.6.1). */
static void icr_send(struct lapic *l)
{
    uint32_t low = l->icr_low;
    bool wide = lapic_is_x2apic(l);
    struct apic_msg msg = {
        .dest = wide ? l->icr_high : l->icr_high >> 24,
        .wide = wide,
        .logical = low & ICR_LOGICAL,
        .level = false, /* IPIs are edges whatever the bit says, INIT apart */
        .shorthand = low >> 18 & 3,
        .delivery_mode = low >> 8 & 7,
        .vector = low & 0xff,
    };

    if (msg.delivery_mode == APIC_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
        return; /* the INIT level de-assert of old processors */
    if (msg.delivery_mode == APIC_RESERVED || msg.delivery_mode == APIC_EXTINT)
        return;
    if ((msg.delivery_mode == APIC_FIXED || msg.delivery_mode == APIC_LOWEST) && msg.vector < 16) {
        lapic_error(l, ESR_SEND_VECTOR);
        return;
    }
    l->ops.send(l->ops.user, l, &msg);
}

static void lvt_write(struct lapic *l, unsigned entry, uint32_t value)
{
    uint32_t read_only = LVT_STATUS | LVT_REMOTE_IRR, old = l->lvt[entry], new;

    value &= lapic_lvt_bits[entry] & ~read_only;
    if (!(l->svr & SVR_ENABLE))
        value |= LVT_MASKED;
    if (entry == LAPIC_LVT_TIMER) {
        lapic_timer_set_mode(l, value);
        return;
    }
    do /* another thread's LINT0 may become pending meanwhile */
        new = value | (value & LVT_LEVEL ? old & LVT_REMOTE_IRR : 0);
    while (!atomic_compare_exchange_weak(&l->lvt[entry], &old, new));
    /* Unmasking shows a LINT0 that is high already, when levels count. */
    if (entry == LAPIC_LVT_LINT0 && (l->lint & 1) && !(value & LVT_MASKED)) {
        if (LVT_MODE(value) == APIC_EXTINT)
            l->ops.kick(l->ops.user);
        else if (LVT_MODE(value) == APIC_FIXED && (value & LVT_LEVEL))
            lapic_lvt_deliver(l, LAPIC_LVT_LINT0);
    }
}

/* Disabling by software masks every LVT entry (10.4.7.2). */
static void svr_write(struct lapic *l, uint32_t value)
{
    l->svr = value & SVR_BITS;
    if (value & SVR_ENABLE)
        return;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        atomic_fetch_or(&l->lvt[i], LVT_MASKED);
}

/* Does the register exist, in either mode? ISR, TMR and IRR have eight each. */
static bool reg_exists(unsigned reg)
{
    switch (reg) {
    case LAPIC_ID:
    case LAPIC_VERSION:
    case LAPIC_TPR:
    case LAPIC_PPR:
    case LAPIC_EOI:
    case LAPIC_LDR:
    case LAPIC_SVR:
    case LAPIC_ESR:
    case LAPIC_ICR:
    case LAPIC_INITIAL:
    case LAPIC_CURRENT:
    case LAPIC_DCR: return true;
    default: return is_lvt(reg) || (reg >= LAPIC_ISR && reg < LAPIC_IRR + 8);
    }
}

static uint32_t reg_read(struct lapic *l, unsigned reg)
{
    bool x2 = lapic_is_x2apic(l);

    if (is_lvt(reg))
        return l->lvt[reg - LAPIC_LVT];
    if (reg >= LAPIC_ISR && reg < LAPIC_ISR + 8)
        return l->isr[reg - LAPIC_ISR];
    if (reg >= LAPIC_TMR && reg < LAPIC_TMR + 8)
        return l->tmr[reg - LAPIC_TMR];
    if (reg >= LAPIC_IRR && reg < LAPIC_IRR + 8)
        return l->irr[reg - LAPIC_IRR];
    switch (reg) {
    case LAPIC_ID: return x2 ? l->id : l->id << 24;
    case LAPIC_VERSION: return LAPIC_VERSION_VALUE;
    case LAPIC_TPR: return l->tpr;
    case LAPIC_APR:
    case LAPIC_PPR: return lapic_ppr(l);
    case LAPIC_LDR: return l->ldr;
    case LAPIC_DFR: return l->dfr;
    case LAPIC_SVR: return l->svr;
    case LAPIC_ESR: return l->esr;
    case LAPIC_ICR: return l->icr_low;
    case LAPIC_ICR_HIGH: return l->icr_high;
    case LAPIC_INITIAL: return lapic_timer_get(l).initial;
    case LAPIC_CURRENT: return lapic_timer_current(l);
    case LAPIC_DCR: return lapic_timer_get(l).divide;
    default: return 0; /* EOI, RRD, self IPI */
    }
}

/* What both modes write alike. Read-only registers swallow the value. */
static void reg_write(struct lapic *l, unsigned reg, uint32_t value)
{
    if (is_lvt(reg)) {
        lvt_write(l, reg - LAPIC_LVT, value);
        return;
    }
    switch (reg) {
    case LAPIC_TPR: l->tpr = value & 0xff; break;
    case LAPIC_EOI: lapic_eoi(l); break;
    case LAPIC_SVR: svr_write(l, value); break;
    case LAPIC_ESR: l->esr = atomic_exchange(&l->errors, 0); break;
    case LAPIC_ICR:
        l->icr_low = value & ICR_BITS & ~ICR_BUSY;
        icr_send(l);
        break;
    case LAPIC_INITIAL: lapic_timer_set_initial(l, value); break;
    case LAPIC_DCR: lapic_timer_set_divide(l, value & DCR_BITS); break;
    default: break;
    }
}

/*
 * Memory: registers are 32 bits on 16-byte boundaries. A read of a part gives
 * that part; other writes than of a whole register do nothing.
 */
static uint64_t mmio_read(void *dev, uint64_t offset, unsigned size)
{
    struct lapic *l = dev;
    unsigned reg = (unsigned)(offset >> 4), byte = offset & 15;

    if (!(l->base & APIC_BASE_ENABLE) || lapic_is_x2apic(l))
        return UINT64_MAX;
    if (byte > 3 || offset >= LAPIC_MMIO_SIZE)
        return 0;
    if (!reg_exists(reg) && reg != LAPIC_APR && reg != LAPIC_RRD && reg != LAPIC_DFR &&
        reg != LAPIC_ICR_HIGH) {
        lapic_error(l, ESR_REGISTER);
        return 0;
    }
    return (uint64_t)reg_read(l, reg) >> (8 * byte) & mask_bytes(size);
}

static void mmio_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct lapic *l = dev;
    unsigned reg = (unsigned)(offset >> 4);

    if (!(l->base & APIC_BASE_ENABLE) || lapic_is_x2apic(l))
        return;
    if ((offset & 15) || size < 4 || offset >= LAPIC_MMIO_SIZE)
        return;
    switch (reg) {
    case LAPIC_LDR: l->ldr = (uint32_t)value & 0xff000000; break;
    case LAPIC_DFR: l->dfr = (uint32_t)value | 0x0fffffff; break;
    case LAPIC_ICR_HIGH: l->icr_high = (uint32_t)value & 0xff000000; break;
    default:
        if (reg_exists(reg))
            reg_write(l, reg, (uint32_t)value);
        else if (reg != LAPIC_RRD && reg != LAPIC_APR)
            lapic_error(l, ESR_REGISTER);
    }
}

const struct dev_region_ops lapic_mmio_ops = {mmio_read, mmio_write};

bool lapic_mmio_at(const struct lapic *l, uint64_t gpa, uint64_t *offset)
{
    uint64_t base = l->base;

    if ((base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) != APIC_BASE_ENABLE)
        return false;
    *offset = gpa - (base & BASE_ADDRESS);
    return *offset < LAPIC_MMIO_SIZE;
}

/* Bits that x2APIC reserves make #GP (10.12.1.2, table 10-6). */
static uint64_t x2apic_writable(unsigned reg)
{
    if (is_lvt(reg))
        return lapic_lvt_bits[reg - LAPIC_LVT];
    switch (reg) {
    case LAPIC_TPR:
    case LAPIC_SELF_IPI: return 0xff;
    case LAPIC_SVR: return SVR_BITS;
    case LAPIC_ICR: return UINT64_C(0xffffffff00000000) | ICR_BITS;
    case LAPIC_INITIAL: return UINT32_MAX;
    case LAPIC_DCR: return DCR_BITS;
    default: return 0; /* EOI and ESR take only 0 */
    }
}

static bool x2apic_read_only(unsigned reg)
{
    return reg == LAPIC_ID || reg == LAPIC_VERSION || reg == LAPIC_PPR || reg == LAPIC_LDR ||
           reg == LAPIC_CURRENT || (reg >= LAPIC_ISR && reg < LAPIC_IRR + 8);
}

static int x2apic_read(struct lapic *l, unsigned reg, uint64_t *value)
{
    if (!lapic_is_x2apic(l) || !reg_exists(reg) || reg == LAPIC_EOI)
        return -EINVAL;
    *value = reg_read(l, reg);
    if (reg == LAPIC_ICR)
        *value |= (uint64_t)l->icr_high << 32;
    return 0;
}

static int x2apic_write(struct lapic *l, unsigned reg, uint64_t value)
{
    struct apic_msg self = {.shorthand = APIC_SELF, .wide = true, .vector = value & 0xff};

    if (!lapic_is_x2apic(l) || !(reg_exists(reg) || reg == LAPIC_SELF_IPI))
        return -EINVAL;
    if (x2apic_read_only(reg) || (value & ~x2apic_writable(reg)))
        return -EINVAL;
    if (reg == LAPIC_SELF_IPI) {
        if (self.vector < 16)
            lapic_error(l, ESR_SEND_VECTOR);
        else
            l->ops.send(l->ops.user, l, &self);
        return 0;
    }
    if (reg == LAPIC_ICR)
        l->icr_high = (uint32_t)(value >> 32);
    reg_write(l, reg, (uint32_t)value);
    return 0;
}

/* The allowed transitions (figure 10-27): only by way of "disabled" out of x2APIC mode. */
static int base_write(struct lapic *l, uint64_t value)
{
    uint64_t mode = value & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    uint64_t old = l->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);

    if ((value & ~BASE_BITS) || mode == APIC_BASE_X2APIC)
        return -EINVAL;
    if (old == (APIC_BASE_ENABLE | APIC_BASE_X2APIC) && mode == APIC_BASE_ENABLE)
        return -EINVAL;
    if (old == 0 && (mode & APIC_BASE_X2APIC))
        return -EINVAL;
    l->base = value;
    if (mode == old)
        return 0;
    if (mode == 0) {
        lapic_reset(l);
    } else if (mode & APIC_BASE_X2APIC) {
        l->ldr = (l->id >> 4) << 16 | 1u << (l->id & 15); /* 10.12.10.2 */
        l->icr_high = 0;
    }
    return 0;
}

bool lapic_owns_msr(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
           (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

int lapic_rdmsr(struct lapic *l, uint32_t msr, uint64_t *value)
{
    if (msr == MSR_APIC_BASE) {
        *value = l->base;
        return 0;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *value = lapic_timer_get(l).tsc_deadline;
        return 0;
    }
    if (!lapic_owns_msr(msr))
        return -EINVAL;
    return x2apic_read(l, msr - MSR_X2APIC_FIRST, value);
}

int lapic_wrmsr(struct lapic *l, uint32_t msr, uint64_t value)
{
    if (msr == MSR_APIC_BASE)
        return base_write(l, value);
    if (msr == MSR_TSC_DEADLINE) {
        lapic_timer_set_deadline(l, value);
        return 0;
    }
    if (!lapic_owns_msr(msr))
        return -EINVAL;
    return x2apic_write(l, msr - MSR_X2APIC_FIRST, value);
}
