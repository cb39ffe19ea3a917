/* What a failed guest looked like: registers, segments, code bytes. */
#ifndef MOTE_BOARD_REPORT_H
#define MOTE_BOARD_REPORT_H

#include "accel/accel.h"

#include <stdio.h>

/* The vCPU does not run. exit is its last, for a FAIL's details. */
void report_print(FILE *out, struct vcpu *vcpu, const struct vcpu_exit *exit);

#endif
