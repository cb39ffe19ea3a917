/*
 * MC146818 real-time clock with 128 bytes of CMOS RAM (Motorola data sheet;
 * century in byte 0x32 as ACPI's FADT can name it). The time is an injected
 * wall clock plus what the guest has set; nothing runs between accesses but a
 * timer while an interrupt is enabled.
 *
 * The NMI mask in bit 7 of port 0x70 is ignored, and the divider bits of
 * register A are kept without effect.
 *
 * Locking: one lock, held while irq is driven.
 */
#ifndef MOTE_DEV_CHIP_RTC_H
#define MOTE_DEV_CHIP_RTC_H

#include "dev/dev.h"

#include <pthread.h>

#define RTC_PORT  0x70
#define RTC_PORTS 2
#define RTC_CMOS  128

/* Nanoseconds since 1970-01-01 00:00 UTC (CLOCK_REALTIME). */
struct rtc_wall {
    int64_t (*now)(void *user);
    void *user;
};

struct rtc_state {
    uint8_t cmos[RTC_CMOS]; /* registers and RAM as the guest reads them */
    uint8_t index;
    uint8_t pad[3];
    uint32_t offset_ns;  /* the guest's time is the wall's plus offset_s and offset_ns */
    int64_t offset_s;    /* below 2^40 in size */
    int64_t last_second; /* the guest's time to which the flags are up to date */
};

struct rtc {
    pthread_mutex_t lock;
    struct dev_irq irq;
    struct dev_clock clock;
    struct dev_timer *timer;
    struct rtc_wall wall;
    struct rtc_state s;
    uint64_t period; /* of the periodic interrupt, on clock */
};

/* dev is the struct rtc. */
extern const struct dev_region_ops rtc_ops;

/* irq is ISA 8; timer->fire and timer->dev are set here. The guest starts with the wall's UTC. */
void rtc_init(struct rtc *rtc, const struct dev_irq *irq, const struct dev_clock *clock,
              struct dev_timer *timer, const struct rtc_wall *wall);
void rtc_destroy(struct rtc *rtc);

void rtc_save(struct rtc *rtc, struct rtc_state *out);
/*
 * -EINVAL: nothing is changed. An alarm that fell into the time between save
 * and restore comes as soon as the timer fires. The line is not driven.
 */
int rtc_restore(struct rtc *rtc, const struct rtc_state *in);

#endif
