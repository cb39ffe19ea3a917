/* What tests of a debugger outside the guest share. */
#ifndef MOTE_TESTS_ACCEL_DEBUGGER_H
#define MOTE_TESTS_ACCEL_DEBUGGER_H

#include "fixture.h"

#define DATA    0x3000u
#define IDT     0x4000u
#define GDT     0x5000u
#define HANDLER 0x6000u

static const struct vcpu_debug nothing __attribute__((unused)) = {0};
static const struct vcpu_debug step __attribute__((unused)) = {.step = true};
static const struct vcpu_debug breakpoints __attribute__((unused)) = {.breakpoints = true};

/* Watch n alone. */
struct vcpu_debug watching(unsigned n, uint64_t gva, unsigned size, enum vcpu_watch_kind kind);

void set_debug(struct fixture *f, const struct vcpu_debug *debug);
void set_rip(struct fixture *f, uint64_t rip);

/* Run to a debug exit at rip, which the registers agree with. */
void expect_debug(struct fixture *f, uint64_t rip, bool int3, bool stepped, unsigned watches);
void expect_step(struct fixture *f, uint64_t rip);

/* The guest's code is through: it ends in an OUT to port 0xf4. */
void expect_end(struct fixture *f);

/* Exception `vector` goes to this code. */
void set_handler(struct fixture *f, unsigned vector, const uint8_t *code, size_t size);
#define SET_HANDLER(f, vector, name)                                                               \
    set_handler(f, vector, g_##name, (size_t)(g_##name##_end - g_##name))

/* A handler that shows its frame: RAX is the rip, RCX the cs, RDX the flags pushed. */
extern const uint8_t g_pops_rip[], g_pops_rip_end[];
/* mov $1, %ebx; INT3 at CODE + 5; mov $2, %ebx; the end */
extern const uint8_t g_int3[], g_int3_end[];
/* mov $3, %ecx; 5: inc %eax; 7: dec %ecx; 9: jnz 5; 11: pushf; pop %rbx; the end */
extern const uint8_t g_loops[], g_loops_end[];
/* OUT to 0x80; 2: IN from 0x81; 4: writes HOLE; 11: reads HOLE + 4; 18: nop; the end */
extern const uint8_t g_ports[], g_ports_end[];

/*
 * Some kinds of /dev/kvm say nothing about this. One runs ring 0 on an emulator
 * that knows no INT3, no data breakpoints and no iterations. One runs on QEMU's
 * emulation of SVM (7.2), which intercepts neither INT3 nor debug registers. One
 * runs on Bochs' emulation of VMX (2.7), whose VM exits save a single-step trap as
 * pending (BS) though the instruction was not executed: a step over what exits by
 * itself ends once more. And Intel's processors deliver #BP only with the length
 * that an exit told.
 */
enum { ON_EMULATOR = 1, ON_QEMU = 2, ON_BOCHS = 4, ON_INTEL = 8 };

/* RUN_LONG for steps; on such a Bochs the guest has touched all its memory, so nothing exits. */
#define RUN_STEPS(f, name) run_steps(f, g_##name, (size_t)(g_##name##_end - g_##name))
void run_steps(struct fixture *f, const void *code, size_t size);

/* This test's accelerator, required, and not a KVM of these kinds. */
const struct accel *accel_but(void **state, unsigned kinds);

#endif
