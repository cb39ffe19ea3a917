/*
 * QEMU's isa-debug-exit: a value v written to the port ends the machine with
 * the status (v << 1) | 1, whatever the size of the access. Has no state.
 */
#ifndef MOTE_DEV_CHIP_DEBUG_EXIT_H
#define MOTE_DEV_CHIP_DEBUG_EXIT_H

#include "dev/dev.h"

#define DEBUG_EXIT_PORT  0xf4
#define DEBUG_EXIT_PORTS 4

struct debug_exit {
    void (*exit)(void *user, uint32_t status);
    void *user;
};

/* Reads are 0; dev is the struct debug_exit. */
extern const struct dev_region_ops debug_exit_ops;

void debug_exit_init(struct debug_exit *d, void (*exit)(void *user, uint32_t status), void *user);

#endif
