/*
 * A guest's clocks, looked at from inside and from outside. `clock guest` answers
 * each line on its standard input with its clocks, while threads on all processors
 * compare theirs; `clock host` asks it through a console and compares with its own.
 */
#ifndef GUESTS_CLOCK_H
#define GUESTS_CLOCK_H

#include <stdint.h>

enum { MONOTONIC, REALTIME, RAW, TSC, CLOCKS };
extern const char *const clock_names[CLOCKS];

#define CLOCK_READY "clock: ready" /* the guest's line when it can be asked */
#define CLOCK_SAYS  "clock: says " /* a sample: number, then CLOCKS numbers in ns (TSC: cycles) */
#define CLOCK_BACK  "clock: back " /* at the end, for each clock: name, readings, times, worst */
#define CLOCK_DONE  "clock: done"

/* What --broken does: tell a time that gains so much, and readings that lag on odd processors. */
#define BROKEN_PPM 1000
#define BROKEN_LAG 20000 /* ns or cycles */

uint64_t clock_read(int clock);

/* Answer "ask N" by a sample, "end" by what was found. Returns the exit status. */
int clock_guest(int broken);

/*
 * Run a command that comes to clock_guest, ask it for so many seconds, print what is
 * found. tolerance: ppm by which a clock may differ, beside the error of measurement;
 * 0: any. Wrong is a clock that differs by more, or went backwards.
 */
enum { CLOCK_TRUE, CLOCK_WRONG, CLOCK_NO_ANSWER, CLOCK_UNSURE };
int clock_host(double seconds, double tolerance, char **command);

#endif
