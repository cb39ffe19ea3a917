/* MMX, SSE and AVX: any row of the interpreter's table, registers and memory at random. */
#include "generate.h"

#include "emu/vector_table.h"

#include <string.h>

/* Bytes of the immediate, by the decoder. */
static bool imm_size(struct gen *g, struct insn *in, const struct vec_row *row)
{
    struct x86_insn decoded;
    uint8_t bytes[X86_INSN_MAX + 1] = {0};
    struct seq_item *item = gen_put(g, in);

    if (!item)
        return false;
    memcpy(bytes, item->bytes, item->len);
    g->s->count--;
    if (x86_decode(bytes, X86_INSN_MAX, X86_MODE64, &decoded) < 0 || vec_find(&decoded) != row ||
        !vec_offered(row, &decoded, gen_features))
        return false;
    in->imm_size = decoded.imm_size;
    in->imm = gen_one_in(g, 2) ? gen_below(g, 16) : gen_imm(g);
    if (row->flags & VEC_IS4)
        in->imm &= 0xf0;
    return true;
}

static unsigned operand(struct gen *g, unsigned kind, bool written)
{
    switch (kind) {
    case VEC_X: return gen_below(g, 16);
    case VEC_M: return gen_below(g, 8);
    case VEC_G: return gen_pick(g, written ? g->free : ANY_REGS);
    default: return 0;
    }
}

static unsigned memory_size(const struct vec_row *row, const struct insn *in)
{
    unsigned size = row->size;

    if (row->flags & VEC_LX && in->l)
        size *= 2;
    if (row->flags & VEC_WX && in->w)
        size *= 2;
    return size;
}

void gen_vector(struct gen *g)
{
    const struct vec_row *row = &vec_rows[gen_below(g, vec_row_count)];
    const struct vec_operands *o = &vec_operands[row->form];
    struct insn in = {.map = row->map, .opcode = row->opcode, .pp = row->pp, .modrm = true};

    /* DPPS and DPPD stop at the step that traps; the interpreter sees the flags of all steps. */
    if (g->s->unmasked && row->map == X86_MAP_0F3A && (row->opcode & 0xfe) == 0x40)
        return;
    if (g->s->alignment) /* of 16 bytes: #AC is up to the CPU */
        return;
    in.vex = row->legacy == VEC_NO || (row->vex != VEC_NO && gen_one_in(g, 2));
    if (row->vex == VEC_NO && in.vex)
        return;
    in.w = row->flags & VEC_W1 ||
           (row->flags & (VEC_WX | VEC_WG) && !(row->flags & VEC_W0) && gen_one_in(g, 2));
    in.l = in.vex && (row->flags & VEC_L1 || (!(row->flags & VEC_L0) && gen_one_in(g, 2)));
    in.mem = row->size && (row->flags & VEC_NOREG || gen_one_in(g, 2));
    if (in.mem && row->legacy == EMU_FBIT_SHA) /* misaligned, #GP or not: CPUs differ */
        in.m = (struct mem){.kind = MEM_RIP, .address = ROW_DATA + gen_below(g, 0x300) * 16};
    else if (in.mem)
        in.m = gen_mem(g, memory_size(row, &in), ANY_REGS, !gen_one_in(g, 30));
    else
        in.rm = (uint8_t)operand(g, o->rm, o->dest == VEC_TO_RM);
    in.reg = (uint8_t)(row->ext != VEC_ANY ? row->ext : operand(g, o->reg, o->dest == VEC_TO_REG));
    if (in.vex && vec_has_h(row, in.mem))
        in.vvvv = (uint8_t)gen_below(g, 16);
    if (row->flags & VEC_ECX && !(g->free & 1 << RCX))
        return;
    if (imm_size(g, &in, row))
        gen_put(g, &in);
}
