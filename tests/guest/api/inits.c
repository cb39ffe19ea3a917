/* What cases change in their mode's state and tables before they begin. */
#include "api.h"

#include <string.h>

void if_set(struct api *a, struct mote_state *s)
{
    s->rflags |= FLAGS_IF;
}

void iopl_0(struct api *a, struct mote_state *s)
{
    s->rflags &= ~(uint64_t)FLAGS_IOPL;
}

void ds_at_data(struct api *a, struct mote_state *s)
{
    s->seg[MOTE_DS].base = DATA;
}

void fs_at_data(struct api *a, struct mote_state *s)
{
    s->seg[MOTE_FS].base = s->seg[MOTE_GS].base = DATA;
}

void no_idt(struct api *a, struct mote_state *s)
{
    s->idtr.limit = 0;
}

void no_second_page(struct api *a, struct mote_state *s)
{
    api_pte(a, DATA + 0x1000, 0);
}

void no_page_behind_device(struct api *a, struct mote_state *s)
{
    api_pte(a, DEV + 0x1000, 0);
}

void device_read_only(struct api *a, struct mote_state *s)
{
    api_pte(a, DEV, DEV | (PTE_RW & ~2u));
}

void data_above_4g(struct api *a, struct mote_state *s)
{
    api_pte(a, DATA, UINT64_C(0x123456000) | PTE_RW);
}

void xmm_zero(struct api *a, struct mote_state *s)
{
    memset(s->xsave + 160, 0, 256);
    s->xsave[512] |= 3;
}
