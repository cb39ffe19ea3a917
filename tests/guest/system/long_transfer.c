/* Transfers of control between privilege levels and modes. */
#include "long.h"

USER(u_int3, "nop");
USER(u_int80, "int $0x80");
USER(u_int20, "int $0x20");
USER(u_syscall, "movl $0x1234, %ebx; syscall; ud2");
USER(u_hlt, "hlt");
USER(u_pushf, "pushfq; popq %rax");
USER(u_popf, "pushq $0x3202; popfq; pushfq; popq %rax");
USER(u_gate, "pushq $0; movl $0x53, 4(%rsp); movl $0, (%rsp); lcall *(%rsp)");
USER(u_ud, "ud2");
USER(u_iret0, "pushq $0x10; pushq %rsp; pushq $2; pushq $8; pushq $0; iretq");
USER(u_null_ss, "xorl %eax, %eax; movl %eax, %ss");
USER(u_bad_rsp, "movabsq $0x800000001000, %rsp; pushq %rax");
USER(u_compat, ".code32; movl $0x12345678, %eax; pushl %eax; popl %ecx; incl %ecx; .code64");
USER(u_compat_wrap,
     ".code32; movl $0xc0000000, %ebx; movl $0x40000000, %ecx; "
     "addl $0x10, %ecx; subl $0x10, %ecx; movl 0x40000000(%ebx,%ecx,2), %eax; .code64");
USER(u_sidt, "sidt -16(%rsp)");

/* The call gate's target: look at the stack, then go home as a trap would. */
__asm__(".pushsection .text; .globl gate_entry; gate_entry: int3; .popsection");

static void rings(void)
{
    unsigned v = RUN(u_int3, U_CODE, 0x202);

    ROW3("iretq to ring 3, int3 back: vector, cs, ss", v, last.cs, last.ss, 3, U_CODE, U_DATA);
    ROW3("... rip, rsp, rflags", last.rip, last.rsp, last.rflags, WINDOW + 2, WINDOW + 0x1800,
         0x202);
    v = RUN(u_int80, U_CODE, 2);
    ROW3("int 0x80 through a DPL 3 gate", v, last.rip, last.cs, 0x80, WINDOW + 2, U_CODE);
    v = RUN(u_int20, U_CODE, 2);
    ROW3("int 0x20 through a DPL 0 gate", v, last.error, last.rip, 13, 0x102, WINDOW);
    v = RUN(u_hlt, U_CODE, 2);
    ROW2("hlt in ring 3", v, last.error, 13, 0);
    v = RUN(u_ud, U_CODE, 2);
    ROW2("ud2 in ring 3", v, last.rip, 6, WINDOW);
    RUN(u_pushf, U_CODE, 0x3202);
    ROW1("iretq loads IOPL in ring 0", last.rax, 0x3202);
    RUN(u_popf, U_CODE, 0x2);
    ROW1("popfq in ring 3 leaves IF and IOPL", last.rax, 0x2);
    v = RUN(u_gate, U_CODE, 2);
    ROW3("call gate from ring 3: vector, cs, ss", v, last.cs, last.ss, 3, K_CODE, 0);
    ROW2("... caller's cs and ss on the stack", ((uint64_t *)last.rsp)[1],
         ((uint64_t *)last.rsp)[3], U_CODE, U_DATA);
    v = RUN(u_iret0, U_CODE, 2);
    ROW2("iretq from ring 3 to ring 0", v, last.error, 13, 8);
    v = RUN(u_null_ss, U_CODE, 2);
    ROW2("null ss in ring 3", v, last.error, 13, 0);
    v = RUN(u_bad_rsp, U_CODE, 2);
    ROW2("push with rsp not canonical", v, last.error, 12, 0);
    v = RUN(u_compat, U_CODE32, 2);
    ROW3("compatibility mode: vector, cs, ecx", v, last.cs, last.rcx, 3, U_CODE32, 0x12345679);
    v = RUN(u_compat_wrap, U_CODE32, 2);
    ROW2("compatibility mode: addresses wrap at 4 GiB", v, last_cr2 >> 32, 14, 0);
    set_cr4(cr4() | 1 << 11);
    v = RUN(u_sidt, U_CODE, 2);
    ROW2("umip: sidt in ring 3", v, last.error, 13, 0);
    set_cr4(cr4() & ~(1ull << 11));
    v = RUN(u_sidt, U_CODE, 2);
    ROW2("no umip: sidt in ring 3", v, last.cs, 3, U_CODE);
}

static void fast_calls(void)
{
    wrmsr(0xc0000081, (uint64_t)0x18 << 48 | (uint64_t)K_CODE << 32);
    wrmsr(0xc0000082, (uint64_t)syscall_entry);
    wrmsr(0xc0000083, (uint64_t)syscall_entry);
    wrmsr(0xc0000084, 0x40700);
    unsigned v = RUN(u_syscall, U_CODE, 0x246);
    ROW3("syscall: rcx, r11, cs", sys_rcx, sys_r11, sys_cs, WINDOW + 7, 0x246, K_CODE);
    ROW3("... ss, rflags, rsp", sys_ss, sys_rflags & 0x700, sys_rsp, K_DATA, 0, WINDOW + 0x1800);
    ROW1("... nothing trapped", v, SYSCALL);
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1ull);
    v = RUN(u_syscall, U_CODE, 2);
    ROW1("syscall without SCE", v, 6);
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);

    void to_user64(void)
    {
        __asm__ volatile("movabsq $0x4000000000, %%rcx; movl $0x246, %%r11d;"
                         "movabsq $0x4000001800, %%rsp; sysretq" ::
                             : "memory");
    }
    memcpy(test_page[0], u_int3_from, 2);
    v = catch_trap(to_user64);
    ROW3("sysretq: vector, cs, ss", v, last.cs, last.ss, 3, U_CODE, U_DATA);
    ROW2("... rip, rflags", last.rip, last.rflags, WINDOW + 2, 0x246);
    void to_user32(void)
    {
        __asm__ volatile("movl $0xc0000000, %%ecx; movl $0x202, %%r11d;"
                         "movl $0xc0001800, %%esp; sysretl" ::
                             : "memory");
    }
    v = catch_trap(to_user32);
    ROW3("sysretl: vector, cs, rip", v, last.cs, last.rip, 3, U_CODE32, 0xc0000002);
    v = RUN(u_hlt, U_CODE, 2);
    TRAPS("sysretq in ring 0, then ring 3 hlt", 13, 0, test_page[0][0] = 0xf4; to_user64());
}

static void segments(void)
{
    TRAPS("not present data", 11, ABSENT, ASM("movl $0x38, %%eax; movl %%eax, %%ds"));
    TRAPS("past the gdt", 13, 0x1000, ASM("movl $0x1000, %%eax; movl %%eax, %%es"));
    TRAPS("code segment into ss", 13, 8, ASM("movl $8, %%eax; movl %%eax, %%ss"));
    TRAPS("user data into ss", 13, 0x20, ASM("movl $0x23, %%eax; movl %%eax, %%ss"));
    TRAPS("not present into ss", 12, ABSENT, ASM("movl $0x38, %%eax; movl %%eax, %%ss"));
    TRAPS("null into ss in ring 0", NONE, 0,
          ASM("xorl %%eax, %%eax; movl %%eax, %%ss; movl $0x10, %%eax; movl %%eax, %%ss"));
    TRAPS("tss into ds", 13, TSS_SEL, ASM("movl $0x40, %%eax; movl %%eax, %%ds"));
    TRAPS("ltr of a busy tss", 13, TSS_SEL, ASM("movl $0x40, %%eax; ltr %%ax"));
    if (!on_tcg()) /* which is left without a task */
        TRAPS("ltr of null", 13, 0, ASM("xorl %%eax, %%eax; ltr %%ax"));
    TRAPS("lldt of null", NONE, 0, ASM("xorl %%eax, %%eax; lldt %%ax"));
    TRAPS("lldt of a data segment", 13, K_DATA, ASM("movl $0x10, %%eax; lldt %%ax"));
    TRAPS("selector in an absent ldt", 13, 0xc, ASM("movl $0xc, %%eax; movl %%eax, %%ds"));
    TRAPS("lretq to null", 13, 0, ASM("pushq $0; pushq $0; lretq"));
    TRAPS("lretq to data", 13, K_DATA, ASM("pushq $0x10; pushq $0; lretq"));
    TRAPS("lretq to a conforming segment", NONE, 0,
          ASM("pushq $0x60; leaq 1f(%%rip), %%rax; pushq %%rax; lretq;"
              "1: pushq $8; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"));
    TRAPS("iretq to data", 13, K_DATA,
          ASM("pushq $0x10; pushq $0; pushq $2; pushq $0x10; pushq $0; iretq"));
    TRAPS("iretq, rip not canonical", 13, 0,
          ASM("pushq $0x10; pushq $0; pushq $2; pushq $8; movabsq $0x800000000000, %%rax;"
              "pushq %%rax; iretq"));
    TRAPS("int past the gates' rights is fine in ring 0", 0x21, 0, ASM("int $0x21"));
    uint64_t tr = 0, ldt = 1;
    __asm__ volatile("str %w0; sldt %w1" : "+r"(tr), "+r"(ldt));
    ROW2("str, sldt", tr, ldt, TSS_SEL, 0);
}

void rows_transfer(void)
{
    rings();
    fast_calls();
    segments();
    TRAPS("#PF on a stack that is not there: #DF on its IST stack", 8, 0,
          ASM("movabsq $0x4000100000, %%rsp; pushq %%rax"));
    TRAPS("int3 on a stack that is not there: #PF, then #DF", 8, 0,
          ASM("movabsq $0x4000100000, %%rsp; int3"));
    gate_set(14, 0, 1);
    TRAPS("int3 on a stack that is not there, #PF on an IST stack", 14, 2,
          ASM("movabsq $0x4000100000, %%rsp; int3"));
    gate_set(14, 0, 0);
}
