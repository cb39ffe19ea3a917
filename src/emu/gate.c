/* Call, interrupt, trap and task gates (SDM Vol. 3A 5.8.3, 6.11, 6.14.1). */
#include "emu/system.h"

struct emu_gate gate_decode(uint64_t raw, uint64_t high)
{
    unsigned attrib = desc_attrib(raw);
    struct emu_gate g = {
        .type = attrib & SEG_TYPE,
        .dpl = attrib_dpl(attrib),
        .count = (unsigned)(raw >> 32) & 31,
        .present = attrib & SEG_P,
        .selector = (uint16_t)(raw >> 16),
        .offset = (raw & 0xffff) | high << 32,
    };

    if (g.type & 8)
        g.offset |= raw >> 32 & 0xffff0000;
    return g;
}
