/* The table of registers; private to the layer. */
#ifndef MOTE_GDB_REG_ROWS_H
#define MOTE_GDB_REG_ROWS_H

#include <stdint.h>

/* A feature of the target description begins with its first row. */
enum gdb_feature {
    GDB_FEATURE_CORE,
    GDB_FEATURE_SSE,
    GDB_FEATURE_AVX,
    GDB_FEATURE_SEGMENTS,
    GDB_FEATURE_SYSTEM,
    GDB_FEATURES
};

/* One register, or `count` of them that are numbered from `first` on. */
struct gdb_reg_row {
    const char *prefix, *suffix; /* the name; its number between them when count is above 1 */
    uint8_t first, count;
    uint8_t size; /* bytes */
    uint8_t feature;
    uint8_t kind, arg; /* where it is in struct mote_state, see regs.c */
    uint8_t groups;    /* X86_* */
    const char *type;  /* as the description calls it */
    const char *group; /* NULL: the general one */
};

extern const struct gdb_reg_row gdb_reg_rows[];
extern const unsigned gdb_reg_row_count;

#endif
