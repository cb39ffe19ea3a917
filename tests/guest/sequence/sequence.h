/*
 * Random instruction sequences: made from a seed (generate.c and its topics), laid down at the
 * addresses of layout.h (assemble.c), run by the bare CPU and an engine in a loop with varying
 * inputs (run.c), and made small when the two differ (minimise.c).
 */
#ifndef MOTE_GUEST_SEQUENCE_H
#define MOTE_GUEST_SEQUENCE_H

#include "layout.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- a sequence ---------------------------------------------------------------------- */

/* What an item's bytes lack until it has its place. */
enum seq_fix {
    FIX_NONE,
    FIX_JCC,    /* condition in bytes[0]; short where it reaches */
    FIX_JMP,    /* ... without one */
    FIX_CALL,   /* rel32 */
    FIX_SHORT,  /* rel8 behind the bytes: LOOP, JRCXZ */
    FIX_RIP,    /* disp32 at `at`: RIP-relative to `address` */
    FIX_RIP_TO, /* ... to the target item, and `address` bytes on */
    FIX_ABS_TO, /* imm64 at `at`: the target's address */
};

/* One instruction. */
struct seq_item {
    uint8_t bytes[16];
    uint8_t len;
    uint8_t fix;      /* enum seq_fix */
    uint8_t at;       /* offset of what is fixed */
    uint8_t group;    /* items of a group only make sense together; 0: of none */
    uint16_t target;  /* item that is branched to; the count: the end */
    bool far;         /* the long form even if the short one reached */
    bool dropped;     /* by the minimiser; branches to it go to the next that is left */
    uint32_t address; /* FIX_RIP's */
};

#define SEQ_ITEMS 160 /* at most; SEQ_CODE_SIZE has room for all */

struct seq {
    uint64_t seed;
    struct seq_item item[SEQ_ITEMS];
    unsigned count;
    uint32_t pointers, indexes; /* masks of registers: the input gives them such values */
    unsigned offset;            /* of the first byte in the code area */
    bool rewrites;              /* itself */
    bool alignment;             /* inputs have RFLAGS.AC set */
    bool unmasked;              /* inputs may unmask SIMD exceptions */
};

/* What generators may use: EMU_F bits. Call once. */
void seq_features(uint64_t features);

/* The sequence of a seed. */
void seq_generate(struct seq *s, uint64_t seed);

/*
 * Lay the sequence down at its place in the code area; at[n] is then item n's address, and
 * at[count] that of the jump back. What does not reach its target (LOOP) becomes a NOP.
 */
void seq_assemble(struct seq *s, uint32_t at[SEQ_ITEMS + 1]);
unsigned seq_instructions(const struct seq *s); /* that are not dropped */

/* ---- running ------------------------------------------------------------------------- */

#define SEQ_STOPS 4 /* faults after which a run ends */

/* What a run has made of a sequence: its stops (faults, and the INT3 at the end), output
 * records, memory. */
struct seq_result {
    unsigned stops;
    struct row_cpu stop[SEQ_STOPS];
    unsigned stopped_in[SEQ_STOPS]; /* iteration */
    int err;                        /* the engine gave up */
    uint64_t out[SEQ_ITERATIONS * SEQ_RECORD];
    struct row_result memory; /* data and stack; cpu is not used */
};

/* Who runs sequences beside the bare CPU: a way of running one of the accelerators. */
struct seq_engine {
    const char *name;
    const char *accel; /* engine_init's */
    /*
     * Status flags in the frame of a fault may be old ones where the code writes them anew
     * before it reads them: a translator need not compute them.
     */
    bool dead_flags_at_faults;
};

struct seq_options {
    const struct seq_engine *engine; /* NULL: the bare CPU against itself */
    unsigned iterations;             /* 1 to SEQ_ITERATIONS */
    bool kicks; /* another thread has the engine leave its guest now and then */
};

/* What all runs on the bare CPU came to. */
struct seq_totals {
    uint64_t iterations, exceptions;
};
extern struct seq_totals seq_totals;

/* The options' engine is ready; `kicks` counts from here on. */
int seq_run_init(const struct seq_options *o);
void seq_run_exit(void);

/* Run on the bare CPU and on the engine. True when they agree. */
bool seq_agree(const struct seq *s, const struct seq_options *o);

/* Did the last run's bare CPU not come to an end? No engine is to blame for that. */
bool seq_never_ends(void);

/* From now on a second is long enough to know that a run is lost, as when many are tried. */
void seq_hurry(void);

/* The same as seq_agree, and print inputs and what differs first. */
void seq_explain(const struct seq *s, const struct seq_options *o);

/* Drop what can be dropped while the two still differ; fewer iterations too. */
void seq_minimise(struct seq *s, struct seq_options *o);

/* Address, bytes and text of each instruction. */
void seq_print(const struct seq *s);

/* ---- random numbers ------------------------------------------------------------------ */

static inline uint64_t seq_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Corner values, small ones, and any. */
uint64_t seq_value(uint64_t *state);

#endif
