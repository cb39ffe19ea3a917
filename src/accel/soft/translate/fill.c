/*
 * A check that failed as the TLB did not have the page: C looks it up, without raising anything,
 * and the check is done again. Where that does not help, the interpreter does the instruction,
 * and finds out why.
 */
#include "accel/soft/translate/tr.h"

/* What the stubs are told in 32 bits: the size, and what follows. */
#define ALIGN_SHIFT  16
#define MMU_SHIFT    24
#define ACCESS_SHIFT 28

/* Those that C may destroy, but for S0 and S1. An odd number: so the stack is aligned. */
static const uint8_t callers[] = {RAX, RCX, RDX, RSI, RDI, R8, R9};

/*
 * An operand in two pages, or not aligned, may fault before its page is looked up for that access;
 * A and D are to be set only when they would be.
 */
static bool look_up(struct soft_vcpu *s, uint64_t linear, uint32_t how)
{
    unsigned size = how & 0xffff, align = how >> ALIGN_SHIFT & 0xff;

    if ((linear & PAGE_MASK) > PAGE_SIZE - size || linear & align)
        return false;
    s->tr.stats.filled++;
    return emu_tlb_fill(&s->cpu, how >> MMU_SHIFT & 15, (enum emu_access)(how >> ACCESS_SHIFT),
                        linear);
}

static bool invalidate(struct soft_vcpu *s, uint64_t linear, uint32_t how)
{
    emu_tlb_flush_page(&s->cpu, linear);
    return true;
}

/* AL = fn(s, S0, S1); flags say whether it is 0. */
static void call_c(struct tr *tr, uintptr_t fn)
{
    asm_mov_imm(&tr->a, RDI, (uintptr_t)tr->s);
    asm_mov(&tr->a, RSI, S0);
    asm_mov(&tr->a, RDX, S1);
    asm_mov_imm(&tr->a, RAX, fn);
    ASM(&tr->a, 0xff, 0xd0); /* call *%rax */
    ASM(&tr->a, 0x84, 0xc0); /* test %al, %al */
}

/* The call of C: S0, which stays, and S1 | what is pushed, which is taken off. Where it is. */
static const uint8_t *stub_call(struct tr *tr, uintptr_t fn, bool keep)
{
    const uint8_t *entry = code_mem_rx(&tr->t->code, tr->a.p);
    uint8_t *absent, *done;

    asm_rm(&tr->a, false, 0x0b, S1, mem_at(RSP, 8)); /* or */
    asm_store(&tr->a, mem_gs(GS_TR(filling)), S0);
    for (unsigned n = 0; n < ARRAY_SIZE(callers); n++)
        asm_push(&tr->a, callers[n]);
    asm_cmp_imm8(&tr->a, mem_gs(GS_TR(vectors_absent)), 0);
    absent = asm_jcc(&tr->a, CC_NE);
    asm_call_to(&tr->a, tr_rw(tr, tr->t->vectors_out));
    call_c(tr, fn);
    if (keep)
        asm_call_to(&tr->a, tr_rw(tr, tr->t->vectors_in));
    done = asm_jmp(&tr->a);
    asm_land(&tr->a, absent);
    call_c(tr, fn);
    asm_land(&tr->a, done);
    for (unsigned n = ARRAY_SIZE(callers); n--;)
        asm_pop(&tr->a, callers[n]);
    asm_load(&tr->a, S0, mem_gs(GS_TR(filling)));
    ASM(&tr->a, 0xc2, 8, 0); /* ret 8 */
    return entry;
}

/* Called by a check: S0 is the address XORed with the tag of the entry at S1. */
static void stub_check(struct tr *tr, enum emu_access access, bool keep)
{
    int32_t tlb = GS_CPU(tlb) + (int32_t)(tr->mmu * sizeof(tr->s->cpu.tlb[0]));
    int32_t tag = tlb + (int32_t)(offsetof(struct emu_tlb_entry, tag) + 8 * access);

    tr->t->fill[tr->mmu][access][keep] = code_mem_rx(&tr->t->code, tr->a.p);
    asm_rm(&tr->a, true, 0x33, S0,
           (struct host_mem){.base = S1, .index = HOST_NONE, .gs = true, .disp = tag});
    asm_mov_imm(&tr->a, S1, tr_fill_how(tr->mmu, access));
    asm_jmp_to(&tr->a, tr_rw(tr, tr->t->fill_call[keep]));
}

void fill_stubs(struct tr *tr)
{
    for (unsigned keep = 0; keep < 2; keep++) {
        tr->t->fill_call[keep] = stub_call(tr, (uintptr_t)look_up, keep);
        tr->t->invalidate[keep] = stub_call(tr, (uintptr_t)invalidate, keep);
        for (unsigned access = EMU_READ; access <= EMU_WRITE; access++) {
            for (tr->mmu = 0; tr->mmu < TRANSLATE_MMUS; tr->mmu++)
                stub_check(tr, (enum emu_access)access, keep);
            tr->mmu = EMU_MMU_USER;
            slots_stub(tr, (enum emu_access)access, keep);
        }
    }
}

uint32_t tr_fill_how(unsigned mmu, enum emu_access access)
{
    return mmu << MMU_SHIFT | (uint32_t)access << ACCESS_SHIFT;
}

void tr_fill_call(struct tr *tr, bool keep)
{
    asm_call_to(&tr->a, tr_rw(tr, tr->t->fill_call[keep]));
}

void tr_fill_push(struct tr *tr, unsigned size, unsigned align)
{
    uint32_t how = size | align << ALIGN_SHIFT;

    if (how < 0x80)
        ASM(&tr->a, 0x6a, (uint8_t)how);
    else
        ASM(&tr->a, 0x68, (uint8_t)how, (uint8_t)(how >> 8), (uint8_t)(how >> 16), 0);
}

void tr_fill(struct tr *tr, const struct tr_cold *c)
{
    if (!c->check)
        return;
    tr_fill_push(tr, c->size, c->align);
    asm_call_to(&tr->a, tr_rw(tr, tr->t->fill[c->mmu][c->access][c->vectors]));
    asm_jcc_to(&tr->a, CC_NE, c->check);
}

void tr_invalidate(struct tr *tr)
{
    tr_fill_push(tr, 0, 0);
    asm_call_to(&tr->a, tr_rw(tr, tr->t->invalidate[tr->vectors]));
}
