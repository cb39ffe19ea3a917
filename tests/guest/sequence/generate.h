/*
 * What the generator's topics share: the encoder, and the roles of registers. A pointer points
 * into the data pages, an index holds a small number, in all of a sequence, so each memory
 * access stays where it may go; the others are free. RSP keeps its place in the stack.
 */
#ifndef MOTE_GUEST_SEQUENCE_GENERATE_H
#define MOTE_GUEST_SEQUENCE_GENERATE_H

#include "sequence.h"

#include "emu/features.h"
#include "x86/decode.h"

#define LOW_REGS 0x00ffu /* those that need no REX */
#define ANY_REGS 0xffffu

struct gen {
    struct seq *s;
    uint64_t rng;
    uint32_t free;   /* registers that may be written */
    unsigned budget; /* things left */
    unsigned depth;  /* of structures */
    unsigned loops;  /* of those, loops */
    unsigned pushed; /* bytes on the stack that only a pop, LEAVE or RET may touch */
    uint8_t group;   /* of what is emitted now */
    uint8_t last_group;
};

extern uint64_t gen_features;

/* A memory operand */
enum mem_kind { MEM_BASE, MEM_INDEX, MEM_ABS, MEM_RIP };

struct mem {
    uint8_t kind;
    uint8_t base, index, scale; /* index X86_NONE_SLOT: none */
    uint8_t seg;                /* prefix byte, 0: none */
    bool a32;
    int32_t disp;     /* MEM_ABS: the address */
    uint32_t address; /* MEM_RIP */
};

struct insn {
    uint8_t map, opcode;
    uint8_t size; /* of the operand, 1 to 8: gives 66 and W; 0: neither */
    uint8_t pp;   /* 0, 1: 66, 2: F3, 3: F2 */
    bool w, lock, force_rex;
    bool vex, l;
    uint8_t vvvv;
    bool modrm, mem;
    uint8_t reg, rm;
    bool plus; /* register `rm` in the opcode's low bits */
    uint8_t imm_size;
    uint64_t imm;
    struct mem m;
};

/* ---- encode.c ---- */

/* Encode; NULL when the sequence is full (and then its end is where it is). */
struct seq_item *gen_put(struct gen *g, const struct insn *in);

/* Raw bytes. */
struct seq_item *gen_bytes(struct gen *g, const void *bytes, unsigned len);

/* A branch to an item that is not known yet: set ->target. */
struct seq_item *gen_branch(struct gen *g, enum seq_fix fix, const void *bytes, unsigned len);

#define GEN_BYTES(g, ...)                                                                          \
    gen_bytes((g), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* ---- operands.c ---- */

unsigned gen_below(struct gen *g, unsigned n);   /* 0 to n - 1 */
bool gen_one_in(struct gen *g, unsigned n);      /* true once in n */
unsigned gen_pick(struct gen *g, uint32_t mask); /* a register of the mask; mask is not 0 */
unsigned gen_size(struct gen *g, bool bytes);    /* 2, 4, 8, and 1 with `bytes` */
uint64_t gen_imm(struct gen *g);
struct mem gen_mem(struct gen *g, unsigned size, uint32_t regs, bool aligned);
struct mem gen_wild_mem(struct gen *g, unsigned size); /* its access may fault */
uint8_t gen_new_group(struct gen *g);

/* A register operand of `size` bytes out of `from`; a byte may be AH to BH when *regs is
 * LOW_REGS, which then all the instruction's registers must be. */
unsigned gen_reg(struct gen *g, struct insn *in, unsigned size, uint32_t from, uint32_t *regs);

/* LOW_REGS, now and then, for bytes; else ANY_REGS. */
uint32_t gen_regs(struct gen *g, unsigned size);

/* The r/m operand of `size` bytes, memory or register; written: a free one. */
void gen_rm(struct gen *g, struct insn *in, unsigned size, bool written, uint32_t regs);

/* ---- topics: each emits one thing, or nothing when it cannot ---- */

void gen_alu(struct gen *g);
void gen_shift(struct gen *g);
void gen_bits(struct gen *g);
void gen_move(struct gen *g);
void gen_multiply(struct gen *g);
void gen_exchange(struct gen *g);
void gen_stack(struct gen *g);
void gen_string(struct gen *g);
void gen_jump(struct gen *g);
void gen_walk(struct gen *g);
void gen_flags(struct gen *g);
void gen_fault(struct gen *g);
void gen_vector(struct gen *g);
void gen_x87(struct gen *g);
void gen_x87_state(struct gen *g);
void gen_odd(struct gen *g);

/* ---- generate.c ---- */

/* Up to n things, one after the other. */
void gen_things(struct gen *g, unsigned n);

#endif
