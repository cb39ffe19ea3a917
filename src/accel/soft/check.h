/*
 * --engine-check: the interpreter as a witness. After each unit of work of the
 * vCPU (a translated block, an interpreted one, one instruction, an injected
 * event) a second interpreter CPU does the same number of instructions on a
 * copy of the guest's memory, and every register and every byte that it stored
 * is compared. What comes from outside (the time-stamp counter, device reads) is
 * logged by the vCPU and replayed to the witness. One vCPU only: others' stores
 * would come at other moments.
 */
#ifndef MOTE_ACCEL_SOFT_CHECK_H
#define MOTE_ACCEL_SOFT_CHECK_H

#include "accel/soft/block.h"
#include "emu/emu.h"

struct soft_vcpu;
struct soft_check;

enum check_unit {
    CHECK_NOTHING, /* outside of any */
    CHECK_BLOCK,   /* of block->op, from its start */
    CHECK_ONE,     /* emu_one */
    CHECK_DELIVER, /* of the exception that was raised */
    CHECK_INJECT,  /* of an event */
    CHECK_ASSIST,  /* an access that left, and is answered now */
};

/* -ENOMEM. Nothing has run yet. */
int check_create(struct soft_vcpu *s);
void check_destroy(struct soft_vcpu *s);

/* What a witness cannot be shown again is not offered: random numbers. */
void check_cpuid(struct x86_cpuid *table);

/* Someone other than the vCPU wrote guest memory. */
void check_memory_written(struct soft_check *k, gpa_t gpa, uint64_t len);

/* The vCPU's state was changed from outside: the witness takes it over before the next unit.
 * k NULL: there is none. */
void check_state_changed(struct soft_check *k);

/* Before units: has the witness a copy of the guest's memory? -ENOMEM. */
int check_ready(struct soft_check *k);

/* The map of memory has changed: the copy is void. */
void check_map_changed(struct soft_check *k);

/* Around a unit; block and event are the unit's, or NULL. */
void check_begin(struct soft_vcpu *s, enum check_unit unit, const struct block *block,
                 const struct mote_event *event);

/*
 * The unit is over, or unwound with longjmp's `code`. The witness does the same.
 * False: they differ; the report is on standard error, and cpu.exit is set. *retry:
 * the vCPU raised a fault by a TLB entry that was out of date, which is allowed and
 * no fault of the witness's: the event is void.
 */
bool check_end(struct soft_vcpu *s, int code, bool *retry);

/* The bus of an assist, so that what it answers is logged. Valid until the unit's end. */
const struct accel_bus_ops *check_bus(struct soft_check *k, const struct accel_bus_ops *ops);

/* The host's TSC, logged. */
uint64_t check_tsc(struct soft_check *k);

#endif
