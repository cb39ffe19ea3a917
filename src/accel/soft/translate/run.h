/*
 * Page runs: a block that is a loop, whose operands stay where they are or move by as much in
 * each round. In front of the loop each operand's page is looked up once, and how many rounds it
 * takes until one of them leaves its page; so many rounds are run without a check.
 *
 * Nothing in such a round calls C, so what was looked up holds. The attention word is looked at
 * every RUN_ROUNDS_MAX rounds at least.
 */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_RUN_H
#define MOTE_ACCEL_SOFT_TRANSLATE_RUN_H

#include "accel/soft/block.h"

#define RUN_STREAMS    4
#define RUN_SPAN       512  /* bytes of a stream in one round, and how far it moves */
#define RUN_ROUNDS_MAX 1024 /* without a look at the attention word */

/* Of TRANSLATE_HEAT runs by the interpreter, so many followed one another at least: looking
 * up pages in front of a loop of few rounds does not pay. */
#define RUN_HEAT 28

/* Operands with the same base and index. */
struct tr_stream {
    uint8_t lead; /* number of the first op */
    uint8_t base, index, scale, seg;
    uint8_t moving; /* the one of base and index that is written in the loop; X86_NONE_SLOT: none */
    uint8_t shift;  /* by which that is scaled */
    uint8_t access;
    uint8_t pointer;   /* S0 or S1: where its place in translate_run.at is loaded */
    int64_t low, high; /* displacements, as if the registers never moved */
    int64_t stride;    /* bytes it moves in a round */
};

struct tr_run {
    bool on;      /* the block is such a loop */
    bool inside;  /* its unchecked rounds are being emitted */
    bool failed;  /* there is something that they cannot do */
    uint8_t last; /* number of the op that jumps back */
    uint8_t by;   /* a register that moves, */
    int64_t step; /* and by how much */
    int holds[2]; /* the streams whose pointers are in S0 and S1; -1: none */
    unsigned streams;
    struct tr_stream stream[RUN_STREAMS];
    int8_t of[BLOCK_MAX_INSNS]; /* op -> stream, or -1 */
};

/* In struct translator: of the run under way. */
struct translate_run {
    uint64_t at[RUN_STREAMS]; /* host address of a stream's `low`, less what moves */
    uint64_t limit;           /* where `by` is when it is over */
    uint32_t rounds;          /* how many more than one */
};

#endif
