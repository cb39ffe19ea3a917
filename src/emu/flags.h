/*
 * Arithmetic with flags: each operation is the host's own instruction, and its
 * flags are the host's own flags, read back with LAHF and SETO. So results and
 * flags, the undefined ones too, are those of the bare CPU.
 */
#ifndef MOTE_EMU_FLAGS_H
#define MOTE_EMU_FLAGS_H

#include "emu/access.h"

/* AX as LAHF; SETO AL leave it -> status flags. */
EMU_INLINE void flags_from_ax(struct emu_cpu *c, uint32_t ax)
{
    c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | ((ax >> 8) & 0xd5) | ((ax & 1) << 11);
}

#define READ_FLAGS "lahf\n\tseto %%al"

/* CF := bit 0 of rflags, before an instruction that reads CF. */
#define WRITE_CF "btl $0, %k[f]\n\t"

/* Is condition cc (the low nibble of Jcc, SETcc, CMOVcc) true? */
EMU_INLINE bool condition(const struct emu_cpu *c, unsigned cc)
{
    uint64_t f = c->rflags;
    bool r;

    switch (cc >> 1) {
    case 0: r = f & FLAG_OF; break;
    case 1: r = f & FLAG_CF; break;
    case 2: r = f & FLAG_ZF; break;
    case 3: r = f & (FLAG_CF | FLAG_ZF); break;
    case 4: r = f & FLAG_SF; break;
    case 5: r = f & FLAG_PF; break;
    case 6: r = ((f >> 7) ^ (f >> 11)) & 1; break;
    default: r = (f & FLAG_ZF) || (((f >> 7) ^ (f >> 11)) & 1); break;
    }
    return r ^ (cc & 1);
}

/* Operand sizes and registers, for handlers made by macro with a constant size. */
EMU_INLINE uint64_t get_reg(struct emu_cpu *c, const struct x86_insn *i, unsigned n, unsigned size)
{
    switch (size) {
    case 1: return *emu_reg8(c, i, n);
    case 2: return (uint16_t)c->r[n];
    case 4: return (uint32_t)c->r[n];
    default: return c->r[n];
    }
}

EMU_INLINE void set_reg(struct emu_cpu *c, const struct x86_insn *i, unsigned n, unsigned size,
                        uint64_t value)
{
    if (size == 1)
        *emu_reg8(c, i, n) = (uint8_t)value;
    else
        emu_set_reg(c, n, size, value);
}

/* r/m operand, memory or register; for handlers that are bound for both. */
EMU_INLINE uint64_t get_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    if (i->flags & X86_RM_MEM)
        return fast_load(c, i->seg, emu_ea(c, i), size);
    return get_reg(c, i, i->rm, size);
}

EMU_INLINE void set_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned size, uint64_t value)
{
    if (i->flags & X86_RM_MEM)
        fast_store(c, i->seg, emu_ea(c, i), size, value);
    else
        set_reg(c, i, i->rm, size, value);
}

/* Index of an operand size in a table of handlers: 1, 2, 4, 8 -> 0..3. */
EMU_INLINE unsigned size_index(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}

/* The operand size of an opcode pair whose even member is the byte form. */
EMU_INLINE unsigned pair_size(const struct x86_insn *i)
{
    return i->opcode & 1 ? i->osize : 1;
}

/* One handler for each operand size, and their table, from an inline body
 * body(c, i, size). */
#define HANDLER(name, body, size)                                                                  \
    static void name##size(struct emu_cpu *c, const struct emu_op *op)                             \
    {                                                                                              \
        body(c, &op->i, size);                                                                     \
    }
#define HANDLERS(name, body)                                                                       \
    HANDLER(name, body, 1)                                                                         \
    HANDLER(name, body, 2)                                                                         \
    HANDLER(name, body, 4)                                                                         \
    HANDLER(name, body, 8)                                                                         \
    static const emu_fn name[4] = {name##1, name##2, name##4, name##8};

/* Flags of a - b: CMP, CMPS, SCAS, CMPXCHG. */
EMU_INLINE void compare_flags(struct emu_cpu *c, unsigned size, uint64_t a, uint64_t b)
{
    uint32_t ax;

    if (size == 1)
        __asm__("cmpb %b[b], %b[a]\n\t" READ_FLAGS : "=&a"(ax) : [a] "q"(a), [b] "q"(b) : "cc");
    else if (size == 2)
        __asm__("cmpw %w[b], %w[a]\n\t" READ_FLAGS : "=&a"(ax) : [a] "r"(a), [b] "r"(b) : "cc");
    else if (size == 4)
        __asm__("cmpl %k[b], %k[a]\n\t" READ_FLAGS : "=&a"(ax) : [a] "r"(a), [b] "r"(b) : "cc");
    else
        __asm__("cmpq %[b], %[a]\n\t" READ_FLAGS : "=&a"(ax) : [a] "r"(a), [b] "r"(b) : "cc");
    flags_from_ax(c, ax);
}

#endif
