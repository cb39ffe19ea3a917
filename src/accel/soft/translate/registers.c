/* Where guest registers are. */
#include "accel/soft/translate/tr.h"

uint8_t tr_host(unsigned n)
{
    static const uint8_t host[16] = {
        RAX, RCX,       RDX,       RBX,       HOST_SP, RBP, RSI, RDI,
        R8,  HOST_NONE, HOST_NONE, HOST_NONE, R12,     R13, R14, R15,
    };

    return host[n];
}

uint8_t tr_get(struct tr *tr, unsigned n, uint8_t scratch)
{
    if (tr_host(n) != HOST_NONE)
        return tr_host(n);
    asm_load(&tr->a, scratch, mem_gs(GS_REG(n)));
    return scratch;
}

uint8_t tr_to(unsigned n, uint8_t scratch)
{
    return tr_host(n) != HOST_NONE ? tr_host(n) : scratch;
}

void tr_put(struct tr *tr, unsigned n, uint8_t from)
{
    if (tr_host(n) == HOST_NONE)
        asm_store(&tr->a, mem_gs(GS_REG(n)), from);
    else if (tr_host(n) != from)
        asm_mov(&tr->a, tr_host(n), from);
}
