#include "accel/soft/translate/far.h"

#include "accel/soft/translate/tr.h"

static struct translate_far *place_at(struct soft_vcpu *s, uint32_t offset)
{
    return (struct translate_far *)((uint8_t *)s + offset);
}

void far_flush(struct soft_vcpu *s)
{
    struct translate_fars *f = &s->tr.fars;

    for (unsigned n = 0; n < f->fills; n++)
        place_at(s, f->log[n])->minus = FAR_EMPTY;
    f->fills = 0;
    f->stale = 0;
}

void far_reset(struct soft_vcpu *s)
{
    far_flush(s);
    s->tr.fars.used = 0;
}

/* Offset from GS; 0: there is none left. */
static uint32_t take(struct soft_vcpu *s)
{
    struct translate_fars *f = &s->tr.fars;
    uint32_t n = f->used;

    if (n == FAR_COUNT)
        return 0;
    f->used++;
    f->place[n].minus = FAR_EMPTY;
    return (uint32_t)GS_TR(fars.place) + n * (uint32_t)sizeof(struct translate_far);
}

/* ---- code ------------------------------------------------------------------------------- */

static struct host_mem field(uint8_t base, uint32_t place, size_t offset)
{
    return (struct host_mem){
        .base = base, .index = HOST_NONE, .gs = true, .disp = (int32_t)(place + offset)};
}

#define FIELD(base, place, name) field((base), (place), offsetof(struct translate_far, name))

/* RCX += a word at gs:mem, by S0. No flags. */
static void add(struct tr *tr, struct host_mem mem, bool wide)
{
    if (wide)
        asm_load(&tr->a, S0, mem);
    else
        asm_load32(&tr->a, S0, mem);
    asm_lea(&tr->a, RCX, (struct host_mem){.base = RCX, .index = S0});
}

bool tr_far(struct tr *tr, int64_t target)
{
    uint32_t place = tr->mmu == EMU_MMU_USER && !tr->t->lockstep ? take(tr->s) : 0;
    uint8_t *known;

    if (!place)
        return false;
    asm_mov(&tr->a, S1, RCX);
    asm_load(&tr->a, RCX, mem_gs(GS_TR(rip_page)));
    add(tr, FIELD(HOST_NONE, place, minus), true);
    if (target < (int64_t)PAGE_SIZE) /* every loop has a branch backwards */
        add(tr, mem_gs((int32_t)offsetof(struct soft_vcpu, attention)), false);
    known = asm_jrcxz(&tr->a);
    asm_mov(&tr->a, RCX, S1);
    tr_rip(tr, S1, target);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xc7,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_TR(fars.filling)),
                                         .imm = place,
                                         .imm_size = 4});
    asm_jmp_to(&tr->a, tr->t->code.rw + (tr->t->far_jump - tr->t->code.rx));
    asm_land_short(&tr->a, known);
    asm_mov(&tr->a, RCX, S1);
    asm_load(&tr->a, S0, FIELD(HOST_NONE, place, page));
    asm_store(&tr->a, mem_gs(GS_TR(rip_page)), S0);
    asm_jmp_mem(&tr->a, FIELD(HOST_NONE, place, code));
    return true;
}

/* S1, the place, is to be in the log, once. RCX is used up. */
static void log_place(struct tr *tr)
{
    uint8_t *empty, *done;

    asm_load(&tr->a, RCX, FIELD(S1, 0, minus));
    asm_lea(&tr->a, RCX, mem_at(RCX, -(int32_t)FAR_EMPTY));
    empty = asm_jrcxz(&tr->a);
    done = asm_jmp(&tr->a);
    asm_land_short(&tr->a, empty);
    asm_load32(&tr->a, RCX, mem_gs(GS_TR(fars.fills)));
    asm_store32(&tr->a, (struct host_mem){HOST_NONE, RCX, 2, true, GS_TR(fars.log)}, S1);
    asm_lea(&tr->a, RCX, mem_at(RCX, 1));
    asm_store32(&tr->a, mem_gs(GS_TR(fars.fills)), RCX);
    asm_land(&tr->a, done);
}

void far_fill(struct tr *tr, struct host_mem page, struct host_mem code)
{
    asm_load32(&tr->a, S1, mem_gs(GS_TR(fars.filling)));
    log_place(tr);
    asm_load(&tr->a, RCX, mem_gs(GS_TR(rip_page)));
    asm_insn(&tr->a, &(struct host_insn){.w = true, .opcode = 0xf7, .reg = 2, .rm = RCX}); /* not */
    asm_lea(&tr->a, RCX, mem_at(RCX, 1));
    asm_store(&tr->a, FIELD(S1, 0, minus), RCX);
    asm_load(&tr->a, RCX, page);
    asm_store(&tr->a, FIELD(S1, 0, page), RCX);
    asm_load(&tr->a, RCX, code);
    asm_store(&tr->a, FIELD(S1, 0, code), RCX);
}
