/*
 * The registers as gdb numbers them, and the description that tells it so.
 * Always the 64-bit ones: gdb cannot follow a processor that changes its mode.
 */
#ifndef MOTE_GDB_REGS_H
#define MOTE_GDB_REGS_H

#include "x86/state.h"

#include <stdbool.h>
#include <stddef.h>

#define GDB_REG_SIZE 16 /* bytes of the widest */

struct gdb_reg {
    const struct gdb_reg_row *row; /* private */
    unsigned index;
    unsigned size;   /* bytes */
    unsigned groups; /* X86_* that it is in */
};

/* Register n, from 0. false: there is none. */
bool gdb_reg_find(unsigned n, bool avx, struct gdb_reg *reg);

/* Its value, little endian; reg->groups of *s are current. */
void gdb_reg_read(const struct gdb_reg *reg, const struct mote_state *s, uint8_t *out);

/*
 * Change it. -EPERM: it cannot be changed to this: CR0, CR4, EFER and the
 * selectors, whose change would need more than a value, or a value that no
 * processor holds. What it has already is fine.
 */
int gdb_reg_write(const struct gdb_reg *reg, struct mote_state *s, const uint8_t *in);

/* The target description (GDB manual, appendix G) as text. false: size is too small. */
bool gdb_regs_describe(bool avx, char *xml, size_t size);

#endif
