/*
 * Instructions on RFLAGS itself: PUSHF, POPF, LAHF, SAHF, CLI, STI and the
 * single-flag ones (SDM Vol. 1 7.3.13, Vol. 2).
 */
#include "emu/system.h"

uint64_t flags_popped(const struct emu_cpu *c, uint64_t image, unsigned size)
{
    uint64_t mask = FLAG_STATUS | FLAG_TF | FLAG_DF | FLAG_NT;
    bool real = !c->protected_mode && !c->vm86;

    if (real || (!c->vm86 && c->cpl == 0))
        mask |= FLAG_IOPL;
    if (real || c->cpl <= iopl(c))
        mask |= FLAG_IF;
    if (size > 2)
        mask |= FLAG_RF | FLAG_AC | FLAG_ID;
    if (size > 2 && c->protected_mode && c->cpl == 0)
        mask |= FLAG_VIF | FLAG_VIP;
    return (c->rflags & ~mask) | (image & mask);
}

/* Virtual-8086 mode's IOPL-sensitive instructions (SDM Vol. 3A 20.2.7). */
static void need_iopl3_vm86(struct emu_cpu *c)
{
    if (c->vm86 && iopl(c) < 3)
        emu_gp(c, 0);
}

static void op_pushf(struct emu_cpu *c, const struct emu_op *op)
{
    need_iopl3_vm86(c);
    emu_push(c, op->i.osize, c->rflags & ~(uint64_t)(FLAG_VM | FLAG_RF));
}

static void op_popf(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t image;

    need_iopl3_vm86(c);
    image = emu_pop(c, op->i.osize) & ~(uint64_t)(FLAG_RF | FLAG_VIF | FLAG_VIP);
    emu_set_rflags(c, flags_popped(c, image, op->i.osize));
}

static void op_lahf(struct emu_cpu *c, const struct emu_op *op)
{
    ((uint8_t *)&c->r[RAX])[1] = (uint8_t)c->rflags;
}

static void op_sahf(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t mask = FLAG_STATUS & ~(uint64_t)FLAG_OF;

    c->rflags = (c->rflags & ~mask) | (c->r[RAX] >> 8 & mask);
}

/* CLI and STI want CPL <= IOPL, 3 in virtual-8086 mode. */
static void need_iopl(struct emu_cpu *c)
{
    if ((c->protected_mode || c->vm86) && c->cpl > iopl(c))
        emu_gp(c, 0);
}

static void op_cli(struct emu_cpu *c, const struct emu_op *op)
{
    need_iopl(c);
    c->rflags &= ~(uint64_t)FLAG_IF;
}

/* Interrupts are let in one instruction later (SDM Vol. 2B STI). */
static void op_sti(struct emu_cpu *c, const struct emu_op *op)
{
    need_iopl(c);
    if (!(c->rflags & FLAG_IF)) {
        c->intr.shadow = 1;
        c->end = NULL;
    }
    c->rflags |= FLAG_IF;
}

static void op_cmc(struct emu_cpu *c, const struct emu_op *op)
{
    c->rflags ^= FLAG_CF;
}

static void op_clc(struct emu_cpu *c, const struct emu_op *op)
{
    c->rflags &= ~(uint64_t)FLAG_CF;
}

static void op_stc(struct emu_cpu *c, const struct emu_op *op)
{
    c->rflags |= FLAG_CF;
}

static void op_cld(struct emu_cpu *c, const struct emu_op *op)
{
    c->rflags &= ~(uint64_t)FLAG_DF;
}

static void op_std(struct emu_cpu *c, const struct emu_op *op)
{
    c->rflags |= FLAG_DF;
}

/* 0F 01 CA CLAC, CB STAC */
static void op_clac_stac(struct emu_cpu *c, const struct emu_op *op)
{
    uint64_t clear = c->rflags & ~(uint64_t)FLAG_AC;

    if (c->cpl || c->vm86)
        emu_ud(c);
    emu_set_rflags(c, op->i.modrm == 0xcb ? clear | FLAG_AC : clear);
}

/* LAHF and SAHF in 64-bit mode came later than 64-bit mode. */
static bool have_lahf(const struct emu_cpu *c)
{
    return c->mode != X86_MODE64 || c->features & EMU_F(LAHF);
}

bool bind_eflags(const struct emu_cpu *c, struct emu_op *op)
{
    if (op->i.map == X86_MAP_0F)
        return op->i.opcode == 0x01 && (op->i.modrm == 0xca || op->i.modrm == 0xcb) && !op->i.pp &&
               c->features & EMU_F(SMAP) && bind_to(op, op_clac_stac, false);
    switch (op->i.opcode) {
    case 0x9c: return bind_to(op, op_pushf, false);
    case 0x9d: return bind_to(op, op_popf, true);
    case 0x9e: return have_lahf(c) && bind_to(op, op_sahf, false);
    case 0x9f: return have_lahf(c) && bind_to(op, op_lahf, false);
    case 0xf5: return bind_to(op, op_cmc, false);
    case 0xf8: return bind_to(op, op_clc, false);
    case 0xf9: return bind_to(op, op_stc, false);
    case 0xfa: return bind_to(op, op_cli, false);
    case 0xfb: return bind_to(op, op_sti, false);
    case 0xfc: return bind_to(op, op_cld, false);
    case 0xfd: return bind_to(op, op_std, false);
    default: return false;
    }
}
