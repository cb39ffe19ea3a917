#include "emu/vector.h"

#include "emu/bind.h"
#include "emu/fpu.h"
#include "emu/vector_thunk.h"

#include <immintrin.h>

void vec_refuse(struct emu_cpu *c, bool vex)
{
    bool enabled =
        vex ? c->cr4 & CR4_OSXSAVE && (c->fpu.xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX)
            : !(c->cr0 & CR0_EM) && c->cr4 & CR4_OSFXSR;

    if (enabled)
        emu_raise(c, EXC_NM);
    emu_ud(c);
}

static inline void check(struct emu_cpu *c, bool vex)
{
    if (vex)
        vec_check_avx(c);
    else
        vec_check_sse(c);
}

static inline void check_align(struct emu_cpu *c, const struct x86_insn *i, uint64_t ea,
                               unsigned mask)
{
    if (unlikely((c->seg_base[i->seg] + ea) & mask))
        emu_gp(c, 0);
}

static void no_thunk(struct emu_cpu *c, const struct emu_op *op)
{
    c->exit.fail.why = "the host gives no executable memory for a vector instruction";
    c->exit.fail.detail[0] = op->i.map;
    c->exit.fail.detail[1] = op->i.opcode;
    memcpy(c->exit.fail.insn, c->bytes, op->i.len);
    c->exit.fail.insn_len = op->i.len;
    emu_leave(c, VCPU_EXIT_FAIL);
}

/* ---- vector registers only: no flags, no MXCSR ----------------------------- */

static inline void reg_only(struct emu_cpu *c, const struct emu_op *op, bool vex)
{
    const struct vec_thunk *t = op->aux;
    const struct x86_insn *i = &op->i;

    check(c, vex);
    t->code(NULL, c->fpu.ymm[i->reg], c->fpu.ymm[i->vvvv], c->fpu.ymm[i->rm], c->fpu.ymm[0], NULL);
}

static void sse_reg(struct emu_cpu *c, const struct emu_op *op)
{
    reg_only(c, op, false);
}

static void avx_reg(struct emu_cpu *c, const struct emu_op *op)
{
    reg_only(c, op, true);
}

/* Vector register from memory and vector registers. */
static inline void reg_mem(struct emu_cpu *c, const struct emu_op *op, bool vex)
{
    const struct vec_thunk *t = op->aux;
    const struct x86_insn *i = &op->i;
    uint64_t ea = emu_ea(c, i);
    uint8_t buf[32] __attribute__((aligned(32)));

    check(c, vex);
    check_align(c, i, ea, t->align);
    emu_load_bytes(c, i->seg, ea, buf, t->size);
    t->code(buf, c->fpu.ymm[i->reg], c->fpu.ymm[i->vvvv], NULL, c->fpu.ymm[0], NULL);
}

static void sse_mem(struct emu_cpu *c, const struct emu_op *op)
{
    reg_mem(c, op, false);
}

static void avx_mem(struct emu_cpu *c, const struct emu_op *op)
{
    reg_mem(c, op, true);
}

/* ---- plain moves, without a thunk ------------------------------------- */

/* dst = the low n bytes of src (16 or 32), VEX clears the rest of the register. */
static inline void set_vector(uint8_t *dst, const void *src, unsigned n, bool vex)
{
    memmove(dst, src, n);
    if (vex && n == 16)
        memset(dst + 16, 0, 16);
}

#define MOVE_HANDLERS(name, bytes, vex)                                                            \
    static void name##_reg(struct emu_cpu *c, const struct emu_op *op)                             \
    {                                                                                              \
        check(c, vex);                                                                             \
        set_vector(c->fpu.ymm[op->i.reg], c->fpu.ymm[op->i.rm], bytes, vex);                       \
    }                                                                                              \
    static void name##_to_rm(struct emu_cpu *c, const struct emu_op *op)                           \
    {                                                                                              \
        check(c, vex);                                                                             \
        set_vector(c->fpu.ymm[op->i.rm], c->fpu.ymm[op->i.reg], bytes, vex);                       \
    }                                                                                              \
    static void name##_load(struct emu_cpu *c, const struct emu_op *op)                            \
    {                                                                                              \
        const struct vec_thunk *t = op->aux;                                                       \
        uint64_t ea = emu_ea(c, &op->i);                                                           \
        uint8_t buf[bytes] __attribute__((aligned(bytes)));                                        \
                                                                                                   \
        check(c, vex);                                                                             \
        check_align(c, &op->i, ea, t->align);                                                      \
        emu_load_bytes(c, op->i.seg, ea, buf, bytes);                                              \
        set_vector(c->fpu.ymm[op->i.reg], buf, bytes, vex);                                        \
    }                                                                                              \
    static void name##_store(struct emu_cpu *c, const struct emu_op *op)                           \
    {                                                                                              \
        const struct vec_thunk *t = op->aux;                                                       \
        uint64_t ea = emu_ea(c, &op->i);                                                           \
                                                                                                   \
        check(c, vex);                                                                             \
        check_align(c, &op->i, ea, t->align);                                                      \
        emu_store_bytes(c, op->i.seg, ea, c->fpu.ymm[op->i.reg], bytes);                           \
    }
MOVE_HANDLERS(sse_move, 16, false)
MOVE_HANDLERS(avx_move, 16, true)
MOVE_HANDLERS(avx_move256, 32, true)

/* MOVSS, MOVSD, MOVQ, MOVD from memory: zero-extends. */
static void low_load(struct emu_cpu *c, const struct emu_op *op)
{
    const struct vec_thunk *t = op->aux;
    uint8_t *dst = c->fpu.ymm[op->i.reg];
    uint64_t v;

    check(c, t->vex);
    v = emu_load(c, op->i.seg, emu_ea(c, &op->i), t->size);
    le64_put(dst, v);
    memset(dst + 8, 0, t->vex ? 24 : 8);
}

/* ... to memory. */
static void low_store(struct emu_cpu *c, const struct emu_op *op)
{
    const struct vec_thunk *t = op->aux;
    uint64_t v = le64_get(c->fpu.ymm[op->i.reg]) & mask_bytes(t->size);

    check(c, t->vex);
    emu_store(c, op->i.seg, emu_ea(c, &op->i), t->size, v);
}

/* ---- everything else -------------------------------------------------- */

/* Where a thunk finds its operands. */
struct images {
    void *mem, *reg, *h, *rm, *x4;
    struct vec_gprs g;
};

static void call(const struct vec_thunk *t, struct images *p)
{
    t->code(p->mem, p->reg, p->h, p->rm, p->x4, &p->g);
}

/* Run under `mxcsr` with the flags clear; returns the flags it set. */
static uint32_t probe_flags(const struct vec_thunk *t, struct images *p, uint32_t mxcsr)
{
    uint32_t host = _mm_getcsr(), now;

    _mm_setcsr((mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS);
    call(t, p);
    now = _mm_getcsr();
    _mm_setcsr(host);
    return now & MXCSR_FLAGS;
}

/*
 * The guest has exceptions unmasked. The host runs with all masked, into a copy
 * of the destination; what would have trapped shows in the flags. Except an
 * unmasked underflow, which a tiny result raises even when it is exact: that
 * one is seen by flushing to zero, which flags every tiny result
 * (SDM Vol. 1 11.5.2.5, 10.2.3.3).
 */
static uint32_t run_unmasked(struct emu_cpu *c, const struct vec_thunk *t, struct images *p)
{
    enum { PRE = 7, UE = 16 }; /* invalid, denormal, zero divide */
    uint8_t copy[32] __attribute__((aligned(32)));
    void **dest = t->reg_to == VEC_TO_REG ? &p->reg : t->reg_to == VEC_TO_RM ? &p->rm : NULL;
    void *real = dest ? *dest : NULL;
    unsigned len = !real ? 0 : vec_operands[t->row->form].reg == VEC_M ? 8 : t->vex ? 32 : 16;
    uint32_t guest = c->fpu.mxcsr, traps = ~(guest >> 7) & MXCSR_FLAGS, flags, tiny = 0;

    if (len)
        *dest = copy;
    if (traps & UE) {
        memcpy(copy, real ? real : copy, len);
        tiny = probe_flags(t, p, guest | MXCSR_FTZ) & UE;
        guest &= ~MXCSR_FTZ; /* without effect while underflow traps */
    }
    memcpy(copy, real ? real : copy, len);
    flags = probe_flags(t, p, guest) | tiny;
    if (flags & traps) {
        if (flags & traps & PRE)
            flags &= PRE;
        c->fpu.mxcsr |= flags;
        emu_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
    }
    if (len)
        memcpy(real, copy, len);
    return c->fpu.mxcsr | flags;
}

/* Returns MXCSR's new value. Host and guest usually agree on MXCSR, which saves loading it; the
 * host's sticky flags mean nothing to this program. */
static uint32_t run_fp(struct emu_cpu *c, const struct vec_thunk *t, struct images *p)
{
    uint32_t guest = c->fpu.mxcsr, host = _mm_getcsr(), now;

    if (likely(guest == host)) {
        call(t, p);
        return _mm_getcsr();
    }
    if ((guest & MXCSR_MASKS) != MXCSR_MASKS)
        return run_unmasked(c, t, p);
    _mm_setcsr(guest);
    call(t, p);
    now = _mm_getcsr();
    _mm_setcsr((host & ~MXCSR_FLAGS) | (now & MXCSR_FLAGS));
    return now;
}

/* Does the instruction, in this form, put the x87 registers into MMX use? Not CVTPI2PS from
 * memory, where CPUs differ. */
static bool uses_mmx(const struct vec_row *row, bool mem)
{
    const struct vec_operands *o = &vec_operands[row->form];

    return o->reg == VEC_M || (o->rm == VEC_M && (!mem || o->dest == VEC_TO_RM));
}

static bool uses_xmm(const struct vec_row *row)
{
    const struct vec_operands *o = &vec_operands[row->form];

    return o->reg == VEC_X || o->rm == VEC_X;
}

static void check_any(struct emu_cpu *c, const struct vec_thunk *t, bool mmx)
{
    if (!mmx || uses_xmm(t->row))
        check(c, t->vex);
    if (mmx)
        x87_check(c, EXC_UD);
}

static void *image(struct emu_cpu *c, unsigned kind, unsigned n)
{
    return kind == VEC_X ? c->fpu.ymm[n & 15] : kind == VEC_M ? mmx_reg(&c->fpu, n) : NULL;
}

/* Write what the thunk left in general registers and flags. */
static void commit(struct emu_cpu *c, const struct x86_insn *i, const struct vec_thunk *t,
                   const struct vec_gprs *g)
{
    const struct vec_operands *o = &vec_operands[t->row->form];

    if (t->reg_to == VEC_TO_REG && o->reg == VEC_G)
        c->r[i->reg] = g->rax;
    if (t->reg_to == VEC_TO_REG && o->reg == VEC_M)
        mmx_written(&c->fpu, i->reg);
    if (t->reg_to == VEC_TO_RM && !t->size && o->rm == VEC_G)
        c->r[i->rm] = g->rcx;
    if (t->reg_to == VEC_TO_RM && !t->size && o->rm == VEC_M)
        mmx_written(&c->fpu, i->rm);
    if (t->row->flags & VEC_ECX)
        c->r[RCX] = (uint32_t)g->rcx;
    if (t->row->flags & VEC_EFL)
        c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | (g->flags & FLAG_STATUS);
}

static void general(struct emu_cpu *c, const struct emu_op *op)
{
    const struct vec_thunk *t = op->aux;
    const struct x86_insn *i = &op->i;
    const struct vec_operands *o = &vec_operands[t->row->form];
    bool mem = i->flags & X86_RM_MEM, mmx = uses_mmx(t->row, mem);
    bool str = t->row->flags & (VEC_EAX_EDX | VEC_ECX);
    uint64_t ea = mem ? emu_ea(c, i) : 0;
    uint8_t buf[32] __attribute__((aligned(32)));
    struct images p = {.mem = buf};
    uint32_t mxcsr = c->fpu.mxcsr;

    check_any(c, t, mmx);
    if (mem) {
        check_align(c, i, ea, t->align);
        if (t->reg_to != VEC_TO_RM)
            emu_load_bytes(c, i->seg, ea, buf, t->size);
        else if (mmx)
            emu_probe_write(c, i->seg, ea, t->size);
    }
    if (mmx)
        mmx_begin(&c->fpu);
    p.reg = image(c, o->reg, i->reg);
    p.h = c->fpu.ymm[i->vvvv];
    p.rm = mem ? NULL : image(c, o->rm, i->rm);
    p.x4 = c->fpu.ymm[t->row->flags & VEC_IS4 ? i->imm >> 4 & (c->code64 ? 15 : 7) : 0];
    p.g.rax = str ? c->r[RAX] : o->reg == VEC_G ? c->r[i->reg] : 0;
    p.g.rcx = str ? c->r[RCX] : o->rm == VEC_G && !mem ? c->r[i->rm] : 0;
    p.g.rdx = c->r[RDX];
    if (t->row->flags & VEC_FP)
        mxcsr = run_fp(c, t, &p);
    else
        call(t, &p);
    if (mem && t->reg_to == VEC_TO_RM)
        emu_store_bytes(c, i->seg, ea, buf, t->size);
    c->fpu.mxcsr = mxcsr;
    commit(c, i, t, &p.g);
}

/* Floating-point arithmetic on vector registers, the same with less to look at. */
static inline void fp_vectors(struct emu_cpu *c, const struct emu_op *op, bool mem)
{
    const struct vec_thunk *t = op->aux;
    const struct x86_insn *i = &op->i;
    uint8_t buf[32] __attribute__((aligned(32)));
    struct images p = {.mem = buf, .reg = c->fpu.ymm[i->reg], .h = c->fpu.ymm[i->vvvv]};

    check(c, t->vex);
    if (mem) {
        uint64_t ea = emu_ea(c, i);

        check_align(c, i, ea, t->align);
        emu_load_bytes(c, i->seg, ea, buf, t->size);
    } else {
        p.rm = c->fpu.ymm[i->rm];
    }
    c->fpu.mxcsr = run_fp(c, t, &p);
}

static void fp_reg(struct emu_cpu *c, const struct emu_op *op)
{
    fp_vectors(c, op, false);
}

static void fp_mem(struct emu_cpu *c, const struct emu_op *op)
{
    fp_vectors(c, op, true);
}

/* ---- binding ---------------------------------------------------------- */

static emu_fn pick_move(const struct vec_row *row, const struct x86_insn *i)
{
    bool vex = i->flags & X86_VEX, mem = i->flags & X86_RM_MEM;
    bool to_rm = vec_operands[row->form].dest == VEC_TO_RM;
#define PICK(name) (mem ? to_rm ? name##_store : name##_load : to_rm ? name##_to_rm : name##_reg)

    if (row->size < 16)
        return !mem ? NULL : to_rm ? low_store : low_load;
    if (!vex)
        return PICK(sse_move);
    return i->flags & X86_L ? PICK(avx_move256) : PICK(avx_move);
#undef PICK
}

static emu_fn pick(const struct vec_row *row, const struct x86_insn *i)
{
    const struct vec_operands *o = &vec_operands[row->form];
    bool vex = i->flags & X86_VEX, mem = i->flags & X86_RM_MEM;
    bool simple = (o->reg == VEC_X || o->reg == VEC_NONE) && o->rm == VEC_X &&
                  !(row->flags & (VEC_EFL | VEC_IS4 | VEC_ECX | VEC_EAX_EDX));
    emu_fn fn = row->flags & VEC_MOVE ? pick_move(row, i) : NULL;

    if (fn)
        return fn;
    if (!simple || (mem && o->dest == VEC_TO_RM))
        return general;
    if (row->flags & VEC_FP)
        return o->dest != VEC_TO_REG ? general : mem ? fp_mem : fp_reg;
    return vex ? mem ? avx_mem : avx_reg : mem ? sse_mem : sse_reg;
}

bool bind_vector(const struct emu_cpu *c, struct emu_op *op)
{
    const struct vec_row *row;

    if (op->i.flags & X86_LOCK || (op->i.flags & X86_VEX && !vec_vex_allowed(c)))
        return false;
    if (bind_vector_special(c, op))
        return true;
    row = vec_find(&op->i);
    if (!row || !vec_offered(row, &op->i, c->features))
        return false;
    op->aux = vec_thunk_get(row, &op->i, c->code64);
    op->fn = op->aux ? pick(row, &op->i) : no_thunk;
    return true;
}
