/* Paging in long mode (SDM Vol. 3A chapter 4). */
#include "long.h"

#define VA(n) ((volatile uint32_t *)(WINDOW + 4096ull * (n)))
#define PA(n) ((uint64_t)test_page[n])

static void load(void)
{
    *VA(2);
}

static void store(void)
{
    *VA(2) = 1;
}

static void jump(void)
{
    ((void (*)(void))VA(2))();
}

/* One access to window page 2 with that entry. */
static void fault(const char *name, uint64_t entry, void (*f)(void), unsigned vector,
                  unsigned error)
{
    unsigned v;

    test_page[2][0] = 0xc3; /* ret */
    window(2, entry);
    v = catch_trap(f);
    ROW3(name, v, v == NONE ? 0 : last.error, v == 14 ? last_cr2 : 0, vector, error,
         vector == 14 ? (uint64_t)VA(2) : 0);
}

USER(user_load, "movabsq $0x4000002000, %rbx; movl (%rbx), %eax");
USER(user_store, "movabsq $0x4000002000, %rbx; movl %eax, (%rbx)");
USER(user_jump, "movabsq $0x4000002000, %rbx; jmp *%rbx");

#define USER_FAULT(name, entry, code, want_v, want_e)                                              \
    do {                                                                                           \
        window(2, entry);                                                                          \
        unsigned v_ = RUN(code, U_CODE, 2);                                                        \
        ROW2(name, v_, last.error, want_v, want_e);                                                \
    } while (0)

static void rights(void)
{
    fault("load, not present", PA(2), load, 14, 0);
    fault("store, not present", 0, store, 14, 2);
    fault("jump, not present", 0, jump, 14, 0x10);
    fault("load, read-only", PA(2) | P, load, NONE, 0);
    fault("store, read-only, wp", PA(2) | P, store, 14, 3);
    set_cr0(cr0() & ~0x10000ull);
    fault("store, read-only, no wp", PA(2) | P, store, NONE, 0);
    set_cr0(cr0() | 0x10000);
    fault("jump, nx", PA(2) | P | W | NX, jump, 14, 0x11);
    fault("load, nx", PA(2) | P | W | NX, load, NONE, 0);
    fault("jump, x", PA(2) | P | W, jump, NONE, 0);
    USER_FAULT("user load, supervisor", PA(2) | P | W, user_load, 14, 5);
    USER_FAULT("user store, supervisor", PA(2) | P | W, user_store, 14, 7);
    USER_FAULT("user store, read-only", PA(2) | P | U, user_store, 14, 7);
    USER_FAULT("user load, not present", 0, user_load, 14, 4);
    USER_FAULT("user jump, nx", PA(2) | P | U | NX, user_jump, 14, 0x15);
    USER_FAULT("user load, user", PA(2) | P | W | U, user_load, 3, 0);
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
    fault("nx bit without nxe is reserved", PA(2) | P | W | NX, load, 14, 9);
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
}

static void smep_smap(void)
{
    set_cr4(cr4() | 1 << 20);
    fault("smep: jump to a user page", PA(2) | P | W | U, jump, 14, 0x11);
    fault("smep: load of a user page", PA(2) | P | W | U, load, NONE, 0);
    set_cr4(cr4() & ~(1ull << 20));
    fault("no smep: jump to a user page", PA(2) | P | W | U, jump, NONE, 0);
    set_cr4(cr4() | 1 << 21);
    fault("smap: load of a user page", PA(2) | P | W | U, load, 14, 1);
    fault("smap: store to a user page", PA(2) | P | W | U, store, 14, 3);
    __asm__ volatile("stac");
    fault("smap: stac, store to a user page", PA(2) | P | W | U, store, NONE, 0);
    __asm__ volatile("clac");
    fault("smap: clac, store to a user page", PA(2) | P | W | U, store, 14, 3);
    set_cr4(cr4() & ~(1ull << 21));
}

static void large(void)
{
    uint64_t pa = (uint64_t)test_page[3], *e = &window_pd[1];
    volatile uint32_t *va = (void *)(WINDOW + 0x200000 + (pa & 0x1fffff));

    *(uint32_t *)test_page[3] = 0x1234567;
    *e = (pa & ~0x1fffffull) | P | W | PS;
    ROW1("2M page", *va, 0x1234567);
    *e |= 0x2000; /* bit 13 */
    set_cr3(cr3());
    TRAPS("2M page, reserved bit", 14, 9, (void)*(volatile uint32_t *)(WINDOW + 0x200000));
    *e = 0;
    pdpt[257] = (pa & ~0x3fffffffull) | P | W | PS;
    va = (void *)(WINDOW + 0x40000000 + (pa & 0x3fffffff));
    ROW1("1G page", *va, 0x1234567);
    pdpt[257] |= 0x2000;
    set_cr3(cr3());
    TRAPS("1G page, reserved bit", 14, 9, (void)*(volatile uint32_t *)(WINDOW + 0x40000000));
    pdpt[257] = 0;
    pml4[1] = (uint64_t)window_pdpt | P | W | PS;
    TRAPS("PML4 entry with PS", 14, 9, (void)*(volatile uint32_t *)(1ull << 39));
    pml4[1] = 0;
    set_cr3(cr3());
}

static void accessed(void)
{
    window(2, PA(2) | P | W);
    ROW1("A and D after nothing", window_pt[2] & (A | D), 0);
    load();
    ROW1("A and D after a load", window_pt[2] & (A | D), A);
    store();
    ROW1("A and D after a store", window_pt[2] & (A | D), A | D);
    window(2, PA(2) | P);
    catch_trap(store);
    ROW1("D after a refused store", window_pt[2] & D, 0);
    window_pd[0] &= ~A;
    set_cr3(cr3());
    load();
    ROW1("A of the table", window_pd[0] & A, A);
}

static void tlb(void)
{
    *(uint32_t *)test_page[2] = 2;
    *(uint32_t *)test_page[3] = 3;
    window(2, PA(2) | P | W);
    ROW1("before invlpg", *VA(2), 2);
    window(2, PA(3) | P | W);
    ROW1("after invlpg", *VA(2), 3);
    set_cr4(cr4() | 0x80);
    window(2, PA(2) | P | W | G);
    ROW1("global page", *VA(2), 2);
    window(2, PA(3) | P | W | G);
    ROW1("global page after invlpg", *VA(2), 3);
    window_pt[2] = PA(2) | P | W | G;
    set_cr4(cr4() & ~0x80ull);
    ROW1("global page after cr4.pge", *VA(2), 2);
    window_pt[2] = PA(3) | P | W;
    set_cr3(cr3());
    ROW1("after mov cr3", *VA(2), 3);
}

static void canonical(void)
{
    TRAPS("load, not canonical", 13, 0, ASM("movabsq $0x800000000000, %%rax; movl (%%rax), %%eax"));
    TRAPS("store, not canonical", 13, 0,
          ASM("movabsq $0xffff7fffffffffff, %%rax; movb %%al, (%%rax)"));
    TRAPS("load by rbp, not canonical", 12, 0,
          ASM("movq %%rbp, %%rdx; movabsq $0x800000000000, %%rbp; movl (%%rbp), %%eax;"
              "movq %%rdx, %%rbp"));
    TRAPS("load by rsp, not canonical: no stack for #SS", 8, 0,
          ASM("movabsq $0x800000000000, %%rsp; movl (%%rsp), %%eax"));
    TRAPS("jump, not canonical", 13, 0, ASM("movabsq $0x800000000000, %%rax; jmp *%%rax"));
    TRAPS("invlpg, not canonical, is nothing", NONE, 0,
          ASM("movabsq $0x800000000000, %%rax; invlpg (%%rax)"));
}

/* REP MOVSB into a page that is mapped when it faults: what RCX was then. */
static uint64_t rep_rcx;

static int map_page(struct frame *f)
{
    if (f->vector != 14)
        return 0;
    rep_rcx = f->rcx;
    window(3, PA(3) | P | W);
    return 1;
}

static void restart(void)
{
    uint64_t to = WINDOW + 0x3000 - 100, from = (uint64_t)test_page[4], n = 300;

    for (unsigned i = 0; i < 300; i++)
        test_page[4][i] = (uint8_t)(i * 3);
    window(2, PA(2) | P | W);
    window(3, 0);
    trap_count = 0;
    trap_hook = map_page;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    trap_hook = 0;
    ROW3("rep movsb restarts after a fault", rep_rcx, trap_count, n, 200, 1, 0);
    ROW2("rep movsb, the bytes", test_page[2][4095], test_page[3][199], (uint8_t)(99 * 3),
         (uint8_t)(299 * 3));
    window(3, 0);
    TRAPS("store over a page into nothing", 14, 2,
          *(volatile uint64_t *)(WINDOW + 0x3000 - 4) = ~0ull);
    ROW2("... changed nothing", *(uint32_t *)(test_page[2] + 4092) != 0xffffffff, last_cr2, 1,
         WINDOW + 0x3000);
}

void rows_paging(void)
{
    rights();
    smep_smap();
    large();
    accessed();
    tlb();
    canonical();
    restart();
}
