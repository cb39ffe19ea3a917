/* What the files of --engine-check share (check.h). */
#ifndef MOTE_ACCEL_SOFT_CHECK_INTERNAL_H
#define MOTE_ACCEL_SOFT_CHECK_INTERNAL_H

#include "accel/soft/check.h"
#include "accel/soft/translate/tr.h"

#define CHECK_LOG    4096 /* values from outside within a unit: an instruction's, for REP INS many */
#define CHECK_WRITES 8192 /* stretches that the witness stores in a unit */

struct check_log {
    uint64_t value[CHECK_LOG];
    unsigned count, read;
};

struct check_stretch {
    uint64_t gpa, len;
};

struct soft_check {
    struct emu_cpu ref;       /* the witness */
    struct guest_mem mem;     /* its memory: the slots of the vCPU's, backed by the copy */
    struct guest_mem *theirs; /* the vCPU's */
    bool copied;              /* it has been made */
    bool stale;               /* the vCPU's state was changed from outside */
    struct mote_state state;

    enum check_unit unit;
    const struct block *block;
    struct mote_event event;
    uint64_t retired; /* the vCPU's count when the unit began */
    uint64_t rip;     /* ditto */
    uint64_t units;

    struct check_log in; /* TSC, and device reads */
    struct check_stretch write[CHECK_WRITES];
    unsigned writes;
    const struct accel_bus_ops *bus;
    struct accel_bus_ops logging;
    uint16_t undefined; /* status flags */
    uint64_t bulk_from; /* RDI before it */
    bool bulk;          /* it may have TLB entries to write by */
    bool foreign;       /* a device write of the witness's was another one */
    bool voided;        /* the unit before was void: see void_fault */
};

/* The next value that the vCPU was given from outside. */
uint64_t check_log_get(struct check_log *l);

/* One byte's address, the others of its slot behind it; NULL: not all of it is in one. */
uint8_t *check_memory_at(struct guest_mem *mem, uint64_t gpa, uint64_t len);

/* The witness (user: soft_check) stored to this. */
void check_stored(void *user, gpa_t gpa, uint64_t len);

/* ---- check_witness.c ---- */

bool check_is_string(const struct x86_insn *i);

/* The unit, by the witness: as many instructions as the vCPU retired, and what unwound. 0, or the
 * code it unwound with. */
int check_witness(struct soft_vcpu *s, uint64_t count, int unwound);

/* ---- check_flags.c ---- */

/* soft_check.undefined: flags that are undefined after the first `count` instructions of the unit.
 */
void check_follow_undefined(struct soft_check *k, uint64_t count);

/* Flags that are written before they are read, from instruction n of the unit on: the translator
 * may have given them up when that one unwinds. */
uint16_t check_dead_flags(const struct soft_check *k, uint64_t n);

/* Was the block left between two of its instructions, without a jump, or amid a repeated one? */
bool check_stopped_within(const struct soft_vcpu *s, uint64_t count);

/* ---- check_report.c ---- */

/* How many registers, stretches of memory stored to, or words of all memory differ; told on
 * standard error with `report`. */
unsigned check_compare_state(struct soft_vcpu *s, bool report);
unsigned check_compare_writes(struct soft_vcpu *s, bool report);
unsigned check_compare_memory(struct soft_vcpu *s, bool report);
bool check_same_unwinding(const struct soft_vcpu *s, int code, int ref_code);

/* The first line says what was done; others what is different. */
void check_report_begin(struct soft_vcpu *s, uint64_t count);
void check_print_unwinding(const char *who, const struct emu_cpu *c, int code);
void check_print_code(const struct soft_check *k);

#endif
