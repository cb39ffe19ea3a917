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

/* None are written when RCX is 0. */
static struct tr_effects compares(const struct x86_insn *i)
{
    return i->flags & (X86_REP | X86_REPNE) ? none : (struct tr_effects){0, ALL};
}

/* SHLD, SHRD. */
static struct tr_effects double_shift(const struct x86_insn *i)
{
    bool some = !(i->opcode & 1) && i->imm & (i->osize == 8 ? 63 : 31);

    return (struct tr_effects){0, some ? ALL : 0};
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
    case 0x86 ... 0x8d: return none;
    case 0x8f ... 0x99: return none;
    case 0x9e: return (struct tr_effects){0, ALL & ~FLAG_OF}; /* SAHF */
    case 0x9f: return (struct tr_effects){ALL & ~FLAG_OF, 0};
    case 0xa0 ... 0xa5: return none; /* MOV, MOVS */
    case 0xa6:
    case 0xa7:
    case 0xae:
    case 0xaf: return compares(i); /* CMPS, SCAS */
    case 0xaa ... 0xad: return none;
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
    case 0xc8:
    case 0xc9: return none;
    case 0xd7: return none; /* XLAT */
    case 0xe8:
    case 0xe9:
    case 0xeb: return none;
    case 0xf5: return (struct tr_effects){FLAG_CF, FLAG_CF}; /* CMC */
    case 0xf6:
    case 0xf7: return group3(group);
    case 0xf8:
    case 0xf9: return (struct tr_effects){0, FLAG_CF}; /* CLC, STC */
    case 0xfc:
    case 0xfd: return none; /* CLD, STD */
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
    unsigned group = i->modrm >> 3 & 7;

    switch (i->opcode) {
    case 0x0d:
    case 0x18 ... 0x1f: return none; /* hints */
    case 0x40 ... 0x4f:
    case 0x80 ... 0x8f:
    case 0x90 ... 0x9f: return condition(i->opcode);
    case 0xa3:
    case 0xab:
    case 0xb3:
    case 0xbb:
    case 0xba: return (struct tr_effects){0, FLAG_CF}; /* others undefined, ZF kept */
    case 0xa4:
    case 0xa5:
    case 0xac:
    case 0xad: return double_shift(i);
    case 0xae: return none; /* fences, states */
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
    case 0xbd: /* others undefined, perhaps kept */
        return (struct tr_effects){0, i->pp == 2 ? FLAG_ZF | FLAG_CF : FLAG_ZF};
    case 0xc3: return none;                                                   /* MOVNTI */
    case 0xc7: return group == 1 ? (struct tr_effects){0, FLAG_ZF} : unknown; /* CMPXCHG8B */
    case 0xc8 ... 0xcf: return none;
    default: return unknown;
    }
}

/* ADCX, ADOX, CRC32, MOVBE. */
static struct tr_effects three_byte(const struct x86_insn *i)
{
    switch (i->opcode) {
    case 0xf0:
    case 0xf1: return none;
    case 0xf6:
        if (i->pp == 1)
            return (struct tr_effects){FLAG_CF, FLAG_CF};
        return (struct tr_effects){FLAG_OF, FLAG_OF};
    default: return unknown;
    }
}

static struct tr_effects bmi(const struct x86_insn *i)
{
    if (i->map == X86_MAP_0F3A)
        return i->opcode == 0xf0 ? none : unknown; /* RORX */
    if (i->map != X86_MAP_0F38)
        return unknown;
    switch (i->opcode) {
    case 0xf2:
    case 0xf3: return (struct tr_effects){0, ALL}; /* ANDN, BLSR and such */
    case 0xf5:
    case 0xf7: return i->pp ? none : (struct tr_effects){0, ALL}; /* BZHI, BEXTR */
    case 0xf6: return none;                                       /* MULX */
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
        return bmi(i);
    if (tr_system_keeps_flags(op))
        return none;
    switch (i->map) {
    case X86_MAP_1B: return one_byte(i);
    case X86_MAP_0F: return two_byte(i);
    case X86_MAP_0F38: return three_byte(i);
    default: return unknown;
    }
}

#define ZSAP ((uint16_t)(FLAG_ZF | FLAG_SF | FLAG_AF | FLAG_PF))

/*
 * What the instruction leaves undefined (SDM Vol. 1 appendix A). A processor may leave such a
 * flag as it was, which is not the same in the two, as the translator gives up flags that the
 * instruction is said to write.
 */
uint16_t tr_undefined(const struct x86_insn *i)
{
    unsigned op = i->opcode, group = i->modrm >> 3 & 7;

    if (i->map == X86_MAP_1B && !(i->flags & X86_VEX)) {
        switch (op) {
        case 0x69:
        case 0x6b: return ZSAP;
        case 0xc0:
        case 0xc1:
        case 0xd0 ... 0xd3: return group < 4 ? FLAG_OF : FLAG_OF | FLAG_AF | FLAG_CF;
        case 0xf6:
        case 0xf7: return group >= 6 ? FLAG_STATUS : group >= 4 ? ZSAP : 0;
        default: return 0;
        }
    }
    if (i->map != X86_MAP_0F)
        return i->flags & X86_VEX ? FLAG_AF | FLAG_PF | FLAG_SF : 0; /* BMI */
    switch (op) {
    case 0xa3:
    case 0xab:
    case 0xb3:
    case 0xba:
    case 0xbb: return (uint16_t)(FLAG_OF | (ZSAP & ~FLAG_ZF));
    case 0xa4:
    case 0xa5:
    case 0xac:
    case 0xad: return FLAG_STATUS;
    case 0xaf: return ZSAP;
    case 0xbc:
    case 0xbd: return FLAG_STATUS;
    default: return 0;
    }
}

bool tr_is_jcc(const struct x86_insn *i)
{
    return (i->map == X86_MAP_1B && (i->opcode & 0xf0) == 0x70) ||
           (i->map == X86_MAP_0F && (i->opcode & 0xf0) == 0x80 && !(i->flags & X86_VEX));
}
