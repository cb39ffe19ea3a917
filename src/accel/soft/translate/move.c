/* Moves, exchanges and conversions that have their operands in the opcode, and LEA. */
#include "accel/soft/translate/integer.h"

#define GS_SPIN_LEFT ((int32_t)offsetof(struct soft_vcpu, spin.left))

void tr_extend(struct tr *tr, uint8_t to, uint8_t from, unsigned size, bool sign)
{
    if (size >= 4)
        asm_rr(&tr->a, size == 8, 0x8b, to, from);
    else
        asm_insn(&tr->a, &(struct host_insn){.rex = true,
                                             .map = X86_MAP_0F,
                                             .opcode = (uint8_t)((sign ? 0xbe : 0xb6) | size >> 1),
                                             .reg = to,
                                             .rm = from});
}

void tr_extend_mem(struct tr *tr, uint8_t to, struct host_mem from, unsigned size, bool sign)
{
    if (size >= 4)
        asm_rm(&tr->a, size == 8, 0x8b, to, from);
    else
        asm_insn(&tr->a, &(struct host_insn){.map = X86_MAP_0F,
                                             .opcode = (uint8_t)((sign ? 0xbe : 0xb6) | size >> 1),
                                             .reg = to,
                                             .is_mem = true,
                                             .mem = from});
}

static void put(struct tr *tr, unsigned n, uint8_t from)
{
    if (tr_host(n) == HOST_NONE)
        tr_put(tr, n, from);
}

static void lea(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    struct host_mem m = tr_operand(tr);
    uint8_t to = tr_to(i->reg, S1);

    if (i->osize == 2) {
        asm_rm(&tr->a, i->asize == 8, 0x8d, S0, m);
        to = tr_get(tr, i->reg, S1);
        asm_insn(&tr->a, &(struct host_insn){.opsize = true, .opcode = 0x8b, .reg = to, .rm = S0});
    } else {
        asm_rm(&tr->a, i->osize == 8 && i->asize == 8, 0x8d, to, m);
    }
    put(tr, i->reg, to);
}

static void bswap(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    uint8_t r = tr_get(tr, i->rm, S0);

    ASM(&tr->a, (uint8_t)(0x40 | (i->osize == 8) << 3 | r >> 3), 0x0f, (uint8_t)(0xc8 | (r & 7)));
    put(tr, i->rm, r);
}

/* MOV r, imm. */
static void immediate(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    uint8_t r = tr_to(i->rm, S0);

    if (i->osize == 2) {
        r = tr_get(tr, i->rm, S0);
        asm_insn(&tr->a,
                 &(struct host_insn){
                     .opsize = true, .opcode = 0xc7, .rm = r, .imm = i->imm, .imm_size = 2});
    } else {
        asm_mov_imm(&tr->a, r, i->osize == 8 ? i->imm : (uint32_t)i->imm);
    }
    put(tr, i->rm, r);
}

static void immediate8(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    struct host_insn h = {.opcode = 0xc6, .imm = i->imm, .imm_size = 1};

    if (tr_high_byte(i, i->rm)) {
        h.rm = i->rm;
        asm_insn(&tr->a, &h);
        return;
    }
    h.rex = true;
    h.rm = tr_get(tr, i->rm, S0);
    asm_insn(&tr->a, &h);
    put(tr, i->rm, h.rm);
}

/* The interpreter's when it is the last of many; else counting is all. */
static void pause(struct tr *tr)
{
    uint8_t *last;

    tr_flags_save(tr);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0x83, /* sub $1 */
                                         .reg = 5,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_SPIN_LEFT),
                                         .imm = 1,
                                         .imm_size = 1});
    last = asm_jcc(&tr->a, CC_S);
    tr_cold_interpret(tr, last);
    tr_flags_restore(tr);
}

static void exchange(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    uint8_t r;

    if (i->rm == RAX) { /* NOP, PAUSE */
        if (i->flags & X86_REP && tr->s->cpu.tells_pause)
            pause(tr);
        return;
    }
    r = tr_get(tr, i->rm, S0);
    asm_insn(&tr->a, &(struct host_insn){
                         .opsize = i->osize == 2, .w = i->osize == 8, .opcode = 0x87, .rm = r});
    put(tr, i->rm, r);
}

/* MOV between the accumulator and an address in the instruction. */
static void offset(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned size = i->opcode & 1 ? i->osize : 1;
    bool store = i->opcode & 2;

    tr_flags_save(tr);
    asm_mov_imm(&tr->a, S0, i->imm);
    if (i->seg == SEG_FS || i->seg == SEG_GS) {
        asm_load(&tr->a, S1, mem_gs(GS_CPU(seg_base) + 8 * i->seg));
        asm_lea(&tr->a, S0, (struct host_mem){.base = S0, .index = S1});
    }
    tr_check(tr, store ? EMU_WRITE : EMU_READ, size, 0);
    tr_flags_restore(tr);
    asm_insn(&tr->a, &(struct host_insn){.opsize = size == 2,
                                         .w = size == 8,
                                         .opcode = (uint8_t)((store ? 0x88 : 0x8a) | (size > 1)),
                                         .is_mem = true,
                                         .mem = mem_at(S0, 0)});
}

/* AL = the byte at RBX + AL. */
static void xlat(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    tr_flags_save(tr);
    tr_extend(tr, S0, RAX, 1, false);
    asm_rm(&tr->a, i->asize == 8, 0x8d, S0, (struct host_mem){.base = S0, .index = RBX});
    if (i->seg == SEG_FS || i->seg == SEG_GS) {
        asm_load(&tr->a, S1, mem_gs(GS_CPU(seg_base) + 8 * i->seg));
        asm_lea(&tr->a, S0, (struct host_mem){.base = S0, .index = S1});
    }
    tr_check(tr, EMU_READ, 1, 0);
    tr_flags_restore(tr);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0x8a, .is_mem = true, .mem = mem_at(S0, 0)});
}

/* Those on RAX and RDX alone: the encoding is the host's. */
static bool accumulator(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    bool alu = i->opcode < 0x40 && (i->opcode & 6) == 4;
    bool test = i->opcode == 0xa8 || i->opcode == 0xa9;
    unsigned size;

    if (i->map != X86_MAP_1B)
        return false;
    if (!alu && !test && i->opcode != 0x98 && i->opcode != 0x99)
        return false;
    size = (alu || test) && !(i->opcode & 1) ? 1 : i->osize;
    if (size == 2)
        ASM(&tr->a, 0x66);
    if (size == 8)
        ASM(&tr->a, 0x48);
    ASM(&tr->a, i->opcode);
    asm_bytes(&tr->a, &i->imm, i->imm_size);
    return true;
}

bool tr_move(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->map == X86_MAP_0F && i->opcode >= 0xc8 && i->opcode <= 0xcf && i->osize >= 4) {
        bswap(tr);
        return true;
    }
    if (i->map != X86_MAP_1B)
        return false;
    switch (i->opcode) {
    case 0x8d: lea(tr); return true;
    case 0x90 ... 0x97: exchange(tr); return true;
    case 0xa0 ... 0xa3: offset(tr); return true;
    case 0xb0 ... 0xb7: immediate8(tr); return true;
    case 0xb8 ... 0xbf: immediate(tr); return true;
    case 0xd7: xlat(tr); return true;
    default: return accumulator(tr);
    }
}

bool tr_selector(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    struct host_mem selector;
    uint8_t r;

    if (i->map != X86_MAP_1B || i->opcode != 0x8c)
        return false;
    selector = mem_gs(GS_CPU(seg) + (int32_t)((i->reg & 7u) * sizeof(struct mote_seg) +
                                              offsetof(struct mote_seg, selector)));
    if (i->flags & X86_RM_MEM) {
        struct host_mem at = tr_address(tr, EMU_WRITE, 2, 0);

        tr_extend_mem(tr, S1, selector, 2, false);
        asm_insn(&tr->a, &(struct host_insn){
                             .opsize = true, .opcode = 0x89, .reg = S1, .is_mem = true, .mem = at});
        return true;
    }
    if (i->osize == 2) {
        r = tr_get(tr, i->rm, S0);
        asm_insn(&tr->a,
                 &(struct host_insn){
                     .opsize = true, .opcode = 0x8b, .reg = r, .is_mem = true, .mem = selector});
    } else {
        r = tr_to(i->rm, S0);
        tr_extend_mem(tr, r, selector, 2, false);
    }
    put(tr, i->rm, r);
    return true;
}

/* Hints, ENDBR among them, do nothing; LFENCE and SFENCE are the host's. MFENCE ends blocks. */
bool tr_nothing(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->map != X86_MAP_0F || tr->op->ends)
        return false;
    if (i->opcode == 0x0d || (i->opcode >= 0x18 && i->opcode <= 0x1f))
        return true;
    if (i->opcode != 0xae || i->flags & X86_RM_MEM || i->pp || (i->modrm >> 3 & 7) < 5)
        return false;
    ASM(&tr->a, 0x0f, 0xae, i->modrm);
    return true;
}
