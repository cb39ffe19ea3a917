/* Delivery: who is meant, what is pending, what the processor takes. */
#include "base/bits.h"
#include "dev/chip/lapic_internal.h"

static void kick(struct lapic *l)
{
    l->ops.kick(l->ops.user);
}

static int highest_bit(const uint32_t *words)
{
    for (int i = 7; i >= 0; i--) {
        if (words[i])
            return i * 32 + 31 - __builtin_clz(words[i]);
    }
    return -1;
}

static int highest_irr(const struct lapic *l)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t word = atomic_load_explicit(&l->irr[i], memory_order_acquire);

        if (word)
            return i * 32 + 31 - __builtin_clz(word);
    }
    return -1;
}

/* An error is recorded, and reported through its LVT entry when new (10.5.3). */
void lapic_error(struct lapic *l, uint32_t bits)
{
    uint32_t old = atomic_fetch_or(&l->errors, bits);

    if (~old & bits)
        lapic_lvt_deliver(l, LAPIC_LVT_ERROR);
}

bool lapic_is_enabled(const struct lapic *l)
{
    return (l->base & APIC_BASE_ENABLE) && (l->svr & SVR_ENABLE);
}

void lapic_post(struct lapic *l, uint8_t vector, bool level)
{
    uint32_t bit = 1u << (vector % 32), old;

    if (!lapic_is_enabled(l))
        return;
    if (vector < 16) {
        /* The error entry's own vector may be the illegal one: then it stays silent. */
        if ((l->lvt[LAPIC_LVT_ERROR] & LVT_VECTOR) < 16)
            atomic_fetch_or(&l->errors, ESR_RECEIVE_VECTOR);
        else
            lapic_error(l, ESR_RECEIVE_VECTOR);
        return;
    }
    if (level)
        atomic_fetch_or(&l->tmr[vector / 32], bit);
    else
        atomic_fetch_and(&l->tmr[vector / 32], ~bit);
    old = atomic_fetch_or(&l->irr[vector / 32], bit);
    if (!(old & bit))
        kick(l);
}

void lapic_post_events(struct lapic *l, unsigned events, uint8_t sipi_vector)
{
    uint32_t old = l->events, new;

    do {
        new = old;
        if (events & LAPIC_EVENT_INIT)
            new &= ~(0xff00u | LAPIC_EVENT_SIPI);
        new |= events & 0xf;
        if (events & LAPIC_EVENT_SIPI)
            new = (new & ~0xff00u) | (uint32_t)sipi_vector << 8;
    } while (!atomic_compare_exchange_weak(&l->events, &old, new));
    kick(l);
}

void lapic_accept_msg(struct lapic *l, const struct apic_msg *msg)
{
    switch (msg->delivery_mode) {
    case APIC_FIXED:
    case APIC_LOWEST: lapic_post(l, msg->vector, msg->level); break;
    case APIC_NMI: lapic_post_events(l, LAPIC_EVENT_NMI, 0); break;
    case APIC_INIT: lapic_post_events(l, LAPIC_EVENT_INIT, 0); break;
    case APIC_SIPI: lapic_post_events(l, LAPIC_EVENT_SIPI, msg->vector); break;
    case APIC_EXTINT: lapic_post_events(l, LAPIC_EVENT_EXTINT, 0); break;
    default: break; /* no system management mode here */
    }
}

/* A local source speaks through its LVT entry (10.5.1). */
void lapic_lvt_deliver(struct lapic *l, unsigned entry)
{
    uint32_t lvt = l->lvt[entry];
    bool fixed_only = entry == LAPIC_LVT_TIMER || entry == LAPIC_LVT_ERROR;
    struct apic_msg msg = {.vector = lvt & LVT_VECTOR};

    if (lvt & LVT_MASKED)
        return;
    msg.delivery_mode = fixed_only ? APIC_FIXED : LVT_MODE(lvt);
    if (msg.delivery_mode == APIC_LOWEST || msg.delivery_mode == APIC_SIPI)
        return; /* not for an LVT */
    if (entry == LAPIC_LVT_LINT0 && msg.delivery_mode == APIC_FIXED && (lvt & LVT_LEVEL)) {
        if (atomic_fetch_or(&l->lvt[entry], LVT_REMOTE_IRR) & LVT_REMOTE_IRR)
            return;
        msg.level = true;
    }
    lapic_accept_msg(l, &msg);
}

static bool lint0_is_extint(const struct lapic *l)
{
    uint32_t lvt = l->lvt[LAPIC_LVT_LINT0];

    /* Without the APIC the pin is the processor's INTR (10.4.3). */
    return !(l->base & APIC_BASE_ENABLE) || (!(lvt & LVT_MASKED) && LVT_MODE(lvt) == APIC_EXTINT);
}

void lapic_set_lint(struct lapic *l, unsigned pin, int level)
{
    uint32_t bit = 1u << (pin & 1), old;

    if (!level) {
        atomic_fetch_and(&l->lint, ~bit);
        return;
    }
    old = atomic_fetch_or(&l->lint, bit);
    if (old & bit)
        return;
    if (pin == 0 && lint0_is_extint(l)) {
        kick(l);
    } else if (!(l->base & APIC_BASE_ENABLE)) {
        lapic_post_events(l, LAPIC_EVENT_NMI, 0); /* LINT1 is the NMI pin then */
    } else {
        lapic_lvt_deliver(l, pin ? LAPIC_LVT_LINT1 : LAPIC_LVT_LINT0);
    }
}

static bool matches_logical(const struct lapic *l, const struct apic_msg *msg)
{
    uint32_t ldr = l->ldr, id = ldr >> 24, dest = msg->dest;

    if (lapic_is_x2apic(l)) /* 10.12.10.2 */
        return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
    if (dest > 0xff)
        return false;
    if (l->dfr >> 28 == 0xf) /* flat model */
        return dest & id;
    return (dest >> 4 == 0xf || dest >> 4 == id >> 4) && (dest & id & 0xf);
}

bool lapic_matches(const struct lapic *l, const struct apic_msg *msg)
{
    if (!(l->base & APIC_BASE_ENABLE)) {
        /* A disabled APIC still hears INIT and SIPI by its ID, to be started at all. */
        if (msg->delivery_mode != APIC_INIT && msg->delivery_mode != APIC_SIPI)
            return false;
        return !msg->logical && (msg->dest == l->id || msg->dest == (msg->wide ? ~0u : 0xffu));
    }
    if (msg->wide ? msg->dest == UINT32_MAX : !msg->logical && msg->dest == 0xff)
        return true;
    if (msg->logical)
        return matches_logical(l, msg);
    return msg->dest == (lapic_is_x2apic(l) ? l->id : l->id & 0xff);
}

/* Processor priority: the higher class of TPR and the interrupt in service (10.8.3.1). */
uint8_t lapic_ppr(const struct lapic *l)
{
    int isrv = highest_bit(l->isr);
    uint8_t class = isrv < 0 ? 0 : (uint8_t)(isrv & 0xf0);

    return (l->tpr & 0xf0) >= class ? (uint8_t)l->tpr : class;
}

int lapic_pending(const struct lapic *l)
{
    int vector = highest_irr(l);

    return vector >= 0 && (vector & 0xf0) > (lapic_ppr(l) & 0xf0) ? vector : -1;
}

void lapic_accept(struct lapic *l, uint8_t vector)
{
    uint32_t bit = 1u << (vector % 32);

    atomic_fetch_and(&l->irr[vector / 32], ~bit);
    l->isr[vector / 32] |= bit;
}

/* The end of the interrupt in service; a level-triggered one is told to the IOAPICs (10.8.5). */
void lapic_eoi(struct lapic *l)
{
    int vector = highest_bit(l->isr);
    uint32_t bit, lint0 = l->lvt[LAPIC_LVT_LINT0];

    if (vector < 0)
        return;
    bit = 1u << (vector % 32);
    l->isr[vector / 32] &= ~bit;
    if (!(l->tmr[vector / 32] & bit))
        return;
    if ((lint0 & LVT_REMOTE_IRR) && (lint0 & LVT_VECTOR) == (uint32_t)vector) {
        atomic_fetch_and(&l->lvt[LAPIC_LVT_LINT0], ~LVT_REMOTE_IRR);
        if (l->lint & 1)
            lapic_lvt_deliver(l, LAPIC_LVT_LINT0);
    }
    l->ops.eoi(l->ops.user, (uint8_t)vector);
}

unsigned lapic_events(const struct lapic *l)
{
    unsigned events = l->events & 0xf;

    if ((l->lint & 1) && lint0_is_extint(l))
        events |= LAPIC_EVENT_EXTINT;
    return events;
}

unsigned lapic_take_events(struct lapic *l, unsigned wanted, uint8_t *sipi_vector)
{
    unsigned events = lapic_events(l) & wanted & LAPIC_EVENT_EXTINT;
    uint32_t old = l->events;

    /* As of one moment: a SIPI must not be taken while the INIT before it stays (tests/model). */
    while (!atomic_compare_exchange_weak(&l->events, &old, old & ~(wanted & 0xf)))
        ;
    events |= old & wanted & 0xf;
    if (sipi_vector && (events & LAPIC_EVENT_SIPI))
        *sipi_vector = (uint8_t)(old >> 8);
    return events;
}

uint64_t lapic_cr8(const struct lapic *l)
{
    return l->tpr >> 4;
}

void lapic_set_cr8(struct lapic *l, uint64_t cr8)
{
    l->tpr = (uint32_t)(cr8 & 0xf) << 4;
}

/* First of all it is disabled, so that nothing new comes into the registers that are cleared. */
void lapic_reset(struct lapic *l)
{
    l->svr = 0xff;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        l->lvt[i] = LVT_MASKED;
    lapic_timer_reset(l);
    for (unsigned i = 0; i < 8; i++) {
        l->irr[i] = 0;
        l->tmr[i] = 0;
        l->isr[i] = 0;
    }
    l->errors = 0;
    l->dfr = UINT32_MAX;
    l->ldr = lapic_is_x2apic(l) ? (l->id >> 4) << 16 | 1u << (l->id & 15) : 0;
    l->tpr = l->esr = l->icr_low = l->icr_high = 0;
}

void lapic_set_virtual_wire(struct lapic *l)
{
    l->svr = SVR_ENABLE | 0x0f;
    l->lvt[LAPIC_LVT_LINT0] = APIC_EXTINT << 8;
    l->lvt[LAPIC_LVT_LINT1] = APIC_NMI << 8;
    if (l->lint & 1)
        kick(l);
}

void lapic_init(struct lapic *l, uint32_t id, bool bsp, const struct lapic_ops *ops,
                const struct dev_clock *clock, struct dev_timer *timer, uint32_t tsc_khz)
{
    memset(l, 0, sizeof(*l));
    pthread_mutex_init(&l->lock, NULL);
    l->id = id;
    l->tsc_khz = tsc_khz;
    l->ops = *ops;
    l->clock = *clock;
    l->dev_timer = timer;
    timer->fire = lapic_timer_fire;
    timer->dev = l;
    l->base = LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0);
    lapic_reset(l);
}

void lapic_destroy(struct lapic *l)
{
    pthread_mutex_destroy(&l->lock);
}
