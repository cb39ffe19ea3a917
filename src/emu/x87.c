/*
 * x87 instructions run on the host: a thunk loads the guest's x87 image with
 * FXRSTOR64, executes the one instruction, saves with FXSAVE64 and leaves the
 * host's x87 initialised. Nothing in between waits, so an exception that the
 * guest has unmasked never traps on the host; it shows as ES in the image and is
 * raised at the guest's next waiting instruction, as on a CPU.
 */
#include "emu/x87.h"

#include "emu/bind.h"
#include "emu/features.h"
#include "emu/fpu.h"
#include "emu/thunk.h"

#include <immintrin.h>

/* mem: operand; image: FXSAVE area; flags: guest's. Returns the flags afterwards. */
typedef uint64_t (*x87_code)(void *mem, void *image, uint64_t flags);

/* Bytes of the memory operand by opcode - D8 and ModRM.reg: positive loads, negative stores, zero
 * means not here (environment, control) or undefined. */
static const int8_t mem_form[8][8] = {
    {4, 4, 4, 4, 4, 4, 4, 4},       /* D8 */
    {4, 0, -4, -4, 0, 0, 0, 0},     /* D9 */
    {4, 4, 4, 4, 4, 4, 4, 4},       /* DA */
    {4, -4, -4, -4, 0, 10, 0, -10}, /* DB */
    {8, 8, 8, 8, 8, 8, 8, 8},       /* DC */
    {8, -8, -8, -8, 0, 0, 0, 0},    /* DD */
    {2, 2, 2, 2, 2, 2, 2, 2},       /* DE */
    {2, -2, -2, -2, 10, 8, -10, -8} /* DF */
};

static x87_code thunks[8][256]; /* by opcode, ModRM with memory forms as modrm.reg << 3 */

/* FCMOVcc reads flags, FCOMI and FUCOMI write them. */
static bool reads_flags(unsigned opcode, unsigned modrm)
{
    return modrm >= 0xc0 && modrm < 0xe0 && (opcode == 0xda || opcode == 0xdb);
}

static bool writes_flags(unsigned opcode, unsigned modrm)
{
    return modrm >= 0xe8 && modrm < 0xf8 && (opcode == 0xdb || opcode == 0xdf);
}

static x87_code thunk_get(uint8_t opcode, uint8_t modrm)
{
    uint8_t mem_modrm = (uint8_t)((modrm & 0x38) | 7); /* (%rdi) */
    uint8_t key = modrm >= 0xc0 ? modrm : modrm & 0x38;
    uint8_t code[] = {0x48,   0x0f,
                      0xae,   0x0e, /* fxrstor64 (%rsi) */
                      0x52,   0x9d, /* push %rdx; popfq */
                      opcode, modrm >= 0xc0 ? modrm : mem_modrm,
                      0x9c,   0x58, /* pushfq; pop %rax */
                      0x48,   0x0f,
                      0xae,   0x06, /* fxsave64 (%rsi) */
                      0xdb,   0xe3, /* fninit */
                      0xc3};
    x87_code *slot = &thunks[opcode - 0xd8][key], got = __atomic_load_n(slot, __ATOMIC_ACQUIRE);

    if (got)
        return got;
    if (!reads_flags(opcode, modrm))
        memset(code + 4, 0x90, 2);
    if (!writes_flags(opcode, modrm))
        memset(code + 8, 0x90, 2);
    got = (x87_code)(uintptr_t)thunk_place(code, sizeof(code)); /* two threads: one goes unused */
    __atomic_store_n(slot, got, __ATOMIC_RELEASE);
    return got;
}

/* Note the instruction and its operand for the exception handler (SDM Vol. 1 8.1.8, 8.1.9). */
static void note_pointers(const struct emu_cpu *c, const struct x86_insn *i, uint8_t *image,
                          uint64_t ea)
{
    uint64_t ip = (c->r[X86_RIP_SLOT] - i->len) & c->rip_mask;

    if (!c->code64) {
        ip = (uint32_t)ip | (uint64_t)c->seg[SEG_CS].selector << 32;
        ea = (uint32_t)ea | (uint64_t)c->seg[i->seg].selector << 32;
    }
    le16_put(image + X87_FOP, (uint16_t)((i->opcode & 7) << 8 | i->modrm));
    le64_put(image + X87_FIP, ip);
    if (i->flags & X86_RM_MEM)
        le64_put(image + X87_FDP, ea);
}

/* An unmasked invalid operation, divide, overflow or underflow keeps a store from happening; an
 * unmasked inexact result is stored (SDM Vol. 1 8.5). */
static bool store_happens(const uint8_t *image)
{
    return !(le16_get(image + X87_FSW) & ~le16_get(image + X87_FCW) & 0x1f);
}

static void op_x87(struct emu_cpu *c, const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    bool mem = i->flags & X86_RM_MEM;
    int form = mem ? mem_form[i->opcode - 0xd8][i->modrm >> 3 & 7] : 0;
    x87_code code = (x87_code)(uintptr_t)op->aux;
    uint64_t ea = mem ? emu_ea(c, i) : 0, flags;
    uint8_t image[512] __attribute__((aligned(16)));
    uint8_t buf[16] __attribute__((aligned(16)));

    x87_check(c, EXC_NM);
    if (form > 0)
        emu_load_bytes(c, i->seg, ea, buf, (unsigned)form);
    memcpy(image, c->fpu.x87, X87_SIZE);
    le32_put(image + 24, _mm_getcsr());
    flags = code(buf, image, (c->rflags & FLAG_STATUS) | FLAG_R1);
    note_pointers(c, i, image, ea);
    if (form < 0 && store_happens(image))
        emu_store_bytes(c, i->seg, ea, buf, (unsigned)-form);
    memset(image + 24, 0, 8);
    memcpy(c->fpu.x87, image, X87_SIZE);
    if (!mem && writes_flags(i->opcode, i->modrm))
        c->rflags = (c->rflags & ~(uint64_t)FLAG_STATUS) | (flags & FLAG_STATUS);
}

/* ---- control instructions --------------------------------------------- */

/* Those that don't wait: only #NM. */
static void check_no_wait(struct emu_cpu *c)
{
    if (unlikely(c->cr0 & (CR0_EM | CR0_TS)))
        emu_raise(c, EXC_NM);
}

static void op_fldcw(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t fcw;

    x87_check(c, EXC_NM);
    fcw = emu_load(c, op->i.seg, emu_ea(c, &op->i), 2);
    x87_set_fcw(&c->fpu, (uint16_t)fcw);
}

static void op_fnstcw(struct emu_cpu *c, const struct emu_op *op)
{
    check_no_wait(c);
    emu_store(c, op->i.seg, emu_ea(c, &op->i), 2, le16_get(c->fpu.x87 + X87_FCW));
}

static void op_fnstsw(struct emu_cpu *c, const struct emu_op *op)
{
    check_no_wait(c);
    if (op->i.flags & X86_RM_MEM)
        emu_store(c, op->i.seg, emu_ea(c, &op->i), 2, x87_fsw(&c->fpu));
    else
        emu_set_reg(c, RAX, 2, x87_fsw(&c->fpu));
}

static void op_fninit(struct emu_cpu *c, const struct emu_op *op)
{
    check_no_wait(c);
    x87_init(&c->fpu);
}

static void op_fnclex(struct emu_cpu *c, const struct emu_op *op)
{
    check_no_wait(c);
    le16_put(c->fpu.x87 + X87_FSW, x87_fsw(&c->fpu) & 0x7f00);
}

/* FNENI, FNDISI, FNSETPM: of the 8087 and 287, nothing since. */
static void op_fpu_nothing(struct emu_cpu *c, const struct emu_op *op)
{
    check_no_wait(c);
}

static void op_wait(struct emu_cpu *c, const struct emu_op *op)
{
    if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        emu_raise(c, EXC_NM);
    x87_check_pending(c);
}

static void no_thunk(struct emu_cpu *c, const struct emu_op *op)
{
    c->exit.fail.why = "the host gives no executable memory for an x87 instruction";
    c->exit.fail.detail[0] = op->i.opcode;
    c->exit.fail.detail[1] = op->i.modrm;
    memcpy(c->exit.fail.insn, c->bytes, op->i.len);
    c->exit.fail.insn_len = op->i.len;
    emu_leave(c, VCPU_EXIT_FAIL);
}

/* ---- binding ---------------------------------------------------------- */

static emu_fn pick_control(const struct x86_insn *i)
{
    unsigned n = (unsigned)(i->opcode - 0xd8) << 3 | (i->modrm >> 3 & 7);

    if (i->flags & X86_RM_MEM) {
        switch (n) {
        case 1 << 3 | 4: return x87_fldenv;
        case 1 << 3 | 5: return op_fldcw;
        case 1 << 3 | 6: return x87_fnstenv;
        case 1 << 3 | 7: return op_fnstcw;
        case 5 << 3 | 4: return x87_frstor;
        case 5 << 3 | 6: return x87_fnsave;
        case 5 << 3 | 7: return op_fnstsw;
        default: return NULL;
        }
    }
    if (i->opcode == 0xdf && i->modrm == 0xe0)
        return op_fnstsw;
    if (i->opcode != 0xdb)
        return NULL;
    switch (i->modrm) {
    case 0xe0:
    case 0xe1:
    case 0xe4: return op_fpu_nothing;
    case 0xe2: return op_fnclex;
    case 0xe3: return op_fninit;
    default: return NULL;
    }
}

/* Register forms that exist, the undocumented aliases (D9 D8, DC D0, DF C8 ...) included. */
static bool reg_form_exists(unsigned opcode, unsigned modrm)
{
    switch (opcode) {
    case 0xd9:
        return modrm <= 0xd0 || (modrm >= 0xd8 && modrm != 0xe2 && modrm != 0xe3 && modrm != 0xe6 &&
                                 modrm != 0xe7 && modrm != 0xef);
    case 0xda: return modrm < 0xe0 || modrm == 0xe9;
    case 0xdb: return modrm < 0xe0 || (modrm >= 0xe8 && modrm < 0xf8);
    case 0xdd: return modrm < 0xf0;
    case 0xde: return modrm < 0xd8 || modrm == 0xd9 || modrm >= 0xe0;
    case 0xdf: return modrm < 0xe0 || (modrm >= 0xe8 && modrm < 0xf8);
    default: return true; /* D8, DC */
    }
}

static bool exists(const struct x86_insn *i, uint64_t features)
{
    unsigned reg = i->modrm >> 3 & 7;

    if (i->flags & X86_RM_MEM) {
        if (mem_form[i->opcode - 0xd8][reg] == 0)
            return false;
        /* FISTTP came with SSE3. */
        return !(reg == 1 && (i->opcode == 0xdb || i->opcode == 0xdd || i->opcode == 0xdf)) ||
               features & EMU_F(SSE3);
    }
    if (reads_flags(i->opcode, i->modrm) || writes_flags(i->opcode, i->modrm))
        return features & EMU_F(CMOV);
    return reg_form_exists(i->opcode, i->modrm);
}

bool bind_x87(const struct emu_cpu *c, struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    if (i->map != X86_MAP_1B || i->flags & X86_LOCK || !(c->features & EMU_F(FPU)))
        return false;
    if (i->opcode == 0x9b) {
        op->fn = op_wait;
        return true;
    }
    if ((i->opcode & 0xf8) != 0xd8)
        return false;
    op->fn = pick_control(i);
    if (op->fn)
        return true;
    if (!exists(i, c->features))
        return false;
    op->aux = (const void *)(uintptr_t)thunk_get(i->opcode, i->modrm);
    op->fn = op->aux ? op_x87 : no_thunk;
    return true;
}
