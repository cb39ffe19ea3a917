/* What a gdb asks of the vCPUs that stand still; part of board/debugger.h. */
#ifndef MOTE_BOARD_DEBUGGER_TARGET_H
#define MOTE_BOARD_DEBUGGER_TARGET_H

#include "board/debugger.h"

/* Fill in d->target but for send and interrupt. */
void debugger_target_init(struct debugger *d, unsigned cpus, bool avx);

/*
 * Why did this vCPU stop by itself? false: for an INT3 of the guest's own,
 * which was given back, so that it may run on.
 */
bool debugger_reason(struct debugger *d, unsigned cpu, struct gdb_stop *stop);

/* Let it run: with the breakpoints as they are, or for one instruction. */
void debugger_resume(struct debugger *d, unsigned cpu, bool step);

#endif
