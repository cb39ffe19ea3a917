/*
 * Memory operands: their address, and the look into the software TLB. A miss,
 * a page crossing, MMIO, a watched page: the interpreter does the instruction.
 */
#include "accel/soft/translate/tr.h"

/* The operand's address as the host's LEA takes it, registers that are in memory loaded. */
struct host_mem tr_operand(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    struct host_mem m = {
        .base = HOST_NONE, .index = HOST_NONE, .scale = i->scale, .disp = i->disp + tr->shift};

    if (i->base == X86_RIP_SLOT) {
        tr_rip(tr, S0, tr_next(tr));
        m.base = S0;
    } else if (i->base != X86_NONE_SLOT) {
        m.base = tr_get(tr, i->base, S0);
    }
    if (i->index != X86_NONE_SLOT)
        m.index = tr_get(tr, i->index, S1);
    return m;
}

void tr_linear(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    struct host_mem m = tr_operand(tr);

    asm_rm(&tr->a, i->asize == 8, 0x8d, S0, m);
    if (i->seg == SEG_FS || i->seg == SEG_GS) {
        asm_load(&tr->a, S1, mem_gs(GS_CPU(seg_base) + 8 * i->seg));
        asm_lea(&tr->a, S0, (struct host_mem){.base = S0, .index = S1});
    }
}

static void check_align(struct tr *tr, unsigned align)
{
    if (!align)
        return;
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xf6, .rm = S0, .imm = align, .imm_size = 1});
    if (tr_group_led(tr))
        tr_cold_also(tr, asm_jcc(&tr->a, CC_NE));
    else
        tr_cold_interpret(tr, asm_jcc(&tr->a, CC_NE));
}

/* Operands from 32 bytes on go through a page in so few accesses that the misses cost more. */
#define SLOT_TOO_WIDE 32

/* Its own TLB entry, for user code: a kernel's places see many pages, and few accesses until an
 * address space ends. 0: none. */
static uint32_t slot_for(struct tr *tr, unsigned size)
{
    unsigned n = (unsigned)(tr->op - tr->b->op);

    if (tr->mmu != EMU_MMU_USER || (size >= SLOT_TOO_WIDE && !tr_group_led(tr)) || tr->alone ||
        tr->b->no_slot & BIT(n))
        return 0;
    return slots_take(tr->s, tr->b, n);
}

static void check_failed(struct tr *tr, uint8_t *from)
{
    if (tr_group_led(tr))
        tr_cold_group(tr, from);
    else
        tr_cold_interpret(tr, from);
}

/* A check by a slot of its own: xor; cmp; ja; add. */
static void slot_check(struct tr *tr, uint32_t slot, enum emu_access access, unsigned size,
                       unsigned align)
{
    uint8_t *other;

    asm_rm(&tr->a, true, 0x33, S0, mem_gs((int32_t)(slot + offsetof(struct translate_slot, tag))));
    asm_alu_imm(&tr->a, true, 7, S0, (int32_t)(PAGE_SIZE - size));
    other = asm_jcc(&tr->a, CC_A);
    tr_cold_slot(tr, other, slot, access, size);
    check_failed(tr, NULL);
    check_align(tr, align);
    asm_rm(&tr->a, true, 0x03, S0, mem_gs((int32_t)(slot + offsetof(struct translate_slot, host))));
}

void tr_check(struct tr *tr, enum emu_access access, unsigned size, unsigned align)
{
    const unsigned shift = PAGE_SHIFT - 5; /* sizeof(struct emu_tlb_entry) is 32 */
    int32_t tlb = GS_CPU(tlb) + (int32_t)(tr->mmu * sizeof(tr->s->cpu.tlb[0]));
    struct host_mem entry = {.base = S1, .index = HOST_NONE, .gs = true};
    uint32_t slot = slot_for(tr, size);

    _Static_assert(sizeof(struct emu_tlb_entry) == 32, "shift");
    tr->run.failed = true; /* it has checks only for what it knows */
    if (slot) {
        slot_check(tr, slot, access, size, align);
        return;
    }
    asm_rr(&tr->a, false, 0x8b, S1, S0);
    asm_shift_imm(&tr->a, false, 5, S1, shift);
    asm_alu_imm(&tr->a, false, 4, S1, (EMU_TLB_SIZE - 1) << 5);
    entry.disp = tlb + (int32_t)(offsetof(struct emu_tlb_entry, tag) + 8 * access);
    asm_rm(&tr->a, true, 0x33, S0, entry);
    asm_alu_imm(&tr->a, true, 7, S0, (int32_t)(PAGE_SIZE - size));
    check_failed(tr, asm_jcc(&tr->a, CC_A));
    check_align(tr, align);
    entry.disp = tlb + (int32_t)offsetof(struct emu_tlb_entry, host);
    asm_rm(&tr->a, true, 0x03, S0, entry);
}

/* The operand is at S0, after the check of tr->op's own or of its group's. */
static struct host_mem checked(struct tr *tr, uint8_t base, int delta, enum emu_access access,
                               unsigned size, unsigned align)
{
    struct tr_group *g = tr_group_led(tr);
    const struct tr_group *own = &tr->group[tr->op - tr->b->op];

    if (tr->run.inside)
        return tr_run_address(tr);
    if (own->member && !tr->alone)
        return mem_at(S0, own->at);
    tr_flags_save(tr);
    if (g) {
        access = (enum emu_access)g->access;
        size = g->span;
        align = g->align;
        delta += g->low;
    }
    if (base != HOST_NONE) {
        asm_lea(&tr->a, S0, mem_at(base, delta));
    } else {
        tr->shift = delta;
        tr_linear(tr);
        tr->shift = 0;
    }
    tr_check(tr, access, size, align);
    tr_flags_restore(tr);
    return mem_at(S0, g ? -g->low : 0);
}

struct host_mem tr_address(struct tr *tr, enum emu_access access, unsigned size, unsigned align)
{
    return checked(tr, HOST_NONE, 0, access, size, align);
}

struct host_mem tr_stack_address(struct tr *tr, enum emu_access access, int delta)
{
    return checked(tr, HOST_SP, delta, access, 8, 0);
}
