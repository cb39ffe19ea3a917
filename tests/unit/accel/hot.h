/*
 * Code that runs thousands of times, and then something happens to it: what an engine that
 * caches or translates code can get wrong. It is smp.h's machine, of which vCPU 0 runs on the
 * test's own thread, with a GDT, and an IDT whose stubs execute HLT: so an exception, or the
 * INT3 that ends a test's code, is seen as it comes, and after the next run the guest has
 * flushed its TLB and executed IRETQ.
 */
#ifndef MOTE_TESTS_ACCEL_HOT_H
#define MOTE_TESTS_ACCEL_HOT_H

#include "smp.h"

#define HOT 3000u /* so often runs what is to be hot, before and after */

/* What is where, besides SMP_DATA and SMP_PAGES. */
#define HOT_CODE   0x10000u /* for code of tests, to SMP_DATA */
#define HOT_TABLES 0x2000u  /* GDT, IDT, TSSs, stubs, their stacks: up to HOT_CODE */
#define HOT_ALIAS  SMP_RAM  /* linear addresses that are free */

enum hot_mode {
    HOT_KERNEL, /* 64-bit, ring 0 */
    HOT_USER,   /* 64-bit, ring 3 */
    HOT_COMPAT, /* 32-bit in long mode, ring 0 */
};

#define HOT_CS_COMPAT 0x18
#define HOT_CS_USER   0x2b
#define HOT_SS_USER   0x23

/* What the stub of an exception or interrupt found on its stack. */
struct hot_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

struct hot_trap {
    unsigned vector;
    uint32_t error; /* 0 where the vector has none */
    uint64_t cr2;
    struct hot_frame frame;
};

/* With SSE, NX, write protection, and AVX where the host has it. A test that never ends fails. */
void hot_create(struct smp *s, unsigned cpus);
void hot_create_as(struct smp *s, const struct machine_config *config);
bool hot_has_avx(void);

/* vCPU 0 begins at `linear` with its stack at SMP_DATA, interrupts off; other registers stay. */
void hot_at(struct smp *s, enum hot_mode mode, uint64_t linear);

/* Code to HOT_CODE, and hot_at it in ring 0. */
#define HOT_CODE_AT(s, name)                                                                       \
    do {                                                                                           \
        SMP_CODE(s, HOT_CODE, name);                                                               \
        hot_at(s, HOT_KERNEL, HOT_CODE);                                                           \
    } while (0)

/* Where a global label of the code of `name` is when that is at `base`. */
#define HOT_LABEL(base, name, label) ((base) + (uint64_t)((label)-g_##name))

/* Run vCPU 0 until an exception or interrupt is in its stub. GPRs are current. */
struct hot_trap hot_run(struct smp *s);

/* The same; it is the INT3 that ends the code. Its RAX, with the others current. */
uint64_t hot_end(struct smp *s);

/* Run vCPU 0, whose code has no end: it is kicked, and comes back for that, though perhaps before
 * it did anything. GPRs are current. */
void hot_kicked(struct smp *s);

/* Change what the stub's IRETQ goes back to. */
void hot_set_frame(struct smp *s, const struct hot_frame *frame);

/* A general register of vCPU 0; the test's to change between runs. */
uint64_t hot_gpr(struct smp *s, unsigned reg);
void hot_set_gpr(struct smp *s, unsigned reg, uint64_t value);

/* This vector's handler is the guest's own, on the interrupted stack or ring 0's. */
void hot_gate(struct smp *s, unsigned vector, uint64_t handler);

/* Bits of vCPU 0's CR4. */
void hot_set_cr4(struct smp *s, uint64_t clear, uint64_t set);

/* vCPU 0 again sees its page tables as they are, as after a load of CR3. */
void hot_flush(struct smp *s);

#endif
