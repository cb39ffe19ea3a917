/*
 * String instructions, forwards. MOVS and STOS that repeat are the host's, page by
 * page of each operand; what else repeats, or goes backwards, and the element
 * that lies in two pages are the interpreter's.
 */
#include "accel/soft/translate/integer.h"

static unsigned log2_size(unsigned size)
{
    return size == 8 ? 3 : size / 2;
}

static void forwards(struct tr *tr)
{
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xf6,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_CPU(rflags) + 1),
                                         .imm = FLAG_DF >> 8,
                                         .imm_size = 1});
    tr_cold_interpret(tr, asm_jcc(&tr->a, CC_NE));
}

/* S0 = host address of `size` bytes at RSI, at RDI; flags were saved. */
static void source(struct tr *tr, unsigned size)
{
    unsigned seg = tr->op->i.seg;

    asm_mov(&tr->a, S0, RSI);
    if (seg == SEG_FS || seg == SEG_GS) {
        asm_load(&tr->a, S1, mem_gs(GS_CPU(seg_base) + 8 * (int32_t)seg));
        asm_lea(&tr->a, S0, (struct host_mem){.base = S0, .index = S1});
    }
    tr_check(tr, EMU_READ, size, 0);
}

static void destination(struct tr *tr, enum emu_access access, unsigned size)
{
    asm_mov(&tr->a, S0, RDI);
    tr_check(tr, access, size, 0);
}

/* MOV, or what `opcode` is, of `size` bytes between `reg` and memory at S0. */
static void access(struct tr *tr, uint8_t opcode, unsigned size, uint8_t reg)
{
    asm_insn(&tr->a, &(struct host_insn){.opsize = size == 2,
                                         .w = size == 8,
                                         .opcode = size == 1 ? opcode & 0xfe : opcode,
                                         .reg = reg,
                                         .is_mem = true,
                                         .mem = mem_at(S0, 0)});
}

static void advance(struct tr *tr, uint8_t reg, unsigned size)
{
    asm_lea(&tr->a, reg, mem_at(reg, (int32_t)size));
}

/* ---- one element ----------------------------------------------------------------- */

static void movs(struct tr *tr, unsigned size)
{
    source(tr, size);
    access(tr, 0x8b, size, S0);
    asm_store(&tr->a, mem_gs(GS_TR(tmp)), S0);
    destination(tr, EMU_WRITE, size);
    tr_flags_restore(tr);
    asm_load(&tr->a, S1, mem_gs(GS_TR(tmp)));
    access(tr, 0x89, size, S1);
    advance(tr, RSI, size);
    advance(tr, RDI, size);
}

static void stos(struct tr *tr, unsigned size)
{
    destination(tr, EMU_WRITE, size);
    tr_flags_restore(tr);
    access(tr, 0x89, size, RAX);
    advance(tr, RDI, size);
}

static void lods(struct tr *tr, unsigned size)
{
    source(tr, size);
    tr_flags_restore(tr);
    access(tr, 0x8b, size, RAX);
    advance(tr, RSI, size);
}

/* These write the flags. */
static void cmps(struct tr *tr, unsigned size)
{
    source(tr, size);
    access(tr, 0x8b, size, S0);
    asm_store(&tr->a, mem_gs(GS_TR(tmp)), S0);
    destination(tr, EMU_READ, size);
    asm_load(&tr->a, S1, mem_gs(GS_TR(tmp)));
    advance(tr, RSI, size);
    advance(tr, RDI, size);
    access(tr, 0x3b, size, S1);
}

static void scas(struct tr *tr, unsigned size)
{
    destination(tr, EMU_READ, size);
    advance(tr, RDI, size);
    access(tr, 0x3b, size, RAX);
}

/* ---- repeated --------------------------------------------------------------------- */

/* Do RCX elements from host address S0 on end within the page? A jump, if not. */
static uint8_t *room(struct tr *tr, unsigned size)
{
    asm_rr(&tr->a, false, 0x8b, S1, S0);
    asm_alu_imm(&tr->a, false, 4, S1, (int32_t)PAGE_MASK);
    asm_lea(&tr->a, S1,
            (struct host_mem){.base = S1, .index = RCX, .scale = (uint8_t)log2_size(size)});
    asm_alu_imm(&tr->a, false, 7, S1, (int32_t)PAGE_SIZE);
    return asm_jcc(&tr->a, CC_A);
}

static void unless(struct tr *tr, uint8_t condition, uint8_t to, uint8_t from)
{
    asm_insn(&tr->a, &(struct host_insn){.w = true,
                                         .map = X86_MAP_0F,
                                         .opcode = (uint8_t)(0x40 | (condition ^ 1)),
                                         .reg = to,
                                         .rm = from});
}

/*
 * S1 = how many elements are whole within the page at host address S0, and if it moves in that of
 * tmp, RCX at most. None when one lies in two pages: the interpreter's.
 */
static void chunk(struct tr *tr, bool moves, unsigned size)
{
    asm_rr(&tr->a, false, 0x8b, S1, S0);
    asm_alu_imm(&tr->a, false, 4, S1, (int32_t)PAGE_MASK);
    if (moves) {
        asm_store(&tr->a, mem_gs(GS_TR(tmp_rcx)), RCX);
        asm_load32(&tr->a, RCX, mem_gs(GS_TR(tmp)));
        asm_alu_imm(&tr->a, false, 4, RCX, (int32_t)PAGE_MASK);
        asm_rr(&tr->a, false, 0x3b, S1, RCX);
        unless(tr, CC_AE, S1, RCX);
        asm_load(&tr->a, RCX, mem_gs(GS_TR(tmp_rcx)));
    }
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xf7, .reg = 3, .rm = S1}); /* neg */
    asm_alu_imm(&tr->a, false, 0, S1, (int32_t)PAGE_SIZE);
    if (size > 1) {
        asm_shift_imm(&tr->a, false, 5, S1, (uint8_t)log2_size(size));
        tr_cold_interpret(tr, asm_jcc(&tr->a, CC_E));
    }
    asm_rr(&tr->a, true, 0x3b, S1, RCX);
    unless(tr, CC_BE, S1, RCX);
}

/* A jump over all of it when RCX is 0. */
static uint8_t *unless_none(struct tr *tr)
{
    uint8_t *zero = asm_jrcxz(&tr->a), *some, *none;

    ASM(&tr->a, 0xeb, 0); /* jmp */
    some = tr->a.p;
    asm_land_short(&tr->a, zero);
    none = asm_jmp(&tr->a);
    asm_land_short(&tr->a, some);
    return none;
}

/* `to`, which has a guest's address, becomes the host's, and `minus` the way back. */
static void host_address(struct tr *tr, uint8_t to, uint8_t minus)
{
    asm_insn(&tr->a, &(struct host_insn){.w = true, .opcode = 0x87, .reg = to, .rm = minus});
    asm_rr(&tr->a, true, 0x2b, minus, to);
}

static void host_string(struct tr *tr, bool moves, unsigned size)
{
    ASM(&tr->a, 0xf3);
    if (size == 2 || size == 8)
        ASM(&tr->a, size == 2 ? 0x66 : 0x48);
    ASM(&tr->a, (uint8_t)((moves ? 0xa4 : 0xaa) | (size > 1)));
    asm_lea(&tr->a, RDI, (struct host_mem){.base = RDI, .index = S0});
    if (moves)
        asm_lea(&tr->a, RSI, (struct host_mem){.base = RSI, .index = S1});
}

/* RDI, and RSI if it moves, for that: host addresses are S0, and tmp. */
static void host_operands(struct tr *tr, bool moves)
{
    host_address(tr, RDI, S0);
    if (moves) {
        asm_load(&tr->a, S1, mem_gs(GS_TR(tmp)));
        host_address(tr, RSI, S1);
    }
}

/*
 * What is within one page of each operand is the host's; then RCX, RSI and RDI are as after an
 * interrupt, and the instruction begins anew. When somebody wants attention the interpreter does
 * a piece, and looks.
 */
static void page_by_page(struct tr *tr, bool moves, unsigned size)
{
    uint8_t *again = tr->a.p, *all;
    bool alone = tr->alone;

    tr->alone = true; /* no slots: each page is seen once */
    if (moves) {
        source(tr, 1);
        asm_store(&tr->a, mem_gs(GS_TR(tmp)), S0);
    }
    destination(tr, EMU_WRITE, 1);
    tr->alone = alone;
    chunk(tr, moves, size);
    asm_rr(&tr->a, true, 0x2b, RCX, S1);
    asm_store(&tr->a, mem_gs(GS_TR(tmp_rcx)), RCX);
    asm_mov(&tr->a, RCX, S1);
    host_operands(tr, moves);
    host_string(tr, moves, size);
    asm_load(&tr->a, RCX, mem_gs(GS_TR(tmp_rcx)));
    all = asm_jrcxz(&tr->a);
    asm_cmp_imm8(&tr->a, mem_gs((int32_t)offsetof(struct soft_vcpu, attention)), 0);
    asm_jcc_to(&tr->a, CC_E, again);
    tr_cold_interpret(tr, asm_jmp(&tr->a));
    asm_land_short(&tr->a, all);
    tr_flags_restore(tr);
}

/* Most are short, and in one page. */
static void repeated(struct tr *tr, bool moves, unsigned size)
{
    uint8_t *none = unless_none(tr), *many, *from = NULL, *to, *done;
    struct tr_saved saved;

    if (tr->flags_by.reads & (REG(RCX) | REG(RSI) | REG(RDI)))
        tr->flags_by.op = NULL; /* they will have changed */
    tr_flags_save(tr);
    saved = tr->saved;
    forwards(tr);
    asm_alu_imm(&tr->a, true, 7, RCX, (int32_t)(PAGE_SIZE / size));
    many = asm_jcc(&tr->a, CC_A);
    if (moves) {
        source(tr, 1);
        from = room(tr, size);
        asm_store(&tr->a, mem_gs(GS_TR(tmp)), S0);
    }
    destination(tr, EMU_WRITE, 1);
    to = room(tr, size);
    host_operands(tr, moves);
    host_string(tr, moves, size);
    tr_flags_restore(tr);
    done = asm_jmp(&tr->a);

    asm_land(&tr->a, many);
    if (from)
        asm_land(&tr->a, from);
    asm_land(&tr->a, to);
    tr->saved = saved;
    page_by_page(tr, moves, size);
    asm_land(&tr->a, done);
    asm_land(&tr->a, none);
}

bool tr_string(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned size = i->opcode & 1 ? i->osize : 1;
    bool repeats = i->flags & (X86_REP | X86_REPNE);
    bool moves = (i->opcode & 0xfe) == 0xa4, stores = (i->opcode & 0xfe) == 0xaa;

    if (i->map != X86_MAP_1B || i->opcode < 0xa4 || i->opcode > 0xaf || i->asize != 8 ||
        i->opcode == 0xa8 || i->opcode == 0xa9 || (repeats && !moves && !stores))
        return false;
    if (repeats) {
        repeated(tr, moves, size);
        return true;
    }
    tr_flags_save(tr);
    forwards(tr);
    switch (i->opcode & 0xfe) {
    case 0xa4: movs(tr, size); break;
    case 0xa6: cmps(tr, size); break;
    case 0xaa: stos(tr, size); break;
    case 0xac: lods(tr, size); break;
    default: scas(tr, size); break;
    }
    return true;
}
