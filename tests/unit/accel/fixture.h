/*
 * A tiny machine for tests of the seam: 64 KiB of memory at 0, one vCPU, on
 * whichever accelerator the test run is at.
 */
#ifndef MOTE_TESTS_ACCEL_FIXTURE_H
#define MOTE_TESTS_ACCEL_FIXTURE_H

#include "accel/accel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RAM_SIZE  0x10000u
#define CODE      0x1000u
#define STACK     0x8000u
#define PAGE_DIRS 0xc000u  /* long mode's three tables */
#define HOLE      0x20000u /* nothing is mapped here; inside long mode's tables */

struct fixture {
    const struct accel *accel;
    struct machine *m;
    struct vcpu *v;
    uint8_t *ram;
};

/* The accelerator's tests are skipped, and the reason is printed, unless it is usable. */
void fixture_require(const struct accel *accel);

/* Abort the test on failure. The vCPU has the default CPUID and no state changed. */
void fixture_create(struct fixture *f, const struct accel *accel);
void fixture_destroy(struct fixture *f);

/* Put code at CODE and point the vCPU there: real mode with all segments 0, or
 * ring 0 of long mode on an identity map of the first 2 MiB. IF is clear. */
void fixture_real(struct fixture *f, const void *code, size_t size);
void fixture_long(struct fixture *f, const void *code, size_t size);

/* vcpu_run, interruptions apart. The test fails unless the exit has this reason. */
struct vcpu_exit fixture_expect(struct fixture *f, enum vcpu_exit_reason reason);

uint64_t fixture_gpr(struct fixture *f, unsigned reg);

/* Run the tests once an accelerator, each test's *state being its struct accel.
 * How many failed. At most 32 tests. */
int fixture_run_all(const char *group, const struct CMUnitTest *tests, size_t count);

#endif
