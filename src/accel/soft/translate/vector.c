/*
 * Vector and floating-point instructions, SSE to AVX2: the same instruction on
 * the host, by the interpreter's table (emu/vector_table.h). Vector registers
 * and MXCSR are the host's. Whether CR0, CR4 and XCR0 allow them is in the block's
 * key. MMX, gathers and masked moves stay with the interpreter.
 */
#include "accel/soft/translate/tr.h"
#include "emu/fpu.h"
#include "emu/vector_thunk.h"

/* The thunk that op was bound to; NULL: it is not one of the table's instructions. */
static const struct vec_thunk *thunk_of(const struct emu_op *op)
{
    return !(op->i.flags & X86_LOCK) && vec_find(&op->i) ? op->aux : NULL;
}

static bool is_0f(const struct x86_insn *i, unsigned opcode)
{
    return i->map == X86_MAP_0F && i->opcode == opcode;
}

/* LDMXCSR, STMXCSR */
static bool is_mxcsr(const struct x86_insn *i)
{
    unsigned ext = i->modrm >> 3 & 7;

    return is_0f(i, 0xae) && i->flags & X86_RM_MEM && i->pp == 0 && (ext == 2 || ext == 3);
}

/* LFENCE, MFENCE, SFENCE */
static bool is_fence(const struct x86_insn *i)
{
    return is_0f(i, 0xae) && !(i->flags & (X86_RM_MEM | X86_VEX)) && i->pp == 0 &&
           (i->modrm >> 3 & 7) >= 5;
}

static bool is_vzero(const struct x86_insn *i)
{
    return is_0f(i, 0x77) && i->flags & X86_VEX;
}

static bool is_movnti(const struct x86_insn *i)
{
    return is_0f(i, 0xc3) && i->pp == 0 && !(i->flags & X86_VEX);
}

static bool is_crc32(const struct x86_insn *i)
{
    return i->map == X86_MAP_0F38 && (i->opcode & 0xfe) == 0xf0 && i->pp == 3 &&
           !(i->flags & X86_VEX);
}

bool tr_vector_effects(const struct emu_op *op, struct tr_effects *e)
{
    const struct x86_insn *i = &op->i;
    const struct vec_row *row = i->flags & X86_LOCK ? NULL : vec_find(i);

    *e = (struct tr_effects){0, 0};
    if (row && row->flags & VEC_EFL)
        e->kills = (uint16_t)FLAG_STATUS;
    return row || is_mxcsr(i) || is_fence(i) || is_vzero(i) || is_movnti(i) || is_crc32(i);
}

/* General registers only. */
bool tr_vector_writes(const struct emu_op *op, uint32_t *writes)
{
    const struct x86_insn *i = &op->i;
    const struct vec_row *row = i->flags & X86_LOCK ? NULL : vec_find(i);
    const struct vec_operands *o = row ? &vec_operands[row->form] : NULL;

    *writes = is_crc32(i) ? REG(i->reg) : 0;
    if (!row)
        return is_mxcsr(i) || is_fence(i) || is_vzero(i) || is_movnti(i) || is_crc32(i);
    if (o->reg == VEC_G && o->dest == VEC_TO_REG)
        *writes |= REG(i->reg);
    if (o->rm == VEC_G && o->dest == VEC_TO_RM && !(i->flags & X86_RM_MEM))
        *writes |= REG(i->rm);
    if (row->flags & VEC_ECX)
        *writes |= REG(RCX);
    return true;
}

/* ---- the table's ------------------------------------------------------------------ */

/* Prefixes, opcode, immediate and what VEX says, as in the guest's instruction. */
static struct host_insn like(const struct x86_insn *i, const struct vec_row *row)
{
    bool vex = i->flags & X86_VEX, mem = i->flags & X86_RM_MEM;

    return (struct host_insn){
        .vex = vex,
        .l = i->flags & X86_L && !(row->flags & VEC_LIG),
        .w = i->flags & X86_W && (vex || row->flags & VEC_WG),
        .pp = i->pp,
        .opsize = !vex && i->pp == 1,
        .rep = vex          ? 0
               : i->pp == 2 ? 0xf3
               : i->pp == 3 ? 0xf2
                            : 0,
        .map = i->map,
        .opcode = i->opcode,
        .vvvv = vex && vec_has_h(row, mem) ? i->vvvv : 0,
        .imm = i->imm,
        .imm_size = i->imm_size,
    };
}

static bool table_insn(struct tr *tr, const struct vec_thunk *t)
{
    const struct x86_insn *i = &tr->op->i;
    const struct vec_row *row = t->row;
    const struct vec_operands *o = &vec_operands[row->form];
    struct host_insn h = like(i, row);

    if (o->reg == VEC_M || o->rm == VEC_M)
        return false;
    if (t->size) {
        h.mem = tr_address(tr, t->reg_to == VEC_TO_RM ? EMU_WRITE : EMU_READ, t->size, t->align);
        h.is_mem = true;
    } else if (o->rm == VEC_G) {
        h.rm = o->dest == VEC_TO_RM ? tr_to(i->rm, S0) : tr_get(tr, i->rm, S0);
    } else {
        h.rm = i->rm;
    }
    h.reg = row->ext != VEC_ANY ? row->ext : o->reg == VEC_G ? tr_to(i->reg, S1) : i->reg;
    asm_insn(&tr->a, &h);
    if (o->reg == VEC_G)
        tr_put(tr, i->reg, h.reg);
    if (o->rm == VEC_G && o->dest == VEC_TO_RM && !t->size)
        tr_put(tr, i->rm, h.rm);
    return true;
}

/* ---- MXCSR --------------------------------------------------------------------------- */

/* LDMXCSR is 2, STMXCSR 3. */
static void mxcsr(struct tr *tr, unsigned op, struct host_mem mem)
{
    asm_insn(
        &tr->a,
        &(struct host_insn){
            .map = X86_MAP_0F, .opcode = 0xae, .reg = (uint8_t)op, .is_mem = true, .mem = mem});
}

/* A value that unmasks exceptions, or is not valid, is the interpreter's. It goes by a copy, as
 * another vCPU may change the guest's memory behind the check. */
static void ldmxcsr(struct tr *tr)
{
    tr_flags_save(tr);
    tr_linear(tr);
    tr_check(tr, EMU_READ, 4, 0);
    asm_load32(&tr->a, S1, mem_at(S0, 0));
    asm_store32(&tr->a, mem_gs(GS_TR(tmp_mxcsr)), S1);
    asm_alu_imm(&tr->a, false, 4, S1, (int32_t)(~MXCSR_VALID | MXCSR_MASKS));
    asm_alu_imm(&tr->a, false, 7, S1, (int32_t)MXCSR_MASKS);
    tr_cold_interpret(tr, asm_jcc(&tr->a, CC_NE));
    tr_flags_restore(tr);
    mxcsr(tr, 2, mem_gs(GS_TR(tmp_mxcsr)));
}

static void stmxcsr(struct tr *tr)
{
    mxcsr(tr, 3, tr_address(tr, EMU_WRITE, 4, 0));
}

/* ---- general registers only ------------------------------------------------------------ */

static void movnti(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    bool w = i->flags & X86_W;

    struct host_mem at = tr_address(tr, EMU_WRITE, w ? 8 : 4, 0);

    asm_insn(&tr->a, &(struct host_insn){.w = w,
                                         .map = X86_MAP_0F,
                                         .opcode = 0xc3,
                                         .reg = tr_get(tr, i->reg, S1),
                                         .is_mem = true,
                                         .mem = at});
}

static bool crc32(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned size = i->opcode == 0xf0 ? 1 : i->osize;
    struct host_insn h = {.opsize = size == 2,
                          .rep = 0xf2,
                          .w = size == 8,
                          .rex = true, /* SPL to DIL, not AH to BH */
                          .map = i->map,
                          .opcode = i->opcode};

    if (i->flags & X86_RM_MEM) {
        h.mem = tr_address(tr, EMU_READ, size, 0);
        h.is_mem = true;
    } else if (size == 1 && i->rm >= 4 && i->rm < 8 && !(i->flags & X86_REX)) {
        return false;
    } else {
        h.rm = tr_get(tr, i->rm, S0);
    }
    h.reg = tr_get(tr, i->reg, S1);
    asm_insn(&tr->a, &h);
    tr_put(tr, i->reg, h.reg);
    return true;
}

/* ---- all of them ------------------------------------------------------------------------ */

/* Instructions that CR0, CR4 and XCR0 may forbid; as things are they do not. */
static bool vector(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    const struct vec_thunk *t = thunk_of(tr->op);

    if (t)
        return table_insn(tr, t);
    if (is_vzero(i)) {
        ASM(&tr->a, 0xc5, i->flags & X86_L ? 0xfc : 0xf8, 0x77);
        return true;
    }
    if (!is_mxcsr(i))
        return false;
    if ((i->modrm >> 3 & 7) == 2)
        ldmxcsr(tr);
    else
        stmxcsr(tr);
    return true;
}

/* With vector registers loaded, unless it turns out that they are not used. */
static bool loaded(struct tr *tr)
{
    uint8_t *begin = tr->a.p;
    bool vectors = tr->vectors;
    unsigned colds = tr->colds;

    tr_vector_begin(tr);
    if (vector(tr))
        return true;
    tr->a.p = begin;
    tr->colds = colds;
    tr->vectors = vectors;
    return false;
}

/* As CR0, CR4 and XCR0 are now, which is in the block's key. */
static bool allowed(const struct tr *tr, const struct x86_insn *i)
{
    return tr->s->cpu.vectors & (i->flags & X86_VEX ? EMU_VECTORS_VEX : EMU_VECTORS_SSE);
}

bool tr_vector(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (tr->op->ends)
        return false;
    if (is_movnti(i)) {
        movnti(tr);
        return true;
    }
    if (is_crc32(i))
        return crc32(tr);
    if (is_fence(i)) {
        ASM(&tr->a, 0x0f, 0xae, i->modrm);
        return true;
    }
    return allowed(tr, i) && loaded(tr);
}

/* The thunk of what table_insn does; NULL: it does not. */
static const struct vec_thunk *table_thunk(const struct tr *tr, const struct emu_op *op)
{
    const struct vec_thunk *t = op->ends || !allowed(tr, &op->i) ? NULL : thunk_of(op);

    if (!t || vec_operands[t->row->form].reg == VEC_M || vec_operands[t->row->form].rm == VEC_M)
        return NULL;
    return t;
}

bool tr_vector_uses(const struct tr *tr, const struct emu_op *op)
{
    return table_thunk(tr, op) != NULL;
}

bool tr_vector_access(const struct tr *tr, const struct emu_op *op, struct tr_access *a)
{
    const struct vec_thunk *t = table_thunk(tr, op);
    const struct x86_insn *i = &op->i;

    if (!t || !t->size || i->asize != 8)
        return false;
    *a = (struct tr_access){.base = i->base,
                            .index = i->index,
                            .scale = i->index == X86_NONE_SLOT ? 0 : i->scale,
                            .seg = i->seg == SEG_FS || i->seg == SEG_GS ? i->seg : 0,
                            .size = t->size,
                            .align = t->align,
                            .access = t->reg_to == VEC_TO_RM ? EMU_WRITE : EMU_READ,
                            .disp = i->disp + (i->base == X86_RIP_SLOT ? op->next : 0)};
    return true;
}

bool tr_vector_quiet(const struct tr *tr, const struct emu_op *op)
{
    const struct vec_thunk *t = table_thunk(tr, op);

    return t && !t->size &&
           (vec_operands[t->row->form].rm != VEC_G || tr_host(op->i.rm) != HOST_NONE);
}
