/* Single step, breakpoints, interrupt shadows, HLT (SDM Vol. 3A 6.8, chapter 18). */
#include "long.h"

#define DR(n)                                                                                      \
    static uint64_t dr##n(void)                                                                    \
    {                                                                                              \
        uint64_t v;                                                                                \
        __asm__ volatile("movq %%dr" #n ", %0" : "=r"(v));                                         \
        return v;                                                                                  \
    }                                                                                              \
    static void set_dr##n(uint64_t v)                                                              \
    {                                                                                              \
        __asm__ volatile("movq %0, %%dr" #n ::"r"(v) : "memory");                                  \
    }
DR(6)
DR(7)
#undef DR

static void set_dr0(uint64_t v)
{
    __asm__ volatile("movq %0, %%dr0" ::"r"(v) : "memory");
}

static uint64_t first_rip, dr6_seen, handler_rip;
static uint64_t ticks;

static int on_step(struct frame *f)
{
    if (f->vector != 1)
        return 0;
    if (!ticks++)
        first_rip = f->rip;
    dr6_seen |= dr6();
    f->rflags |= 1 << 16; /* RF: over an instruction breakpoint */
    return 1;
}

static void arm(void)
{
    ticks = dr6_seen = first_rip = 0;
    set_dr6(0xffff0ff0);
    trap_hook = on_step;
}

extern uint8_t step_1[], step_2[], mark_1[], mark_2[];

static void single_step(void)
{
    arm();
    __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; step_1: nop; nop; incl %%eax;"
                     "pushfq; andl $~0x100, (%%rsp); popfq; step_2:" ::
                         : "rax", "memory", "cc");
    ROW3("single step: steps, first rip, dr6", ticks, first_rip - (uint64_t)step_1, dr6_seen, 6, 1,
         0xffff4ff0);
    arm();
    __asm__ volatile("movl $3, %%ecx; pushfq; orl $0x100, (%%rsp); popfq; rep lodsb; nop;"
                     "pushfq; andl $~0x100, (%%rsp); popfq" ::"S"(test_page[0])
                     : "rax", "rcx", "memory", "cc");
    ROW1("single step: every element of rep lodsb", ticks, 3 + 1 + 3);
    arm();
    __asm__ volatile("movl %%ss, %%eax; pushfq; orl $0x100, (%%rsp); popfq; movl %%eax, %%ss;"
                     "nop; pushfq; andl $~0x100, (%%rsp); popfq" ::
                         : "rax", "memory", "cc");
    ROW1("single step: none behind mov ss", ticks, 4);
    trap_hook = 0;
}

static void breakpoints(void)
{
    static volatile uint32_t cell;

    arm();
    set_dr0((uint64_t)mark_1);
    set_dr7(0x402 | 1);
    __asm__ volatile("nop; mark_1: incl %%eax; mark_2: nop" ::: "rax", "cc");
    ROW3("instruction breakpoint: hits, rip, dr6", ticks, first_rip - (uint64_t)mark_1, dr6_seen, 1,
         0, 0xffff0ff1);
    arm();
    set_dr0((uint64_t)&cell);
    set_dr7(0x402 | 1 | 13 << 16); /* write, 4 bytes */
    (void)cell;
    cell = 1;
    ROW2("data breakpoint on a store: hits, dr6", ticks, dr6_seen, 1, 0xffff0ff1);
    arm();
    set_dr7(0x402 | 1 | 15 << 16); /* read or write */
    (void)cell;
    ROW2("data breakpoint on a load: hits, dr6", ticks, dr6_seen, 1, 0xffff0ff1);
    set_dr7(0x400);
    trap_hook = 0;
    ROW1("dr7 reads back", dr7(), 0x400);
    set_dr7(0x400 | 1 << 13);
    TRAPS("dr7.GD: mov from dr0", 1, 0, ASM("movq %%dr0, %%rax"));
    set_dr7(0x400); /* GD is clear in the handler and after it */
    ROW1("... dr6.BD", dr6() & 0x2000, 0x2000);
    set_dr6(0xffff0ff0);
    set_cr4(cr4() | 8);
    TRAPS("cr4.de: mov from dr4", 6, 0, ASM("movq %%dr4, %%rax"));
    set_cr4(cr4() & ~8ull);
    TRAPS("dr7: upper half", 13, 0, set_dr7(1ull << 32));
    TRAPS("int1", 1, 0, ASM(".byte 0xf1"));
    ROW1("... rip is behind it", *(uint8_t *)(last.rip - 1), 0xf1);
}

/* ---- interrupts, by a LAPIC self-IPI ---- */

#define APIC(off) (*(volatile uint32_t *)(0xfee00000ull + (off)))
#define VECTOR    0x50

static int on_interrupt(struct frame *f)
{
    if (f->vector != VECTOR)
        return 0;
    handler_rip = f->rip;
    ticks++;
    APIC(0xb0) = 0;
    return 1;
}

static void pend(void)
{
    ticks = 0;
    trap_hook = on_interrupt;
    APIC(0x300) = 0x40000 | VECTOR;
    for (int i = 0; i < 1000 && !(APIC(0x200 + 0x10 * (VECTOR / 32)) & 1u << VECTOR % 32); i++)
        __asm__ volatile("pause");
}

extern uint8_t sti_1[], popf_1[], hlt_1[], pair_1[];

static void interrupts(void)
{
    uint64_t *slot = &pd[0xfee00000 >> 21];

    /* The window's compatibility-mode copy took 3 GiB; the APIC is above it. */
    *slot = 0xfee00000 | P | W | PS | 0x18;
    set_cr3(cr3());
    APIC(0xf0) = 0x1ff;
    pend();
    __asm__ volatile("nop; nop");
    ROW1("no interrupt under cli", ticks, 0);
    __asm__ volatile("sti; sti_1: nop; nop; cli" ::: "memory");
    ROW2("sti delays an interrupt by one: count, rip", ticks, handler_rip - (uint64_t)sti_1, 1, 1);
    pend();
    __asm__ volatile("sti; cli; nop" ::: "memory");
    ROW1("sti; cli lets none in", ticks, 0);
    __asm__ volatile("pushq $0x202; popfq; popf_1: nop; cli" ::: "memory", "cc");
    ROW2("popfq does not delay: count, rip", ticks, handler_rip - (uint64_t)popf_1, 1, 0);
    pend();
    __asm__ volatile("sti; hlt; hlt_1: cli" ::: "memory");
    ROW2("hlt wakes: count, rip", ticks, handler_rip - (uint64_t)hlt_1, 1, 0);
    pend();
    __asm__ volatile("movl %%ss, %%eax; pushq $0x202; popfq; pair_1: cli" ::
                         : "rax", "memory", "cc");
    ROW2("pending over popfq", ticks, handler_rip - (uint64_t)pair_1, 1, 0);
    set_cr8(6);
    pend();
    __asm__ volatile("sti; nop; nop; cli" ::: "memory");
    ROW1("cr8 holds vector 0x50 back", ticks, 0);
    __asm__ volatile("sti; nop" ::: "memory");
    set_cr8(0);
    __asm__ volatile("nop; cli" ::: "memory");
    ROW1("... until it is lowered", ticks, 1);
    trap_hook = 0;
}

void rows_debug(void)
{
    single_step();
    breakpoints();
    interrupts();
}
