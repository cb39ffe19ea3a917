/*
 * A way for a guest to say that it is ready, as Firecracker's boot timer: the
 * byte 123 written to the first byte of the page. Only the first time counts.
 */
#ifndef MOTE_DEV_CHIP_BOOT_TIMER_H
#define MOTE_DEV_CHIP_BOOT_TIMER_H

#include "dev/dev.h"

#include <stdatomic.h>

#define BOOT_TIMER_SIZE  4096
#define BOOT_TIMER_READY 123

struct boot_timer {
    void (*ready)(void *user);
    void *user;
    atomic_flag told;
};

/* Reads are 0; dev is the struct boot_timer. */
extern const struct dev_region_ops boot_timer_ops;

void boot_timer_init(struct boot_timer *t, void (*ready)(void *user), void *user);

#endif
