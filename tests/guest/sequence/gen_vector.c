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

/* VMASKMOVPS and its like: elements whose mask is clear are not accessed. */
static void gen_masked_move(struct gen *g)
{
    static const uint8_t op[] = {0x2c, 0x2d, 0x2e, 0x2f, 0x8c, 0x8e};
    struct insn in = {.map = X86_MAP_0F38, .pp = 1, .vex = true, .modrm = true, .mem = true};

    in.opcode = op[gen_below(g, sizeof(op))];
    in.w = in.opcode >= 0x8c && gen_one_in(g, 2);
    in.l = gen_one_in(g, 2);
    in.reg = (uint8_t)gen_below(g, 16);
    in.vvvv = (uint8_t)gen_below(g, 16);
    in.m = gen_mem(g, 32, ANY_REGS, false);
    gen_put(g, &in);
}

/* A gather, with indexes from 0 to 255. */
static void gen_gather(struct gen *g)
{
    bool wide = gen_one_in(g, 2);
    unsigned index = gen_below(g, 16), to = gen_below(g, 16), mask = gen_below(g, 16);
    struct insn shift = {.map = X86_MAP_0F, .pp = 1, .vex = true, .l = true, .modrm = true};
    struct insn in = {.map = X86_MAP_0F38, .pp = 1, .vex = true, .modrm = true, .mem = true};

    if (g->group || !g->s->pointers || index == to || index == mask || to == mask)
        return;
    shift.opcode = wide ? 0x73 : 0x72; /* vpsrlq, vpsrld */
    shift.reg = 2;
    shift.rm = (uint8_t)gen_below(g, 16);
    shift.vvvv = (uint8_t)index;
    shift.imm_size = 1;
    shift.imm = wide ? 56 : 24;
    in.opcode = (uint8_t)(0x90 | wide | gen_below(g, 2) << 1);
    in.w = gen_one_in(g, 2);
    in.l = gen_one_in(g, 2);
    in.reg = (uint8_t)to;
    in.vvvv = (uint8_t)mask;
    in.m.base = (uint8_t)gen_pick(g, g->s->pointers);
    in.m.index = (uint8_t)index;
    in.m.scale = (uint8_t)gen_below(g, 4);
    in.m.disp = (int32_t)gen_below(g, 0x200) - 0x100;
    g->group = gen_new_group(g);
    gen_put(g, &shift);
    gen_put(g, &in);
    g->group = 0;
}

/* STMXCSR; LDMXCSR of a rounding mode; VZEROUPPER, VZEROALL */
static void gen_vector_state(struct gen *g)
{
    struct insn in = {.map = X86_MAP_0F, .opcode = 0xae, .modrm = true, .mem = true, .reg = 3};
    struct insn set = {.opcode = 0xc7, .size = 4, .modrm = true, .mem = true, .imm_size = 4};

    in.m = gen_mem(g, 4, ANY_REGS, false);
    switch (gen_below(g, 3)) {
    case 0: gen_put(g, &in); break;
    case 1:
        if (g->group)
            return;
        g->group = gen_new_group(g);
        set.m = in.m;
        set.imm = 0x1f80 | (gen_imm(g) & 0xe07f);
        in.reg = 2;
        gen_put(g, &set);
        gen_put(g, &in);
        g->group = 0;
        break;
    default: GEN_BYTES(g, 0xc5, gen_one_in(g, 3) ? 0xfc : 0xf8, 0x77); break;
    }
}

static void gen_special(struct gen *g)
{
    const uint64_t avx2 = EMU_F(AVX) | EMU_F(AVX2);

    if ((gen_features & avx2) != avx2 || g->s->alignment)
        return;
    switch (gen_below(g, 3)) {
    case 0: gen_masked_move(g); break;
    case 1: gen_gather(g); break;
    default: gen_vector_state(g); break;
    }
}

void gen_vector(struct gen *g)
{
    const struct vec_row *row = &vec_rows[gen_below(g, vec_row_count)];
    const struct vec_operands *o = &vec_operands[row->form];
    struct insn in = {.map = row->map, .opcode = row->opcode, .pp = row->pp, .modrm = true};

    if (gen_one_in(g, 16)) {
        gen_special(g);
        return;
    }
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
