/* Between lapic.c (delivery), lapic_regs.c (registers), lapic_timer.c and lapic_state.c. */
#ifndef MOTE_DEV_CHIP_LAPIC_INTERNAL_H
#define MOTE_DEV_CHIP_LAPIC_INTERNAL_H

#include "dev/chip/lapic.h"
#include "x86/regs.h"

/* Registers, numbered as x2APIC's MSRs are: offset in the page divided by 16 (table 10-1). */
enum {
    LAPIC_ID = 0x02,
    LAPIC_VERSION = 0x03,
    LAPIC_TPR = 0x08,
    LAPIC_APR = 0x09,
    LAPIC_PPR = 0x0a,
    LAPIC_EOI = 0x0b,
    LAPIC_RRD = 0x0c,
    LAPIC_LDR = 0x0d,
    LAPIC_DFR = 0x0e,
    LAPIC_SVR = 0x0f,
    LAPIC_ISR = 0x10,
    LAPIC_TMR = 0x18,
    LAPIC_IRR = 0x20,
    LAPIC_ESR = 0x28,
    LAPIC_ICR = 0x30,
    LAPIC_ICR_HIGH = 0x31,
    LAPIC_LVT = 0x32, /* six, in the order of LAPIC_LVT_* */
    LAPIC_INITIAL = 0x38,
    LAPIC_CURRENT = 0x39,
    LAPIC_DCR = 0x3e,
    LAPIC_SELF_IPI = 0x3f,
};

#define LAPIC_VERSION_VALUE (0x14u | (LAPIC_LVT_COUNT - 1) << 16)

#define LVT_VECTOR     0x000000ffu
#define LVT_STATUS     0x00001000u /* read-only */
#define LVT_REMOTE_IRR 0x00004000u /* read-only */
#define LVT_LEVEL      0x00008000u
#define LVT_MASKED     0x00010000u
#define LVT_TIMER_MODE 0x00060000u
#define LVT_MODE(lvt)  (((lvt) >> 8) & 7)

#define TIMER_ONE_SHOT 0x00000000u
#define TIMER_PERIODIC 0x00020000u
#define TIMER_DEADLINE 0x00040000u

#define SVR_ENABLE 0x100u
#define SVR_BITS   0x3ffu /* vector, software enable, focus */
#define DCR_BITS   0x00bu

#define ESR_SEND_VECTOR    0x20u
#define ESR_RECEIVE_VECTOR 0x40u
#define ESR_REGISTER       0x80u

/* A fixed 52-bit physical address space for APIC_BASE. */
#define BASE_ADDRESS UINT64_C(0x000ffffffffff000)
#define BASE_BITS    (BASE_ADDRESS | APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE)

extern const uint32_t lapic_lvt_bits[LAPIC_LVT_COUNT]; /* bits that exist */

static inline bool lapic_is_x2apic(const struct lapic *l)
{
    return (l->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) ==
           (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
}

/* DCR bits 3, 1 and 0 are log2(divisor) - 1 modulo 8 (figure 10-10). */
static inline unsigned lapic_divide_shift(uint32_t dcr)
{
    return (((dcr & 3) | (dcr & 8) >> 1) + 1) & 7;
}

void lapic_error(struct lapic *l, uint32_t bits);
void lapic_lvt_deliver(struct lapic *l, unsigned entry);
void lapic_eoi(struct lapic *l);
uint8_t lapic_ppr(const struct lapic *l);

void lapic_timer_reset(struct lapic *l);
void lapic_timer_set_initial(struct lapic *l, uint32_t count);
uint32_t lapic_timer_current(struct lapic *l);
void lapic_timer_set_divide(struct lapic *l, uint32_t dcr);
void lapic_timer_set_mode(struct lapic *l, uint32_t lvt); /* writes LVT timer */
void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc);
void lapic_timer_fire(void *lapic);
uint64_t lapic_timer_left(struct lapic *l); /* ns; 0 when stopped or in deadline mode */
struct lapic_timer lapic_timer_get(struct lapic *l);
/* Restore. left in ns (0: stopped) and tsc_deadline count in their modes only; LVT first. */
void lapic_timer_start(struct lapic *l, uint32_t initial, uint32_t dcr, uint64_t left,
                       uint64_t tsc_deadline);

#endif
