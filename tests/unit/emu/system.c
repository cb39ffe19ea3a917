/* Control registers, MSRs, fast system calls, flags and what leaves the CPU
 * (SDM Vol. 3A chapter 2, Vol. 2; AMD APM Vol. 2 6.1). */
#include "box.h"

#include <errno.h>

static struct box box;
static struct emu_cpu *c;

static int setup(void **state)
{
    (void)state;
    box_create(&box);
    c = box.c;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    box_destroy(&box);
    return 0;
}

static int mov_cr(unsigned cr, uint64_t value)
{
    c->r[RAX] = value;
    return cr < 8 ? EXEC(&box, 0x0f, 0x22, (uint8_t)(0xc0 | cr << 3))
                  : EXEC(&box, 0x44, 0x0f, 0x22, (uint8_t)(0xc0 | (cr & 7) << 3));
}

static int wrmsr(uint32_t index, uint64_t value)
{
    c->r[RCX] = index;
    c->r[RAX] = (uint32_t)value;
    c->r[RDX] = value >> 32;
    return EXEC(&box, 0x0f, 0x30);
}

static int rdmsr(uint32_t index)
{
    c->r[RCX] = index;
    return EXEC(&box, 0x0f, 0x32);
}

static uint64_t edx_eax(void)
{
    return c->r[RDX] << 32 | c->r[RAX];
}

#define PE_ET (CR0_PE | CR0_ET)

/* Real mode to long mode and back, as SDM Vol. 3A 9.8.5 orders the steps. */
static void into_long_mode_and_back(void **state)
{
    (void)state;
    box_long(&box, 0); /* for its page tables and segments; then back to where it began */
    c->cr0 = PE_ET;
    c->cr3 = c->cr4 = c->msr.efer = 0;
    box_descriptor(&box, GDT + CODE0, 0, UINT32_MAX,
                   SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_RW | SEG_DB | SEG_G);
    emu_load_seg(c, SEG_SS, DATA0);
    c->seg[SEG_CS].attrib = SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_RW | SEG_DB | SEG_G;
    emu_mode_changed(c);
    assert_int_equal(c->mode, X86_MODE32);

    assert_int_equal(wrmsr(MSR_EFER, EFER_LME), DONE);
    assert_int_equal(mov_cr(0, PE_ET | CR0_PG), FAULT(EXC_GP, 0)); /* no PAE */
    assert_int_equal(mov_cr(4, CR4_PAE), DONE);
    assert_int_equal(mov_cr(3, TABLES), DONE);
    assert_int_equal(mov_cr(0, PE_ET | CR0_PG), DONE);
    assert_int_equal(c->msr.efer, EFER_LME | EFER_LMA);
    assert_false(c->code64);
    assert_int_equal(mov_cr(4, 0), FAULT(EXC_GP, 0));
    assert_int_equal(wrmsr(MSR_EFER, 0), FAULT(EXC_GP, 0)); /* LME under paging */
    assert_int_equal(EXEC(&box, 0xea, 0, 0x10, 2, 0, CODE64_0, 0), DONE);
    assert_true(c->code64);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    assert_int_equal(mov_cr(0, PE_ET), FAULT(EXC_GP, 0)); /* PG off in 64-bit mode */

    le32_put(box.ram + DATA, CODE);
    le16_put(box.ram + DATA + 4, CODE0);
    c->r[RBX] = DATA;
    assert_int_equal(EXEC(&box, 0xff, 0x2b), DONE); /* jmp far [rbx] */
    assert_int_equal(mov_cr(0, PE_ET), DONE);
    assert_int_equal(c->msr.efer, EFER_LME);
    assert_false(c->long_mode);
}

static void cr_checks(void **state)
{
    (void)state;
    box_long(&box, 0);
    assert_int_equal(mov_cr(0, c->cr0 | BIT(32)), FAULT(EXC_GP, 0));
    assert_int_equal(mov_cr(0, (c->cr0 | CR0_NW) & ~(uint64_t)CR0_CD), FAULT(EXC_GP, 0));
    assert_int_equal(mov_cr(0, c->cr0 & ~(uint64_t)CR0_PE), FAULT(EXC_GP, 0));
    assert_int_equal(mov_cr(3, BIT(48)), FAULT(EXC_GP, 0));
    assert_int_equal(mov_cr(3, TABLES | BIT(63)), FAULT(EXC_GP, 0)); /* no PCID */
    assert_int_equal(mov_cr(4, CR4_PAE | CR4_VME), FAULT(EXC_GP, 0));
    assert_int_equal(mov_cr(4, CR4_PAE | CR4_LA57), FAULT(EXC_GP, 0));
    assert_int_equal(mov_cr(4, CR4_PAE | CR4_PCIDE), FAULT(EXC_GP, 0));
    assert_int_equal(mov_cr(4, CR4_PAE | CR4_PGE | CR4_OSXSAVE), DONE);
    assert_int_equal(mov_cr(1, 0), FAULT(EXC_UD, 0));
    assert_int_equal(mov_cr(8, 16), FAULT(EXC_GP, 0));
    assert_int_equal(mov_cr(8, 9), DONE);
    assert_int_equal(mov_cr(8, 2), EXIT(TPR));
    assert_int_equal(c->cr8, 2);
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xf0), DONE); /* lmsw ax: cannot clear PE */
    assert_true(c->cr0 & CR0_PE);
    assert_int_equal(mov_cr(4, CR4_PAE | CR4_SMEP), DONE); /* the code's page is the user's */
    assert_int_equal(EXEC(&box, 0x90), FAULT(EXC_PF, PF_P | PF_I));
    c->cpl = 3;
    emu_mode_changed(c);
    assert_int_equal(mov_cr(0, c->cr0), FAULT(EXC_GP, 0));
    assert_int_equal(EXEC(&box, 0x0f, 0x06), FAULT(EXC_GP, 0)); /* clts */
}

/* A stale translation must not outlive CR3, INVLPG or CR4.PGE. */
static void translations_go(void **state)
{
    uint64_t pte = TABLES + 0x2000;

    (void)state;
    box_long(&box, 0);
    le64_put(box.ram + pte + 8, 0x83); /* 2 MiB at 2 MiB: the same RAM */
    c->r[RBX] = 0x200000 + DATA;
    box.ram[DATA] = 0x5a;
    assert_int_equal(EXEC(&box, 0x8a, 0x03), DONE); /* mov al, [rbx] */
    assert_int_equal(c->r[RAX] & 0xff, 0x5a);
    le64_put(box.ram + pte + 8, 0);
    c->r[RBX] += 0x1000;                                  /* elsewhere in the same large page */
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0x3b), DONE); /* invlpg [rbx] */
    c->r[RBX] -= 0x1000;
    assert_int_equal(EXEC(&box, 0x8a, 0x03), FAULT(EXC_PF, 0));
    le64_put(box.ram + pte + 8, 0x83);
    assert_int_equal(EXEC(&box, 0x8a, 0x03), DONE);
    le64_put(box.ram + pte + 8, 0);
    assert_int_equal(mov_cr(3, TABLES), DONE);
    assert_int_equal(EXEC(&box, 0x8a, 0x03), FAULT(EXC_PF, 0));
    le64_put(box.ram + pte + 8, 0x83);
    assert_int_equal(EXEC(&box, 0x8a, 0x03), DONE);
    le64_put(box.ram + pte + 8, 0);
    memset(box.ram + DATA, 0, 16);
    c->r[RSI] = DATA;
    c->r[RDX] = 2;
    assert_int_equal(EXEC(&box, 0x66, 0x0f, 0x38, 0x82, 0x16), DONE); /* invpcid rdx, [rsi] */
    assert_int_equal(EXEC(&box, 0x8a, 0x03), FAULT(EXC_PF, 0));
    c->r[RDX] = 4;
    assert_int_equal(EXEC(&box, 0x66, 0x0f, 0x38, 0x82, 0x16), FAULT(EXC_GP, 0));
}

static void msr_checks(void **state)
{
    static const struct {
        uint32_t index;
        uint64_t good, bad;
    } row[] = {
        {MSR_LSTAR, UINT64_C(0xffffffff81000000), BIT(50)},
        {MSR_CSTAR, 0x1000, BIT(63)},
        {MSR_SFMASK, 0x47700, BIT(32)},
        {MSR_FS_BASE, 0x7fff00000000, BIT(47)},
        {MSR_GS_BASE, UINT64_C(0xffff888000000000), BIT(47)},
        {MSR_KERNEL_GS_BASE, 0x1234, BIT(60)},
        {MSR_SYSENTER_EIP, UINT64_C(0xffffffff81000000), BIT(55)},
        {MSR_PAT, UINT64_C(0x0407050600070106), 2},
        {MSR_PAT, UINT64_C(0x0407050600070106), 0x0800},
        {MSR_MTRR_DEF_TYPE, 0xc06, 0xc02},
        {MSR_MTRR_DEF_TYPE, 0x800, 0x100},
        {MSR_MTRR_PHYSBASE0, 0xc0000006, BIT(48)},
        {MSR_MTRR_PHYSBASE0 + 1, UINT64_C(0xffffc0000800), 1},
        {MSR_MTRR_FIX4K_0 + 7, UINT64_C(0x0606060606060606), 3},
        {MSR_EFER, EFER_SCE | EFER_NXE | EFER_LME | EFER_LMA | EFER_AUTOIBRS, EFER_SVME},
        {MSR_TSC_AUX, 7, BIT(32)},
    };

    (void)state;
    box_long(&box, 0);
    for (unsigned n = 0; n < ARRAY_SIZE(row); n++) {
        assert_int_equal(wrmsr(row[n].index, row[n].good), DONE);
        assert_int_equal(wrmsr(row[n].index, row[n].bad), FAULT(EXC_GP, 0));
        assert_int_equal(rdmsr(row[n].index), DONE);
        assert_int_equal(edx_eax(), row[n].good);
    }
    assert_int_equal(c->seg_base[SEG_FS], 0x7fff00000000);
    assert_int_equal(rdmsr(MSR_MTRRCAP), DONE);
    assert_int_equal(edx_eax() & 0xff, 8);
    assert_int_equal(wrmsr(MSR_MTRRCAP, 0), FAULT(EXC_GP, 0));
    assert_int_equal(rdmsr(MSR_XSS), EXIT(RDMSR)); /* not offered: the owner's to tell and refuse */
    assert_int_equal(rdmsr(MSR_SPEC_CTRL), EXIT(RDMSR));
    assert_int_equal(rdmsr(MSR_X2APIC_FIRST + 2), EXIT(RDMSR));
    assert_int_equal(c->exit.msr.index, MSR_X2APIC_FIRST + 2);
    assert_int_equal(wrmsr(MSR_TSC_DEADLINE, 0x123456789a), EXIT(WRMSR));
    assert_int_equal(c->exit.msr.value, 0x123456789a);
    c->cpl = 3;
    assert_int_equal(rdmsr(MSR_EFER), FAULT(EXC_GP, 0));
}

static void time_stamps(void **state)
{
    (void)state;
    box_long(&box, 0);
    c->msr.tsc = 0;
    assert_int_equal(wrmsr(MSR_TSC, 5000), DONE);
    assert_int_equal(c->msr.tsc_adjust, 4000);
    box.tsc += 10;
    assert_int_equal(EXEC(&box, 0x0f, 0x31), DONE);
    assert_int_equal(edx_eax(), 5010);
    assert_int_equal(wrmsr(MSR_TSC_ADJUST, 0), DONE);
    assert_int_equal(wrmsr(MSR_TSC_AUX, 3), DONE);
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xf9), DONE); /* rdtscp */
    assert_int_equal(edx_eax(), 1010);
    assert_int_equal(c->r[RCX], 3);
    c->cr4 |= CR4_TSD;
    c->cpl = 3;
    assert_int_equal(EXEC(&box, 0x0f, 0x31), FAULT(EXC_GP, 0));
    assert_int_equal(EXEC(&box, 0x0f, 0x33), FAULT(EXC_GP, 0)); /* rdpmc */
}

static void syscall_and_sysret(void **state)
{
    (void)state;
    box_long(&box, 3);
    assert_int_equal(EXEC(&box, 0x0f, 0x05), FAULT(EXC_UD, 0)); /* SCE is off */
    c->msr.efer |= EFER_SCE;
    c->msr.star = UINT64_C(0x0023001000000000);
    c->msr.lstar = HANDLER;
    c->msr.cstar = HANDLER + 0x100;
    c->msr.sfmask = FLAG_IF | FLAG_DF;
    c->rflags = FLAG_R1 | FLAG_IF | FLAG_ZF;
    assert_int_equal(EXEC(&box, 0x0f, 0x05), DONE);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    assert_int_equal(c->r[RCX], CODE + 2);
    assert_int_equal(c->r[R11], FLAG_R1 | FLAG_IF | FLAG_ZF);
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_ZF);
    assert_int_equal(c->seg[SEG_CS].selector, 0x10);
    assert_int_equal(c->seg[SEG_SS].selector, 0x18);
    assert_int_equal(c->r[RSP], STACK);
    assert_int_equal(EXEC(&box, 0x48, 0x0f, 0x07), DONE);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->r[X86_RIP_SLOT], CODE + 2);
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_IF | FLAG_ZF);
    assert_int_equal(c->seg[SEG_CS].selector, 0x33);
    assert_int_equal(c->seg[SEG_SS].selector, 0x2b);
    assert_int_equal(EXEC(&box, 0x48, 0x0f, 0x07), FAULT(EXC_GP, 0)); /* at CPL 3 */
    assert_int_equal(EXEC(&box, 0x0f, 0x34), FAULT(EXC_UD, 0));       /* SYSENTER, as on AMD */
}

static void syscall_from_compatibility_mode(void **state)
{
    (void)state;
    box_long(&box, 3);
    c->msr.efer |= EFER_SCE;
    c->msr.star = UINT64_C(0x0023001000000000);
    c->msr.cstar = HANDLER + 0x100;
    c->msr.lstar = HANDLER;
    emu_load_seg(c, SEG_SS, DATA3);
    c->seg[SEG_CS].attrib ^= SEG_L | SEG_DB;
    emu_mode_changed(c);
    assert_int_equal(EXEC(&box, 0x0f, 0x05), DONE);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER + 0x100);
    assert_true(c->code64);
    assert_int_equal(EXEC(&box, 0x0f, 0x07), DONE); /* sysretl */
    assert_int_equal(c->mode, X86_MODE32);
    assert_int_equal(c->seg[SEG_CS].selector, 0x23);
}

static void sysenter_and_sysexit(void **state)
{
    (void)state;
    box_protected(&box, 3);
    assert_int_equal(EXEC(&box, 0x0f, 0x34), FAULT(EXC_GP, 0)); /* no CS set */
    c->msr.sysenter_cs = CODE0;
    c->msr.sysenter_esp = STACK0;
    c->msr.sysenter_eip = HANDLER;
    assert_int_equal(EXEC(&box, 0x0f, 0x34), DONE);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->r[RSP], STACK0);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    c->r[RCX] = STACK;
    c->r[RDX] = CODE;
    assert_int_equal(EXEC(&box, 0x0f, 0x35), DONE);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->seg[SEG_CS].selector, CODE3);
    assert_int_equal(c->seg[SEG_SS].selector, DATA3);
}

static void bases(void **state)
{
    (void)state;
    box_long(&box, 0);
    c->msr.kernel_gs_base = 0x5000;
    c->r[RAX] = 0x6000;
    assert_int_equal(EXEC(&box, 0xf3, 0x48, 0x0f, 0xae, 0xd8), FAULT(EXC_UD, 0)); /* CR4 */
    c->cr4 |= CR4_FSGSBASE;
    assert_int_equal(EXEC(&box, 0xf3, 0x48, 0x0f, 0xae, 0xd8), DONE); /* wrgsbase rax */
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xf8), DONE);             /* swapgs */
    assert_int_equal(c->seg_base[SEG_GS], 0x5000);
    assert_int_equal(c->msr.kernel_gs_base, 0x6000);
    assert_int_equal(EXEC(&box, 0xf3, 0x48, 0x0f, 0xae, 0xcb), DONE); /* rdgsbase rbx */
    assert_int_equal(c->r[RBX], 0x5000);
    c->r[RAX] = BIT(48);
    assert_int_equal(EXEC(&box, 0xf3, 0x48, 0x0f, 0xae, 0xd0), FAULT(EXC_GP, 0));
    c->cpl = 3;
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xf8), FAULT(EXC_GP, 0));
}

static void flags_obey_privilege(void **state)
{
    (void)state;
    box_protected(&box, 3);
    c->rflags = FLAG_R1;
    le32_put(box.ram + STACK, FLAG_IF | FLAG_IOPL | FLAG_ID | FLAG_CF);
    assert_int_equal(EXEC(&box, 0x9d), DONE); /* popf */
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_ID | FLAG_CF);
    assert_int_equal(EXEC(&box, 0xfa), FAULT(EXC_GP, 0)); /* cli */
    assert_int_equal(EXEC(&box, 0xfb), FAULT(EXC_GP, 0)); /* sti */
    c->rflags = FLAG_R1 | FLAG_IOPL;
    assert_int_equal(EXEC(&box, 0xfb), DONE);
    assert_int_equal(c->intr.shadow, 1);
    assert_int_equal(EXEC(&box, 0xfb), DONE);
    assert_int_equal(c->intr.shadow, 0); /* IF was set already */
    c->rflags |= FLAG_RF;
    assert_int_equal(EXEC(&box, 0x9c), DONE); /* pushf */
    assert_int_equal(box32(&box, c->r[RSP]), FLAG_R1 | FLAG_IOPL | FLAG_IF);
    c->r[RAX] = 0xd700;
    assert_int_equal(EXEC(&box, 0x9e), DONE); /* sahf */
    assert_int_equal(c->rflags & 0xff, 0xd7);
    c->r[RAX] = 0;
    assert_int_equal(EXEC(&box, 0x9f), DONE); /* lahf */
    assert_int_equal(c->r[RAX], 0xd700);
}

static void tables(void **state)
{
    (void)state;
    box_long(&box, 0);
    c->r[RBX] = DATA;
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0x03), DONE); /* sgdt [rbx] */
    assert_int_equal(le16_get(box.ram + DATA), GDT_END - 1);
    assert_int_equal(box64(&box, DATA + 2), GDT);
    le64_put(box.ram + DATA + 2, BIT(50));
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0x1b), FAULT(EXC_GP, 0)); /* lidt [rbx] */
    le64_put(box.ram + DATA + 2, UINT64_C(0xffffffff00001000));
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0x1b), DONE);
    assert_int_equal(c->idtr.base, UINT64_C(0xffffffff00001000));
    c->r[RAX] = TSS_SEL;
    assert_int_equal(EXEC(&box, 0x0f, 0x00, 0xd8), FAULT(EXC_GP, TSS_SEL)); /* ltr ax: busy */
    c->r[RAX] = TSS_B_SEL;
    assert_int_equal(EXEC(&box, 0x0f, 0x00, 0xd8), DONE);
    assert_int_equal(c->seg[SEG_TR].base, TSS_B);
    assert_int_equal(box.ram[GDT + TSS_B_SEL + 5] & 15, DESC_TSS32_BUSY);
    assert_int_equal(EXEC(&box, 0x0f, 0x00, 0xd0), FAULT(EXC_GP, TSS_B_SEL)); /* lldt ax */
    c->r[RAX] = LDT_SEL;
    assert_int_equal(EXEC(&box, 0x0f, 0x00, 0xd0), DONE);
    assert_int_equal(c->seg[SEG_LDTR].base, LDT);
    c->cr4 |= CR4_UMIP;
    c->cpl = 3;
    emu_mode_changed(c);
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0x03), FAULT(EXC_GP, 0));
    assert_int_equal(EXEC(&box, 0x0f, 0x00, 0xc8), FAULT(EXC_GP, 0)); /* str eax */
}

static void debug_registers(void **state)
{
    (void)state;
    box_long(&box, 0);
    c->r[RAX] = UINT64_C(0xffffffff);
    assert_int_equal(EXEC(&box, 0x0f, 0x23, 0xf0), DONE); /* mov dr6, rax */
    assert_int_equal(c->dr[6], 0xffffefff);
    c->r[RAX] = BIT(32);
    assert_int_equal(EXEC(&box, 0x0f, 0x23, 0xf8), FAULT(EXC_GP, 0));
    assert_int_equal(EXEC(&box, 0x0f, 0x21, 0xe1), DONE); /* mov rcx, dr4 is dr6 */
    assert_int_equal(c->r[RCX], 0xffffefff);
    c->cr4 |= CR4_DE;
    assert_int_equal(EXEC(&box, 0x0f, 0x21, 0xe1), FAULT(EXC_UD, 0));
    c->r[RAX] = DR7_GD;
    assert_int_equal(EXEC(&box, 0x0f, 0x23, 0xf8), DONE);
    assert_int_equal(EXEC(&box, 0x0f, 0x21, 0xc1), FAULT(EXC_DB, 0));
    assert_true(c->dr[6] & DR6_BD);
    assert_false(c->dr[7] & DR7_GD);
}

static void xcr0(void **state)
{
    (void)state;
    box_long(&box, 0);
    c->r[RCX] = c->r[RDX] = 0;
    c->r[RAX] = 3;
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xd1), FAULT(EXC_UD, 0)); /* OSXSAVE is off */
    c->cr4 |= CR4_OSXSAVE;
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xd1), DONE);
    c->r[RAX] = 2;
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xd1), FAULT(EXC_GP, 0));
    c->r[RAX] = 5;
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xd1), FAULT(EXC_GP, 0));
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xd0), DONE); /* xgetbv */
    assert_int_equal(edx_eax(), 3);
    c->r[RAX] = 1;
    assert_int_equal(EXEC(&box, 0x0f, 0xa2), DONE); /* cpuid */
    assert_true(c->r[RCX] & BIT(27));
    c->r[RAX] = 0xd;
    c->r[RCX] = 0;
    assert_int_equal(EXEC(&box, 0x0f, 0xa2), DONE);
    assert_int_equal(c->r[RBX], 576);
}

static void exits(void **state)
{
    (void)state;
    box_long(&box, 0);
    assert_int_equal(EXEC(&box, 0xf4), EXIT(HALT));
    assert_int_equal(c->r[X86_RIP_SLOT], CODE + 1);
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xd9), EXIT(HYPERCALL));
    assert_int_equal(c->r[X86_RIP_SLOT], CODE + 4);
    assert_int_equal(EXEC(&box, 0x0f, 0x01, 0xc8), FAULT(EXC_UD, 0)); /* monitor */
    assert_int_equal(EXEC(&box, 0x0f, 0x0b), FAULT(EXC_UD, 0));
    assert_int_equal(EXEC(&box, 0xf3, 0x0f, 0x1e, 0xfa), DONE); /* endbr64 */
    c->r[RAX] = BIT(60);
    assert_int_equal(EXEC(&box, 0x0f, 0x1f, 0x00), DONE);             /* nop [rax] */
    assert_int_equal(EXEC(&box, 0x0f, 0xae, 0x38), FAULT(EXC_GP, 0)); /* clflush [rax] */
    assert_int_equal(EXEC(&box, 0x0f, 0xc7, 0xf0), DONE);             /* rdrand eax */
    assert_true(c->rflags & FLAG_CF);
}

/* Is one more port of this size let through? */
static bool io_allowed(uint16_t port, unsigned size)
{
    if (setjmp(c->unwind))
        return false;
    emu_check_io(c, port, size);
    return true;
}

static void io_permission(void **state)
{
    (void)state;
    box_protected(&box, 3);
    c->rflags = FLAG_R1;
    le16_put(box.ram + TSS + 0x66, 0x68);
    memset(box.ram + TSS + 0x68, 0, 0x80);
    box.ram[TSS + 0x68 + 0x3f8 / 8] = 0x10; /* port 3fc */
    c->seg[SEG_TR].limit = 0x68 + 0x80;
    assert_true(io_allowed(0x3f8, 4));
    assert_false(io_allowed(0x3fc, 1));
    assert_false(io_allowed(0x3fb, 2));
    assert_true(io_allowed(0x3fd, 1));
    assert_false(io_allowed(0x400, 1)); /* past the limit */
    c->rflags |= FLAG_IOPL;
    assert_true(io_allowed(0x400, 1));
    c->rflags &= ~(uint64_t)FLAG_IOPL;
    c->seg[SEG_TR].limit = 0x67;
    assert_false(io_allowed(0x3f8, 1));
}

/* What CPUID offers is consistent with what the engine promises elsewhere. */
static void cpuid_table(void **state)
{
    struct x86_cpuid table;
    uint32_t regs[4];

    (void)state;
    emu_default_cpuid(&(struct x86_cpuid_topology){.vcpus = 3, .apic_id = 2, .tsc_khz = 2000000},
                      &table);
    x86_cpuid_query(&table, 0, 0, regs);
    assert_memory_equal(&regs[1], "Auth", 4);
    assert_memory_equal(&regs[3], "enti", 4);
    assert_memory_equal(&regs[2], "cAMD", 4);
    x86_cpuid_query(&table, 1, 0, regs);
    assert_int_equal(regs[1] >> 24, 2);
    assert_true(regs[2] & BIT(31));
    assert_false(regs[2] & BIT(3)); /* MONITOR */
    x86_cpuid_query(&table, 0xb, 1, regs);
    assert_int_equal(regs[0], 2); /* bits for three cores */
    assert_int_equal(regs[1], 3);
    x86_cpuid_query(&table, 0x40000000, 0, regs);
    assert_memory_equal(&regs[1], "KVMKVMKVM\0\0\0", 12);
    x86_cpuid_query(&table, 0x40000010, 0, regs);
    assert_int_equal(regs[0], 2000000);
    x86_cpuid_query(&table, 0x80000008, 0, regs);
    assert_int_equal(regs[0], 48 | 48 << 8);
    assert_true(emu_features(&table) & EMU_F(SMAP));
    assert_false(emu_features(&table) & EMU_F(PCID));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(into_long_mode_and_back),
        T(cr_checks),
        T(translations_go),
        T(msr_checks),
        T(time_stamps),
        T(syscall_and_sysret),
        T(syscall_from_compatibility_mode),
        T(sysenter_and_sysexit),
        T(bases),
        T(flags_obey_privilege),
        T(tables),
        T(debug_registers),
        T(xcr0),
        T(exits),
        T(io_permission),
        T(cpuid_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
