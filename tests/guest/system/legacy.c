/* Real mode, 32-bit protected mode, virtual-8086 mode, tasks, 32-bit paging. */
#include "print.h"

#define NONE 0xffffffffu

struct frame {
    uint32_t edi, esi, ebp, esp_, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss, es,
        ds, fs, gs;
};

static struct frame last;
static uint32_t last_cr2, user_esp[256];
static uint64_t gdt[24], idt[64];
static uint8_t stack0[4096] __attribute__((aligned(16)));
static uint8_t task_stack[4096] __attribute__((aligned(16)));
static uint32_t tss[27 + 8], task[27];
static uint32_t pd[1024] __attribute__((aligned(4096)));
static uint32_t pt[1024] __attribute__((aligned(4096)));

extern uint8_t stubs[], gate_entry[], v86_from[], v86_to[], real_from[], real_to[], task_loop[];
extern uint8_t u_int3[], u_gate[], u_out[], u_out2[], u_int20[];
extern uint32_t user_flags, v86_flags, task_runs, task_flags;
unsigned catch_trap(void (*f)(void));
_Noreturn void go_home(uint32_t vector);
void ring3(uint8_t *eip, uint32_t *esp);
void v86(void);
void real_run(void);
void trap(struct frame *f);
void legacy_main(void);
void *memcpy(void *to, const void *from, unsigned n);

void *memcpy(void *to, const void *from, unsigned n)
{
    void *d = to;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n)::"memory");
    return to;
}

void trap(struct frame *f)
{
    last = *f;
    __asm__ volatile("movl %%cr2, %0" : "=r"(last_cr2));
    go_home(f->vector);
}

static uint64_t segment(uint32_t base, uint32_t limit, uint32_t access, uint32_t flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 |
           (uint64_t)(base >> 24) << 56;
}

static void load_idt(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) r = {sizeof(idt) - 1, (uint32_t)idt};

    __asm__ volatile("lidt %0" ::"m"(r));
}

static void tables(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) r = {sizeof(gdt) - 1, (uint32_t)gdt};

    gdt[1] = segment(0, 0xfffff, 0x9b, 12);                    /* 08 code */
    gdt[2] = segment(0, 0xfffff, 0x93, 12);                    /* 10 data */
    gdt[3] = segment(0, 0xfffff, 0xfb, 12);                    /* 18 user code */
    gdt[4] = segment(0, 0xfffff, 0xf3, 12);                    /* 20 user data */
    gdt[5] = segment((uint32_t)tss, sizeof(tss) - 1, 0x89, 0); /* 28 TSS */
    gdt[6] = segment(0, 0xffff, 0x9b, 0);                      /* 30 16-bit code */
    gdt[7] = segment(0, 0xffff, 0x93, 0);                      /* 38 16-bit data */
    uint32_t at = (uint32_t)gate_entry;
    gdt[8] = (at & 0xffff) | 8 << 16 | 0xec02ull << 32 | (uint64_t)(at >> 16) << 48; /* 40 gate */
    gdt[9] = segment((uint32_t)task, sizeof(task) - 1, 0x89, 0); /* 48 second TSS */
    gdt[10] = segment(0x1000, 0xff, 0x93, 4);                    /* 50 256 bytes */
    gdt[11] = segment(0x1000, 0xff, 0x97, 4);                    /* 58 expand down */
    gdt[12] = segment(0, 0xfffff, 0x13, 12);                     /* 60 not present */
    gdt[13] = segment(0, 0xfffff, 0x91, 12);                     /* 68 read-only */
    gdt[14] = segment(0, 0xfffff, 0x99, 12);                     /* 70 execute-only */
    gdt[15] = segment(0, 0xfffff, 0x9e, 12);                     /* 78 conforming */
    gdt[16] = 0x48ull << 16 | 0x8500ull << 32;                   /* 80 task gate */
    __asm__ volatile("lgdt %0" ::"m"(r));
    __asm__ volatile("ljmp $8, $1f; 1: movl $0x10, %%eax; movl %%eax, %%ds; movl %%eax, %%es;"
                     "movl %%eax, %%ss" ::
                         : "eax");
    for (unsigned v = 0; v < 64; v++) {
        at = (uint32_t)stubs + 16 * v;
        idt[v] = (at & 0xffff) | 8 << 16 | (v == 3 || v == 0x21 ? 0xee00ull : 0x8e00ull) << 32 |
                 (uint64_t)(at >> 16) << 48;
    }
    load_idt();
    tss[1] = (uint32_t)(stack0 + sizeof(stack0));
    tss[2] = 0x10;
    tss[25] = 104u << 16; /* I/O bitmap */
    tss[26 + 4] = 0xfffe; /* ports 0x80 to 0x8f: only 0x80 */
    tss[26 + 5] = 0xffffffff;
    for (unsigned i = 26; i < 30; i++)
        tss[i] = 0xffffffff;
    tss[31] = 0xff;
    __asm__ volatile("ltr %w0" ::"r"(0x28));
}

#define TRAPS(name, want_v, want_e, ...)                                                           \
    do {                                                                                           \
        void f_(void)                                                                              \
        {                                                                                          \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
        unsigned v_ = catch_trap(f_);                                                              \
        ROW2(name, v_, v_ == NONE ? 0 : last.error, want_v, want_e);                               \
    } while (0)
#define ASM(text) __asm__ volatile(text ::: "memory", "cc", "eax", "ecx", "edx")

static void rows_real(void)
{
    static const struct {
        const char *name;
        uint16_t want;
    } real[] = {
        {"real: int 0x60", 1},
        {"real: iret balances", 0x7ff0},
        {"real: into", 2},
        {"real: daa", 0x42},
        {"real: aas", 0x0009},
        {"real: aam", 0x0705},
        {"real: aad", 0x004b},
        {"real: aaa", 0x0105},
        {"real: segments overlap", 0x5aa5},
        {"real: offsets wrap", 0x1111},
        {"real: far call, cs", 0x0800},
        {"real: pusha, popa", 0x1234},
        {"real: lds, ds", 0x1000},
        {"real: lds, si", 0x9abc},
        {"real: divide fault", 0},
        {"real: limit", 0x0d0d},
        {"real: 32-bit operands", 0x1234},
        {"real: loop", 3},
        {"real: flags", 0},
        {"real: smsw", 0},
        {"real: enter, leave", 0x7ff0},
    };

    memcpy((void *)0x8000, real_from, (unsigned)(real_to - real_from));
    real_run();
    load_idt();
    for (unsigned i = 0; i < sizeof(real) / sizeof(real[0]); i++) {
        uint16_t got = ((volatile uint16_t *)0x9000)[i];
        if (i == 3)
            got &= 0xff;
        ROW1(real[i].name, got, real[i].want);
    }
}

static void rows_segment(void)
{
    uint32_t lar = 0, lsl = 0;

    TRAPS("limit: inside", NONE, 0,
          ASM("movl $0x50, %%eax; movl %%eax, %%fs; movl %%fs:0xfc, %%eax"));
    TRAPS("limit: over", 13, 0, ASM("movl $0x50, %%eax; movl %%eax, %%fs; movl %%fs:0xfd, %%eax"));
    TRAPS("expand down: below", 13, 0,
          ASM("movl $0x58, %%eax; movl %%eax, %%fs; movl %%fs:0xff, %%eax"));
    TRAPS("expand down: above", NONE, 0,
          ASM("movl $0x58, %%eax; movl %%eax, %%fs; movl %%fs:0x100, %%eax"));
    TRAPS("null selector: load is fine, use is not", 13, 0,
          ASM("xorl %%eax, %%eax; movl %%eax, %%fs; movl %%fs:0, %%eax"));
    TRAPS("null into ss", 13, 0, ASM("xorl %%eax, %%eax; movl %%eax, %%ss"));
    TRAPS("not present", 11, 0x60, ASM("movl $0x60, %%eax; movl %%eax, %%fs"));
    TRAPS("not present into ss", 12, 0x60, ASM("movl $0x60, %%eax; movl %%eax, %%ss"));
    TRAPS("store to read-only", 13, 0,
          ASM("movl $0x68, %%eax; movl %%eax, %%fs; movl %%eax, %%fs:0x9000"));
    TRAPS("read-only into ss", 13, 0x68, ASM("movl $0x68, %%eax; movl %%eax, %%ss"));
    TRAPS("execute-only into fs", 13, 0x70, ASM("movl $0x70, %%eax; movl %%eax, %%fs"));
    TRAPS("store to code", 13, 0, ASM("movl %%eax, %%cs:0x9000"));
    TRAPS("conforming code by ljmp", NONE, 0, ASM("ljmp $0x78, $1f; 1: ljmp $8, $1f; 1:"));
    TRAPS("ljmp to data", 13, 0x10, ASM("ljmp $0x10, $0"));
    TRAPS("ljmp to null", 13, 0, ASM("ljmp $0, $0"));
    TRAPS("ljmp past the gdt", 13, 0x1000, ASM("ljmp $0x1000, $0"));
    TRAPS("bound", 5, 0, ASM("pushl $9; pushl $5; movl $4, %%eax; bound %%eax, (%%esp)"));
    __asm__ volatile("lar %2, %0; lsl %2, %1" : "+r"(lar), "+r"(lsl) : "r"(0x50));
    ROW2("lar, lsl", lar & 0xf0ff00, lsl, 0x409300, 0xff);
    uint8_t z1, z2, z3;
    __asm__ volatile("verr %w3; setz %0; verw %w3; setz %1; verr %w4; setz %2"
                     : "=q"(z1), "=q"(z2), "=q"(z3)
                     : "r"(0x68), "r"(0x70)
                     : "cc");
    ROW3("verr, verw", z1, z2, z3, 1, 0, 0);
    uint32_t sel = 0x10;
    __asm__ volatile("arpl %w2, %w0; setz %1" : "+r"(sel), "=q"(z1) : "r"(0x13) : "cc");
    ROW2("arpl", sel, z1, 0x13, 1);
}

static uint8_t *user_at;

static void to_user(void)
{
    ring3(user_at, user_esp + 200);
}

static unsigned user(uint8_t *at)
{
    user_at = at;
    return catch_trap(to_user);
}

static void rows_rings(void)
{
    unsigned v = user(u_int3);

    ROW3("ring 3, int3: vector, cs, ss", v, last.cs, last.ss, 3, 0x1b, 0x23);
    ROW1("... esp", last.esp, (uint32_t)(user_esp + 200));
    v = user(u_gate);
    ROW3("call gate: vector, cs in the gate, cs after", v, last.ebx, last.cs, 3, 0x1b, 0x1b);
    ROW3("... parameters, caller's ss", last.ecx, last.edx, last.edi, 0x11111111, 0x22222222, 0x23);
    ROW2("... esp inside and after lret 8", last.esi, last.esp, (uint32_t)(user_esp + 198),
         (uint32_t)(user_esp + 200));
    v = user(u_out);
    ROW2("out to a port the bitmap allows", v, last.error, 3, 0);
    v = user(u_out2);
    ROW2("out to a port the bitmap forbids", v, last.error, 13, 0);
    user_flags = 0x3002;
    v = user(u_out2);
    ROW2("... with IOPL 3", v, last.eflags, 3, 0x3002);
    user_flags = 2;
    v = user(u_int20);
    ROW2("ring 3: int 0x20 through a DPL 0 gate", v, last.error, 13, 0x102);
    memcpy((void *)0x8000, v86_from, (unsigned)(v86_to - v86_from));
    v = catch_trap(v86);
    ROW3("v86: vector, ax, bx", v, last.eax & 0xffff, last.ebx & 0xffff, 0x21, 0x1234, 0x10);
    ROW3("... cs, eip, vm", last.cs, last.eip, last.eflags >> 17 & 1, 0, 0x800c, 1);
    ROW3("... esp, ds, es", last.esp, last.ds, last.es, 0x7fee, 0x2222, 0x3333);
    v86_flags = 0x20002;
    v = catch_trap(v86);
    ROW3("v86 with IOPL 0: int", v, last.error, last.eip, 13, 0, 0x800a);
    v86_flags = 0x23002;
    ((uint8_t *)0x8000)[10] = 0xf4;
    v = catch_trap(v86);
    ROW2("v86: hlt", v, last.eip, 13, 0x800a);
}

static void task_init(void)
{
    for (unsigned i = 0; i < 27; i++)
        task[i] = 0;
    task[8] = (uint32_t)task_loop;
    task[9] = 2;
    task[14] = (uint32_t)(task_stack + sizeof(task_stack));
    task[18] = 0x10;
    task[19] = 8;
    task[20] = task[21] = 0x10;
    task[25] = 104u << 16;
}

static void rows_task(void)
{
    task_init();
    task_runs = 0;
    TRAPS("task: lcall to a TSS and iret", NONE, 0, ASM("lcall $0x48, $0"));
    ROW3("... ran, back link, NT inside", task_runs, task[0], task_flags >> 14 & 1, 1, 0x28, 1);
    ROW2("... its type is available again, ours busy", gdt[9] >> 40 & 0xff, gdt[5] >> 40 & 0xff,
         0x89, 0x8b);
    TRAPS("task: again, where it left", NONE, 0, ASM("lcall $0x48, $0"));
    ROW1("... ran twice", task_runs, 2);
    TRAPS("task: through a task gate", NONE, 0, ASM("lcall $0x80, $0"));
    ROW1("... ran three times", task_runs, 3);
    uint32_t cr0;
    __asm__ volatile("movl %%cr0, %0" : "=r"(cr0));
    ROW1("... TS is set", cr0 >> 3 & 1, 1);
    __asm__ volatile("clts");
    TRAPS("task: ltr of a busy one", 13, 0x28, ASM("movl $0x28, %%eax; ltr %%ax"));
    TRAPS("task: jump to a busy one", 13, 0x28, ASM("ljmp $0x28, $0"));
}

static void rows_paging(void)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < 1024; i++)
        pd[i] = i << 22 | 0x83;
    pd[0] |= 4;
    pd[256] = (uint32_t)pt | 7; /* 1 GiB */
    pt[0] = 0x9000 | 3;
    pt[1] = 0x9000 | 1;
    *(volatile uint32_t *)0x9000 = 0xabcdef01;
    __asm__ volatile(
        "movl %%cr4, %%eax; orl $0x10, %%eax; movl %%eax, %%cr4;"
        "movl %0, %%cr3; movl %%cr0, %%eax; orl $0x80010000, %%eax; movl %%eax, %%cr0" ::"r"(pd)
        : "eax", "memory");
    v = *(volatile uint32_t *)0x40000000;
    ROW1("paging: two levels", v, 0xabcdef01);
    ROW2("paging: A and D", pt[0] & 0x60, pd[256] & 0x20, 0x20, 0x20);
    *(volatile uint32_t *)0x40000000 = 1;
    ROW1("paging: D after a store", pt[0] & 0x60, 0x60);
    ROW1("paging: 4M page, A and D of the store to it", pd[0] & 0x60, 0x60);
    TRAPS("paging: store to read-only", 14, 3, *(volatile uint32_t *)0x40001000 = 1);
    TRAPS("paging: not present", 14, 0, (void)*(volatile uint32_t *)0x40002000);
    ROW1("... cr2", last_cr2, 0x40002000);
    TRAPS("paging: store, not present", 14, 2, *(volatile uint32_t *)0x40002ffe = 1);
    ROW1("... cr2 of the store", last_cr2, 0x40002ffe);
    __asm__ volatile("movl %%cr0, %%eax; andl $0x7ffeffff, %%eax; movl %%eax, %%cr0" ::
                         : "eax", "memory");
}

/*
 * Three levels of 64-bit entries. When PDPTEs are read is not tested: at MOV to
 * CR3 (SDM Vol. 3A 4.4.1), or as they are used (AMD APM Vol. 2 15.25.10).
 */
static void rows_pae(void)
{
    static uint64_t pdpt[4] __attribute__((aligned(32)));
    static uint64_t low[512] __attribute__((aligned(4096)));
    static uint64_t high[512] __attribute__((aligned(4096)));
    static uint64_t leaf[512] __attribute__((aligned(4096)));

    for (unsigned i = 0; i < 512; i++)
        low[i] = (uint64_t)i << 21 | 0x83;
    pdpt[0] = (uint32_t)low | 1;
    pdpt[1] = (uint32_t)high | 1;
    high[0] = (uint32_t)leaf | 3;
    leaf[0] = 0x9003;
    leaf[1] = 0x9001;
    *(volatile uint32_t *)0x9000 = 0x5555aaaa;
    __asm__ volatile("movl %%cr4, %%eax; orl $0x20, %%eax; movl %%eax, %%cr4; movl %0, %%cr3;"
                     "movl %%cr0, %%eax; orl $0x80010000, %%eax; movl %%eax, %%cr0" ::"r"(pdpt)
                     : "eax", "memory");
    uint32_t v = *(volatile uint32_t *)0x40000000;
    ROW1("pae: three levels", v, 0x5555aaaa);
    *(volatile uint32_t *)0x40000000 = 1;
    ROW2("pae: A and D", leaf[0] & 0x60, high[0] & 0x20, 0x60, 0x20);
    TRAPS("pae: store to read-only", 14, 3, *(volatile uint32_t *)0x40001000 = 1);
    TRAPS("pae: no PDPTE", 14, 0, (void)*(volatile uint32_t *)0x80000000);
    pdpt[2] = (uint32_t)high | 1;
    __asm__ volatile("movl %0, %%cr3" ::"r"(pdpt) : "memory");
    TRAPS("pae: a PDPTE after mov to cr3", NONE, 0, (void)*(volatile uint32_t *)0x80000000);
    __asm__ volatile("movl %%cr0, %%eax; andl $0x7ffeffff, %%eax; movl %%eax, %%cr0;"
                     "movl %%cr4, %%eax; andl $~0x20, %%eax; movl %%eax, %%cr4" ::
                         : "eax", "memory");
}

void legacy_main(void)
{
    tables();
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    print("legacy modes\n");
    rows_segment();
    rows_rings();
    rows_task();
    rows_paging();
    rows_pae();
    rows_real();
    finish();
}
