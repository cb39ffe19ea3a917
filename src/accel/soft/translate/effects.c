/* What instructions do to the status flags (SDM Vol. 1 appendix A). */
#include "accel/soft/translate/tr.h"

#include "emu/bind.h"

#define ALL ((uint16_t)FLAG_STATUS)
#define ZSP ((uint16_t)(FLAG_ZF | FLAG_SF | FLAG_PF))

static const struct tr_effects none = {0, 0};
static const struct tr_effects unknown = {ALL, 0};

/* Of Jcc, SETcc, CMOVcc. */
static struct tr_effects condition(unsigned opcode)
{
    static const uint16_t reads[8] = {
        FLAG_OF, FLAG_CF, FLAG_ZF,           FLAG_CF | FLAG_ZF,
        FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF, FLAG_ZF | FLAG_SF | FLAG_OF,
    };

    return (struct tr_effects){reads[opcode >> 1 & 7], 0};
}

static struct tr_effects arithmetic(unsigned op)
{
    return (struct tr_effects){op == 2 || op == 3 ? FLAG_CF : 0, ALL}; /* ADC, SBB */
}

/* ROL, ROR, RCL, RCR write CF and OF; a count of 0 nothing. */
static struct tr_effects shift(const struct x86_insn *i)
{
    unsigned op = i->modrm >> 3 & 7, mask = i->osize == 8 && i->opcode & 1 ? 63 : 31;
    bool some = i->opcode >= 0xd2 ? false : i->opcode >= 0xd0 ? true : i->imm & mask;
    struct tr_effects e = {op == 2 || op == 3 ? FLAG_CF : 0, 0};

    if (some)
        e.kills = op < 4 ? FLAG_CF : ALL; /* rotates by more than 1 leave OF undefined */
    return e;
}

static struct tr_effects group3(unsigned op)
{
    return op == 2 ? none : (struct tr_effects){0, ALL}; /* NOT */
}

static struct tr_effects one_byte(const struct x86_insn *i)
{
    unsigned op = i->opcode, group = i->modrm >> 3 & 7;

    if (op < 0x40 && (op & 7) < 6)
        return arithmetic(op >> 3);
    switch (op) {
    case 0x50 ... 0x5f: return none; /* PUSH, POP */
    case 0x63: return none;
    case 0x68:
    case 0x6a: return none;
    case 0x69:
    case 0x6b: return (struct tr_effects){0, ALL};
    case 0x70 ... 0x7f: return condition(op);
    case 0x80:
    case 0x81:
    case 0x83: return arithmetic(group);
    case 0x84:
    case 0x85: return (struct tr_effects){0, ALL};
    case 0x86 ... 0x8b: return none;
    case 0x8d:
    case 0x8f ... 0x99: return none;
    case 0xa8:
    case 0xa9: return (struct tr_effects){0, ALL};
    case 0xb0 ... 0xbf: return none;
    case 0xc0:
    case 0xc1:
    case 0xd0 ... 0xd3: return shift(i);
    case 0xc2:
    case 0xc3:
    case 0xc6:
    case 0xc7:
    case 0xc9: return none;
    case 0xe8:
    case 0xe9:
    case 0xeb: return none;
    case 0xf6:
    case 0xf7: return group3(group);
    case 0xfe:
    case 0xff:
        if (group < 2)
            return (struct tr_effects){0, ALL & ~FLAG_CF};
        return none;
    default: return unknown;
    }
}

static struct tr_effects two_byte(const struct x86_insn *i)
{
    switch (i->opcode) {
    case 0x18 ... 0x1f: return none; /* hints */
    case 0x40 ... 0x4f:
    case 0x80 ... 0x8f:
    case 0x90 ... 0x9f: return condition(i->opcode);
    case 0xa3:
    case 0xab:
    case 0xb3:
    case 0xbb:
    case 0xba: return (struct tr_effects){0, FLAG_CF}; /* others undefined, ZF kept */
    case 0xaf: return (struct tr_effects){0, ALL};
    case 0xb0:
    case 0xb1:
    case 0xc0:
    case 0xc1: return (struct tr_effects){0, ALL}; /* CMPXCHG, XADD */
    case 0xb6:
    case 0xb7:
    case 0xbe:
    case 0xbf: return none;
    case 0xb8: return (struct tr_effects){0, ALL}; /* POPCNT */
    case 0xbc:
    case 0xbd: return (struct tr_effects){0, FLAG_ZF}; /* others undefined, perhaps kept */
    case 0xc8 ... 0xcf: return none;
    default: return unknown;
    }
}

struct tr_effects tr_effects(const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    struct tr_effects e;

    if (!emu_is_bound(op))
        return unknown;
    if (i->map != X86_MAP_1B && tr_vector_effects(op, &e))
        return e;
    if (i->flags & X86_VEX)
        return unknown;
    if (tr_system_keeps_flags(op))
        return none;
    if (i->map == X86_MAP_1B)
        return one_byte(i);
    return i->map == X86_MAP_0F ? two_byte(i) : unknown;
}
