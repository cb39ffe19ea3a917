/* Code that every translation uses: the way in and out, one interpreted instruction, the jump
 * cache's lookup. */
#include "accel/soft/translate/tr.h"

#include <errno.h>

#define MXCSR_HOST 0x1f80

static const uint8_t *here(const struct tr *tr)
{
    return code_mem_rx(&tr->t->code, tr->a.p);
}

/* MXCSR: LDMXCSR is 2, STMXCSR 3. */
static void mxcsr(struct tr *tr, unsigned op, int32_t gs)
{
    asm_insn(&tr->a, &(struct host_insn){.map = X86_MAP_0F,
                                         .opcode = 0xae,
                                         .reg = (uint8_t)op,
                                         .is_mem = true,
                                         .mem = mem_gs(gs)});
}

static struct host_mem ymm(unsigned n, unsigned offset)
{
    return mem_gs(GS_CPU(fpu.ymm) + (int32_t)(32 * n + offset));
}

/* All vector registers, from or to emu_cpu; wide: their upper halves, too. */
static void vectors(struct tr *tr, bool store, bool wide)
{
    for (unsigned n = 0; n < 16; n++) {
        asm_insn(&tr->a, &(struct host_insn){.vex = wide,
                                             .l = wide,
                                             .map = X86_MAP_0F,
                                             .opcode = store ? 0x11 : 0x10,
                                             .reg = (uint8_t)n,
                                             .is_mem = true,
                                             .mem = ymm(n, 0)});
    }
}

/* A VEX instruction with XMM registers, of map 0F: reg = vvvv op rm. */
static struct host_insn vex128(uint8_t pp, uint8_t opcode, uint8_t reg, uint8_t rm)
{
    return (struct host_insn){
        .vex = true, .pp = pp, .map = X86_MAP_0F, .opcode = opcode, .reg = reg, .rm = rm};
}

/* RCX = 0: the upper halves of all vector registers are. XMM0 and XMM1 are used up. */
static void upper_halves(struct tr *tr)
{
    struct host_insn h;

    h = vex128(0, 0x10, 0, 0); /* vmovups */
    h.is_mem = true;
    h.mem = ymm(0, 16);
    asm_insn(&tr->a, &h);
    for (unsigned n = 1; n < 16; n++) {
        h = vex128(1, 0xeb, 0, 0); /* vpor */
        h.is_mem = true;
        h.mem = ymm(n, 16);
        asm_insn(&tr->a, &h);
    }
    h = vex128(0, 0x12, 1, 0); /* vmovhlps */
    asm_insn(&tr->a, &h);
    h = vex128(1, 0xeb, 0, 1);
    asm_insn(&tr->a, &h);
    h = vex128(1, 0x7e, 0, RCX); /* vmovq */
    h.w = true;
    asm_insn(&tr->a, &h);
}

/*
 * A processor that does not know upper halves to be zero does SSE instructions with their old
 * results as one more operand, or worse. So it is told, as the guest would have by VZEROUPPER.
 */
static void vectors_load(struct tr *tr)
{
    uint8_t *zero, *other, *done;

    if (!__builtin_cpu_supports("avx")) {
        vectors(tr, false, false);
        return;
    }
    upper_halves(tr);
    zero = asm_jrcxz(&tr->a);
    other = asm_jmp(&tr->a);
    asm_land_short(&tr->a, zero);
    ASM(&tr->a, 0xc5, 0xf8, 0x77); /* vzeroupper */
    vectors(tr, false, false);
    done = asm_jmp(&tr->a);
    asm_land(&tr->a, other);
    vectors(tr, false, true);
    asm_land(&tr->a, done);
}

static void vectors_absent(struct tr *tr, uint32_t absent)
{
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xc7,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_TR(vectors_absent)),
                                         .imm = absent,
                                         .imm_size = 4});
}

/* The guest's vector registers and MXCSR to emu_cpu, the host's own MXCSR and upper halves; and
 * back, which uses RCX. Both are called, and change neither other registers nor flags. */
static void stub_vectors(struct tr *tr)
{
    tr->t->vectors_out = here(tr);
    vectors(tr, true, __builtin_cpu_supports("avx"));
    mxcsr(tr, 3, GS_CPU(fpu.mxcsr));
    mxcsr(tr, 2, GS_TR(host_mxcsr));
    if (__builtin_cpu_supports("avx"))
        ASM(&tr->a, 0xc5, 0xf8, 0x77); /* vzeroupper */
    vectors_absent(tr, 1);
    ASM(&tr->a, 0xc3);

    tr->t->vectors_in = here(tr);
    mxcsr(tr, 2, GS_CPU(fpu.mxcsr));
    vectors_load(tr);
    vectors_absent(tr, 0);
    ASM(&tr->a, 0xc3);
}

/* Everything of the guest's to emu_cpu. RAX and flags are used up. */
static void save(struct tr *tr)
{
    uint8_t *absent;

    for (unsigned n = 0; n < 16; n++) {
        if (tr_host(n) != HOST_NONE)
            asm_store(&tr->a, mem_gs(GS_REG(n)), tr_host(n));
    }
    ASM(&tr->a, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto %al */
    asm_store32(&tr->a, mem_gs(GS_TR(flags_ax)), RAX);
    asm_cmp_imm8(&tr->a, mem_gs(GS_TR(vectors_absent)), 0);
    absent = asm_jcc(&tr->a, CC_NE);
    asm_call_to(&tr->a, tr_rw(tr, tr->t->vectors_out));
    asm_land(&tr->a, absent);
}

/* Everything but vector registers, which come when they are needed. */
static void restore(struct tr *tr)
{
    asm_load32(&tr->a, RAX, mem_gs(GS_TR(flags_ax)));
    ASM(&tr->a, 0x04, 0x7f, 0x9e); /* add $127, %al; sahf */
    for (unsigned n = 0; n < 16; n++) {
        if (tr_host(n) != HOST_NONE)
            asm_load(&tr->a, tr_host(n), mem_gs(GS_REG(n)));
    }
}

/* void enter(struct soft_vcpu *, const uint8_t *code) */
static void stub_enter(struct tr *tr)
{
    ASM(&tr->a, 0x53, 0x55);                                     /* push rbx, rbp */
    ASM(&tr->a, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push r12-r15 */
    asm_store(&tr->a, mem_gs(GS_TR(host_rsp)), RSP);             /* 8 mod 16 */
    asm_mov(&tr->a, S0, RSI);
    restore(tr);
    ASM(&tr->a, 0x41, 0xff, 0xe2); /* jmp *S0 */
}

/* S1: rip. */
static void stub_leave(struct tr *tr)
{
    tr->t->leave_at = here(tr);
    asm_store(&tr->a, mem_gs(GS_REG(X86_RIP_SLOT)), S1);
    save(tr);
    tr->t->leave = here(tr); /* all is saved */
    asm_load(&tr->a, RSP, mem_gs(GS_TR(host_rsp)));
    ASM(&tr->a, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

/* rax = fn(s, S0), the op; the guest's state is in emu_cpu. */
static void call_c(struct tr *tr, uintptr_t fn)
{
    save(tr);
    asm_mov_imm(&tr->a, RDI, (uintptr_t)tr->s);
    asm_mov(&tr->a, RSI, S0);
    asm_mov_imm(&tr->a, RAX, fn);
    ASM(&tr->a, 0xff, 0xd0); /* call *%rax */
}

/* S0: the op. Called. keep: vector registers are loaded afterwards, as they were before. It leaves
 * by a return, too, or the processor would mispredict each return to the program. */
static void stub_interpret(struct tr *tr, bool keep)
{
    uint8_t *on;

    *(keep ? &tr->t->interpret_keep : &tr->t->interpret) = here(tr);
    call_c(tr, (uintptr_t)tr_interpret);
    ASM(&tr->a, 0x84, 0xc0); /* test %al, %al */
    on = asm_jcc(&tr->a, CC_E);
    asm_mov_imm(&tr->a, RAX, (uintptr_t)tr->t->leave);
    asm_store(&tr->a, mem_at(RSP, 0), RAX);
    ASM(&tr->a, 0xc3);
    asm_land(&tr->a, on);
    if (keep)
        asm_call_to(&tr->a, tr_rw(tr, tr->t->vectors_in));
    restore(tr);
    ASM(&tr->a, 0xc3);
}

/* S0: the op, which ends its block. Jumped to. */
static void stub_interpret_end(struct tr *tr)
{
    tr->t->interpret_end = here(tr);
    ASM(&tr->a, 0x50); /* push %rax: the stack is aligned */
    call_c(tr, (uintptr_t)tr_interpret_end);
    ASM(&tr->a, 0x48, 0x85, 0xc0); /* test %rax, %rax */
    asm_aim(asm_jcc(&tr->a, CC_E), tr_rw(tr, tr->t->leave));
    asm_mov(&tr->a, S0, RAX);
    restore(tr);
    asm_lea(&tr->a, RSP, mem_at(RSP, 8));
    ASM(&tr->a, 0x41, 0xff, 0xe2); /* jmp *S0 */
}

/* S1: where to go, a linear address. Flags are live; a miss, or attention, leaves. far: remember it
 * where fars.filling says. */
static void stub_jump(struct tr *tr, bool far)
{
    struct host_mem entry = {.base = HOST_NONE, .index = S0, .scale = 3, .gs = true};
    int32_t table = GS_TR(jumps) + (int32_t)(tr->mmu * sizeof(tr->t->jumps[0]));
    uint8_t *quiet, *hit;

    asm_store(&tr->a, mem_gs(GS_TR(tmp_rcx)), RCX);
    asm_load32(&tr->a, RCX, mem_gs((int32_t)offsetof(struct soft_vcpu, attention)));
    quiet = asm_jrcxz(&tr->a);
    {
        uint8_t *miss = tr->a.p;

        asm_load(&tr->a, RCX, mem_gs(GS_TR(tmp_rcx)));
        asm_insn(&tr->a,
                 &(struct host_insn){
                     .opcode = 0xc7, .is_mem = true, .mem = mem_gs(GS_TR(link)), .imm_size = 4});
        asm_jmp_to(&tr->a, tr_rw(tr, tr->t->leave_at));
        asm_land_short(&tr->a, quiet);
        _Static_assert(sizeof(struct translate_jump) == 24, "scale");
        asm_insn(&tr->a,
                 &(struct host_insn){.map = X86_MAP_0F, .opcode = 0xb7, .reg = S0, .rm = S1});
        asm_lea(&tr->a, S0, (struct host_mem){S0, S0, 1, false, 0});
        entry.disp = table + (int32_t)offsetof(struct translate_jump, minus);
        asm_load(&tr->a, RCX, entry);
        asm_lea(&tr->a, RCX, (struct host_mem){.base = RCX, .index = S1});
        hit = asm_jrcxz(&tr->a);
        asm_jmp_to(&tr->a, miss);
    }
    asm_land_short(&tr->a, hit);
    if (far) {
        struct host_mem code = entry, page = entry;

        code.disp = table + (int32_t)offsetof(struct translate_jump, code);
        page.disp = table + (int32_t)offsetof(struct translate_jump, page);
        far_fill(tr, page, code);
    }
    entry.disp = table + (int32_t)offsetof(struct translate_jump, page);
    asm_load(&tr->a, RCX, entry);
    asm_store(&tr->a, mem_gs(GS_TR(rip_page)), RCX);
    asm_load(&tr->a, RCX, mem_gs(GS_TR(tmp_rcx)));
    entry.disp = table + (int32_t)offsetof(struct translate_jump, code);
    asm_jmp_mem(&tr->a, entry);
}

static void not(struct tr * tr, uint8_t reg)
{
    asm_insn(&tr->a, &(struct host_insn){.w = true, .opcode = 0xf7, .reg = 2, .rm = reg});
}

/*
 * Called by a lookup (tr_find) that failed: RCX is the sum of the address, S1, and the `minus` of
 * the entry at S0. The address to `away`, and that to S0: then RCX is 0. Else the address is
 * not canonical. No flags.
 */
static void stub_jump_away(struct tr *tr)
{
    struct host_mem entry = {.base = HOST_NONE, .index = S0, .scale = 3, .gs = true};
    int32_t table = GS_TR(jumps) + (int32_t)(tr->mmu * sizeof(tr->t->jumps[0]));
    uint8_t *lower, *upper;

    tr->t->jump_away[tr->mmu] = here(tr);
    not(tr, S1);
    asm_lea(&tr->a, RCX, (struct host_mem){.base = RCX, .index = S1, .disp = 1});
    entry.disp = table + (int32_t)offsetof(struct translate_jump, minus);
    asm_load(&tr->a, S1, entry);
    not(tr, S1);
    asm_lea(&tr->a, RCX, (struct host_mem){.base = RCX, .index = S1, .disp = 1});
    asm_store(&tr->a, mem_gs(GS_TR(away.page)), RCX);
    _Static_assert(
        (offsetof(struct translator, jumps) - offsetof(struct translator, away)) % 8 == 0, "scale");
    asm_mov_imm(&tr->a, S0, (uint64_t)((int64_t)(GS_TR(away) - table) / 8));
    asm_mov_imm(&tr->a, S1, 47);
    asm_insn(&tr->a, &(struct host_insn){.vex = true, /* sarx */
                                         .w = true,
                                         .pp = 2,
                                         .map = X86_MAP_0F38,
                                         .opcode = 0xf7,
                                         .reg = RCX,
                                         .rm = RCX,
                                         .vvvv = S1});
    lower = asm_jrcxz(&tr->a);
    asm_lea(&tr->a, RCX, mem_at(RCX, 1));
    upper = asm_jrcxz(&tr->a);
    asm_land_short(&tr->a, lower);
    asm_land_short(&tr->a, upper);
    ASM(&tr->a, 0xc3);
}

/* The code of `away`. */
static void stub_away(struct tr *tr)
{
    tr->t->away.code = here(tr);
    asm_load(&tr->a, S1, mem_gs(GS_TR(rip_page)));
    asm_insn(&tr->a,
             &(struct host_insn){
                 .opcode = 0xc7, .is_mem = true, .mem = mem_gs(GS_TR(link)), .imm_size = 4});
    asm_jmp_to(&tr->a, tr_rw(tr, tr->t->leave_at));
}

int tr_stubs(struct soft_vcpu *s)
{
    struct translator *t = &s->tr;
    struct tr tr = {.s = s, .t = t};

    tr.a = (struct host_asm){t->code.rw, t->code.rw, t->code.rw + t->code.size, false};
    t->host_mxcsr = MXCSR_HOST;
    t->vectors_absent = 1;
    t->enter = (void (*)(struct soft_vcpu *, const uint8_t *))(uintptr_t)here(&tr);
    stub_enter(&tr);
    stub_vectors(&tr);
    stub_leave(&tr);
    stub_interpret(&tr, false);
    stub_interpret(&tr, true);
    stub_interpret_end(&tr);
    system_call_stub(&tr);
    for (tr.mmu = 0; tr.mmu < TRANSLATE_MMUS; tr.mmu++) {
        t->jump[tr.mmu] = here(&tr);
        stub_jump(&tr, false);
        stub_jump_away(&tr);
    }
    stub_away(&tr);
    tr.mmu = EMU_MMU_USER;
    t->far_jump = here(&tr);
    stub_jump(&tr, true);
    fill_stubs(&tr);
    t->code.used = (size_t)(tr.a.p - t->code.rw);
    return tr.a.full ? -ENOMEM : 0;
}
