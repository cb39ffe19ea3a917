/* The system instructions' front door, and who may touch which port. */
#include "emu/system.h"

#define TSS_IO_MAP  0x66 /* offset of the bitmap's offset, 32- and 64-bit TSS */
#define TSS32_LIMIT 0x67 /* the least a 32- or 64-bit TSS has */

/*
 * One bit a port; the processor reads two bytes, so the bitmap ends in a byte of
 * ones within the limit (SDM Vol. 1 19.5.2).
 */
static bool io_bitmap_allows(struct emu_cpu *c, uint16_t port, unsigned size)
{
    const struct mote_seg *tr = &c->seg[SEG_TR];
    unsigned type = tr->attrib & SEG_TYPE, at, bits;

    if (tr->attrib & SEG_UNUSABLE || !(tr->attrib & SEG_P) || tr->limit < TSS32_LIMIT ||
        (type != DESC_TSS32 && type != DESC_TSS32_BUSY))
        return false;
    at = (unsigned)emu_system_load(c, tr->base + TSS_IO_MAP, 2) + port / 8;
    if (at + 1 > tr->limit)
        return false;
    bits = (unsigned)emu_system_load(c, tr->base + at, 2);
    return !(bits >> (port & 7) & ((1u << size) - 1));
}

void emu_check_io(struct emu_cpu *c, uint16_t port, unsigned size)
{
    if (!c->vm86 && (!c->protected_mode || c->cpl <= iopl(c)))
        return;
    if (!io_bitmap_allows(c, port, size))
        emu_gp(c, 0);
}

bool bind_system(const struct emu_cpu *c, struct emu_op *op)
{
    static bool (*const parts[])(const struct emu_cpu *, struct emu_op *) = {
        bind_cache, bind_query, bind_control, bind_table, bind_selector, bind_fast_call,
    };
    const struct x86_insn *i = &op->i;

    if (i->flags & X86_VEX || i->map == X86_MAP_0F3A)
        return false;
    if (i->map != X86_MAP_0F38 && bind_eflags(c, op))
        return true;
    for (unsigned n = 0; n < (i->map == X86_MAP_0F38 ? 1 : ARRAY_SIZE(parts)); n++) {
        if (parts[n](c, op))
            return true;
    }
    return false;
}
