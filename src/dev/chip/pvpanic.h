/*
 * QEMU's pvpanic ISA device (docs/specs/pvpanic of QEMU), ACPI's QEMU0001: one
 * port of a byte by which a kernel's panic handler tells that it panicked.
 * Has no state.
 */
#ifndef MOTE_DEV_CHIP_PVPANIC_H
#define MOTE_DEV_CHIP_PVPANIC_H

#include "dev/dev.h"

#define PVPANIC_PORTS 1

/* Events: what a read says is understood, and a write reports. */
#define PVPANIC_PANICKED     1 /* the guest panicked, and has nothing to go on with */
#define PVPANIC_CRASH_LOADED 2 /* it panicked, and a crash kernel takes over now */

struct pvpanic {
    void (*report)(void *user, unsigned events); /* at least one of the above */
    void *user;
};

/* dev is the struct pvpanic. */
extern const struct dev_region_ops pvpanic_ops;

void pvpanic_init(struct pvpanic *p, void (*report)(void *user, unsigned events), void *user);

#endif
