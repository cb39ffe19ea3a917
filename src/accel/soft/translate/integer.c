/*
 * Integer instructions with ModRM, or with registers in the opcode: the same
 * instruction on the host, its operands where the guest's are.
 */
#include "accel/soft/translate/tr.h"

/* What an instruction does with its operands. */
enum {
    REG_R = 1, /* ModRM.reg names a general register that is read, written */
    REG_W = 2,
    RM_R = 4, /* ModRM.rm, likewise; it may be memory */
    RM_W = 8,
    PAIR = 16, /* opcodes in pairs, the even one is the byte form */
    RM8 = 32,  /* rm has that many bits, not the operand size */
    RM16 = 64,
    RM32 = 128,
    BYTE = 256,   /* all are bytes */
    NO_MEM = 512, /* not with memory */
    OK = 1024,
};

#define RM_RW  (RM_R | RM_W | OK)
#define REG_RW (REG_R | REG_W | OK)

static unsigned group_form(const struct x86_insn *i)
{
    unsigned op = i->modrm >> 3 & 7;

    switch (i->opcode) {
    case 0x80: return (op == 7 ? RM_R | OK : RM_RW) | BYTE;
    case 0x81:
    case 0x83: return op == 7 ? RM_R | OK : RM_RW;
    case 0xc0:
    case 0xc1:
    case 0xd0 ... 0xd3: return RM_RW | PAIR;
    case 0xc6:
    case 0xc7: return op == 0 ? RM_W | OK | PAIR : 0;
    case 0xf6:
    case 0xf7: /* TEST, NOT, NEG; MUL and IMUL in RAX and RDX; no DIV */
        return (op < 2 || op == 4 || op == 5 ? RM_R | OK : op < 4 ? RM_RW : 0) | PAIR;
    case 0xfe:
    case 0xff: return op < 2 ? RM_RW | PAIR : 0;
    default: return 0;
    }
}

static unsigned one_byte_form(const struct x86_insn *i)
{
    unsigned op = i->opcode;

    if (op < 0x40 && (op & 7) < 4) {
        bool cmp = op >> 3 == 7;

        if (op & 2)
            return REG_R | (cmp ? 0 : REG_W) | RM_R | PAIR | OK;
        return REG_R | RM_R | (cmp ? 0 : RM_W) | PAIR | OK;
    }
    switch (op) {
    case 0x63: return REG_W | RM_R | RM32 | OK;
    case 0x69:
    case 0x6b: return REG_W | RM_R | OK;
    case 0x84:
    case 0x85: return REG_R | RM_R | PAIR | OK;
    case 0x86:
    case 0x87: return REG_RW | RM_RW | PAIR;
    case 0x88:
    case 0x89: return REG_R | RM_W | PAIR | OK;
    case 0x8a:
    case 0x8b: return REG_W | RM_R | PAIR | OK;
    default: return group_form(i);
    }
}

static unsigned two_byte_form(const struct x86_insn *i)
{
    switch (i->opcode) {
    case 0x40 ... 0x4f: return REG_RW | RM_R; /* a false CMOV keeps, and zero-extends */
    case 0x90 ... 0x9f: return RM_W | BYTE | OK;
    case 0xa3: return REG_R | RM_R | NO_MEM | OK;
    case 0xab:
    case 0xb3:
    case 0xbb: return REG_R | RM_RW | NO_MEM;
    case 0xba: return (i->modrm >> 3 & 7) == 4 ? RM_R | OK : RM_RW;
    case 0xa4:
    case 0xa5:
    case 0xac:
    case 0xad: return REG_R | RM_RW;
    case 0xaf: return REG_RW | RM_R;
    case 0xb0:
    case 0xb1: return REG_R | RM_RW | PAIR;
    case 0xb6:
    case 0xbe: return REG_W | RM_R | RM8 | OK;
    case 0xb7:
    case 0xbf: return REG_W | RM_R | RM16 | OK;
    case 0xc0:
    case 0xc1: return REG_RW | RM_RW | PAIR;
    case 0xb8:
    case 0xbc:
    case 0xbd: return REG_RW | RM_R; /* BSF of 0 keeps its destination */
    default: return 0;
    }
}

static unsigned form_of(const struct x86_insn *i)
{
    unsigned form = 0;

    if (i->flags & X86_VEX || !(i->flags & X86_MODRM))
        return 0;
    if (i->map == X86_MAP_1B)
        form = one_byte_form(i);
    else if (i->map == X86_MAP_0F)
        form = two_byte_form(i);
    return form & OK ? form : 0;
}

static unsigned rm_size(const struct x86_insn *i, unsigned form, unsigned size)
{
    return form & RM8 ? 1 : form & RM16 ? 2 : form & RM32 ? 4 : size;
}

/* AH, CH, DH or BH: the host has no REX with it. */
static bool high_byte(const struct x86_insn *i, unsigned n)
{
    return n >= 4 && n < 8 && !(i->flags & X86_REX);
}

/* The prefixes and the opcode as they are. */
static struct host_insn like(const struct x86_insn *i, unsigned size)
{
    return (struct host_insn){
        .opsize = size == 2,
        .lock = i->flags & X86_LOCK,
        .w = size == 8,
        .rex = i->flags & X86_REX,
        .rep = i->pp == 2   ? 0xf3
               : i->pp == 3 ? 0xf2
                            : 0,
        .map = i->map,
        .opcode = i->opcode,
        .imm = i->imm,
        .imm_size = i->imm_size,
    };
}

/* A register was computed in its host register or in a scratch one, `size` bytes of it. */
static void put(struct tr *tr, unsigned n, uint8_t from)
{
    if (tr_host(n) == HOST_NONE)
        tr_put(tr, n, from);
}

static bool modrm(struct tr *tr, unsigned form)
{
    const struct x86_insn *i = &tr->op->i;
    bool mem = i->flags & X86_RM_MEM, reg = form & (REG_R | REG_W);
    unsigned size = form & BYTE || (form & PAIR && !(i->opcode & 1)) ? 1 : i->osize;
    unsigned rm_bytes = rm_size(i, form, size);
    struct host_insn h = like(i, size);

    if (mem && form & NO_MEM)
        return false;
    if ((size == 1 && reg && high_byte(i, i->reg)) ||
        (rm_bytes == 1 && !mem && high_byte(i, i->rm)))
        return false;
    if (mem)
        h.mem = tr_address(tr, form & RM_W ? EMU_WRITE : EMU_READ, rm_bytes, 0);
    h.reg = i->reg & 7; /* an opcode's extension */
    if (reg)            /* narrower writes merge */
        h.reg = form & REG_R || size < 4 ? tr_get(tr, i->reg, S1) : tr_to(i->reg, S1);
    if (mem) {
        h.is_mem = true;
    } else {
        h.rm = form & RM_R || rm_bytes < 4 ? tr_get(tr, i->rm, S0) : tr_to(i->rm, S0);
    }
    asm_insn(&tr->a, &h);
    if (form & REG_W)
        put(tr, i->reg, h.reg);
    if (form & RM_W && !mem) /* last: XADD of a register with itself */
        put(tr, i->rm, h.rm);
    return true;
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

/* MOV and XCHG with the register in the opcode, BSWAP. */
static bool opcode_register(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    bool swap = i->map == X86_MAP_0F && i->opcode >= 0xc8 && i->opcode <= 0xcf && i->osize >= 4;
    uint8_t r;

    if (swap) {
        r = tr_get(tr, i->rm, S0);
        ASM(&tr->a, (uint8_t)(0x40 | (i->osize == 8) << 3 | r >> 3), 0x0f,
            (uint8_t)(0xc8 | (r & 7)));
        put(tr, i->rm, r);
        return true;
    }
    if (i->map != X86_MAP_1B)
        return false;
    if (i->opcode >= 0xb8 && i->opcode <= 0xbf && i->osize >= 4) {
        r = tr_to(i->rm, S0);
        asm_mov_imm(&tr->a, r, i->osize == 8 ? i->imm : (uint32_t)i->imm);
        put(tr, i->rm, r);
        return true;
    }
    if (i->opcode >= 0x90 && i->opcode <= 0x97 && i->osize >= 4) {
        if (i->opcode == 0x90 && i->rm == RAX)
            return true; /* NOP, PAUSE */
        r = tr_get(tr, i->rm, S0);
        asm_rr(&tr->a, i->osize == 8, 0x87, RAX, r);
        put(tr, i->rm, r);
        return true;
    }
    return false;
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

bool tr_integer(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned form = form_of(i);

    if (form)
        return modrm(tr, form);
    if (i->map == X86_MAP_1B && i->opcode == 0x8d) {
        lea(tr);
        return true;
    }
    if (i->map == X86_MAP_0F && (i->opcode == 0x1f || i->opcode == 0x18 || i->opcode == 0x0d))
        return true; /* NOP with an operand, prefetches */
    return !(i->flags & (X86_VEX | X86_LOCK)) && (opcode_register(tr) || accumulator(tr));
}

/* ---- what others ask (group.c) ------------------------------------------------------ */

static unsigned operand_size(const struct x86_insn *i, unsigned form)
{
    return form & BYTE || (form & PAIR && !(i->opcode & 1)) ? 1 : i->osize;
}

bool tr_integer_access(const struct emu_op *op, struct tr_access *a)
{
    const struct x86_insn *i = &op->i;
    unsigned form = form_of(i), size = operand_size(i, form);

    if (!form || !(i->flags & X86_RM_MEM) || form & NO_MEM || i->asize != 8)
        return false;
    if (size == 1 && form & (REG_R | REG_W) && high_byte(i, i->reg))
        return false;
    *a = (struct tr_access){.base = i->base,
                            .index = i->index,
                            .scale = i->index == X86_NONE_SLOT ? 0 : i->scale,
                            .seg = i->seg == SEG_FS || i->seg == SEG_GS ? i->seg : 0,
                            .size = (uint8_t)rm_size(i, form, size),
                            .access = form & RM_W ? EMU_WRITE : EMU_READ,
                            .disp = i->disp + (i->base == X86_RIP_SLOT ? op->next : 0)};
    return true;
}

static bool in_host(unsigned n)
{
    return n < 16 && tr_host(n) != HOST_NONE;
}

bool tr_integer_quiet(const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    unsigned form = form_of(i), size = operand_size(i, form);

    if (form)
        return !(i->flags & X86_RM_MEM) && in_host(i->rm) &&
               !(size == 1 && form & (REG_R | REG_W) && high_byte(i, i->reg)) &&
               !(rm_size(i, form, size) == 1 && high_byte(i, i->rm));
    if (i->map == X86_MAP_1B && i->opcode == 0x8d)
        return i->osize >= 4 && (i->base == X86_NONE_SLOT || in_host(i->base));
    if (i->map == X86_MAP_0F && i->opcode == 0x1f)
        return true;
    if (i->flags & (X86_VEX | X86_LOCK) || i->map != X86_MAP_1B)
        return false;
    return (i->opcode >= 0xb8 && i->opcode <= 0xbf && i->osize >= 4 && in_host(i->rm)) ||
           (i->opcode < 0x40 && (i->opcode & 6) == 4) || i->opcode == 0xa8 || i->opcode == 0xa9 ||
           i->opcode == 0x98 || i->opcode == 0x99;
}
