#include "accel/soft/translate/slots.h"

#include "accel/soft/translate/tr.h"

#include <sys/random.h>
#include <x86intrin.h>

static int32_t base(void)
{
    return GS_TR(slots.slot);
}

static void clear(struct soft_vcpu *s, uint32_t slot)
{
    struct translate_slots *t = &s->tr.slots;

    *(struct translate_slot *)((uint8_t *)s + slot) = (struct translate_slot){t->empty, t->nowhere};
}

void slots_init(struct soft_vcpu *s)
{
    struct translate_slots *t = &s->tr.slots;

    if (getrandom(&t->empty, sizeof(t->empty), GRND_NONBLOCK) != sizeof(t->empty))
        t->empty = __rdtsc() * UINT64_C(0x9e3779b97f4a7c15);
    t->empty = (t->empty & UINT64_C(0x00fffffffffff000)) | UINT64_C(0x5a) << 56;
}

void slots_flush(struct soft_vcpu *s)
{
    struct translate_slots *t = &s->tr.slots;

    for (unsigned n = 0; n < t->fills; n++)
        clear(s, t->log[n].slot);
    t->fills = 0;
}

void slots_flush_page(struct soft_vcpu *s, uint64_t linear)
{
    struct translate_slots *t = &s->tr.slots;
    uint32_t page = (uint32_t)(linear >> PAGE_SHIFT);

    for (unsigned n = 0; n < t->fills; n++) {
        if (t->log[n].page == page)
            clear(s, t->log[n].slot);
    }
}

void slots_reset(struct soft_vcpu *s)
{
    slots_flush(s);
    s->tr.slots.used = 0;
    s->tr.slots.hot = 0;
}

uint32_t slots_take(struct soft_vcpu *s, struct block *b, unsigned op)
{
    struct translate_slots *t = &s->tr.slots;
    uint32_t n = t->used, slot;

    if (n == SLOT_COUNT)
        return 0;
    t->used++;
    slot = (uint32_t)base() + n * (uint32_t)sizeof(struct translate_slot);
    t->misses[n] = 0;
    t->place[n] = (struct translate_place){.block = b, .op = (uint8_t)op};
    clear(s, slot);
    return slot;
}

void slots_missed(struct soft_vcpu *s)
{
    struct translate_slots *t = &s->tr.slots;
    uint32_t n = (t->hot - (uint32_t)base()) / (uint32_t)sizeof(struct translate_slot);
    struct translate_place *p = &t->place[n];
    uint64_t now = __rdtsc(), since = now - p->tsc;

    t->hot = 0;
    p->tsc = now;
    if (since > SLOT_MISSES * SLOT_CYCLES || p->block->key == BLOCK_DEAD)
        return;
    p->block->no_slot |= BIT(p->op);
    translate_drop(s, p->block);
    p->block->heat = TRANSLATE_HEAT - 1;
}

/* ---- code ------------------------------------------------------------------------------- */

static struct host_mem at(uint8_t reg, int32_t disp)
{
    return (struct host_mem){.base = reg, .index = HOST_NONE, .gs = true, .disp = disp};
}

/* The log is full: empty all that is in it. RAX, its count, is 0 afterwards. */
static void restart(struct tr *tr)
{
    const uint8_t *again;

    ASM(&tr->a, 0x51, 0x52, 0x56); /* push rcx, rdx, rsi */
    asm_load(&tr->a, RDX, mem_gs(GS_TR(slots.empty)));
    asm_mov_imm(&tr->a, RSI, (uintptr_t)tr->t->slots.nowhere);
    again = tr->a.p;
    asm_load32(&tr->a, RCX, (struct host_mem){HOST_NONE, RAX, 3, true, GS_TR(slots.log) - 8});
    asm_store(&tr->a, at(RCX, 0), RDX);
    asm_store(&tr->a, at(RCX, 8), RSI);
    asm_alu_imm(&tr->a, false, 5, RAX, 1);
    asm_aim(asm_jcc(&tr->a, CC_NE), again);
    ASM(&tr->a, 0x5e, 0x5a, 0x59); /* pop rsi, rdx, rcx */
    asm_store32(&tr->a, mem_gs(GS_TR(slots.fills)), RAX);
}

/* Count a miss of slot S1; where the jump leads when it is not yet one of many. RCX is used up. */
static uint8_t *count_miss(struct tr *tr)
{
    struct host_mem misses = at(RCX, GS_TR(slots.misses) - base() / 8);

    asm_rr(&tr->a, false, 0x8b, RCX, S1);
    asm_shift_imm(&tr->a, false, 5, RCX, 3);
    asm_insn(&tr->a,
             &(struct host_insn){.opsize = true, .opcode = 0xff, .is_mem = true, .mem = misses});
    asm_insn(
        &tr->a,
        &(struct host_insn){
            .opcode = 0xf6, .is_mem = true, .mem = misses, .imm = SLOT_MISSES - 1, .imm_size = 1});
    return asm_jcc(&tr->a, CC_NE);
}

/* The TLB's entry for S0 to RCX, its tag, and RAX, the page; S0 = the offset in it. Where the jump
 * leads when it is another's. */
static uint8_t *look_up(struct tr *tr, enum emu_access access)
{
    int32_t tlb = GS_CPU(tlb) + (int32_t)(tr->mmu * sizeof(tr->s->cpu.tlb[0]));

    asm_rr(&tr->a, false, 0x8b, RAX, S0);
    asm_shift_imm(&tr->a, false, 5, RAX, PAGE_SHIFT - 5);
    asm_alu_imm(&tr->a, false, 4, RAX, (EMU_TLB_SIZE - 1) << 5);
    asm_load(&tr->a, RCX,
             at(RAX, tlb + (int32_t)(offsetof(struct emu_tlb_entry, tag) + 8 * access)));
    asm_load(&tr->a, RAX, at(RAX, tlb + (int32_t)offsetof(struct emu_tlb_entry, host)));
    asm_rr(&tr->a, true, 0x33, S0, RCX);
    asm_alu_imm(&tr->a, true, 7, S0, PAGE_SIZE - 1);
    return asm_jcc(&tr->a, CC_A);
}

/* RCX and RAX to the slot, and the slot to the log. */
static void fill(struct tr *tr)
{
    struct host_mem log = {HOST_NONE, RAX, 3, true, GS_TR(slots.log)};

    asm_store(&tr->a, at(S1, 0), RCX);
    asm_store(&tr->a, at(S1, 8), RAX);
    asm_shift_imm(&tr->a, true, 5, RCX, PAGE_SHIFT);
    asm_load32(&tr->a, RAX, mem_gs(GS_TR(slots.fills)));
    asm_store32(&tr->a, log, S1);
    log.disp += 4;
    asm_store32(&tr->a, log, RCX);
    asm_alu_imm(&tr->a, false, 0, RAX, 1);
    asm_store32(&tr->a, mem_gs(GS_TR(slots.fills)), RAX);
}

/* The page of S0, which neither slot nor TLB have. S1 and S0 are kept. */
static void page_look_up(struct tr *tr, enum emu_access access, bool keep)
{
    asm_rr(&tr->a, true, 0x33, S0, RCX);
    asm_store(&tr->a, mem_gs(GS_TR(filling_slot)), S1);
    asm_rm(&tr->a, true, 0xff, 6, mem_at(RSP, 8)); /* push */
    asm_mov_imm(&tr->a, S1, tr_fill_how(tr->mmu, access));
    tr_fill_call(tr, keep);
    asm_load(&tr->a, S1, mem_gs(GS_TR(filling_slot)));
}

void slots_stub(struct tr *tr, enum emu_access access, bool keep)
{
    uint8_t *room, *seldom, *often, *other, *none, *filled, *done;

    tr->t->slot_miss[access][keep] = code_mem_rx(&tr->t->code, tr->a.p);
    asm_rm(&tr->a, true, 0x33, S0, at(S1, 0));
    asm_store(&tr->a, mem_gs(GS_TR(slots.tmp_rax)), RAX);
    asm_store(&tr->a, mem_gs(GS_TR(slots.tmp_rcx)), RCX);
    asm_load32(&tr->a, RAX, mem_gs(GS_TR(slots.fills)));
    asm_alu_imm(&tr->a, false, 7, RAX, SLOT_LOG);
    room = asm_jcc(&tr->a, CC_B);
    restart(tr);
    asm_land(&tr->a, room);
    seldom = count_miss(tr);
    asm_store32(&tr->a, mem_gs(GS_TR(slots.hot)), S1);
    often = asm_jmp(&tr->a);
    asm_land(&tr->a, seldom);
    other = look_up(tr, access);
    filled = tr->a.p;
    fill(tr);
    done = asm_jmp(&tr->a);

    asm_land(&tr->a, other);
    page_look_up(tr, access, keep);
    none = asm_jcc(&tr->a, CC_E);
    asm_aim(look_up(tr, access), tr->a.p);
    asm_jmp_to(&tr->a, filled);
    asm_land(&tr->a, often);
    asm_land(&tr->a, none);
    asm_alu_imm(&tr->a, true, 1, S0, -1);
    asm_land(&tr->a, done);
    asm_load(&tr->a, RAX, mem_gs(GS_TR(slots.tmp_rax)));
    asm_load(&tr->a, RCX, mem_gs(GS_TR(slots.tmp_rcx)));
    ASM(&tr->a, 0xc2, 8, 0); /* ret 8 */
}
