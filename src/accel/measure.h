/* How fast an accelerator really runs a kernel's code. */
#ifndef MOTE_ACCEL_MEASURE_H
#define MOTE_ACCEL_MEASURE_H

#include "accel/accel.h"

/*
 * Run 64-bit ring-0 code, for at most some tenths of a second, and complete
 * *info, which accel->probe has filled: mips, and usable and reason as found.
 */
void accel_measure(const struct accel *accel, struct accel_info *info);

#endif
