/* Code that changes, atomics in ring 0, time. */
#include "long.h"

static uint8_t code[8192] __attribute__((aligned(4096)));

static unsigned call(void *at)
{
    return ((unsigned (*)(void))at)();
}

/* mov $imm,%eax; ret */
static void emit(uint8_t *at, unsigned imm)
{
    at[0] = 0xb8;
    *(volatile unsigned *)(at + 1) = imm;
    at[5] = 0xc3;
}

static void changing(void)
{
    unsigned r, sum = 0;

    emit(code, 1);
    r = call(code);
    emit(code, 2);
    ROW2("code changed between calls", r, call(code), 1, 2);
    for (unsigned i = 0; i < 100; i++) {
        emit(code + 8, i);
        sum += call(code + 8);
    }
    ROW1("changed a hundred times", sum, 4950);
    emit(code + 4096 - 3, 5); /* its immediate crosses the page */
    r = call(code + 4096 - 3);
    code[4096] = 1;
    ROW2("changed behind a page boundary", r, call(code + 4096 - 3), 5, 0x10005);

    /* In one block: the store hits the instruction right behind it. */
    static const uint8_t self[] = {
        0xc6, 0x05, 0x01, 0, 0, 0, 7, /* movb $7, 1(%rip): the immediate below */
        0xb8, 1,    0,    0, 0,       /* movl $1, %eax */
        0xc3,
    };
    memcpy(code + 64, self, sizeof(self));
    ROW1("store into the next instruction", call(code + 64), 7);
    ROW1("... and again", call(code + 64), 7);

    /* Through another linear address. */
    window(4, (uint64_t)code | P | W);
    emit(code, 3);
    r = call(code);
    emit((uint8_t *)WINDOW + 0x4000, 4);
    ROW2("changed through another mapping", r, call(code), 3, 4);

    /* Same linear address, other page. */
    emit(test_page[6], 6);
    emit(test_page[7], 9);
    window(5, (uint64_t)test_page[6] | P | W);
    r = call((void *)(WINDOW + 0x5000));
    window(5, (uint64_t)test_page[7] | P | W);
    ROW2("mapping changed under code", r, call((void *)(WINDOW + 0x5000)), 6, 9);
    static const uint8_t stosb[] = {0x31, 0xc0, 0xb0, 0x2a, 0xb9, 4, 0, 0,   0,
                                    0xf3, 0xaa, 0xb8, 1,    0,    0, 0, 0xc3};
    memcpy(code + 128, stosb, sizeof(stosb));
    __asm__ volatile("call *%1"
                     : "=a"(r)
                     : "r"(code + 128), "D"(code + 128 + 12)
                     : "rcx", "memory");
    ROW1("rep stosb over the next immediate", r, 0x2a2a2a2a);
}

static void atomics(void)
{
    static uint64_t pair[2] __attribute__((aligned(16))) = {1, 2};
    uint64_t a = 1, d = 2;
    uint8_t equal;

    __asm__ volatile("lock cmpxchg16b %2; sete %3"
                     : "+a"(a), "+d"(d), "+m"(pair), "=q"(equal)
                     : "b"(3ull), "c"(4ull)
                     : "cc");
    ROW3("cmpxchg16b equal", equal, pair[0], pair[1], 1, 3, 4);
    __asm__ volatile("lock cmpxchg16b %2; sete %3"
                     : "+a"(a), "+d"(d), "+m"(pair), "=q"(equal)
                     : "b"(5ull), "c"(6ull)
                     : "cc");
    ROW3("cmpxchg16b not equal", equal, a, d, 0, 3, 4);
}

static uint64_t tsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return lo | (uint64_t)hi << 32;
}

static void misc(void)
{
    uint64_t last_tsc = 0;
    unsigned back = 0;
    uint32_t eax, ebx, ecx, edx;
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) r = {0, 0};

    for (unsigned i = 0; i < 1000; i++) {
        uint64_t t = tsc();
        back += t < last_tsc;
        last_tsc = t;
    }
    ROW1("tsc never goes back", back, 0);
    __asm__ volatile("cpuid"
                     : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx)
                     : "a"(0x80000001), "c"(0));
    ROW1("cpuid: long mode, nx, syscall", edx & 0x20100800, 0x20100800);
    __asm__ volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(1), "c"(0));
    ROW1("cpuid: hypervisor bit", ecx >> 31, 1);
    __asm__ volatile("sidt %0" : "=m"(r));
    ROW1("sidt limit", r.limit, 4095);
    __asm__ volatile("sgdt %0" : "=m"(r));
    ROW1("sgdt limit", r.limit, 127);
    uint64_t lar = 0, lsl = 0;
    __asm__ volatile("larl %2, %k0; lsll %2, %k1" : "+r"(lar), "+r"(lsl) : "r"(U_DATA));
    ROW2("lar, lsl of user data", lar & 0xf0ff00, lsl, 0xc0f300, 0xffffffff);
    TRAPS("rdtscp", NONE, 0, ASM("rdtscp"));
    TRAPS("wbinvd", NONE, 0, ASM("wbinvd"));
    TRAPS("ud2", 6, 0, ASM("ud2"));
    TRAPS("divide by zero", 0, 0, ASM("xorl %%ecx, %%ecx; movl $1, %%eax; divl %%ecx"));
    TRAPS("int3", 3, 0, ASM("int3"));
    TRAPS("in, out of a port where nothing lives", NONE, 0,
          ASM("movl $0x4321, %%edx; inb %%dx, %%al; outb %%al, %%dx"));
}

void rows_code(void)
{
    changing();
    atomics();
    misc();
}
