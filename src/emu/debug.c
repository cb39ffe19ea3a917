/* MOV to and from debug registers, and what they and a debugger watch (SDM Vol. 3B 17.2). */
#include "emu/debug.h"

#include "emu/emu.h"
#include "emu/system.h"

#define DR6_WRITABLE (DR6_BT | DR6_BS | DR6_BD | 0xfu)
#define DR7_WRITABLE 0xffff23ffu /* L, G, LE, GE, GD, R/W, LEN */

/* DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE. GD guards them all. */
static unsigned debug_register(struct emu_cpu *c, const struct x86_insn *i)
{
    unsigned n = i->reg;

    if (n == 4 || n == 5) {
        if (c->cr4 & CR4_DE)
            emu_ud(c);
        n += 2;
    }
    need_cpl0(c);
    if (c->dr[7] & DR7_GD) {
        c->dr[6] |= DR6_BD;
        c->dr[7] &= ~(uint64_t)DR7_GD;
        emu_raise(c, EXC_DB);
    }
    return n;
}

/* 0F 21 MOV r, DR */
void op_mov_from_dr(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned n = debug_register(c, &op->i);

    emu_set_reg(c, op->i.rm, c->code64 ? 8 : 4, c->dr[n]);
}

/* 0F 23 MOV DR, r. Pages with breakpoints take the slow path, so the TLB goes. */
void op_mov_to_dr(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned n = debug_register(c, &op->i);
    uint64_t value = emu_get_reg(c, op->i.rm, c->code64 ? 8 : 4);

    if (n >= 6 && value >> 32)
        emu_gp(c, 0);
    if (n == 6)
        value = (value & DR6_WRITABLE) | DR6_FIXED;
    else if (n == 7)
        value = (value & DR7_WRITABLE) | DR7_FIXED;
    c->dr[n] = value;
    if (n != 6) {
        debug_registers_changed(c);
        emu_tlb_flush(c);
    }
}

/* ---- watches ------------------------------------------------------------------ */

static void watches_changed(struct emu_cpu *c)
{
    c->watch_exec = c->watch_data = 0;
    for (unsigned n = 0; n < EMU_WATCHES; n++) {
        unsigned on = c->watch[n].on;

        c->watch_exec |= (uint8_t)(on & BIT(EMU_EXEC) ? BIT(n) : 0);
        c->watch_data |= (uint8_t)(on & (BIT(EMU_READ) | BIT(EMU_WRITE)) ? BIT(n) : 0);
    }
    c->singly = c->debug_step || ((c->watch_exec | c->watch_data) & EMU_HIT_GUEST);
}

void debug_registers_changed(struct emu_cpu *c)
{
    static const uint8_t sizes[4] = {1, 2, 8, 4};
    /* R/W of 2 is I/O, which CR4.DE allows and nothing offers. */
    static const uint8_t on[4] = {BIT(EMU_EXEC), BIT(EMU_WRITE), 0, BIT(EMU_READ) | BIT(EMU_WRITE)};

    for (unsigned n = 0; n < EMU_DEBUGGER; n++) {
        unsigned type = c->dr[7] >> (16 + n * 4) & 3;
        uint8_t size = type ? sizes[c->dr[7] >> (18 + n * 4) & 3] : 1;
        bool enabled = c->dr[7] >> (n * 2) & 3;

        c->watch[n] = (struct emu_watch){
            .linear = align_down(c->dr[n], size),
            .size = size,
            .on = enabled ? on[type] : 0,
        };
    }
    watches_changed(c);
}

void emu_set_debug(struct emu_cpu *c, const struct emu_debug *debug)
{
    for (unsigned n = EMU_DEBUGGER; n < EMU_WATCHES; n++) {
        const struct emu_watch *new = &debug->watch[n - EMU_DEBUGGER];
        struct emu_watch *w = &c->watch[n];

        if (w->linear == new->linear && w->size == new->size && w->on == new->on)
            continue;
        *w = *new;
        c->hit &= (uint16_t)~BIT(n);
        emu_tlb_flush(c);
    }
    c->debug_int3 = debug->int3;
    c->debug_step = debug->step;
    if (!debug->step)
        c->hit &= (uint16_t)~EMU_HIT_STEP;
    watches_changed(c);
}

bool debug_watches_page(const struct emu_cpu *c, uint64_t page)
{
    for (unsigned n = 0; n < EMU_WATCHES; n++) {
        if ((c->watch_data & BIT(n)) && align_down(c->watch[n].linear, PAGE_SIZE) == page)
            return true;
    }
    return false;
}

void debug_note(struct emu_cpu *c, uint64_t linear, unsigned len, enum emu_access access)
{
    for (unsigned n = 0; n < EMU_WATCHES; n++) {
        const struct emu_watch *w = &c->watch[n];

        if ((w->on & BIT(access)) && linear < w->linear + w->size && w->linear < linear + len) {
            c->hit |= (uint16_t)BIT(n);
            c->end = NULL;
        }
    }
}

unsigned emu_unwatched(const struct emu_cpu *c, uint64_t linear, unsigned len)
{
    if (likely(!c->watch_exec))
        return len;
    for (unsigned n = 0; n < EMU_WATCHES; n++) {
        uint64_t off = c->watch[n].linear - linear;

        if ((c->watch_exec & BIT(n)) && off < len)
            len = (unsigned)off;
    }
    return len;
}

/* ---- between two instructions --------------------------------------------------- */

static uint64_t linear_rip(const struct emu_cpu *c)
{
    return (c->seg_base[SEG_CS] + (c->r[X86_RIP_SLOT] & c->rip_mask)) & c->lin_mask;
}

/* Breakpoints at rip are not for now: they have been told of, or passed. */
static void told_here(struct emu_cpu *c)
{
    c->debug_told = true;
    c->debug_at = linear_rip(c);
}

/* Sets DR6 and raises #DB: for traps rip is behind the instruction already. */
static _Noreturn void debug_raise(struct emu_cpu *c, unsigned hit)
{
    c->op = NULL;
    c->dr[6] = (c->dr[6] & ~UINT64_C(15)) | hit;
    emu_raise(c, EXC_DB);
}

void debug_traps(struct emu_cpu *c)
{
    unsigned hit = c->hit & (EMU_HIT_GUEST | EMU_HIT_TRACE);

    if (!hit || c->intr.shadow)
        return;
    c->hit &= (uint16_t)~hit;
    debug_raise(c, hit);
}

/* The debugger looks at rip now: a watch there need not tell it again. */
static _Noreturn void debug_leave(struct emu_cpu *c)
{
    told_here(c);
    c->exit.debug.rip = c->r[X86_RIP_SLOT];
    emu_leave(c, VCPU_EXIT_DEBUG);
}

void debug_tell(struct emu_cpu *c)
{
    if (!emu_debug_due(c))
        return;
    c->exit.debug.int3 = false;
    c->exit.debug.step = c->hit & EMU_HIT_STEP;
    c->exit.debug.watches = (uint8_t)((c->hit & EMU_HIT_DEBUGGER) >> EMU_DEBUGGER);
    c->hit &= (uint16_t) ~(EMU_HIT_DEBUGGER | EMU_HIT_STEP);
    debug_leave(c);
}

/* BIT(n): watch n stops at this instruction. */
static unsigned watches_at(const struct emu_cpu *c, uint64_t linear)
{
    unsigned hit = 0;

    for (unsigned n = 0; n < EMU_WATCHES; n++) {
        if ((c->watch_exec & BIT(n)) && c->watch[n].linear == linear)
            hit |= (unsigned)BIT(n);
    }
    return hit;
}

void debug_instruction(struct emu_cpu *c)
{
    uint64_t linear = linear_rip(c);
    bool told = c->debug_told && c->debug_at == linear;
    unsigned hit;

    c->debug_told = false;
    if (!c->watch_exec)
        return;
    hit = watches_at(c, linear);
    if (!told && (hit & EMU_HIT_DEBUGGER)) {
        c->hit |= hit & EMU_HIT_DEBUGGER;
        debug_tell(c);
    }
    if ((hit & EMU_HIT_GUEST) && !c->intr.shadow && !(c->rflags & FLAG_RF))
        debug_raise(c, hit & EMU_HIT_GUEST);
}

void debug_at_int3(struct emu_cpu *c)
{
    if (!c->debug_int3 || c->op->i.len != 1)
        return;
    emu_undo(c);
    c->exit.debug.int3 = true;
    c->exit.debug.step = false;
    c->exit.debug.watches = 0;
    debug_leave(c);
}

void debug_again(struct emu_cpu *c)
{
    if (c->watch_exec)
        told_here(c);
    if (c->watch_exec & EMU_HIT_GUEST)
        c->rflags |= FLAG_RF;
}

void emu_debug_moved(struct emu_cpu *c)
{
    c->debug_told = c->debug_told && c->debug_at == linear_rip(c);
}
