/* Control registers, MSRs, FPU enables (SDM Vol. 3A 2.5, Vol. 2). */
#include "long.h"

static void control_registers(void)
{
    uint64_t old0 = cr0();

    if (!on_tcg()) { /* which does as it is told and breaks down */
        TRAPS("cr0: PG without PE", 13, 0, set_cr0(0x80000000));
        TRAPS("cr0: PG off in long mode", 13, 0, set_cr0(cr0() & ~0x80000000ull));
        TRAPS("cr4: reserved bit", 13, 0, set_cr4(cr4() | 1ull << 40));
        TRAPS("cr4: PAE off in long mode", 13, 0, set_cr4(cr4() & ~0x20ull));
    }
    TRAPS("cr0: NW without CD", 13, 0, set_cr0(cr0() | 1 << 29));
    set_cr0(old0);
    TRAPS("cr0: upper half", 13, 0, set_cr0(cr0() | 1ull << 40));
    set_cr0(old0);
    TRAPS("cr8: reserved bit", 13, 0, set_cr8(16));
    set_cr8(5);
    ROW1("cr8 reads back", cr8(), 5);
    set_cr8(0);
    TRAPS("mov to cr1", 6, 0, ASM("movl $0, %%eax; .byte 0x0f, 0x22, 0xc8"));
    ASM("movq %%cr0, %%rax; lmsw %%ax");
    ROW1("lmsw cannot clear PE", cr0() & 1, 1);
    uint64_t msw = 0;
    __asm__ volatile("smsw %w0" : "+r"(msw));
    ROW1("smsw", msw, cr0() & 0xffff);
    set_cr0(cr0() | 8);
    ROW1("ts set", cr0() & 8, 8);
    __asm__ volatile("clts");
    ROW1("clts", cr0() & 8, 0);
}

static void fpu_enables(void)
{
    set_cr0(cr0() | 8);
    TRAPS("ts: fninit", 7, 0, ASM("fninit"));
    TRAPS("ts: addps", 7, 0, ASM("addps %%xmm0, %%xmm0"));
    TRAPS("ts, mp: fwait", 7, 0, ASM("fwait"));
    set_cr0((cr0() & ~8ull) | 4);
    TRAPS("em: fninit", 7, 0, ASM("fninit"));
    TRAPS("em: addps", 6, 0, ASM("addps %%xmm0, %%xmm0"));
    TRAPS("em: movq mm", 6, 0, ASM("movq %%mm0, %%mm1"));
    set_cr0(cr0() & ~4ull);
    set_cr4(cr4() & ~0x200ull);
    TRAPS("no osfxsr: addps", 6, 0, ASM("addps %%xmm0, %%xmm0"));
    set_cr4(cr4() | 0x200);
    TRAPS("no osxsave: xgetbv", 6, 0, ASM("xorl %%ecx, %%ecx; xgetbv"));
    TRAPS("no osxsave: vaddps", 6, 0, ASM("vaddps %%xmm0, %%xmm0, %%xmm0"));
    set_cr4(cr4() | 1 << 18);
    TRAPS("xcr0 x87 only: vaddps", 6, 0,
          ASM("xorl %%ecx, %%ecx; xorl %%edx, %%edx; movl $1, %%eax; xsetbv;"
              "vaddps %%xmm0, %%xmm0, %%xmm0"));
    TRAPS("xsetbv: no x87", 13, 0,
          ASM("xorl %%ecx, %%ecx; xorl %%edx, %%edx; movl $6, %%eax; xsetbv"));
    TRAPS("xsetbv: avx without sse", 13, 0,
          ASM("xorl %%ecx, %%ecx; xorl %%edx, %%edx; movl $5, %%eax; xsetbv"));
    TRAPS("xsetbv: register 1", 13, 0,
          ASM("movl $1, %%ecx; xorl %%edx, %%edx; movl $1, %%eax; xsetbv"));
    TRAPS("xsetbv 7, vaddps", NONE, 0,
          ASM("xorl %%ecx, %%ecx; xorl %%edx, %%edx; movl $7, %%eax; xsetbv;"
              "vaddps %%ymm0, %%ymm0, %%ymm0"));
    set_cr4(cr4() & ~(1ull << 18));
}

static void msr_back(const char *name, uint32_t i, uint64_t v)
{
    uint64_t old = rdmsr(i);

    wrmsr(i, v);
    ROW1(name, rdmsr(i), v);
    wrmsr(i, old);
}

static void msrs(void)
{
    msr_back("star", 0xc0000081, 0x0018000800000000);
    msr_back("lstar", 0xc0000082, 0xffffffff81000000);
    msr_back("cstar", 0xc0000083, 0xffffffff81000100);
    msr_back("sfmask", 0xc0000084, 0x47700);
    msr_back("kernel gs base", 0xc0000102, 0xffff888000000000);
    msr_back("gs base", 0xc0000101, 0xffff888000001000);
    msr_back("fs base", 0xc0000100, 0x7fff12345678);
    msr_back("tsc aux", 0xc0000103, 0x1234);
    msr_back("sysenter cs", 0x174, 8);
    msr_back("sysenter esp", 0x175, 0xffff888000002000);
    msr_back("sysenter eip", 0x176, 0xffffffff81000200);
    msr_back("pat", 0x277, 0x0407050600070106);
    TRAPS("lstar, not canonical", 13, 0, wrmsr(0xc0000082, 1ull << 47));
    TRAPS("gs base, not canonical", 13, 0, wrmsr(0xc0000101, 1ull << 47));
    TRAPS("pat, reserved type", 13, 0, wrmsr(0x277, 2));
    if (!on_tcg())
        TRAPS("efer: LME off under paging", 13, 0,
              wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x100ull));
    TRAPS("efer: reserved bit", 13, 0, wrmsr(0xc0000080, rdmsr(0xc0000080) | 1ull << 40));
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~(1ull << 40));
    ROW1("efer", rdmsr(0xc0000080) & 0xd01, 0xd01);
    TRAPS("rdmsr of nothing", 13, 0, (void)rdmsr(0xdeadbeef));
    TRAPS("wrmsr of nothing", 13, 0, wrmsr(0xdeadbeef, 0));
}

static void gs(void)
{
    uint64_t got;

    wrmsr(0xc0000101, 0x1111);
    wrmsr(0xc0000102, 0x2222);
    __asm__ volatile("swapgs");
    ROW2("swapgs", rdmsr(0xc0000101), rdmsr(0xc0000102), 0x2222, 0x1111);
    TRAPS("rdfsbase without cr4.fsgsbase", 6, 0, ASM("rdfsbase %%rax"));
    set_cr4(cr4() | 1 << 16);
    __asm__ volatile("wrgsbase %1; rdgsbase %0" : "=r"(got) : "r"(0xffff800012345678));
    ROW2("wrgsbase, rdgsbase", got, rdmsr(0xc0000101), 0xffff800012345678, 0xffff800012345678);
    TRAPS("wrfsbase, not canonical", 13, 0, ASM("movabsq $0x800000000000, %%rax; wrfsbase %%rax"));
    set_cr4(cr4() & ~(1ull << 16));
    wrmsr(0xc0000101, (uint64_t)test_page[5]);
    *(uint64_t *)(test_page[5] + 8) = 0x123456789abcdef0;
    __asm__ volatile("movq %%gs:8, %0" : "=r"(got));
    ROW1("load by gs", got, 0x123456789abcdef0);
    wrmsr(0xc0000101, 0);
}

void rows_control(void)
{
    control_registers();
    fpu_enables();
    msrs();
    gs();
}
