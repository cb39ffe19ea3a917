/* BMI1 and BMI2: the host's own, as no other instructions are without flags. */
#include "accel/soft/translate/integer.h"

enum { REG_W = 1, VVVV_R = 2, VVVV_W = 4 };

static unsigned form_of(const struct x86_insn *i)
{
    if (!(i->flags & X86_VEX))
        return 0;
    if (i->map == X86_MAP_0F3A) /* RORX */
        return i->opcode == 0xf0 && i->pp == 3 ? REG_W : 0;
    if (i->map != X86_MAP_0F38)
        return 0;
    switch (i->opcode) {
    case 0xf2: return REG_W | VVVV_R;                  /* ANDN */
    case 0xf3: return VVVV_W;                          /* BLSR, BLSMSK, BLSI */
    case 0xf5:                                         /* BZHI, PDEP, PEXT */
    case 0xf7: return REG_W | VVVV_R;                  /* BEXTR, SHLX, SHRX, SARX */
    case 0xf6: return i->pp == 3 ? REG_W | VVVV_W : 0; /* MULX */
    default: return 0;
    }
}

void tr_rotate(struct tr *tr, uint8_t to, uint8_t from, unsigned count)
{
    asm_insn(&tr->a, &(struct host_insn){.vex = true,
                                         .w = true,
                                         .pp = 3,
                                         .map = X86_MAP_0F3A,
                                         .opcode = 0xf0,
                                         .reg = to,
                                         .rm = from,
                                         .imm = count,
                                         .imm_size = 1});
}

bool tr_bmi(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned form = form_of(i);
    struct host_insn h = {
        .vex = true,
        .w = i->osize == 8,
        .pp = i->pp,
        .map = i->map,
        .opcode = i->opcode,
        .reg = i->reg & 7, /* an opcode's extension */
        .imm = i->imm,
        .imm_size = i->imm_size,
    };

    if (!form)
        return false;
    if (i->flags & X86_RM_MEM) {
        h.is_mem = true;
        h.mem = tr_address(tr, EMU_READ, i->osize, 0);
    } else if (tr_host(i->rm) == HOST_NONE) {
        h.is_mem = true;
        h.mem = mem_gs(GS_REG(i->rm));
    } else {
        h.rm = tr_host(i->rm);
    }
    if (form & VVVV_R)
        h.vvvv = tr_get(tr, i->vvvv, S1);
    else if (form & VVVV_W)
        h.vvvv = tr_to(i->vvvv, S0); /* what was there is read by then */
    if (form & REG_W)
        h.reg = tr_to(i->reg, S1);
    asm_insn(&tr->a, &h);
    if (form & VVVV_W)
        tr_put(tr, i->vvvv, h.vvvv);
    if (form & REG_W) /* last: MULX with one destination has the high half there */
        tr_put(tr, i->reg, h.reg);
    return true;
}
