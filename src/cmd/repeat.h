/* mote run --repeat: did the process grow? */
#ifndef MOTE_CMD_REPEAT_H
#define MOTE_CMD_REPEAT_H

#include "host/process.h"

#include <stdbool.h>

#define REPEAT_SLACK 65536 /* bytes of resident memory */

/*
 * Print what the process used after run 2 and after the last, as one line, and
 * another one when it grew: false.
 */
bool repeat_report(unsigned runs, const struct host_process *settled,
                   const struct host_process *last);

#endif
