/* Instructions on RFLAGS: status flags are the host's, DF is emu_cpu's. */
#include "accel/soft/translate/integer.h"

/* Without a status flag changed: DF is cut out by PEXT, and a hole made for it by PDEP. */
static void set_df(struct tr *tr, bool set)
{
    struct host_insn h = {.vex = true,
                          .w = true,
                          .map = X86_MAP_0F38,
                          .opcode = 0xf5,
                          .reg = S1,
                          .vvvv = S1,
                          .rm = S0};

    asm_load(&tr->a, S1, mem_gs(GS_CPU(rflags)));
    asm_mov_imm(&tr->a, S0, ~(uint64_t)FLAG_DF);
    h.pp = 2;
    asm_insn(&tr->a, &h);
    h.pp = 3;
    asm_insn(&tr->a, &h);
    if (set)
        asm_lea(&tr->a, S1, mem_at(S1, FLAG_DF));
    asm_store(&tr->a, mem_gs(GS_CPU(rflags)), S1);
}

/* AND or OR of the flag's byte, where status flags are not needed. */
static void set_df_quick(struct tr *tr, bool set)
{
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0x80,
                                         .reg = set ? 1 : 4,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_CPU(rflags) + 1),
                                         .imm = set ? FLAG_DF >> 8 : 0xff & ~(FLAG_DF >> 8),
                                         .imm_size = 1});
}

bool tr_flag(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->map != X86_MAP_1B)
        return false;
    switch (i->opcode) {
    case 0x9e: /* SAHF */
    case 0x9f: /* LAHF */
    case 0xf5: /* CMC */
    case 0xf8: /* CLC */
    case 0xf9: /* STC */ ASM(&tr->a, i->opcode); return true;
    case 0xfc: /* CLD */
    case 0xfd: /* STD */
        (tr_flags_needed(tr) ? set_df : set_df_quick)(tr, i->opcode == 0xfd);
        return true;
    default: return false;
    }
}
