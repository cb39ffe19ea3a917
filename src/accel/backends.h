/*
 * The accelerators there are, and what accel.c expects of one beyond the
 * comments in accel.h:
 *
 * machine_create and vcpu_create return zeroed structures, with their own
 * fields and machine.caps, tsc_khz and mem filled; accel.c then sets accel,
 * and of a vCPU machine, id and state, which no create may use. run hands over
 * v->dirty before it enters the guest and clears in v->valid what the guest
 * may have changed. get sets nothing but the groups it is asked for.
 */
#ifndef MOTE_ACCEL_BACKENDS_H
#define MOTE_ACCEL_BACKENDS_H

#include "accel/accel.h"

extern const struct accel accel_kvm, accel_soft;

#endif
