/* The long-mode image: descriptor tables, traps, ring 3. */
#include "long.h"

struct frame last;
uint64_t last_cr2;
unsigned trap_count;
int (*trap_hook)(struct frame *f);

uint64_t window_pt[512] __attribute__((aligned(4096)));
uint64_t window_pd[512] __attribute__((aligned(4096)));
uint64_t window_pdpt[512] __attribute__((aligned(4096)));
uint8_t test_page[8][4096] __attribute__((aligned(4096)));

static uint64_t gdt[16], idt[512];
static uint32_t tss[26];
static uint8_t stack0[8192] __attribute__((aligned(16)));
static uint8_t stack_df[8192] __attribute__((aligned(16)));
static uint8_t *const stack0_top = stack0 + sizeof(stack0);
static uint8_t *const stack_df_top = stack_df + sizeof(stack_df);

void *memset(void *to, int c, unsigned long n);
void trap(struct frame *f);
void long_main(void);

void *memcpy(void *to, const void *from, unsigned long n)
{
    void *d = to;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n)::"memory");
    return to;
}

void *memset(void *to, int c, unsigned long n)
{
    void *d = to;

    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return to;
}

void trap(struct frame *f)
{
    uint64_t cr2;

    __asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
    last = *f;
    last_cr2 = cr2;
    trap_count++;
    if (trap_hook && trap_hook(f))
        return;
    go_home((int)f->vector);
}

void gate_set(unsigned vector, unsigned dpl, unsigned ist)
{
    uint64_t at = (uint64_t)stubs + 16 * vector;

    idt[2 * vector] = (at & 0xffff) | K_CODE << 16 | (uint64_t)ist << 32 |
                      (0x8eull | dpl << 5) << 40 | (at >> 16 & 0xffff) << 48;
    idt[2 * vector + 1] = at >> 32;
}

static void put64(uint32_t *p, uint64_t v)
{
    p[0] = (uint32_t)v;
    p[1] = (uint32_t)(v >> 32);
}

static void tables(void)
{
    static const uint64_t segs[] = {
        0,
        0x00af9b000000ffff, /* 08 */
        0x00cf93000000ffff, /* 10 */
        0x00cffb000000ffff, /* 18 user code, 32-bit */
        0x00cff3000000ffff, /* 20 user data */
        0x00affb000000ffff, /* 28 user code, 64-bit */
        0x00cf9b000000ffff, /* 30 kernel code, 32-bit */
        0x00cf13000000ffff, /* 38 not present */
    };
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) r;
    uint64_t at = (uint64_t)tss;
    extern uint8_t gate_entry[];

    memcpy(gdt, segs, sizeof(segs));
    gdt[8] = 0x67 | (at & 0xffffff) << 16 | 0x89ull << 40 | (at >> 24 & 0xff) << 56;
    gdt[9] = at >> 32;
    at = (uint64_t)gate_entry;
    gdt[10] = (at & 0xffff) | K_CODE << 16 | 0xecull << 40 | (at >> 16 & 0xffff) << 48;
    gdt[11] = at >> 32;
    gdt[12] = 0x00af9f000000ffff; /* 60 conforming */
    put64(tss + 1, (uint64_t)stack0_top);
    put64(tss + 9, (uint64_t)stack_df_top);
    tss[25] = 0x68u << 16;
    for (unsigned v = 0; v < 256; v++)
        gate_set(v, v == 3 || v == 4 || v == 0x80 ? 3 : 0, v == 8);
    r.limit = sizeof(gdt) - 1;
    r.base = (uint64_t)gdt;
    __asm__ volatile("lgdt %0" ::"m"(r));
    r.limit = sizeof(idt) - 1;
    r.base = (uint64_t)idt;
    __asm__ volatile("lidt %0" ::"m"(r));
    __asm__ volatile("ltr %w0" ::"r"(TSS_SEL));
}

void window(unsigned n, uint64_t entry)
{
    window_pt[n] = entry;
    __asm__ volatile("invlpg (%0)" ::"r"(WINDOW + 4096ull * n) : "memory");
}

static struct {
    uint64_t rip, cs, rflags, rsp, ss;
} user_frame;

static void user_enter(void)
{
    __asm__ volatile("movl $0x23, %%eax; movl %%eax, %%ds; movl %%eax, %%es;"
                     "leaq user_frame_p(%%rip), %%rax; movq (%%rax), %%rsp; iretq" ::
                         : "memory");
}

const void *const user_frame_p __attribute__((used)) = &user_frame;

unsigned user_run(const uint8_t *from, const uint8_t *to, uint16_t cs, uint64_t rflags)
{
    memcpy(test_page[0], from, (unsigned long)(to - from));
    window(0, (uint64_t)test_page[0] | P | U);
    window(1, (uint64_t)test_page[1] | P | W | U | NX);
    /* 32-bit code cannot reach the window: there is a copy below 4 GiB. */
    user_frame.rip = cs == U_CODE ? WINDOW : 0xc0000000;
    user_frame.rsp = (cs == U_CODE ? WINDOW : 0xc0000000) + 0x1800;
    user_frame.cs = cs;
    user_frame.ss = U_DATA;
    user_frame.rflags = rflags;
    return catch_trap(user_enter);
}

static void paging(void)
{
    pdpt[256] = (uint64_t)window_pd | P | W | U;
    window_pd[0] = (uint64_t)window_pt | P | W | U;
    pml4[0] |= U;
    /* 3 GiB: the same window for compatibility mode */
    pdpt[3] |= U;
    pd[3 * 512] = (uint64_t)window_pt | P | W | U;
    set_cr3(cr3());
}

void long_main(void)
{
    tables();
    paging();
    outb(0x21, 0xff); /* no interrupts from the PICs */
    outb(0xa1, 0xff);
    print("long mode\n");
    rows_control();
    rows_paging();
    rows_transfer();
    rows_debug();
    rows_code();
    rows_timers();
    finish();
}
