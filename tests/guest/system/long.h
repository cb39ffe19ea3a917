/* The long-mode image's little kernel. */
#ifndef MOTE_GUEST_LONG_H
#define MOTE_GUEST_LONG_H

#include "print.h"

#define NONE    0xffffffffu /* "vector" when nothing trapped */
#define SYSCALL 0x100u      /* "vector" of a SYSCALL */

/* Selectors */
#define K_CODE   0x08
#define K_DATA   0x10
#define U_CODE32 0x1b
#define U_DATA   0x23
#define U_CODE   0x2b
#define K_CODE32 0x30
#define ABSENT   0x38 /* data segment, not present */
#define TSS_SEL  0x40
#define GATE     0x53 /* call gate to gate_entry, DPL 3, 16 bytes */
#define CONFORM  0x60 /* conforming code, DPL 0 */

/* Page-table bits */
#define P  0x001ull
#define W  0x002ull
#define U  0x004ull
#define A  0x020ull
#define D  0x040ull
#define PS 0x080ull
#define G  0x100ull
#define NX (1ull << 63)

/* A window for the rows: 4 KiB pages at WINDOW, of the physical page(s) at test_page. */
#define WINDOW 0x4000000000ull /* PML4 slot 0, PDPT slot 256 */

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* The last trap, and what to do at one: return true to go on in the row. */
extern struct frame last;
extern uint64_t last_cr2;
extern unsigned trap_count;
extern int (*trap_hook)(struct frame *f);

unsigned catch_trap(void (*f)(void));
_Noreturn void go_home(int vector);
extern uint8_t stubs[];
extern uint64_t pml4[512], pdpt[512], pd[2048];
extern uint64_t window_pt[512], window_pd[512], window_pdpt[512];
extern uint8_t test_page[8][4096];
extern uint64_t sys_rcx, sys_r11, sys_rsp, sys_rflags;
extern uint32_t sys_cs, sys_ss;
extern uint8_t syscall_entry[];

/* Set window page n's entry and drop its translation. */
void window(unsigned n, uint64_t entry);

/* Ring 3 at window page 0, holding the code from..to; ends in a trap. */
unsigned user_run(const uint8_t *from, const uint8_t *to, uint16_t cs, uint64_t rflags);

void gate_set(unsigned vector, unsigned dpl, unsigned ist);

static inline uint64_t rdmsr(uint32_t i)
{
    uint32_t lo, hi;

    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(i));
    return lo | (uint64_t)hi << 32;
}

static inline void wrmsr(uint32_t i, uint64_t v)
{
    __asm__ volatile("wrmsr" ::"c"(i), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

#define CR(n)                                                                                      \
    static inline uint64_t cr##n(void)                                                             \
    {                                                                                              \
        uint64_t v;                                                                                \
        __asm__ volatile("movq %%cr" #n ", %0" : "=r"(v));                                         \
        return v;                                                                                  \
    }                                                                                              \
    static inline void set_cr##n(uint64_t v)                                                       \
    {                                                                                              \
        __asm__ volatile("movq %0, %%cr" #n ::"r"(v) : "memory");                                  \
    }
CR(0)
CR(3)
CR(4)
CR(8)
#undef CR

/* Is this QEMU's TCG, or KVM on it? By the signature of its "max" CPU: KVM hands it on. */
static inline int on_tcg(void)
{
    uint32_t eax = 1, ebx, ecx = 0, edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return eax == 0x60fb1; /* family 0Fh, model 6Bh, stepping 1 */
}

/* A row that ends in a trap: vector and error code. */
#define TRAPS(name, want_v, want_e, ...)                                                           \
    do {                                                                                           \
        void f_(void)                                                                              \
        {                                                                                          \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
        unsigned v_ = catch_trap(f_);                                                              \
        ROW2(name, v_, v_ == NONE ? 0 : last.error, want_v, want_e);                               \
    } while (0)
#define ASM(text)                                                                                  \
    __asm__ volatile(text ::: "memory", "cc", "rax", "rcx", "rdx", "rbx", "rsi", "rdi")

/* A piece of user code between two labels. */
#define USER(name, text)                                                                           \
    extern const uint8_t name##_from[], name##_to[];                                               \
    __asm__(".pushsection .text; .globl " #name "_from, " #name "_to; " #name "_from: " text       \
            "; int3; " #name "_to: .popsection")
#define RUN(name, cs, rflags) user_run(name##_from, name##_to, cs, rflags)

void *memcpy(void *to, const void *from, unsigned long n);

void rows_paging(void);
void rows_control(void);
void rows_transfer(void);
void rows_debug(void);
void rows_code(void);
void rows_timers(void);

#endif
