/*
 * What translated code leaves to the interpreter, by instruction: for people who
 * tune the translator. Only where statistics are wanted (machine_config.count).
 */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_COUNTS_H
#define MOTE_ACCEL_SOFT_TRANSLATE_COUNTS_H

#include "accel/accel.h"
#include "x86/decode.h"

/* Map, opcode, mandatory prefix, VEX and ModRM.reg. */
#define COUNT_KEYS (1u << 16)

/* So many instructions of each kind are shown, the most frequent ones. */
#define COUNTS_SHOWN 12

struct translate_counts {
    uint64_t untranslated[COUNT_KEYS]; /* there is no translation */
    uint64_t missed[COUNT_KEYS];       /* there is, but its checks failed */
};

struct translate_counts *counts_new(void); /* NULL: none, no memory */
void counts_free(struct translate_counts *counts);
void counts_add(struct translate_counts *counts, const struct x86_insn *i, bool missed);

/* The most frequent ones to stats[], at most `room`: how many they are. */
unsigned counts_stats(const struct translate_counts *counts, struct accel_stat *stats,
                      unsigned room);

#endif
