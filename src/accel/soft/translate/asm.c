#include "accel/soft/translate/asm.h"

#include "x86/decode.h"

/* An instruction under construction, where it is to be: there is room. */
struct encoding {
    uint8_t *p;
};

static void put(struct encoding *e, unsigned byte)
{
    *e->p++ = (uint8_t)byte;
}

/* Writes 8 bytes, of which `size` count. */
static void put_le(struct encoding *e, uint64_t v, unsigned size)
{
    memcpy(e->p, &v, sizeof(v));
    e->p += size;
}

static unsigned bit3(const struct host_insn *h, bool of_index)
{
    if (!h->is_mem)
        return of_index ? 0 : h->rm >> 3 & 1;
    if (of_index)
        return h->mem.index == HOST_NONE ? 0 : h->mem.index >> 3 & 1;
    return h->mem.base == HOST_NONE ? 0 : h->mem.base >> 3 & 1;
}

static void put_vex(struct encoding *e, const struct host_insn *h)
{
    unsigned r = h->reg >> 3 & 1, x = bit3(h, true), b = bit3(h, false);

    if (!x && !b && !h->w && h->map == X86_MAP_0F) { /* the short form */
        put(e, 0xc5);
        put(e, (!r << 7) | (~h->vvvv & 15u) << 3 | (unsigned)h->l << 2 | h->pp);
        return;
    }
    put(e, 0xc4);
    put(e, (!r << 7) | (!x << 6) | (!b << 5) | h->map);
    put(e, (unsigned)h->w << 7 | (~h->vvvv & 15u) << 3 | (unsigned)h->l << 2 | h->pp);
}

static void put_rex(struct encoding *e, const struct host_insn *h)
{
    unsigned rex =
        0x40 | (unsigned)h->w << 3 | (h->reg >> 3 & 1u) << 2 | bit3(h, true) << 1 | bit3(h, false);

    if (rex != 0x40 || h->rex)
        put(e, rex);
    if (h->map != X86_MAP_1B)
        put(e, 0x0f);
    if (h->map == X86_MAP_0F38)
        put(e, 0x38);
    if (h->map == X86_MAP_0F3A)
        put(e, 0x3a);
}

static void put_mem(struct encoding *e, unsigned reg, const struct host_mem *m)
{
    bool small = m->disp == (int8_t)m->disp;
    unsigned mod = !m->disp && (m->base & 7) != 5 ? 0 : small ? 1 : 2;
    unsigned index = m->index == HOST_NONE ? 4 : m->index & 7u;

    if (m->base == HOST_NONE) { /* SIB without base */
        put(e, reg << 3 | 4);
        put(e, (unsigned)m->scale << 6 | index << 3 | 5);
        put_le(e, (uint32_t)m->disp, 4);
        return;
    }
    if (index == 4 && m->index == HOST_NONE && (m->base & 7) != 4) {
        put(e, mod << 6 | reg << 3 | (m->base & 7u));
    } else {
        put(e, mod << 6 | reg << 3 | 4);
        put(e, (unsigned)m->scale << 6 | index << 3 | (m->base & 7u));
    }
    if (mod)
        put_le(e, (uint32_t)m->disp, mod == 1 ? 1 : 4);
}

void asm_insn(struct host_asm *a, const struct host_insn *h)
{
    struct encoding e = {a->p};

    if (a->end - a->p < HOST_INSN_MAX) {
        a->full = true;
        return;
    }
    if (h->lock)
        put(&e, 0xf0);
    if (h->is_mem && h->mem.gs)
        put(&e, 0x65);
    if (h->opsize)
        put(&e, 0x66);
    if (h->rep)
        put(&e, h->rep);
    if (h->vex)
        put_vex(&e, h);
    else
        put_rex(&e, h);
    put(&e, h->opcode);
    if (h->is_mem)
        put_mem(&e, h->reg & 7, &h->mem);
    else
        put(&e, 0xc0 | (h->reg & 7u) << 3 | (h->rm & 7u));
    put_le(&e, h->imm, h->imm_size);
    a->p = e.p;
}

void asm_rr(struct host_asm *a, bool w, uint8_t opcode, uint8_t reg, uint8_t rm)
{
    asm_insn(a, &(struct host_insn){.w = w, .opcode = opcode, .reg = reg, .rm = rm});
}

void asm_rm(struct host_asm *a, bool w, uint8_t opcode, uint8_t reg, struct host_mem mem)
{
    asm_insn(a,
             &(struct host_insn){.w = w, .opcode = opcode, .reg = reg, .is_mem = true, .mem = mem});
}

void asm_mov(struct host_asm *a, uint8_t to, uint8_t from)
{
    asm_rr(a, true, 0x8b, to, from);
}

static void push_pop(struct host_asm *a, uint8_t opcode, uint8_t reg)
{
    if (reg >= 8)
        ASM(a, 0x41);
    ASM(a, (uint8_t)(opcode | (reg & 7)));
}

void asm_push(struct host_asm *a, uint8_t reg)
{
    push_pop(a, 0x50, reg);
}

void asm_pop(struct host_asm *a, uint8_t reg)
{
    push_pop(a, 0x58, reg);
}

void asm_load(struct host_asm *a, uint8_t to, struct host_mem from)
{
    asm_rm(a, true, 0x8b, to, from);
}

void asm_load32(struct host_asm *a, uint8_t to, struct host_mem from)
{
    asm_rm(a, false, 0x8b, to, from);
}

void asm_store(struct host_asm *a, struct host_mem to, uint8_t from)
{
    asm_rm(a, true, 0x89, from, to);
}

void asm_store32(struct host_asm *a, struct host_mem to, uint8_t from)
{
    asm_rm(a, false, 0x89, from, to);
}

void asm_lea(struct host_asm *a, uint8_t to, struct host_mem from)
{
    asm_rm(a, true, 0x8d, to, from);
}

void asm_mov_imm(struct host_asm *a, uint8_t to, uint64_t value)
{
    if (value == (uint64_t)(int32_t)value && value > UINT32_MAX) {
        asm_insn(a, &(struct host_insn){
                        .w = true, .opcode = 0xc7, .rm = to, .imm = value, .imm_size = 4});
        return;
    }
    if (value <= UINT32_MAX) {
        if (to >= 8)
            ASM(a, 0x41);
        ASM(a, (uint8_t)(0xb8 | (to & 7)));
        asm_bytes(a, &value, 4);
        return;
    }
    ASM(a, (uint8_t)(0x48 | to >> 3), (uint8_t)(0xb8 | (to & 7)));
    asm_bytes(a, &value, 8);
}

void asm_alu_imm(struct host_asm *a, bool w, unsigned op, uint8_t reg, int32_t imm)
{
    bool small = imm == (int8_t)imm;

    asm_insn(a, &(struct host_insn){.w = w,
                                    .opcode = small ? 0x83 : 0x81,
                                    .reg = (uint8_t)op,
                                    .rm = reg,
                                    .imm = (uint64_t)(int64_t)imm,
                                    .imm_size = small ? 1 : 4});
}

void asm_cmp_imm8(struct host_asm *a, struct host_mem mem, int8_t imm)
{
    asm_insn(a, &(struct host_insn){.opcode = 0x83,
                                    .reg = 7,
                                    .is_mem = true,
                                    .mem = mem,
                                    .imm = (uint8_t)imm,
                                    .imm_size = 1});
}

void asm_shift_imm(struct host_asm *a, bool w, unsigned op, uint8_t reg, uint8_t count)
{
    asm_insn(
        a, &(struct host_insn){
               .w = w, .opcode = 0xc1, .reg = (uint8_t)op, .rm = reg, .imm = count, .imm_size = 1});
}

/* ---- jumps ------------------------------------------------------------------ */

void asm_aim(uint8_t *from, const uint8_t *to)
{
    int32_t by = (int32_t)(to - from);

    memcpy(from - 4, &by, 4);
}

uint8_t *asm_jcc(struct host_asm *a, unsigned cc)
{
    ASM(a, 0x0f, (uint8_t)(0x80 | cc), 0, 0, 0, 0);
    return a->p;
}

uint8_t *asm_jmp(struct host_asm *a)
{
    ASM(a, 0xe9, 0, 0, 0, 0);
    return a->p;
}

uint8_t *asm_call(struct host_asm *a)
{
    ASM(a, 0xe8, 0, 0, 0, 0);
    return a->p;
}

static void aim_unless_full(struct host_asm *a, uint8_t *from, const uint8_t *to)
{
    if (!a->full)
        asm_aim(from, to);
}

void asm_jcc_to(struct host_asm *a, unsigned cc, const uint8_t *to)
{
    aim_unless_full(a, asm_jcc(a, cc), to);
}

void asm_jmp_to(struct host_asm *a, const uint8_t *to)
{
    aim_unless_full(a, asm_jmp(a), to);
}

void asm_call_to(struct host_asm *a, const uint8_t *to)
{
    aim_unless_full(a, asm_call(a), to);
}

void asm_jmp_mem(struct host_asm *a, struct host_mem mem)
{
    asm_rm(a, false, 0xff, 4, mem);
}

uint8_t *asm_jrcxz(struct host_asm *a)
{
    ASM(a, 0xe3, 0);
    return a->p;
}

void asm_land_short(struct host_asm *a, uint8_t *from)
{
    if (!a->full)
        from[-1] = (uint8_t)(a->p - from);
}
