/*
 * Local APIC: xAPIC and x2APIC (SDM Vol. 3A chapter 10, "APIC"; section numbers
 * in lapic*.c are its). No CMCI entry, no EOI-broadcast suppression; the ID is
 * read-only, and SMIs are dropped.
 *
 * Who may call what: delivery is lock-free. lapic_post, lapic_post_events,
 * lapic_set_lint and lapic_matches come from any thread; a post sets bits
 * atomically and then calls kick(user). Everything else belongs to the thread
 * of the vCPU (or to a machine that stands still); the timer's own lock orders
 * register writes against its firing, whose kick comes with it held: once masked,
 * the timer posts no more. A message that is under way from another thread while
 * the APIC is disabled or reset may still be found in IRR, as on a bus.
 */
#ifndef MOTE_DEV_CHIP_LAPIC_H
#define MOTE_DEV_CHIP_LAPIC_H

#include "dev/dev.h"
#include "x86/irqchip.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define LAPIC_DEFAULT_BASE 0xfee00000u
#define LAPIC_MMIO_SIZE    0x1000u

/* Delivery modes of LVT, ICR, IOAPIC and MSI (10.5.1, 10.6.1). */
enum {
    APIC_FIXED,
    APIC_LOWEST,
    APIC_SMI,
    APIC_RESERVED,
    APIC_NMI,
    APIC_INIT,
    APIC_SIPI,
    APIC_EXTINT,
};

enum { APIC_NO_SHORTHAND, APIC_SELF, APIC_ALL, APIC_ALL_BUT_SELF };

/* A message on the bus between APICs. */
struct apic_msg {
    uint32_t dest;
    bool wide;    /* dest is x2APIC's 32 bits, not 8 */
    bool logical; /* destination mode */
    bool level;   /* trigger mode */
    uint8_t shorthand;
    uint8_t delivery_mode;
    uint8_t vector;
};

/* What is not a vector: for lapic_take_events. */
enum {
    LAPIC_EVENT_NMI = 1,
    LAPIC_EVENT_INIT = 2,
    LAPIC_EVENT_SIPI = 4,
    LAPIC_EVENT_EXTINT = 8, /* the vector is the PIC's: pic_acknowledge */
};

enum {
    LAPIC_LVT_TIMER,
    LAPIC_LVT_THERMAL,
    LAPIC_LVT_PERF,
    LAPIC_LVT_LINT0,
    LAPIC_LVT_LINT1,
    LAPIC_LVT_ERROR,
    LAPIC_LVT_COUNT,
};

struct lapic;

struct lapic_ops {
    /* Something new is pending: make the vCPU look. Any thread. */
    void (*kick)(void *user);
    /* Send an IPI; shorthands are relative to `from`. */
    void (*send)(void *user, struct lapic *from, const struct apic_msg *msg);
    /* The end of a level-triggered interrupt, for the IOAPICs. */
    void (*eoi)(void *user, uint8_t vector);
    /* The guest's time-stamp counter now, from any thread. */
    uint64_t (*tsc_now)(void *user);
    void *user;
};

struct lapic_timer {       /* under lapic.lock */
    uint32_t initial;      /* count; 0: stopped */
    uint32_t divide;       /* DCR */
    uint64_t deadline;     /* on the machine's clock, DEV_TIMER_OFF: not running */
    uint64_t tsc_deadline; /* 0: disarmed */
};

struct lapic {
    uint32_t id;
    uint32_t tsc_khz;
    struct lapic_ops ops;
    struct dev_clock clock;
    struct dev_timer *dev_timer;

    _Atomic uint32_t irr[8], tmr[8];
    _Atomic uint32_t events; /* LAPIC_EVENT_*, SIPI vector in bits 8-15 */
    _Atomic uint32_t lint;   /* levels of LINT0 and LINT1 */
    _Atomic uint32_t errors; /* ESR bits not shown yet */
    _Atomic uint32_t lvt[LAPIC_LVT_COUNT];
    _Atomic uint32_t svr, ldr, dfr;
    _Atomic uint64_t base; /* MSR 0x1b; written by the vCPU */

    uint32_t isr[8], tpr, esr, icr_low, icr_high;

    pthread_mutex_t lock;
    struct lapic_timer timer;
};

/* The register page for the vCPU that owns it; 4 KiB, dev is the struct lapic. */
extern const struct dev_region_ops lapic_mmio_ops;

/*
 * id is the x2APIC ID (the xAPIC ID is its low byte); bsp sets the BSP flag.
 * The input of the timer is 1 GHz before the divider. tsc_khz is the frequency
 * of tsc_now, not 0. timer->fire and timer->dev are set here.
 */
void lapic_init(struct lapic *l, uint32_t id, bool bsp, const struct lapic_ops *ops,
                const struct dev_clock *clock, struct dev_timer *timer, uint32_t tsc_khz);
void lapic_destroy(struct lapic *l);

/* State after INIT (10.4.7.3): as after power-up, but ID and APIC_BASE stay. */
void lapic_reset(struct lapic *l);

/* As firmware leaves the boot processor: software-enabled, LINT0 ExtINT, LINT1 NMI. */
void lapic_set_virtual_wire(struct lapic *l);

/* Any thread. A vector below 16 is a receive error; a disabled APIC ignores all. */
void lapic_post(struct lapic *l, uint8_t vector, bool level);
/* Any thread. sipi_vector counts with LAPIC_EVENT_SIPI only. */
void lapic_post_events(struct lapic *l, unsigned events, uint8_t sipi_vector);
/* Any thread: accept a message that lapic_matches (fixed to ExtINT; SMI is dropped). */
void lapic_accept_msg(struct lapic *l, const struct apic_msg *msg);
/* Any thread: drive LINT0 or LINT1 (pin 0 or 1), for instance from the PIC. */
void lapic_set_lint(struct lapic *l, unsigned pin, int level);
/* Any thread: is l a destination of msg (shorthands aside) (10.6.2)? */
bool lapic_matches(const struct lapic *l, const struct apic_msg *msg);

/* Any thread: enabled by APIC_BASE and by SVR? */
bool lapic_is_enabled(const struct lapic *l);

/* The deliverable vector of the highest priority, above PPR; -1: none. */
int lapic_pending(const struct lapic *l);
/* The processor takes `vector`, which lapic_pending gave: from IRR to ISR. */
void lapic_accept(struct lapic *l, uint8_t vector);

/*
 * LAPIC_EVENT_* that are pending. ExtINT is a level while LINT0 (in ExtINT mode
 * and unmasked, or the APIC disabled) is high, and may vanish again.
 */
unsigned lapic_events(const struct lapic *l);
/*
 * Take those of `wanted` that are pending, and return them. INIT comes before
 * SIPI: an INIT posted after a SIPI cancels it. sipi_vector may be NULL.
 */
unsigned lapic_take_events(struct lapic *l, unsigned wanted, uint8_t *sipi_vector);

/* CR8 is bits 4-7 of TPR; only the low four bits of cr8 count. */
uint64_t lapic_cr8(const struct lapic *l);
void lapic_set_cr8(struct lapic *l, uint64_t cr8);

/* Is gpa in the register page now (xAPIC mode)? Then *offset into lapic_mmio_ops. */
bool lapic_mmio_at(const struct lapic *l, uint64_t gpa, uint64_t *offset);

/* Does msr belong to the APIC: 0x1b, 0x6e0, 0x800-0x8ff? */
bool lapic_owns_msr(uint32_t msr);
/* 0, or -EINVAL for #GP(0). */
int lapic_rdmsr(struct lapic *l, uint32_t msr, uint64_t *value);
int lapic_wrmsr(struct lapic *l, uint32_t msr, uint64_t value);

/*
 * Pending events and LINT levels are not in the state: the first belong to the
 * vCPU's, the second are driven again by their owner (restore the PIC first, or an
 * edge on LINT0 that was taken before the save is heard again). -EINVAL: hostile
 * or for another ID; nothing is changed then.
 */
void lapic_save(struct lapic *l, struct lapic_state *out);
int lapic_restore(struct lapic *l, const struct lapic_state *in);

#endif
