/*
 * Integer instructions with ModRM, or with registers in the opcode: the same
 * instruction on the host, its operands where the guest's are.
 */
#include "accel/soft/translate/integer.h"

#include "emu/features.h"

#include <cpuid.h>

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
    case 0xc3: return REG_R | RM_W | OK; /* MOVNTI */
    case 0xb8:
    case 0xbc:
    case 0xbd: return REG_RW | RM_R; /* BSF of 0 keeps its destination */
    default: return 0;
    }
}

static unsigned three_byte_form(const struct x86_insn *i)
{
    if (i->opcode == 0xf6) /* ADCX, ADOX */
        return REG_RW | RM_R;
    if (i->opcode != 0xf0 && i->opcode != 0xf1)
        return 0;
    if (i->pp == 3) /* CRC32 */
        return REG_RW | RM_R | (i->opcode == 0xf0 ? RM8 : 0);
    return i->opcode == 0xf0 ? REG_W | RM_R | OK : REG_R | RM_W | OK; /* MOVBE */
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
    else if (i->map == X86_MAP_0F38)
        form = three_byte_form(i);
    return form & OK ? form : 0;
}

/* ADCX and ADOX: 66 is a part of the opcode. */
static bool is_adx(const struct x86_insn *i)
{
    return i->map == X86_MAP_0F38 && i->opcode == 0xf6;
}

static unsigned operand_size(const struct x86_insn *i, unsigned form)
{
    if (is_adx(i))
        return i->flags & X86_W ? 8 : 4;
    return form & BYTE || (form & PAIR && !(i->opcode & 1)) ? 1 : i->osize;
}

static unsigned rm_size(const struct x86_insn *i, unsigned form, unsigned size)
{
    return form & RM8 ? 1 : form & RM16 ? 2 : form & RM32 ? 4 : size;
}

/* The prefixes and the opcode as they are. */
static struct host_insn like(const struct x86_insn *i, unsigned size)
{
    return (struct host_insn){
        .opsize = is_adx(i) ? i->pp == 1 : size == 2,
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

/* TZCNT and LZCNT are BSF and BSR to a guest that has them not. */
static bool no_count(const struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    uint64_t features = tr->s->cpu.features;

    return i->map == X86_MAP_0F && i->pp == 2 &&
           ((i->opcode == 0xbc && !(features & EMU_F(BMI1))) ||
            (i->opcode == 0xbd && !(features & EMU_F(ABM))));
}

/* A register was computed in its host register or in a scratch one, `size` bytes of it. */
static void put(struct tr *tr, unsigned n, uint8_t from)
{
    if (tr_host(n) == HOST_NONE)
        tr_put(tr, n, from);
}

/* Between registers, AH to BH among them: these have no REX, here as there. */
static bool high_registers(struct tr *tr, unsigned form, struct host_insn *h)
{
    const struct x86_insn *i = &tr->op->i;
    bool both = !(form & RM8); /* else reg is no byte */

    h->reg = form & (REG_R | REG_W) && !both ? tr_host(i->reg) : i->reg & 7;
    h->rm = i->rm;
    if (h->reg >= 8) /* RSP */
        return false;
    asm_insn(&tr->a, h);
    return true;
}

/* Of AH to BH and memory, whose address needs a REX: by way of AL to BL. */
static bool high_and_memory(struct tr *tr, unsigned form, struct host_insn *h)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned n = i->reg - 4u;

    if (n == RAX && i->map == X86_MAP_0F && i->opcode == 0xb0) /* CMPXCHG has AL, too */
        return false;
    h->mem = tr_address(tr, form & RM_W ? EMU_WRITE : EMU_READ, 1, 0);
    h->is_mem = true;
    h->reg = (uint8_t)n;
    tr_rotate(tr, h->reg, h->reg, 8);
    asm_insn(&tr->a, h);
    tr_rotate(tr, h->reg, h->reg, 56);
    return true;
}

/* Where it is in emu_cpu.r, may the host have it as its memory operand? Narrow writes merge, and
 * whoever reads all of it soon would wait for the store; XCHG would be locked. */
static bool in_place(unsigned form, unsigned size)
{
    bool exchanges = form & REG_W && form & RM_W;

    return !exchanges && !(form & NO_MEM) && (!(form & RM_W) || size == 8);
}

static void rm_register(struct tr *tr, unsigned form, unsigned size, struct host_insn *h)
{
    const struct x86_insn *i = &tr->op->i;

    if (tr_host(i->rm) == HOST_NONE && in_place(form, size)) {
        h->is_mem = true;
        h->mem = mem_gs(GS_REG(i->rm));
    } else {
        h->rm = form & RM_R || size < 4 ? tr_get(tr, i->rm, S0) : tr_to(i->rm, S0);
    }
}

static bool modrm(struct tr *tr, unsigned form)
{
    const struct x86_insn *i = &tr->op->i;
    bool mem = i->flags & X86_RM_MEM, reg = form & (REG_R | REG_W);
    unsigned size = operand_size(i, form);
    unsigned rm_bytes = rm_size(i, form, size);
    struct host_insn h = like(i, size);

    if (no_count(tr))
        h.rep = 0;

    if (mem && form & NO_MEM)
        return false;
    if (rm_bytes == 1 && !mem &&
        (tr_high_byte(i, i->rm) || (reg && size == 1 && tr_high_byte(i, i->reg))))
        return high_registers(tr, form, &h);
    if (size == 1 && reg && tr_high_byte(i, i->reg))
        return high_and_memory(tr, form, &h);
    if (mem)
        h.mem = tr_address(tr, form & RM_W ? EMU_WRITE : EMU_READ, rm_bytes, 0);
    h.reg = i->reg & 7; /* an opcode's extension */
    if (reg)            /* narrower writes merge */
        h.reg = form & REG_R || size < 4 ? tr_get(tr, i->reg, S1) : tr_to(i->reg, S1);
    if (mem) {
        h.is_mem = true;
    } else {
        rm_register(tr, form, rm_bytes, &h);
    }
    asm_insn(&tr->a, &h);
    if (form & REG_W)
        put(tr, i->reg, h.reg);
    if (form & RM_W && !h.is_mem) /* last: XADD of a register with itself */
        put(tr, i->rm, h.rm);
    return true;
}

/* CMPXCHG8B, CMPXCHG16B: their four registers are the host's own. */
static bool compare_pair(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned size = i->flags & X86_W ? 16 : 8;
    struct host_mem at;

    if (i->map != X86_MAP_0F || i->opcode != 0xc7 || !(i->flags & X86_RM_MEM) ||
        (i->modrm >> 3 & 7) != 1)
        return false;
    at = tr_address(tr, EMU_WRITE, size, size == 16 ? 15 : 0);
    asm_insn(&tr->a, &(struct host_insn){.lock = i->flags & X86_LOCK,
                                         .w = size == 16,
                                         .map = X86_MAP_0F,
                                         .opcode = 0xc7,
                                         .reg = 1,
                                         .is_mem = true,
                                         .mem = at});
    return true;
}

bool tr_integer(struct tr *tr)
{
    static bool (*const parts[])(struct tr *) = {
        tr_move, tr_divide,  tr_bit_string, tr_string,    tr_loop,
        tr_flag, tr_nothing, tr_selector,   compare_pair,
    };
    const struct x86_insn *i = &tr->op->i;
    unsigned form;

    if (i->flags & X86_VEX)
        return tr_bmi(tr);
    form = form_of(i);
    if (form && modrm(tr, form))
        return true;
    for (unsigned n = 0; n < ARRAY_SIZE(parts); n++) {
        if (parts[n](tr))
            return true;
    }
    return false;
}

/* Those that compilers have no name for (SDM Vol. 2A CPUID). */
static bool host_has_unnamed(void)
{
    const unsigned movbe = 1u << 22, lzcnt = 1u << 5, lahf = 1u << 0;
    unsigned a, b, basic, extended, d;

    return __get_cpuid(1, &a, &b, &basic, &d) && __get_cpuid(0x80000001, &a, &b, &extended, &d) &&
           basic & movbe && extended & lzcnt && extended & lahf;
}

bool tr_host_suffices(void)
{
    return __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("sse4.2") &&
           host_has_unnamed();
}

/* ---- what others ask (group.c) ------------------------------------------------------ */

bool tr_integer_access(const struct emu_op *op, struct tr_access *a)
{
    const struct x86_insn *i = &op->i;
    unsigned form = form_of(i), size = operand_size(i, form);

    if (!form || !(i->flags & X86_RM_MEM) || form & NO_MEM || i->asize != 8)
        return false;
    if (size == 1 && form & (REG_R | REG_W) && tr_high_byte(i, i->reg))
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
               !(size == 1 && form & (REG_R | REG_W) && tr_high_byte(i, i->reg)) &&
               !(rm_size(i, form, size) == 1 && tr_high_byte(i, i->rm));
    if (i->map == X86_MAP_1B && i->opcode == 0x8d)
        return i->osize >= 4 && (i->base == X86_NONE_SLOT || in_host(i->base));
    if (i->map == X86_MAP_0F && (i->opcode == 0x0d || (i->opcode >= 0x18 && i->opcode <= 0x1f)))
        return true;
    if (i->flags & (X86_VEX | X86_LOCK) || i->map != X86_MAP_1B)
        return false;
    return (i->opcode >= 0xb8 && i->opcode <= 0xbf && i->osize >= 4 && in_host(i->rm)) ||
           (i->opcode < 0x40 && (i->opcode & 6) == 4) || i->opcode == 0xa8 || i->opcode == 0xa9 ||
           i->opcode == 0x98 || i->opcode == 0x99;
}
