/* Runs on the bare CPU and the engine under the eye of a thread. */
#ifndef MOTE_GUEST_SEQUENCE_WATCH_H
#define MOTE_GUEST_SEQUENCE_WATCH_H

#include "../row.h"

/* The calling thread is the one that runs. *kicks: have the engine leave its guest all the time. */
int watch_start(const bool *kicks);
void watch_stop(void); /* before the engine goes */

/* bare_run or engine_run; -ETIMEDOUT when it did not come to an end in watch_patience seconds. */
int watch_run(bool bare, const struct row_cpu *in, struct row_cpu *out);
unsigned watch_patience(void);

/* From now on that is one second, as when many runs are tried. */
void watch_hurry(void);

#endif
