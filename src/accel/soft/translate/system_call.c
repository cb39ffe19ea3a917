/*
 * SYSCALL and SYSRET: a C function changes mode, segments and flags. Of general registers it only
 * needs RCX (R11 is in emu_cpu), so no others are saved but those that C may destroy.
 */
#include "accel/soft/translate/tr.h"

/* An odd number, as RSP is 8 below a multiple of 16. */
static const uint8_t callers[] = {RDX, RSI, RDI, R8, R9};

bool tr_is_system_call(const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    return i->map == X86_MAP_0F && !(i->flags & X86_VEX) &&
           (i->opcode == 0x05 || (i->opcode == 0x07 && i->osize == 8));
}

static void restore_rax(struct tr *tr)
{
    asm_load32(&tr->a, RAX, mem_gs(GS_TR(flags_ax)));
    ASM(&tr->a, 0x04, 0x7f, 0x9e); /* add $127, %al; sahf */
    asm_load(&tr->a, RAX, mem_gs(GS_REG(RAX)));
}

void system_call_stub(struct tr *tr)
{
    uint8_t *absent, *leave, *refused;

    tr->t->system_call = code_mem_rx(&tr->t->code, tr->a.p);
    asm_store32(&tr->a, mem_gs(GS_TR(calling)), S0);
    asm_store(&tr->a, mem_gs(GS_REG(RAX)), RAX);
    asm_store(&tr->a, mem_gs(GS_REG(RCX)), RCX);
    ASM(&tr->a, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto %al */
    asm_store32(&tr->a, mem_gs(GS_TR(flags_ax)), RAX);
    for (unsigned n = 0; n < ARRAY_SIZE(callers); n++)
        asm_push(&tr->a, callers[n]);
    asm_cmp_imm8(&tr->a, mem_gs(GS_TR(vectors_absent)), 0);
    absent = asm_jcc(&tr->a, CC_NE);
    asm_call_to(&tr->a, tr_rw(tr, tr->t->vectors_out));
    asm_land(&tr->a, absent);
    asm_mov_imm(&tr->a, RDI, (uintptr_t)tr->s);
    asm_rr(&tr->a, false, 0x8b, RSI, S0);
    asm_mov_imm(&tr->a, RAX, (uintptr_t)tr_system_call);
    ASM(&tr->a, 0xff, 0xd0); /* call *%rax */
    asm_mov(&tr->a, S0, RAX);
    for (unsigned n = ARRAY_SIZE(callers); n--;)
        asm_pop(&tr->a, callers[n]);
    asm_load(&tr->a, RCX, mem_gs(GS_REG(RCX)));
    asm_alu_imm(&tr->a, true, 7, S0, (int32_t)(uintptr_t)TR_REFUSED);
    leave = asm_jcc(&tr->a, CC_B);
    refused = asm_jcc(&tr->a, CC_E);
    restore_rax(tr);
    ASM(&tr->a, 0x41, 0xff, 0xe2); /* jmp *S0 */

    asm_land(&tr->a, leave);
    restore_rax(tr);
    asm_load(&tr->a, S1, mem_gs(GS_REG(X86_RIP_SLOT)));
    asm_jmp_to(&tr->a, tr_rw(tr, tr->t->leave_at));

    asm_land(&tr->a, refused);
    restore_rax(tr);
    asm_load32(&tr->a, S0, mem_gs(GS_TR(calling)));
    asm_jmp_to(&tr->a, tr_rw(tr, tr->t->interpret_end));
}
