/*
 * String instructions and port I/O: MOVS, CMPS, STOS, LODS, SCAS, IN, OUT, INS,
 * OUTS. A repeated instruction commits its registers after every element, so a
 * fault or an exit in the middle leaves it restartable (SDM Vol. 2B REP). Plain
 * forward copies and fills go by whole spans of a page.
 */
#include "emu/bind.h"
#include "emu/debug.h"
#include "emu/event.h"
#include "emu/flags.h"

/* Elements done before looking at pending events again: interrupts are taken
 * between iterations. Of a span, so many bytes count as one. */
#define BATCH      1024
#define SPAN_GRAIN 64

EMU_INLINE int64_t step_of(const struct emu_cpu *c, unsigned size)
{
    return c->rflags & FLAG_DF ? -(int64_t)size : (int64_t)size;
}

/* rSI and rDI as offsets of the address size. */
EMU_INLINE uint64_t index_get(const struct emu_cpu *c, const struct x86_insn *i, unsigned n)
{
    return c->r[n] & mask_bytes(i->asize);
}

EMU_INLINE void index_add(struct emu_cpu *c, const struct x86_insn *i, unsigned n, int64_t delta)
{
    emu_set_reg(c, n, i->asize, c->r[n] + (uint64_t)delta);
}

static bool repeats(const struct x86_insn *i)
{
    return i->flags & (X86_REP | X86_REPNE);
}

/* More to do: come back to this instruction after events had their chance. */
static void again(struct emu_cpu *c, const struct emu_op *op)
{
    c->r[X86_RIP_SLOT] = (c->r[X86_RIP_SLOT] - op->i.len) & c->rip_mask;
    c->end = NULL;
    debug_again(c);
}

/* Somebody looks at each element. */
EMU_INLINE bool stepping(const struct emu_cpu *c)
{
    return (c->rflags & FLAG_TF) || c->debug_step;
}

/* Is it time for that, `batch` elements on? */
EMU_INLINE bool enough(const struct emu_cpu *c, unsigned batch)
{
    return batch >= BATCH || (batch && (stepping(c) || c->hit));
}

/* ---- one element of each ---------------------------------------------------- */

EMU_INLINE void movs_one(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    int64_t step = step_of(c, size);
    uint64_t v = fast_load(c, i->seg, index_get(c, i, RSI), size);

    fast_store(c, SEG_ES, index_get(c, i, RDI), size, v);
    index_add(c, i, RSI, step);
    index_add(c, i, RDI, step);
}

EMU_INLINE void stos_one(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    fast_store(c, SEG_ES, index_get(c, i, RDI), size, c->r[RAX]);
    index_add(c, i, RDI, step_of(c, size));
}

EMU_INLINE void lods_one(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    set_reg(c, i, RAX, size, fast_load(c, i->seg, index_get(c, i, RSI), size));
    index_add(c, i, RSI, step_of(c, size));
}

EMU_INLINE void cmps_one(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    int64_t step = step_of(c, size);
    uint64_t a = fast_load(c, i->seg, index_get(c, i, RSI), size);

    compare_flags(c, size, a, fast_load(c, SEG_ES, index_get(c, i, RDI), size));
    index_add(c, i, RSI, step);
    index_add(c, i, RDI, step);
}

EMU_INLINE void scas_one(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint64_t b = fast_load(c, SEG_ES, index_get(c, i, RDI), size);

    compare_flags(c, size, get_reg(c, i, RAX, size), b);
    index_add(c, i, RDI, step_of(c, size));
}

/* ---- spans ---------------------------------------------------------------------- */

/* Bytes from linear to the end of its page, at most len. */
static uint64_t page_rest(uint64_t linear, uint64_t len)
{
    return MIN(len, PAGE_SIZE - (linear & PAGE_MASK));
}

/*
 * Elements of a forward REP MOVS or STOS that can go at once: within one page
 * of each operand, flat segments, no wrap of the index registers. 0: none.
 */
static uint64_t span_elements(struct emu_cpu *c, const struct x86_insn *i, unsigned size,
                              uint64_t count, bool source)
{
    uint64_t mask = mask_bytes(i->asize), bytes;
    uint64_t to = index_get(c, i, RDI);

    if ((c->rflags & FLAG_DF) || count < 2 || !(c->seg_flat & BIT(SEG_ES)))
        return 0;
    if (count > PAGE_SIZE)
        count = PAGE_SIZE;
    bytes = page_rest(c->seg_base[SEG_ES] + to, count * size);
    bytes = MIN(bytes, mask - to);
    if (source) {
        uint64_t from = index_get(c, i, RSI);

        if (!(c->seg_flat & BIT(i->seg)))
            return 0;
        bytes = page_rest(c->seg_base[i->seg] + from, bytes);
        bytes = MIN(bytes, mask - from);
    }
    return bytes / size;
}

/* Copy or fill a span; 0 when it must go element by element. */
static uint64_t movs_span(struct emu_cpu *c, const struct x86_insn *i, unsigned size,
                          uint64_t count)
{
    uint64_t n = span_elements(c, i, size, count, true), bytes = n * size;
    uint8_t *from, *to;

    if (!n)
        return 0;
    from =
        emu_span(c, i->seg, (c->seg_base[i->seg] + index_get(c, i, RSI)) & c->lin_mask, EMU_READ);
    to = emu_span(c, SEG_ES, (c->seg_base[SEG_ES] + index_get(c, i, RDI)) & c->lin_mask, EMU_WRITE);
    /* An overlapping forward copy repeats its own output: not memmove's meaning. */
    if (!from || !to || (to > from && to < from + bytes))
        return 0;
    host_copy(to, from, bytes);
    index_add(c, i, RSI, (int64_t)bytes);
    index_add(c, i, RDI, (int64_t)bytes);
    return n;
}

static uint64_t stos_span(struct emu_cpu *c, const struct x86_insn *i, unsigned size,
                          uint64_t count)
{
    uint64_t n = span_elements(c, i, size, count, false), v = c->r[RAX];
    uint8_t *to;

    if (!n)
        return 0;
    to = emu_span(c, SEG_ES, (c->seg_base[SEG_ES] + index_get(c, i, RDI)) & c->lin_mask, EMU_WRITE);
    if (!to)
        return 0;
    if (size == 1 || (v & mask_bytes(size)) == 0) {
        host_fill(to, (uint8_t)v, n * size);
    } else {
        for (uint64_t k = 0; k < n; k++)
            host_store(to + k * size, size, v);
    }
    index_add(c, i, RDI, (int64_t)(n * size));
    return n;
}

/* ---- repetition -------------------------------------------------------------------- */

#define NO_SPAN(c, i, size, count) 0

/* One, or as many as rCX says. stop: leave early after an element (REPE/REPNE). */
#define REPEATED(name, one, span, stop)                                                            \
    EMU_INLINE void name(struct emu_cpu *c, const struct emu_op *op, unsigned size)                \
    {                                                                                              \
        const struct x86_insn *i = &op->i;                                                         \
        uint64_t mask = mask_bytes(i->asize), count;                                               \
        if (!repeats(i)) {                                                                         \
            one(c, i, size);                                                                       \
            return;                                                                                \
        }                                                                                          \
        for (unsigned batch = 0; (count = c->r[RCX] & mask) != 0;) {                               \
            uint64_t done;                                                                         \
            if (enough(c, batch)) {                                                                \
                again(c, op);                                                                      \
                return;                                                                            \
            }                                                                                      \
            done = stepping(c) ? 0 : span(c, i, size, count);                                      \
            batch += 1 + (unsigned)(done * size / SPAN_GRAIN);                                     \
            if (!done) {                                                                           \
                one(c, i, size);                                                                   \
                done = 1;                                                                          \
            }                                                                                      \
            emu_set_reg(c, RCX, i->asize, count - done);                                           \
            if (stop)                                                                              \
                return;                                                                            \
        }                                                                                          \
        if (c->r[RCX] & ~mask && i->asize == 4)                                                    \
            c->r[RCX] = 0; /* a 32-bit count of zero clears the upper half */                      \
    }                                                                                              \
    static void name##1(struct emu_cpu * c, const struct emu_op *op)                               \
    {                                                                                              \
        name(c, op, 1);                                                                            \
    }                                                                                              \
    static void name##2(struct emu_cpu * c, const struct emu_op *op)                               \
    {                                                                                              \
        name(c, op, 2);                                                                            \
    }                                                                                              \
    static void name##4(struct emu_cpu * c, const struct emu_op *op)                               \
    {                                                                                              \
        name(c, op, 4);                                                                            \
    }                                                                                              \
    static void name##8(struct emu_cpu * c, const struct emu_op *op)                               \
    {                                                                                              \
        name(c, op, 8);                                                                            \
    }                                                                                              \
    static const emu_fn op_##name[4] = {name##1, name##2, name##4, name##8};

/* F3 goes on while equal, F2 while not equal. */
#define WHILE_ZF (!!(c->rflags & FLAG_ZF) != !!(i->flags & X86_REP))

REPEATED(movs, movs_one, movs_span, false)
REPEATED(stos, stos_one, stos_span, false)
REPEATED(lods, lods_one, NO_SPAN, false)
REPEATED(cmps, cmps_one, NO_SPAN, WHILE_ZF)
REPEATED(scas, scas_one, NO_SPAN, WHILE_ZF)

/* ---- ports ---------------------------------------------------------------------------- */

static void port_exit(struct emu_cpu *c, uint16_t port, unsigned size, bool write, bool string)
{
    c->exit.io.port = port;
    c->exit.io.size = (uint8_t)size;
    c->exit.io.in = !write;
    c->exit.io.string = string;
}

/* One port access by whoever runs the interpreter. */
static uint64_t port_access(struct emu_cpu *c, uint16_t port, unsigned size, bool write,
                            uint64_t value)
{
    value &= mask_bytes(size);
    if (c->bus->io(c->bus->user, port, size, write, &value)) {
        c->exit.fail.why = "a port access was given up by its caller";
        c->exit.fail.detail[0] = port;
        emu_leave(c, VCPU_EXIT_FAIL);
    }
    return value & mask_bytes(size);
}

/* Ports have no 64-bit accesses. */
static unsigned port_size(const struct x86_insn *i)
{
    return i->opcode & 1 ? MIN(i->osize, 4) : 1;
}

static void op_in_out(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint16_t port = i->opcode & 8 ? (uint16_t)c->r[RDX] : (uint8_t)i->imm;
    unsigned size = port_size(i);
    bool write = i->opcode & 2;
    uint64_t v;

    emu_check_io(c, port, size);
    if (!c->bus) {
        port_exit(c, port, size, write, false);
        emu_leave_last(c, VCPU_EXIT_IO);
        return;
    }
    v = port_access(c, port, size, write, c->r[RAX]);
    if (!write)
        set_reg(c, i, RAX, size, v);
}

static uint64_t string_access(struct emu_cpu *c, uint16_t port, unsigned size, bool write,
                              uint64_t value)
{
    if (!c->bus) {
        port_exit(c, port, size, write, true);
        emu_leave(c, VCPU_EXIT_IO);
    }
    return port_access(c, port, size, write, value);
}

static void ins_outs_one(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    uint16_t port = (uint16_t)c->r[RDX];
    int64_t step = step_of(c, size);

    emu_check_io(c, port, size);
    if (i->opcode & 2) {
        uint64_t v = emu_load(c, i->seg, index_get(c, i, RSI), size);

        string_access(c, port, size, true, v);
        index_add(c, i, RSI, step);
    } else {
        emu_probe_write(c, SEG_ES, index_get(c, i, RDI), size); /* the port is read once */
        emu_store(c, SEG_ES, index_get(c, i, RDI), size, string_access(c, port, size, false, 0));
        index_add(c, i, RDI, step);
    }
}

static void op_ins_outs(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    unsigned size = port_size(i);

    if (!repeats(i)) {
        ins_outs_one(c, i, size);
        return;
    }
    emu_check_io(c, (uint16_t)c->r[RDX], size); /* even when the count is zero */
    for (unsigned batch = 0; c->r[RCX] & mask_bytes(i->asize); batch++) {
        if (enough(c, batch)) {
            again(c, op);
            return;
        }
        ins_outs_one(c, i, size);
        emu_set_reg(c, RCX, i->asize, c->r[RCX] - 1);
    }
}

bool bind_string(const struct emu_cpu *c, struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    unsigned s;

    if (i->map != X86_MAP_1B)
        return false;
    s = size_index(pair_size(i));
    switch (i->opcode) {
    case 0x6c ... 0x6f: op->fn = op_ins_outs; return true;
    case 0xa4:
    case 0xa5: op->fn = op_movs[s]; return true;
    case 0xa6:
    case 0xa7: op->fn = op_cmps[s]; return true;
    case 0xaa:
    case 0xab: op->fn = op_stos[s]; return true;
    case 0xac:
    case 0xad: op->fn = op_lods[s]; return true;
    case 0xae:
    case 0xaf: op->fn = op_scas[s]; return true;
    case 0xe4 ... 0xe7:
    case 0xec ... 0xef: op->fn = op_in_out; return true;
    default: return false;
    }
}
