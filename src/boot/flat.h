/* A flat binary, loaded at an address and entered there. */
#ifndef MOTE_BOOT_FLAT_H
#define MOTE_BOOT_FLAT_H

#include "boot/loader.h"

/*
 * Load the whole file at params->flat_addr and set params->flat_mode's state
 * (boot/segments.h says what each is). In protected and long mode the tables at
 * BOOT_GDT to BOOT_TABLES_END are in use, so the image must not lie there; in
 * real mode nothing else is written. -EINVAL: the mode cannot reach the address
 * (real: 1 MiB, others: 4 GiB).
 */
int flat_load(struct loader *ld, const struct file *kernel);

#endif
