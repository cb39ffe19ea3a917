/* The guest's vector registers: loaded when they are needed. */
#include "accel/soft/translate/tr.h"

void tr_vector_begin(struct tr *tr)
{
    uint8_t *loaded;

    if (tr->vectors)
        return;
    if (!tr->live[tr->op - tr->b->op]) { /* flags that nobody needs */
        asm_cmp_imm8(&tr->a, mem_gs(GS_TR(vectors_absent)), 0);
        tr_cold_vectors(tr, asm_jcc(&tr->a, CC_NE));
    } else {
        asm_mov(&tr->a, S1, RCX);
        asm_load32(&tr->a, RCX, mem_gs(GS_TR(vectors_absent)));
        loaded = asm_jrcxz(&tr->a);
        asm_call_to(&tr->a, tr->t->code.rw + (tr->t->vectors_in - tr->t->code.rx));
        asm_land_short(&tr->a, loaded);
        asm_mov(&tr->a, RCX, S1);
    }
    tr->vectors = true;
}
