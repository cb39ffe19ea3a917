/*
 * One block being translated: what the parts of the translator share.
 *
 * Registers. Guest RAX to RDI without RSP, R8 and R12 to R15 are the host's of
 * the same name; guest RSP is in host R9. Guest R9, R10 and R11 are in emu_cpu.r.
 * Host R10 and R11 are scratch, S0 and S1: S0 has the address of the memory
 * operand once it is checked, S1 is free after that. Host RSP is the host's stack,
 * 8 below a multiple of 16. GS is the struct soft_vcpu. Status flags are the
 * host's, DF is clear there, other flags are in emu_cpu.rflags.
 */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_TR_H
#define MOTE_ACCEL_SOFT_TRANSLATE_TR_H

#include "accel/soft/soft.h"
#include "accel/soft/translate/asm.h"

#include <stddef.h>

#define S0      R10
#define S1      R11
#define HOST_SP R9 /* holds the guest's RSP */

/* Offsets from GS. */
#define GS_CPU(field) ((int32_t)offsetof(struct soft_vcpu, cpu.field))
#define GS_TR(field)  ((int32_t)offsetof(struct soft_vcpu, tr.field))
#define GS_REG(n)     (GS_CPU(r) + 8 * (int32_t)(n))

/* What one instruction does to status flags (FLAG_*). */
struct tr_effects {
    uint16_t reads;
    uint16_t kills; /* writes in any case */
};

/* Code out of line, emitted behind the block. */
struct tr_cold {
    enum {
        COLD_INTERPRET, /* one call of the interpreter, then back to `resume` */
        COLD_EXIT,      /* go to offset `target` of the page: by link, or by the jump cache */
    } kind;
    bool saved;    /* status flags are in flags_ax */
    bool vectors;  /* vector registers are loaded */
    uint8_t *from; /* jumps here: where its displacement ends */
    uint8_t *resume;
    const struct emu_op *op;
    int64_t target;
};

#define TR_COLDS (4 * BLOCK_MAX_INSNS)

struct tr {
    struct soft_vcpu *s;
    struct translator *t;
    struct host_asm a;
    struct block *b;
    const struct emu_op *op; /* being translated */
    unsigned mmu;
    uint16_t live[BLOCK_MAX_INSNS + 1]; /* status flags needed before instruction n */
    bool saved;                         /* status flags are in flags_ax now */
    bool vectors;                       /* vector registers are known to be loaded */
    bool ended;                         /* nothing gets behind what was emitted last */
    struct tr_cold cold[TR_COLDS];
    unsigned colds;
    unsigned first_cold; /* of the instruction being translated */
};

/* ---- registers (registers.c) ------------------------------------------------- */

/* The host register that guest register n is in; HOST_NONE: it is in memory. */
uint8_t tr_host(unsigned n);

/* Host register to read guest register n from: its own, or `scratch`, loaded. */
uint8_t tr_get(struct tr *tr, unsigned n, uint8_t scratch);
/* Host register to compute guest register n in, not loaded; tr_put afterwards. */
uint8_t tr_to(unsigned n, uint8_t scratch);
/* `from` has the new value of guest register n, all 64 bits. */
void tr_put(struct tr *tr, unsigned n, uint8_t from);

/* ---- flags ---------------------------------------------------------------------- */

/* What insn does to flags; an instruction that is not known reads and keeps all. (effects.c) */
struct tr_effects tr_effects(const struct emu_op *op);
/* Its part for what tr_vector knows; false: that does not know op. */
bool tr_vector_effects(const struct emu_op *op, struct tr_effects *e);

/* Are there flags in the host's that a check within tr->op would destroy? */
bool tr_flags_needed(const struct tr *tr);

/* Status flags to flags_ax, if they are needed; and back. They use S1. (memory.c) */
void tr_flags_save(struct tr *tr);
void tr_flags_restore(struct tr *tr);

/* ---- vector registers (vector_state.c) --------------------------------------------- */

/*
 * Before anything else is emitted for an instruction that uses vector registers
 * or MXCSR: they are the host's from here on. What never uses them, as most of a
 * kernel, neither loads nor saves them. No flags; uses S1.
 */
void tr_vector_begin(struct tr *tr);

/* ---- memory (memory.c) ------------------------------------------------------------ */

/*
 * S0 = host address of the `size` bytes of tr->op's memory operand, checked for
 * `access`; align: mask of address bits that must be 0. Uses S1; destroys status
 * flags but those that are needed, which are in the host's again. When the check
 * fails the interpreter does the instruction: emit nothing before it.
 */
void tr_address(struct tr *tr, enum emu_access access, unsigned size, unsigned align);

/* The parts of it, for instructions with other operands: flags saved by the caller. */
struct host_mem tr_operand(struct tr *tr); /* for a LEA; S0 and S1 may be in it; no flags */
void tr_linear(struct tr *tr);             /* S0 = its linear address; no flags */
void tr_check(struct tr *tr, enum emu_access access, unsigned size, unsigned align);
/* S0 = host address of 8 bytes at the guest's RSP + delta, like tr_address. */
void tr_stack_address(struct tr *tr, enum emu_access access, int delta);

/* ---- leaving (translate.c) ---------------------------------------------------------- */

/* The code that jumped to `from` is to be done by the interpreter as tr->op. */
void tr_cold_interpret(struct tr *tr, uint8_t *from);
/* ... goes to the page's offset `target`, which may lie in another page. */
void tr_cold_exit(struct tr *tr, uint8_t *from, int64_t target);

/* Go on at the page's offset `target`. Flags are live. */
void tr_exit(struct tr *tr, int64_t target);
/* Go on at the linear address in S1. */
void tr_exit_s1(struct tr *tr);

/* S1 = linear address of the page's offset `target`; no flags. */
void tr_rip(struct tr *tr, uint8_t to, int64_t target);

/* Offset in the page of the instruction behind tr->op. */
static inline unsigned tr_next(const struct tr *tr)
{
    return tr->op->next;
}

/* ---- instructions: true when translated. Nothing was emitted when not. --------------- */

bool tr_integer(struct tr *tr);
bool tr_stack(struct tr *tr);
bool tr_branch(struct tr *tr);
bool tr_vector(struct tr *tr);

/* ---- stubs (stubs.c) ------------------------------------------------------------------- */

int tr_stubs(struct soft_vcpu *s);

/* Called by the interpret stubs: do op; true: leave translated code. */
bool tr_interpret(struct soft_vcpu *s, const struct emu_op *op);
/* ... op, which ends its block: where to go on, NULL: leave. */
const uint8_t *tr_interpret_end(struct soft_vcpu *s, const struct emu_op *op);

#endif
