/*
 * Memory for generated code, W^X: written through one view, executed through
 * another, both of one memfd. Bounded. Thunks have one, each vCPU's translator another.
 */
#ifndef MOTE_EMU_CODE_MEM_H
#define MOTE_EMU_CODE_MEM_H

#include "base/bits.h"

struct code_mem {
    uint8_t *rw;       /* NULL: there is none */
    const uint8_t *rx; /* the same bytes, to be executed */
    size_t size, used;
    size_t ahead; /* see take_ahead */
};

/* -ENOMEM, -EACCES and others: the host gives no such memory. */
int code_mem_init(struct code_mem *m, size_t size);
void code_mem_free(struct code_mem *m);

/* Forget what lies behind `keep`, and give the host its memory back. */
void code_mem_reset(struct code_mem *m, size_t keep);

/* The address of p, which points into the writable view, in the executable one. */
static inline const uint8_t *code_mem_rx(const struct code_mem *m, const uint8_t *p)
{
    return m->rx + (p - m->rw);
}

#endif
