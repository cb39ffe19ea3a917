/*
 * Data movement: MOV, LEA, XCHG, extensions, conditional moves, the compare-and-
 * exchange family, byte swaps, and the stack instructions.
 */
#include "emu/bind.h"
#include "emu/features.h"
#include "emu/flags.h"

/* ---- MOV, LEA ------------------------------------------------------------- */

EMU_INLINE void mov_store(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    fast_store(c, i->seg, emu_ea(c, i), size, get_reg(c, i, i->reg, size));
}

EMU_INLINE void mov_load(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    set_reg(c, i, i->reg, size, fast_load(c, i->seg, emu_ea(c, i), size));
}

EMU_INLINE void mov_to_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    set_reg(c, i, i->rm, size, get_reg(c, i, i->reg, size));
}

EMU_INLINE void mov_from_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    set_reg(c, i, i->reg, size, get_reg(c, i, i->rm, size));
}

EMU_INLINE void mov_imm(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    set_rm(c, i, size, i->imm);
}

/* A0-A3: an absolute offset in the immediate. */
EMU_INLINE void mov_from_offset(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    set_reg(c, i, RAX, size, fast_load(c, i->seg, i->imm, size));
}

EMU_INLINE void mov_to_offset(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    fast_store(c, i->seg, i->imm, size, get_reg(c, i, RAX, size));
}

EMU_INLINE void lea(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    emu_set_reg(c, i->reg, size, emu_ea(c, i));
}

HANDLERS(op_mov_store, mov_store)
HANDLERS(op_mov_load, mov_load)
HANDLERS(op_mov_to_rm, mov_to_rm)
HANDLERS(op_mov_from_rm, mov_from_rm)
HANDLERS(op_mov_imm, mov_imm)
HANDLERS(op_mov_from_offset, mov_from_offset)
HANDLERS(op_mov_to_offset, mov_to_offset)
HANDLERS(op_lea, lea)

/* ---- extensions ------------------------------------------------------------- */

#define EXTEND(name, from, value)                                                                  \
    EMU_INLINE void name(struct emu_cpu *c, const struct x86_insn *i, unsigned size)               \
    {                                                                                              \
        uint64_t v = get_rm(c, i, from);                                                           \
        emu_set_reg(c, i->reg, size, value);                                                       \
    }                                                                                              \
    HANDLERS(op_##name, name)
EXTEND(movzx_8, 1, v)
EXTEND(movzx_16, 2, v)
EXTEND(movsx_8, 1, sign_extend(v, 1))
EXTEND(movsx_16, 2, sign_extend(v, 2))
EXTEND(movsxd, 4, sign_extend(v, 4))

/* MOVSXD with 16-bit operands reads 16 bits (SDM Vol. 2B). */
static void op_movsxd_16(struct emu_cpu *c, const struct emu_op *op)
{
    emu_set_reg(c, op->i.reg, 2, get_rm(c, &op->i, 2));
}

/* 98: CBW, CWDE, CDQE; 99: CWD, CDQ, CQO */
EMU_INLINE void widen_accumulator(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    emu_set_reg(c, RAX, size, sign_extend(c->r[RAX], size / 2));
}

EMU_INLINE void widen_into_rdx(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    bool negative = c->r[RAX] >> (size * 8 - 1) & 1;

    emu_set_reg(c, RDX, size, negative ? UINT64_MAX : 0);
}

#define NO_BYTE_FORM(name, body)                                                                   \
    HANDLER(name, body, 2)                                                                         \
    HANDLER(name, body, 4)                                                                         \
    HANDLER(name, body, 8)                                                                         \
    static const emu_fn name[4] = {NULL, name##2, name##4, name##8};
NO_BYTE_FORM(op_widen_accumulator, widen_accumulator)
NO_BYTE_FORM(op_widen_into_rdx, widen_into_rdx)

/* ---- conditional moves --------------------------------------------------------- */

/* The source is read, and a 32-bit destination zero-extended, whether true or not. */
EMU_INLINE void cmov(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t v = get_rm(c, i, size);

    emu_set_reg(c, i->reg, size, condition(c, i->opcode & 15) ? v : c->r[i->reg]);
}
NO_BYTE_FORM(op_cmov, cmov)

static void op_setcc(struct emu_cpu *c, const struct emu_op *op)
{
    set_rm(c, &op->i, 1, condition(c, op->i.opcode & 15));
}

/* ---- XCHG, XADD, CMPXCHG ----------------------------------------------------------- */

/* Locked with memory, prefix or not. */
EMU_INLINE void xchg(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t value = get_reg(c, i, i->reg, size), old;
    struct emu_rmw m;

    if (!(i->flags & X86_RM_MEM)) {
        old = get_reg(c, i, i->rm, size);
        set_reg(c, i, i->rm, size, value);
        set_reg(c, i, i->reg, size, old);
        return;
    }
    emu_rmw_begin(c, &m, i->seg, emu_ea(c, i), size);
    if (m.host) {
        old = LOCKED(size, m.host, value);
        emu_rmw_end(c, &m, size);
    } else {
        old = emu_load(c, i->seg, emu_ea(c, i), size);
        emu_store(c, i->seg, emu_ea(c, i), size, value);
    }
    set_reg(c, i, i->reg, size, old);
}
HANDLERS(op_xchg, xchg)

/* a + b with its flags, computed by the host. */
EMU_INLINE uint64_t add_flags(struct emu_cpu *c, unsigned size, uint64_t a, uint64_t b)
{
    uint64_t shifted = a << (64 - size * 8), flags;
    uint64_t aux = ((a & 15) + (b & 15)) & 16;

    __asm__("addq %[b], %[a]\n\tpushfq\n\tpopq %[f]"
            : [a] "+r"(shifted), [f] "=r"(flags)
            : [b] "r"(b << (64 - size * 8))
            : "cc");
    shifted >>= 64 - size * 8;
    flags &= FLAG_CF | FLAG_OF | FLAG_SF | FLAG_ZF;
    flags |= (__builtin_parity((uint8_t)shifted) ? 0 : FLAG_PF) | (aux ? FLAG_AF : 0);
    c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | flags;
    return shifted;
}

EMU_INLINE void xadd(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t value = get_reg(c, i, i->reg, size), old;
    struct emu_rmw m;

    if (!(i->flags & X86_RM_MEM)) {
        uint64_t sum;

        old = get_reg(c, i, i->rm, size);
        sum = add_flags(c, size, old, value);
        set_reg(c, i, i->reg, size, old);
        set_reg(c, i, i->rm, size, sum);
        return;
    }
    emu_rmw_begin(c, &m, i->seg, emu_ea(c, i), size);
    if (m.host) {
        old = LOCKED(size, m.host, cur + value);
        emu_rmw_end(c, &m, size);
    } else {
        old = emu_load(c, i->seg, emu_ea(c, i), size);
        emu_store(c, i->seg, emu_ea(c, i), size, old + value);
    }
    add_flags(c, size, old, value);
    set_reg(c, i, i->reg, size, old);
}
HANDLERS(op_xadd, xadd)

/*
 * Of 32-bit registers, which of the two has its upper half cleared in which case differs between
 * makers: the host knows. Returns the old value.
 */
static uint64_t cmpxchg_regs32(struct emu_cpu *c, const struct x86_insn *i, uint64_t value)
{
    uint64_t acc = c->r[RAX], dest = c->r[i->rm], old = (uint32_t)dest;

    __asm__("cmpxchgl %k[value], %k[dest]"
            : "+a"(acc), [dest] "+r"(dest)
            : [value] "r"(value)
            : "cc");
    c->r[RAX] = acc;
    c->r[i->rm] = dest;
    return old;
}

/* Memory is written in either case (SDM Vol. 2A CMPXCHG), the accumulator when it is loaded. */
EMU_INLINE void cmpxchg(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t expected = get_reg(c, i, RAX, size), value = get_reg(c, i, i->reg, size), old;
    struct emu_rmw m;

    if (!(i->flags & X86_RM_MEM) && size == 4) {
        compare_flags(c, size, expected, cmpxchg_regs32(c, i, value));
        return;
    }
    if (!(i->flags & X86_RM_MEM)) {
        old = get_reg(c, i, i->rm, size);
        set_reg(c, i, i->rm, size, old == expected ? value : old);
    } else {
        emu_rmw_begin(c, &m, i->seg, emu_ea(c, i), size);
        if (m.host) {
            old = LOCKED(size, m.host, cur == expected ? value : cur);
            emu_rmw_end(c, &m, size);
        } else {
            old = emu_load(c, i->seg, emu_ea(c, i), size);
            emu_store(c, i->seg, emu_ea(c, i), size, old == expected ? value : old);
        }
    }
    compare_flags(c, size, expected, old);
    if (old != expected)
        set_reg(c, i, RAX, size, old);
}
HANDLERS(op_cmpxchg, cmpxchg)

static void set_zf(struct emu_cpu *c, bool on)
{
    c->rflags = (c->rflags & ~(uint64_t)FLAG_ZF) | (on ? FLAG_ZF : 0);
}

static void op_cmpxchg8b(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t expected = (uint64_t)(uint32_t)c->r[RDX] << 32 | (uint32_t)c->r[RAX];
    uint64_t value = (uint64_t)(uint32_t)c->r[RCX] << 32 | (uint32_t)c->r[RBX], old;
    struct emu_rmw m;

    emu_rmw_begin(c, &m, i->seg, emu_ea(c, i), 8);
    if (m.host) {
        old = LOCKED(8, m.host, cur == expected ? value : cur);
        emu_rmw_end(c, &m, 8);
    } else {
        old = emu_load(c, i->seg, emu_ea(c, i), 8);
        emu_store(c, i->seg, emu_ea(c, i), 8, old == expected ? value : old);
    }
    set_zf(c, old == expected);
    if (old != expected) {
        c->r[RAX] = (uint32_t)old;
        c->r[RDX] = old >> 32;
    }
}

/* One host CMPXCHG16B; #GP(0) unless aligned (SDM Vol. 2A). */
static void op_cmpxchg16b(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t off = emu_ea(c, i), lo = c->r[RAX], hi = c->r[RDX];
    struct emu_rmw m;
    bool same;

    if ((c->seg_base[i->seg] + off) & 15)
        emu_gp(c, 0);
    emu_rmw_begin(c, &m, i->seg, off, 16);
    if (m.host) {
        __asm__ volatile("lock cmpxchg16b %[m]"
                         : [m] "+m"(*(unsigned __int128 *)m.host), "+a"(lo), "+d"(hi), "=@ccz"(same)
                         : "b"(c->r[RBX]), "c"(c->r[RCX])
                         : "memory");
        emu_rmw_end(c, &m, 16);
    } else {
        uint64_t old[2], both[2] = {c->r[RBX], c->r[RCX]};

        emu_load_bytes(c, i->seg, off, old, 16);
        same = old[0] == lo && old[1] == hi;
        emu_store_bytes(c, i->seg, off, same ? both : old, 16);
        lo = old[0];
        hi = old[1];
    }
    set_zf(c, same);
    if (!same) {
        c->r[RAX] = lo;
        c->r[RDX] = hi;
    }
}

/* ---- byte order, table ------------------------------------------------------------- */

EMU_INLINE uint64_t swap_bytes(uint64_t v, unsigned size)
{
    return __builtin_bswap64(v) >> (64 - size * 8);
}

/* BSWAP of a 16-bit register is undefined; processors clear it. */
EMU_INLINE void bswap(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    emu_set_reg(c, i->rm, size, size == 2 ? 0 : swap_bytes(c->r[i->rm], size));
}

EMU_INLINE void movbe_load(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    emu_set_reg(c, i->reg, size, swap_bytes(get_rm(c, i, size), size));
}

EMU_INLINE void movbe_store(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    set_rm(c, i, size, swap_bytes(c->r[i->reg], size));
}
NO_BYTE_FORM(op_bswap, bswap)
NO_BYTE_FORM(op_movbe_load, movbe_load)
NO_BYTE_FORM(op_movbe_store, movbe_store)

/* XLAT: AL := [DS:rBX + AL] */
static void op_xlat(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t off = (c->r[RBX] + (uint8_t)c->r[RAX]) & mask_bytes(op->i.asize);

    *(uint8_t *)&c->r[RAX] = (uint8_t)fast_load(c, op->i.seg, off, 1);
}

/* ---- stack ---------------------------------------------------------------------------- */

EMU_INLINE void push(struct emu_cpu *c, unsigned size, uint64_t value)
{
    uint64_t sp = emu_stack_at(c, -(int64_t)size);

    fast_store(c, SEG_SS, sp, size, value);
    emu_set_sp(c, sp);
}

EMU_INLINE uint64_t pop(struct emu_cpu *c, unsigned size)
{
    return fast_load(c, SEG_SS, emu_stack_at(c, 0), size);
}

EMU_INLINE void push_reg(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    push(c, size, c->r[i->rm]);
}

EMU_INLINE void pop_reg(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t v = pop(c, size);

    emu_set_sp(c, c->r[RSP] + size); /* before, so that POP RSP wins */
    emu_set_reg(c, i->rm, size, v);
}

EMU_INLINE void push_imm(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    push(c, size, i->imm);
}

EMU_INLINE void push_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    push(c, size, get_rm(c, i, size));
}

/* 8F /0: an address that uses RSP sees it after the pop (SDM Vol. 2B POP). */
EMU_INLINE void pop_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t v = pop(c, size), before = c->r[RSP];

    emu_set_sp(c, before + size);
    if (i->flags & X86_RM_MEM) {
        uint64_t off = emu_ea(c, i), after = c->r[RSP];

        c->r[RSP] = before; /* until the store cannot fault any more */
        fast_store(c, i->seg, off, size, v);
        c->r[RSP] = after;
    } else {
        emu_set_reg(c, i->rm, size, v);
    }
}

NO_BYTE_FORM(op_push_reg, push_reg)
NO_BYTE_FORM(op_pop_reg, pop_reg)
NO_BYTE_FORM(op_push_imm, push_imm)
NO_BYTE_FORM(op_push_rm, push_rm)
NO_BYTE_FORM(op_pop_rm, pop_rm)

static void op_pusha(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = op->i.osize;

    for (unsigned n = RAX; n <= RDI; n++)
        emu_store(c, SEG_SS, emu_stack_at(c, -(int64_t)(size * (n + 1))), size, c->r[n]);
    emu_set_sp(c, c->r[RSP] - size * 8);
}

static void op_popa(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = op->i.osize;
    uint64_t v[8];

    for (unsigned n = RAX; n <= RDI; n++)
        v[n] = emu_load(c, SEG_SS, emu_stack_at(c, (int64_t)(size * (7 - n))), size);
    emu_set_sp(c, c->r[RSP] + size * 8);
    for (unsigned n = RAX; n <= RDI; n++) {
        if (n != RSP)
            emu_set_reg(c, n, size, v[n]);
    }
}

/* ENTER size, level (SDM Vol. 2A): frame pointers of the outer levels are copied. */
static void op_enter(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = op->i.osize, level = op->i.imm2 & 31;
    uint64_t frame = emu_stack_at(c, -(int64_t)size);
    int64_t depth = size;

    emu_store(c, SEG_SS, frame, size, c->r[RBP]);
    for (unsigned n = 1; n < level; n++) {
        uint64_t outer = (c->r[RBP] - n * size) & c->sp_mask;

        depth += size;
        emu_store(c, SEG_SS, emu_stack_at(c, -depth), size, emu_load(c, SEG_SS, outer, size));
    }
    if (level) {
        depth += size;
        emu_store(c, SEG_SS, emu_stack_at(c, -depth), size, frame);
    }
    depth += (int64_t)(uint16_t)op->i.imm;
    emu_probe_write(c, SEG_SS, emu_stack_at(c, -depth), size);
    emu_set_reg(c, RBP, size, size == 2 ? frame : (frame & c->sp_mask));
    emu_set_sp(c, c->r[RSP] - (uint64_t)depth);
}

static void op_leave(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = op->i.osize;
    uint64_t sp = c->r[RBP] & c->sp_mask;
    uint64_t v = fast_load(c, SEG_SS, sp, size);

    emu_set_sp(c, sp + size);
    emu_set_reg(c, RBP, size, v);
}

/* ---- binding ----------------------------------------------------------------------------- */

static void op_nop(struct emu_cpu *c, const struct emu_op *op)
{
}

static void op_pause(struct emu_cpu *c, const struct emu_op *op)
{
    c->ops->paused(c->user);
}

static emu_fn bind_one_byte(const struct emu_cpu *c, struct x86_insn *i)
{
    unsigned s = size_index(i->osize), p = size_index(pair_size(i));
    bool mem = i->flags & X86_RM_MEM;

    switch (i->opcode) {
    case 0x50 ... 0x57: return op_push_reg[s];
    case 0x58 ... 0x5f: return op_pop_reg[s];
    case 0x60: return op_pusha;
    case 0x61: return op_popa;
    case 0x63:
        if (c->mode != X86_MODE64)
            return NULL; /* ARPL */
        return i->osize == 2 ? op_movsxd_16 : op_movsxd[s];
    case 0x68:
    case 0x6a: return op_push_imm[s];
    case 0x86:
    case 0x87: return op_xchg[p];
    case 0x88:
    case 0x89: return mem ? op_mov_store[p] : op_mov_to_rm[p];
    case 0x8a:
    case 0x8b: return mem ? op_mov_load[p] : op_mov_from_rm[p];
    case 0x8d: return mem ? op_lea[s] : NULL;
    case 0x8f: return i->modrm & 0x38 ? NULL : op_pop_rm[s];
    case 0x90 ... 0x97:
        if (!i->rm)
            return i->flags & X86_REP && c->tells_pause ? op_pause : op_nop; /* 41 90 is XCHG R8 */
        i->reg = RAX;
        return op_xchg[s];
    case 0x98: return op_widen_accumulator[s];
    case 0x99: return op_widen_into_rdx[s];
    case 0xa0:
    case 0xa1: return op_mov_from_offset[p];
    case 0xa2:
    case 0xa3: return op_mov_to_offset[p];
    case 0xb0 ... 0xb7: return op_mov_imm[0];
    case 0xb8 ... 0xbf: return op_mov_imm[s];
    case 0xc6:
    case 0xc7: return i->modrm & 0x38 ? NULL : op_mov_imm[p];
    case 0xc8: return op_enter;
    case 0xc9: return op_leave;
    case 0xd7: return op_xlat;
    case 0xff: return (i->modrm >> 3 & 7) == 6 ? op_push_rm[s] : NULL;
    default: return NULL;
    }
}

static emu_fn bind_0f(const struct emu_cpu *c, struct x86_insn *i)
{
    unsigned s = size_index(i->osize), p = size_index(pair_size(i));

    switch (i->opcode) {
    case 0x40 ... 0x4f: return op_cmov[s];
    case 0x90 ... 0x9f: return op_setcc;
    case 0xb0:
    case 0xb1: return op_cmpxchg[p];
    case 0xb6: return op_movzx_8[s];
    case 0xb7: return op_movzx_16[s];
    case 0xbe: return op_movsx_8[s];
    case 0xbf: return op_movsx_16[s];
    case 0xc0:
    case 0xc1: return op_xadd[p];
    case 0xc7:
        if ((i->modrm >> 3 & 7) != 1 || !(i->flags & X86_RM_MEM))
            return NULL;
        if (!(i->flags & X86_W))
            return op_cmpxchg8b;
        return c->features & EMU_F(CX16) ? op_cmpxchg16b : NULL;
    case 0xc8 ... 0xcf: return op_bswap[s];
    default: return NULL;
    }
}

bool bind_move(const struct emu_cpu *c, struct emu_op *op)
{
    struct x86_insn *i = &op->i;

    op->fn = NULL;
    if (i->flags & X86_VEX)
        return false;
    if (i->map == X86_MAP_1B)
        op->fn = bind_one_byte(c, i);
    else if (i->map == X86_MAP_0F)
        op->fn = bind_0f(c, i);
    else if (i->map == X86_MAP_0F38 && (i->flags & X86_RM_MEM) && i->pp < 2 &&
             (c->features & EMU_F(MOVBE)))
        op->fn = i->opcode == 0xf0   ? op_movbe_load[size_index(i->osize)]
                 : i->opcode == 0xf1 ? op_movbe_store[size_index(i->osize)]
                                     : NULL;
    return op->fn != NULL;
}
