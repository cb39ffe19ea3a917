/*
 * What a kernel does at every turn: interrupts on and off, AC, SWAPGS, RDTSC,
 * PUSHF. Flags of emu_cpu.rflags are changed by instructions that leave the
 * host's status flags alone. Kernel code that is translated runs at CPL 0.
 */
#include "accel/soft/translate/tr.h"

static void rorx(struct tr *tr, uint8_t reg, uint8_t count)
{
    asm_insn(&tr->a, &(struct host_insn){.vex = true,
                                         .w = true,
                                         .pp = 3,
                                         .map = X86_MAP_0F3A,
                                         .opcode = 0xf0,
                                         .reg = reg,
                                         .rm = reg,
                                         .imm = count,
                                         .imm_size = 1});
}

/* SHLX (pp 1) or SHRX (pp 3): reg by register `by`. */
static void shift(struct tr *tr, uint8_t pp, uint8_t reg, uint8_t by)
{
    asm_insn(&tr->a, &(struct host_insn){.vex = true,
                                         .w = true,
                                         .pp = pp,
                                         .map = X86_MAP_0F38,
                                         .opcode = 0xf7,
                                         .reg = reg,
                                         .rm = reg,
                                         .vvvv = by});
}

static void store_byte(struct tr *tr, int32_t gs, uint8_t imm)
{
    asm_insn(&tr->a,
             &(struct host_insn){
                 .opcode = 0xc6, .is_mem = true, .mem = mem_gs(gs), .imm = imm, .imm_size = 1});
}

/* Flag number n of rflags becomes `on`: to the top, out at the top, in at the bottom, back. Uses
 * S0. */
static void set_flag(struct tr *tr, unsigned n, bool on)
{
    asm_load(&tr->a, S0, mem_gs(GS_CPU(rflags)));
    rorx(tr, S0, (uint8_t)(n + 1));
    asm_lea(&tr->a, S0, (struct host_mem){.base = S0, .index = S0, .disp = on});
    rorx(tr, S0, (uint8_t)(64 - n));
    asm_store(&tr->a, mem_gs(GS_CPU(rflags)), S0);
}

static unsigned number(uint64_t flag)
{
    return (unsigned)__builtin_ctzll(flag);
}

static bool is_kernel(const struct tr *tr)
{
    return tr->mmu == EMU_MMU_KERNEL || tr->mmu == EMU_MMU_KERNEL_AC;
}

/* ---- interrupts ----------------------------------------------------------------------- */

bool tr_is_branch(const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    if (i->flags & X86_VEX || i->osize != 8)
        return false;
    if (i->map == X86_MAP_0F)
        return i->opcode >= 0x80 && i->opcode <= 0x8f;
    switch (i->map == X86_MAP_1B ? i->opcode : 0) {
    case 0x70 ... 0x7f:
    case 0xc2:
    case 0xc3:
    case 0xe8:
    case 0xe9:
    case 0xeb: return true;
    default: return false;
    }
}

/* May the shadow of STI end behind op within this code? Not if it leaves, or cares. */
static bool ends_shadow(const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;
    bool io = i->map == X86_MAP_1B &&
              ((i->opcode >= 0x6c && i->opcode <= 0x6f) || (i->opcode & 0xf4) == 0xe4);

    return tr_is_branch(op) || (!op->ends && !io && !(i->map == X86_MAP_1B && i->opcode == 0xfb));
}

/*
 * The interrupt shadow is for the next instruction, which is of the same code: it ends the shadow
 * and then looks whether somebody waits. A branch ends it before, as it has no exit to show it in.
 */
static bool sti(struct tr *tr)
{
    if (tr->op + 1 == tr->b->op + tr->b->count || !ends_shadow(tr->op + 1))
        return false;
    asm_load(&tr->a, S1, mem_gs(GS_CPU(rflags))); /* shadow: IF was clear */
    asm_insn(&tr->a, &(struct host_insn){.w = true, .opcode = 0xf7, .reg = 2, .rm = S1});
    asm_mov_imm(&tr->a, S0, 63 - number(FLAG_IF));
    shift(tr, 1, S1, S0);
    asm_mov_imm(&tr->a, S0, 63);
    shift(tr, 3, S1, S0);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0x88,
                                         .rex = true,
                                         .reg = S1,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_CPU(intr.shadow))});
    set_flag(tr, number(FLAG_IF), true);
    tr->shadow = 2;
    return true;
}

void tr_shadow_end(struct tr *tr)
{
    store_byte(tr, GS_CPU(intr.shadow), 0);
}

/* ---- others --------------------------------------------------------------------------- */

/* From here on code is for another mmu: that of kernel code depends on AC, and on CR4.SMAP, which
 * is in a block's key. */
static void set_ac(struct tr *tr, bool on)
{
    bool smap = tr->s->cpu.cr4 & CR4_SMAP;

    set_flag(tr, number(FLAG_AC), on);
    tr->mmu = smap && !on ? EMU_MMU_KERNEL : EMU_MMU_KERNEL_AC;
    store_byte(tr, GS_CPU(mmu), (uint8_t)tr->mmu);
}

static void swapgs(struct tr *tr)
{
    asm_load(&tr->a, S0, mem_gs(GS_CPU(seg[SEG_GS].base)));
    asm_load(&tr->a, S1, mem_gs(GS_CPU(msr.kernel_gs_base)));
    asm_store(&tr->a, mem_gs(GS_CPU(seg[SEG_GS].base)), S1);
    asm_store(&tr->a, mem_gs(GS_CPU(seg_base[SEG_GS])), S1);
    asm_store(&tr->a, mem_gs(GS_CPU(msr.kernel_gs_base)), S0);
}

static bool read_control(struct tr *tr)
{
    static const int32_t from[] = {
        [0] = GS_CPU(cr0), [2] = GS_CPU(cr2), [3] = GS_CPU(cr3), [4] = GS_CPU(cr4)};
    const struct x86_insn *i = &tr->op->i;
    uint8_t to = tr_to(i->rm, S0);

    if (i->reg >= ARRAY_SIZE(from) || !from[i->reg])
        return false;
    asm_load(&tr->a, to, mem_gs(from[i->reg]));
    tr_put(tr, i->rm, to);
    return true;
}

/* RDFSBASE and RDGSBASE, WRFSBASE and WRGSBASE, where the guest's CR4 allows them. */
static void segment_base(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;
    unsigned ext = i->modrm >> 3 & 7, seg = ext & 1 ? SEG_GS : SEG_FS;
    bool w = i->osize == 8, writes = ext >= 2;

    tr_flags_save(tr);
    asm_insn(&tr->a, &(struct host_insn){.opcode = 0xf7,
                                         .is_mem = true,
                                         .mem = mem_gs(GS_CPU(cr4)),
                                         .imm = CR4_FSGSBASE,
                                         .imm_size = 4});
    tr_cold_interpret(tr, asm_jcc(&tr->a, CC_E));
    if (writes) {
        asm_rr(&tr->a, w, 0x8b, S0, tr_get(tr, i->rm, S0));
        if (w) { /* canonical: bits 63 to 47 are alike */
            asm_mov(&tr->a, S1, S0);
            asm_insn(&tr->a, &(struct host_insn){.w = true,
                                                 .opcode = 0xc1,
                                                 .reg = 7,
                                                 .rm = S1,
                                                 .imm = 47,
                                                 .imm_size = 1}); /* sar */
            asm_alu_imm(&tr->a, true, 0, S1, 1);
            asm_alu_imm(&tr->a, true, 7, S1, 1);
            tr_cold_interpret(tr, asm_jcc(&tr->a, CC_A));
        }
        asm_store(&tr->a, mem_gs(GS_CPU(seg[0].base) + (int32_t)(seg * sizeof(struct mote_seg))),
                  S0);
        asm_store(&tr->a, mem_gs(GS_CPU(seg_base) + 8 * (int32_t)seg), S0);
        tr_flags_restore(tr);
    } else {
        uint8_t to = tr_to(i->rm, S0);

        tr_flags_restore(tr);
        asm_rm(&tr->a, w, 0x8b, to,
               mem_gs(GS_CPU(seg[0].base) + (int32_t)(seg * sizeof(struct mote_seg))));
        tr_put(tr, i->rm, to);
    }
}

/*
 * The guest's is the host's plus an offset. User code may be forbidden to read it. A
 * witness is shown what the interpreter read.
 */
static bool rdtsc(struct tr *tr, bool p)
{
    if (tr->t->lockstep)
        return false;
    if (!is_kernel(tr)) {
        tr_flags_save(tr);
        asm_insn(&tr->a, &(struct host_insn){.opcode = 0xf7,
                                             .is_mem = true,
                                             .mem = mem_gs(GS_CPU(cr4)),
                                             .imm = CR4_TSD,
                                             .imm_size = 4});
        tr_cold_interpret(tr, asm_jcc(&tr->a, CC_NE));
        tr_flags_restore(tr);
    }
    if (p)
        ASM(&tr->a, 0x0f, 0x01, 0xf9);
    else
        ASM(&tr->a, 0x0f, 0x31);
    asm_mov_imm(&tr->a, S0, 32);
    asm_load(&tr->a, S1, mem_gs(GS_CPU(msr.tsc)));
    shift(tr, 1, RDX, S0);
    asm_lea(&tr->a, RDX, (struct host_mem){.base = RDX, .index = RAX});
    asm_lea(&tr->a, RDX, (struct host_mem){.base = RDX, .index = S1});
    asm_rr(&tr->a, false, 0x8b, RAX, RDX);
    shift(tr, 3, RDX, S0);
    if (p)
        asm_load32(&tr->a, RCX, mem_gs(GS_CPU(msr.tsc_aux)));
    return true;
}

/* It reads all status flags, so they are in the host's until the check. */
static void pushf(struct tr *tr)
{
    ASM(&tr->a, 0x9c, 0x41, 0x5b); /* pushf; pop S1 */
    asm_store(&tr->a, mem_gs(GS_TR(tmp)), S1);
    tr_flags_save(tr);
    asm_lea(&tr->a, S0, mem_at(HOST_SP, -8));
    tr_check(tr, EMU_WRITE, 8, 0);
    asm_load(&tr->a, S1, mem_gs(GS_CPU(rflags)));
    asm_alu_imm(&tr->a, true, 4, S1, ~(int32_t)(FLAG_STATUS | FLAG_VM | FLAG_RF));
    asm_store(&tr->a, mem_gs(GS_TR(tmp_rcx)), RCX);
    asm_load(&tr->a, RCX, mem_gs(GS_TR(tmp)));
    asm_alu_imm(&tr->a, false, 4, RCX, FLAG_STATUS);
    asm_rr(&tr->a, true, 0x0b, S1, RCX);
    asm_load(&tr->a, RCX, mem_gs(GS_TR(tmp_rcx)));
    asm_store(&tr->a, mem_at(S0, 0), S1);
    asm_lea(&tr->a, HOST_SP, mem_at(HOST_SP, -8));
    tr_flags_restore(tr);
}

/* ---- which ----------------------------------------------------------------------------- */

static bool group_0f01(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->modrm == 0xf9)
        return rdtsc(tr, true);
    if (!is_kernel(tr))
        return false;
    switch (i->modrm) {
    case 0xca:
    case 0xcb: set_ac(tr, i->modrm == 0xcb); return true;
    case 0xf8: swapgs(tr); return true;
    default: return false;
    }
}

bool tr_system_keeps_flags(const struct emu_op *op)
{
    const struct x86_insn *i = &op->i;

    if (i->map == X86_MAP_1B)
        return i->opcode == 0xfa;
    return i->map == X86_MAP_0F && (i->opcode == 0x20 || i->opcode == 0x31 ||
                                    (i->opcode == 0x01 && (i->modrm == 0xca || i->modrm == 0xcb ||
                                                           i->modrm == 0xf8 || i->modrm == 0xf9)));
}

bool tr_system(struct tr *tr)
{
    const struct x86_insn *i = &tr->op->i;

    if (i->flags & X86_VEX)
        return false;
    if (i->map == X86_MAP_0F) {
        if (i->opcode == 0x01)
            return group_0f01(tr);
        if (i->opcode == 0x20)
            return is_kernel(tr) && read_control(tr);
        if (i->opcode == 0xae && i->pp == 2 && !(i->flags & X86_RM_MEM) &&
            (i->modrm & 0x38) < 0x20) {
            segment_base(tr);
            return true;
        }
        return i->opcode == 0x31 && rdtsc(tr, false);
    }
    if (i->map != X86_MAP_1B)
        return false;
    switch (i->opcode) {
    case 0x9c:
        if (i->osize != 8)
            return false;
        pushf(tr);
        return true;
    case 0xfa:
        if (!is_kernel(tr))
            return false;
        set_flag(tr, number(FLAG_IF), false);
        return true;
    case 0xfb: return is_kernel(tr) && sti(tr);
    default: return false;
    }
}
