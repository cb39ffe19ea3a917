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

/* Guest code, assembled into this test's read-only data. */
#define GUEST(name, mode, text)                                                                    \
    __asm__(".pushsection .rodata\n.global g_" #name ", g_" #name "_end\ng_" #name                 \
            ":\n.code" #mode "\n" text "\ng_" #name "_end:\n.code64\n.popsection\n");              \
    extern const uint8_t g_##name[], g_##name##_end[];
#define RUN_REAL(f, name) fixture_real(f, g_##name, (size_t)(g_##name##_end - g_##name))
#define RUN_LONG(f, name) fixture_long(f, g_##name, (size_t)(g_##name##_end - g_##name))

/* The accesses a guest makes, in order. */
struct access {
    bool mmio, write;
    uint8_t size;
    uint32_t address;
    uint64_t value; /* that is written, or that the read is answered with */
};
#define OUT(size, port, value)                                                                     \
    {                                                                                              \
        false, true, size, port, value                                                             \
    }
#define IN(size, port, value)                                                                      \
    {                                                                                              \
        false, false, size, port, value                                                            \
    }
#define WR(size, gpa, value)                                                                       \
    {                                                                                              \
        true, true, size, gpa, value                                                               \
    }
#define RD(size, gpa, value)                                                                       \
    {                                                                                              \
        true, false, size, gpa, value                                                              \
    }

struct script {
    const struct access *next;
};

/* Callbacks that check each access against the script, the user pointer. */
#define PLAY(script)                                                                               \
    {                                                                                              \
        play_io, play_mmio, (script)                                                               \
    }
int play_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data);
int play_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data);

/* The accelerator's tests are skipped, and the reason is printed, unless it is usable. */
void fixture_require(const struct accel *accel);

/* The accelerator of this test, required. A test that never ends fails. */
const struct accel *accel_of(void **state);

/* A thread that kicks the vCPU it is given after 20 ms. */
void *kick_later(void *v);

/* Abort the test on failure. The vCPU has the default CPUID and no state changed. */
void fixture_create(struct fixture *f, const struct accel *accel);
void fixture_create_with(struct fixture *f, const struct accel *accel, unsigned want);
/* There may be so many vCPUs; the first is made. */
void fixture_create_cpus(struct fixture *f, const struct accel *accel, unsigned want,
                         unsigned vcpus);
void fixture_create_config(struct fixture *f, const struct accel *accel,
                           const struct machine_config *config);
void fixture_destroy(struct fixture *f);

/* Put code at CODE and point the vCPU there: real mode with all segments 0, or
 * ring 0 of long mode on an identity map of the first 2 MiB. IF is clear. */
void fixture_real(struct fixture *f, const void *code, size_t size);
void fixture_long(struct fixture *f, const void *code, size_t size);

/* Ring 0 of long mode with flat segments and these page tables; the rest of the state stays. */
void fixture_long_mode(struct vcpu *v, uint64_t cr3);

/* The test fails with the error's text, unless err is 0. */
void must(int err, const char *what);

/* vcpu_run, interruptions apart. The test fails unless the exit has this reason. */
struct vcpu_exit fixture_expect(struct fixture *f, enum vcpu_exit_reason reason);

uint64_t fixture_gpr(struct fixture *f, unsigned reg);

/* Run the tests once an accelerator, each test's *state being its struct accel.
 * How many failed. At most 32 tests. */
int fixture_run_all(const char *group, const struct CMUnitTest *tests, size_t count);

#endif
