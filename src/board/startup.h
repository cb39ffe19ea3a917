/* How a processor starts and is stopped by messages: INIT and SIPI (SDM Vol. 3A 8.4). */
#ifndef MOTE_BOARD_STARTUP_H
#define MOTE_BOARD_STARTUP_H

#include "board/vcpu.h"

/*
 * Act on the start-up messages that are pending, with local APICs of our own. After an
 * INIT the boot processor goes to its reset vector, others wait (cpu->waits). On the
 * vCPU's thread. -errno: the accelerator refused the state.
 */
int startup_take(struct cpu *cpu);

#endif
