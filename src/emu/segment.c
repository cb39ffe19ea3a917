/*
 * Descriptors and segment registers (SDM Vol. 3A chapter 3 and 5): finding
 * and checking descriptors, and the instructions that load segment registers.
 */
#include "emu/system.h"

bool desc_find(struct emu_cpu *c, uint16_t selector, struct emu_desc *d)
{
    uint32_t off = selector & 0xfff8;
    uint64_t base = c->gdtr.base;
    uint32_t limit = c->gdtr.limit;

    if (selector & 4) {
        if (c->seg[SEG_LDTR].attrib & SEG_UNUSABLE)
            return false;
        base = c->seg[SEG_LDTR].base;
        limit = c->seg[SEG_LDTR].limit;
    }
    if ((uint64_t)off + 7 > limit)
        return false;
    d->linear = base + off;
    d->raw = emu_system_load(c, d->linear, 8);
    d->high = 0;
    return true;
}

bool desc_find_high(struct emu_cpu *c, uint16_t selector, struct emu_desc *d)
{
    uint32_t limit = selector & 4 ? c->seg[SEG_LDTR].limit : c->gdtr.limit;

    if ((selector & 0xfff8u) + UINT64_C(15) > limit)
        return false;
    d->high = emu_system_load(c, d->linear + 8, 8);
    return true;
}

void desc_fetch(struct emu_cpu *c, uint16_t selector, unsigned vector, unsigned ext,
                struct emu_desc *d)
{
    if (!desc_find(c, selector, d))
        emu_raise_error(c, vector, selector_error(selector, ext));
}

struct mote_seg desc_segment(const struct emu_desc *d, uint16_t selector)
{
    struct mote_seg s = {.selector = selector, .attrib = desc_attrib(d->raw)};

    s.base = (d->raw >> 16 & 0xffffff) | (d->raw >> 32 & 0xff000000) | d->high << 32;
    s.limit = (uint32_t)((d->raw & 0xffff) | (d->raw >> 32 & 0xf0000));
    if (s.attrib & SEG_G)
        s.limit = s.limit << 12 | 0xfff;
    return s;
}

void desc_set_type(struct emu_cpu *c, struct emu_desc *d, unsigned bits)
{
    uint64_t raw = d->raw | (uint64_t)bits << 40;

    if (raw == d->raw)
        return;
    emu_system_update(c, d->linear + 5, 0, (uint8_t)bits);
    d->raw = raw;
}

struct mote_seg segment_null(uint16_t selector, unsigned dpl)
{
    return (struct mote_seg){.selector = selector, .attrib = SEG_UNUSABLE | dpl << SEG_DPL_SHIFT};
}

/*
 * Real mode leaves limit, G and B as they are ("unreal mode" depends on it);
 * virtual-8086 mode sets everything (SDM Vol. 3A 20.1.1, 20.2.1).
 */
struct mote_seg segment_real(const struct emu_cpu *c, unsigned seg, uint16_t selector, bool v86)
{
    struct mote_seg s = c->seg[seg];

    s.selector = selector;
    s.base = (uint64_t)selector << 4;
    if (v86) {
        s.limit = 0xffff;
        s.attrib = SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A | SEG_DPL;
        return s;
    }
    if (s.attrib & SEG_UNUSABLE)
        s.limit = 0xffff;
    s.attrib &= SEG_G | SEG_DB | SEG_AVL;
    s.attrib |= SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A | (seg == SEG_CS ? SEG_TYPE_CODE : 0);
    return s;
}

struct mote_seg segment_stack(struct emu_cpu *c, uint16_t selector, unsigned cpl, unsigned vector,
                              unsigned ext)
{
    unsigned error = selector_error(selector, ext);
    struct emu_desc d;
    unsigned attrib;

    if (selector_null(selector))
        emu_raise_error(c, vector, error);
    desc_fetch(c, selector, vector, ext, &d);
    attrib = desc_attrib(d.raw);
    if ((attrib & (SEG_S | SEG_TYPE_CODE | SEG_TYPE_RW)) != (SEG_S | SEG_TYPE_RW) ||
        (selector & 3) != cpl || attrib_dpl(attrib) != cpl)
        emu_raise_error(c, vector, error);
    if (!(attrib & SEG_P))
        emu_raise_error(c, EXC_SS, error);
    desc_set_type(c, &d, SEG_TYPE_A);
    return desc_segment(&d, selector);
}

struct mote_seg segment_data(struct emu_cpu *c, uint16_t selector, unsigned cpl, unsigned vector,
                             unsigned ext)
{
    unsigned error = selector_error(selector, ext);
    struct emu_desc d;
    unsigned attrib, dpl;

    if (selector_null(selector))
        return segment_null(selector, 0);
    desc_fetch(c, selector, vector, ext, &d);
    attrib = desc_attrib(d.raw);
    dpl = attrib_dpl(attrib);
    if (!(attrib & SEG_S) || (attrib & (SEG_TYPE_CODE | SEG_TYPE_RW)) == SEG_TYPE_CODE)
        emu_raise_error(c, vector, error);
    if ((attrib & (SEG_TYPE_CODE | SEG_TYPE_EC)) != (SEG_TYPE_CODE | SEG_TYPE_EC) &&
        ((selector & 3u) > dpl || cpl > dpl))
        emu_raise_error(c, vector, error);
    if (!(attrib & SEG_P))
        emu_raise_error(c, EXC_NP, error);
    desc_set_type(c, &d, SEG_TYPE_A);
    return desc_segment(&d, selector);
}

void code_fetch(struct emu_cpu *c, uint16_t selector, unsigned ext, struct emu_desc *d)
{
    unsigned attrib;

    if (selector_null(selector))
        emu_gp(c, ext);
    desc_fetch(c, selector, EXC_GP, ext, d);
    attrib = desc_attrib(d->raw);
    if ((attrib & (SEG_S | SEG_TYPE_CODE)) != (SEG_S | SEG_TYPE_CODE))
        emu_gp(c, selector_error(selector, ext));
}

struct mote_seg segment_code(struct emu_cpu *c, struct emu_desc *d, uint16_t selector, unsigned cpl,
                             unsigned ext)
{
    unsigned attrib = desc_attrib(d->raw);

    if (c->long_mode && (attrib & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
        emu_gp(c, selector_error(selector, ext));
    if (!(attrib & SEG_P))
        emu_raise_error(c, EXC_NP, selector_error(selector, ext));
    desc_set_type(c, d, SEG_TYPE_A);
    return desc_segment(d, (uint16_t)((selector & 0xfffc) | cpl));
}

void code_check_target(struct emu_cpu *c, const struct mote_seg *cs, uint64_t offset, unsigned ext)
{
    if (code_is_64(c, cs) ? !x86_canonical(offset) : offset > cs->limit)
        emu_gp(c, ext);
}

void segments_drop_inner(struct emu_cpu *c)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    for (unsigned n = 0; n < ARRAY_SIZE(data); n++) {
        struct mote_seg *s = &c->seg[data[n]];
        unsigned conforming = SEG_S | SEG_TYPE_CODE | SEG_TYPE_EC;

        if (s->attrib & SEG_UNUSABLE || (s->attrib & conforming) == conforming)
            continue;
        if (attrib_dpl(s->attrib) < c->cpl)
            *s = segment_null(0, 0);
    }
}

void segment_set_base(struct emu_cpu *c, unsigned seg, uint64_t base)
{
    c->seg[seg].base = base;
    if (likely(c->code64))
        c->seg_base[seg] = base;
    else
        emu_mode_changed(c);
}

/*
 * What loading `selector` into seg (not CS) gives, after all checks. A null
 * selector clears the base too, which CPUID 80000021 EAX[6] promises.
 */
static struct mote_seg segment_fetch(struct emu_cpu *c, unsigned seg, uint16_t selector)
{
    if (!c->protected_mode)
        return segment_real(c, seg, selector, c->vm86);
    if (seg != SEG_SS)
        return segment_data(c, selector, c->cpl, EXC_GP, 0);
    if (selector_null(selector) && c->code64 && c->cpl < 3 && selector == c->cpl)
        return segment_null(selector, c->cpl);
    return segment_stack(c, selector, c->cpl, EXC_GP, 0);
}

void emu_load_seg(struct emu_cpu *c, unsigned seg, uint16_t selector)
{
    c->seg[seg] = segment_fetch(c, seg, selector);
    emu_mode_changed(c);
}

/* Interrupts wait until the stack pointer follows (SDM Vol. 3A 6.8.3). */
static void shadow_after_ss(struct emu_cpu *c, unsigned seg)
{
    if (seg == SEG_SS)
        c->intr.shadow = 1;
}

/* 8C: MOV r/m, Sreg. Memory gets 16 bits, a register all that it has. */
static void op_mov_from_sreg(struct emu_cpu *c, const struct emu_op *op)
{
    uint16_t selector = c->seg[insn_ext(&op->i)].selector;

    if (op->i.flags & X86_RM_MEM)
        emu_store(c, op->i.seg, emu_ea(c, &op->i), 2, selector);
    else
        emu_set_reg(c, op->i.rm, op->i.osize, selector);
}

/* 8E: MOV Sreg, r/m. */
static void op_mov_to_sreg(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned seg = insn_ext(&op->i);

    emu_load_seg(c, seg, (uint16_t)emu_get_rm(c, &op->i, 2));
    shadow_after_ss(c, seg);
}

/* Segment register in the opcode: 06/07 ES, 0E CS, 16/17 SS, 1E/1F DS, 0F A0/A1 FS, A8/A9 GS. */
static unsigned opcode_sreg(const struct x86_insn *i)
{
    return i->opcode >> 3 & (i->map == X86_MAP_0F ? 5 : 3);
}

static void op_push_sreg(struct emu_cpu *c, const struct emu_op *op)
{
    emu_push(c, op->i.osize, c->seg[opcode_sreg(&op->i)].selector);
}

/* The old stack's size decides how SP moves, so it moves before SS changes. */
static void op_pop_sreg(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned seg = opcode_sreg(&op->i);
    uint16_t selector = (uint16_t)emu_load(c, SEG_SS, emu_stack_at(c, 0), op->i.osize);
    struct mote_seg s = segment_fetch(c, seg, selector);

    emu_set_sp(c, emu_stack_at(c, op->i.osize));
    c->seg[seg] = s;
    emu_mode_changed(c);
    shadow_after_ss(c, seg);
}

/* C4 LES, C5 LDS, 0F B2 LSS, 0F B4 LFS, 0F B5 LGS. */
static void op_load_far_pointer(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    uint64_t ea = emu_ea(c, i);
    uint64_t offset = emu_load(c, i->seg, ea, i->osize);
    uint16_t selector = (uint16_t)emu_load(c, i->seg, (ea + i->osize) & mask_bytes(i->asize), 2);
    unsigned seg = i->map == X86_MAP_0F ? i->opcode & 7 : i->opcode == 0xc4 ? SEG_ES : SEG_DS;

    emu_load_seg(c, seg, selector);
    emu_set_reg(c, i->reg, i->osize, offset);
}

static bool bind_segment_one(const struct emu_cpu *c, struct emu_op *op)
{
    bool memory = op->i.flags & X86_RM_MEM;
    unsigned sreg = insn_ext(&op->i);

    switch (op->i.opcode) {
    case 0x06:
    case 0x0e:
    case 0x16:
    case 0x1e: return c->mode != X86_MODE64 && bind_to(op, op_push_sreg, false);
    case 0x07:
    case 0x17:
    case 0x1f: return c->mode != X86_MODE64 && bind_to(op, op_pop_sreg, true);
    case 0x8c: return sreg <= SEG_GS && bind_to(op, op_mov_from_sreg, false);
    case 0x8e: return sreg <= SEG_GS && sreg != SEG_CS && bind_to(op, op_mov_to_sreg, true);
    case 0xc4:
    case 0xc5: return c->mode != X86_MODE64 && memory && bind_to(op, op_load_far_pointer, true);
    default: return bind_far(c, op);
    }
}

bool bind_segment(const struct emu_cpu *c, struct emu_op *op)
{
    if (op->i.flags & X86_VEX)
        return false;
    if (op->i.map == X86_MAP_1B)
        return bind_segment_one(c, op);
    if (op->i.map != X86_MAP_0F)
        return false;
    switch (op->i.opcode) {
    case 0xa0:
    case 0xa8: return bind_to(op, op_push_sreg, false);
    case 0xa1:
    case 0xa9: return bind_to(op, op_pop_sreg, true);
    case 0xb2:
    case 0xb4:
    case 0xb5: return op->i.flags & X86_RM_MEM && bind_to(op, op_load_far_pointer, true);
    default: return false;
    }
}
