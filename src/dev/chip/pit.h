/*
 * 8254 interval timer (Intel 8254 data sheet) and the parts of port 0x61 that
 * belong to its counter 2. Counters are computed from the clock when they are
 * looked at; only counter 0's output costs a timer.
 *
 * Simplifications: a new count takes effect at once, also where the chip would
 * finish the running period first. Interrupts that are more than a period late
 * become one.
 *
 * Locking: one lock, held while irq is driven.
 */
#ifndef MOTE_DEV_CHIP_PIT_H
#define MOTE_DEV_CHIP_PIT_H

#include "dev/dev.h"
#include "x86/irqchip.h"

#include <pthread.h>
#include <stdbool.h>

#define PIT_PORT         0x40 /* four */
#define PIT_SPEAKER_PORT 0x61
#define PIT_HZ           1193182

/*
 * In pit_channel_state.loaded_ns: the counter has no count yet, or waits for
 * its trigger. While a low gate holds a counter of mode 0 or 4 still, loaded_ns
 * is the time it has counted instead.
 */
#define PIT_IDLE UINT64_MAX

struct pit {
    pthread_mutex_t lock;
    struct dev_irq irq;
    struct dev_clock clock;
    struct dev_timer *timer;
    struct pit_state s;
    uint64_t edge; /* when counter 0's output rises next, DEV_TIMER_OFF: never */
};

/* Four ports and one; dev is the struct pit. */
extern const struct dev_region_ops pit_ops, pit_speaker_ops;

/* Counter 0's output is irq; timer->fire and timer->dev are set here. */
void pit_init(struct pit *pit, const struct dev_irq *irq, const struct dev_clock *clock,
              struct dev_timer *timer);
void pit_destroy(struct pit *pit);

void pit_save(struct pit *pit, struct pit_state *out);
/* -EINVAL: nothing is changed. Ticks that fell between save and restore are lost. */
int pit_restore(struct pit *pit, const struct pit_state *in);

#endif
