/* Which general registers an instruction may write, and whether it keeps the status flags. */
#include "accel/soft/translate/tr.h"

#include "emu/bind.h"

#define ALL 0xffffu

/* As a byte register it may be AH to BH. */
static uint32_t reg(const struct x86_insn *i, unsigned n)
{
    return REG(n) | (n >= 4 && n < 8 && !(i->flags & X86_REX) ? REG(n - 4) : 0);
}

static uint32_t rm(const struct x86_insn *i)
{
    return i->flags & X86_RM_MEM ? 0 : reg(i, i->rm);
}

static uint32_t one_byte(const struct x86_insn *i)
{
    unsigned op = i->opcode, group = i->modrm >> 3 & 7;

    if (op < 0x40 && (op & 7) < 6) {
        if (op >> 3 == 7)
            return 0;
        return (op & 7) >= 4 ? REG(RAX) : op & 2 ? reg(i, i->reg) : rm(i);
    }
    switch (op) {
    case 0x50 ... 0x57:
    case 0x68:
    case 0x6a: return REG(RSP);
    case 0x58 ... 0x5f: return REG(RSP) | REG(i->rm);
    case 0x63:
    case 0x69:
    case 0x6b:
    case 0x8a:
    case 0x8b:
    case 0x8d: return reg(i, i->reg);
    case 0x70 ... 0x7f: return 0;
    case 0x80:
    case 0x81:
    case 0x83: return group == 7 ? 0 : rm(i);
    case 0x84:
    case 0x85:
    case 0xa8:
    case 0xa9: return 0;
    case 0x86:
    case 0x87: return reg(i, i->reg) | rm(i);
    case 0x88:
    case 0x89: return rm(i);
    case 0x90 ... 0x97: return REG(RAX) | REG(i->rm);
    case 0x98:
    case 0x99: return REG(RAX) | REG(RDX);
    case 0xb0 ... 0xbf: return reg(i, i->rm);
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xc7:
    case 0xd0 ... 0xd3: return rm(i);
    case 0xa0:
    case 0xa1: return REG(RAX);
    case 0xa2:
    case 0xa3: return 0;
    case 0xa4:
    case 0xa5: return REG(RSI) | REG(RDI) | REG(RCX);
    case 0xaa:
    case 0xab: return REG(RDI) | REG(RCX);
    case 0xac:
    case 0xad: return REG(RAX) | REG(RSI) | REG(RCX);
    case 0xc9: return REG(RSP) | REG(RBP);
    case 0xe9:
    case 0xeb: return 0;
    case 0xe8:
    case 0xc2:
    case 0xc3: return REG(RSP);
    case 0xf6:
    case 0xf7: return group < 2 ? 0 : group < 4 ? rm(i) : REG(RAX) | REG(RDX);
    case 0xfe: return rm(i);
    case 0xff: return group < 2 ? rm(i) : group == 4 ? 0 : REG(RSP);
    default: return ALL;
    }
}

/* BMI. Flags apart. */
static uint32_t vex(const struct x86_insn *i)
{
    if (i->map == X86_MAP_0F3A && i->opcode == 0xf0)
        return REG(i->reg);
    if (i->map != X86_MAP_0F38 || i->opcode < 0xf2 || i->opcode > 0xf7)
        return ALL;
    return i->opcode == 0xf3 ? REG(i->vvvv) : REG(i->reg) | (i->opcode == 0xf6 ? REG(i->vvvv) : 0);
}

static uint32_t two_byte(const struct x86_insn *i)
{
    switch (i->opcode) {
    case 0x0d:
    case 0x18 ... 0x1f:
    case 0xc3: return 0;
    case 0x40 ... 0x4f:
    case 0xaf:
    case 0xb6 ... 0xb8:
    case 0xbc ... 0xbf: return reg(i, i->reg);
    case 0x80 ... 0x8f:
    case 0xa3: return 0;
    case 0x90 ... 0x9f:
    case 0xa4:
    case 0xa5:
    case 0xab ... 0xad:
    case 0xb3:
    case 0xba:
    case 0xbb: return rm(i);
    case 0xb0:
    case 0xb1: return REG(RAX) | rm(i);
    case 0xc0:
    case 0xc1: return reg(i, i->reg) | rm(i);
    case 0xc8 ... 0xcf: return REG(i->rm);
    default: return ALL;
    }
}

uint32_t tr_writes(const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    if (!emu_is_bound(op))
        return ALL;
    if (i->flags & X86_VEX)
        return vex(i);
    if (i->map == X86_MAP_1B)
        return one_byte(i);
    return i->map == X86_MAP_0F ? two_byte(i) : ALL;
}

bool tr_keeps_flags(const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    unsigned n = i->opcode;

    if (!emu_is_bound(op))
        return false;
    if (i->flags & X86_VEX)
        return vex(i) != ALL && (i->map == X86_MAP_0F3A || n == 0xf6 || (n >= 0xf5 && i->pp));
    if (i->map == X86_MAP_0F)
        return n == 0x0d || (n >= 0x18 && n <= 0x1f) || n == 0xc3 || (n & 0xf0) == 0x40 ||
               (n & 0xf0) == 0x80 || (n & 0xf0) == 0x90 || n == 0xb6 || n == 0xb7 || n == 0xbe ||
               n == 0xbf || (n >= 0xc8 && n <= 0xcf);
    if (i->map != X86_MAP_1B)
        return false;
    return (n >= 0x50 && n <= 0x5f) || n == 0x63 || n == 0x68 || n == 0x6a || (n & 0xf0) == 0x70 ||
           (n >= 0x86 && n <= 0x8b) || n == 0x8d || (n >= 0x90 && n <= 0x99) ||
           (n >= 0xa0 && n <= 0xa5) || (n >= 0xaa && n <= 0xad) || (n & 0xf0) == 0xb0 ||
           n == 0xc6 || n == 0xc7 || n == 0xc9;
}
