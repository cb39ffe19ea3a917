/*
 * One instruction, twice: by the interpreter's handler and on the bare CPU,
 * from the same registers and memory. What both leave can be compared.
 */
#ifndef TEST_NATIVE_H
#define TEST_NATIVE_H

#include "emu/bind.h"
#include "emu/features.h"

/* The assembly below native_run knows these offsets. */
struct machine {
    uint8_t fx[512] __attribute__((aligned(64))); /* FXSAVE64: x87, XMM, MXCSR */
    uint8_t high[16][16];                         /* upper halves of YMM */
    uint64_t r[16];
    uint64_t flags;
    int trap; /* 0, or the exception's vector */
};

/* Guest-physical address of the memory both sides work on, its size. RBX points into its middle. */
#define NATIVE_GPA  0x10000
#define NATIVE_SIZE 8192

#define NATIVE_MIDDLE (NATIVE_SIZE / 2)

extern uint8_t native_ram[NATIVE_SIZE];

/* Prepare *c for 64-bit code with everything the host has. Call once, first. */
void native_init(struct emu_cpu *c);

/* Decode and bind `code` (15 bytes readable). -EILSEQ: nobody claims it. */
int native_bind(struct emu_cpu *c, const uint8_t *code, struct emu_op *op);

/* Execute on the interpreter / on the CPU. m is input and output; a trap leaves it as it was but
 * for MXCSR. RSP is not used. */
void native_emulate(struct emu_cpu *c, const struct emu_op *op, struct machine *m);
void native_run(const uint8_t *code, unsigned len, struct machine *m);

/* Both ways from *m; RBX (and RDI, where asked) is the address of the memory's middle. Prints and
 * counts what differs: registers, flags, MXCSR, memory, the exception; not x87's pointers. */
void native_both(struct emu_cpu *cpu, const uint8_t *code, const struct emu_op *op,
                 const struct machine *m, bool rdi_address);

extern struct native_count {
    unsigned runs, failures, traps;
} native_count;

/* Deterministic random numbers; bytes mixed with interesting floating-point values. */
uint64_t native_random(void);
void native_random_bytes(void *p, unsigned len);
void native_random_machine(struct machine *m);

#endif
