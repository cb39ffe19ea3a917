/* How a processor starts and is stopped by messages: INIT and SIPI (SDM Vol. 3A 8.4). */
#ifndef MOTE_BOARD_STARTUP_H
#define MOTE_BOARD_STARTUP_H

#include "board/vcpu.h"

/*
 * Act on the start-up messages that are pending, with local APICs of our own. An INIT lets
 * a processor wait for its SIPI, which others do not hear. The boot processor would go to
 * its reset vector; as there is no firmware, its INIT is the reset of the machine. On the
 * vCPU's thread. -errno: the accelerator refused the state.
 */
int startup_take(struct cpu *cpu);

#endif
