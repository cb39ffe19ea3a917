/*
 * Several vCPUs of the soft engine at once: code that one executes and another
 * or a device writes, and atomic operations.
 */
#include "smp.h"

#include "base/bits.h"

#include <string.h>

/* Where the shared words are, from SMP_DATA on. */
#define FLAG   SMP_DATA          /* 0(%rbp) */
#define DONE   (SMP_DATA + 0x40) /* 0x40(%rbp) */
#define TARGET 0x10000u          /* movl $n, %eax; ret */

GUEST(function, 64, "movl $0, %eax\nret")

/* ---- one vCPU writes code that another executes ------------------------------ */

/* Round n: patch the immediate at rdi, set the flag, wait for the answer. */
GUEST(patcher, 64,
      "xorl %eax, %eax\n"
      "1: incl %eax\n"
      "movl %eax, (%rdi)\n"
      "movl %eax, 0(%rbp)\n"
      "2: pause\n"
      "cmpl %eax, 0x40(%rbp)\n"
      "jne 2b\n"
      "cmpl $3000, %eax\n"
      "jne 1b\n"
      "hlt")

/* Round n: wait for the flag, serialise, call 100 times. RAX is how often that gave something
 * else. */
GUEST(caller, 64,
      "xorl %r8d, %r8d\n"
      "xorl %r9d, %r9d\n"
      "1: incl %r8d\n"
      "2: pause\n"
      "cmpl %r8d, 0(%rbp)\n"
      "jne 2b\n"
      "xorl %eax, %eax\n"
      "cpuid\n"
      "movl $100, %ecx\n"
      "3: call *%rdi\n"
      "cmpl %r8d, %eax\n"
      "setne %al\n"
      "movzbl %al, %eax\n"
      "addl %eax, %r9d\n"
      "decl %ecx\n"
      "jnz 3b\n"
      "movl %r8d, 0x40(%rbp)\n"
      "cmpl $3000, %r8d\n"
      "jne 1b\n"
      "movl %r9d, %eax\n"
      "hlt")

/* SDM Vol. 3A 8.1.3: what the flag announces is executed after a serialising instruction. */
static void cross_modifying_code(void **state)
{
    struct smp s;

    smp_create(&s, accel_of(state), 2);
    SMP_CODE(&s, 0x1000, patcher);
    SMP_CODE(&s, 0x2000, caller);
    SMP_CODE(&s, TARGET, function);
    smp_start(&s, 1, 0x2000, TARGET);
    smp_start(&s, 0, 0x1000, TARGET + 1);
    smp_join(&s, 0);
    assert_int_equal(smp_join(&s, 1), 0);
    assert_int_equal(smp_stat(&s, 1, "flushes of all blocks"), 0);
    smp_destroy(&s);
}

/* The same, but what is patched follows the serialising instruction in a straight line. */
GUEST(straight, 64,
      "xorl %r8d, %r8d\n"
      "xorl %r9d, %r9d\n"
      "1: incl %r8d\n"
      "cmpl %r8d, 0(%rbp)\n"
      "je 3f\n"
      "2: pause\n"
      "cmpl %r8d, 0(%rbp)\n"
      "jne 2b\n"
      "3: movl $100, %r10d\n"
      "4: xorl %eax, %eax\n"
      "cpuid\n"
      ".global straight_immediate\n"
      "straight_immediate: movl $0, %eax\n"
      "cmpl %r8d, %eax\n"
      "setne %al\n"
      "movzbl %al, %eax\n"
      "addl %eax, %r9d\n"
      "decl %r10d\n"
      "jnz 4b\n"
      "movl %r8d, 0x40(%rbp)\n"
      "cmpl $3000, %r8d\n"
      "jne 1b\n"
      "movl %r9d, %eax\n"
      "hlt")
extern const uint8_t straight_immediate[];

static void serialising_ends_a_block(void **state)
{
    struct smp s;

    smp_create(&s, accel_of(state), 2);
    SMP_CODE(&s, 0x1000, patcher);
    SMP_CODE(&s, 0x2000, straight);
    smp_start(&s, 1, 0x2000, 0);
    smp_start(&s, 0, 0x1000, 0x2000 + (uint64_t)(straight_immediate - g_straight) + 1);
    smp_join(&s, 0);
    assert_int_equal(smp_join(&s, 1), 0);
    smp_destroy(&s);
}

/*
 * Page after page from rdi on: write a function there with stores that are ordinary ones, as
 * the page holds no code yet; let the other call it without end, and change what it returns
 * five times, each time until the other has told.
 */
GUEST(page_writer, 64,
      "movl $48, %ecx\n"
      "1: movb $0xb8, (%rdi)\n" /* movl $imm, %eax */
      "movl $0, 1(%rdi)\n"
      "movb $0xc3, 5(%rdi)\n" /* ret */
      "movq %rdi, 0(%rbp)\n"
      "movl $5, %edx\n"
      "2: incl %eax\n"
      "movl %eax, 1(%rdi)\n"
      "3: cmpl %eax, 0x40(%rbp)\n"
      "je 4f\n"
      "incl 0x800(%rdi)\n" /* data beside the code */
      "jmp 3b\n"
      "4: decl %edx\n"
      "jnz 2b\n"
      "addq $0x1000, %rdi\n"
      "loop 1b\n"
      "movq $-1, 0(%rbp)\n"
      "hlt")

GUEST(page_caller, 64,
      "1: movq 0(%rbp), %rbx\n"
      "testq %rbx, %rbx\n"
      "jz 1b\n"
      "js 2f\n"
      "call *%rbx\n"
      "movl %eax, 0x40(%rbp)\n"
      "jmp 1b\n"
      "2: hlt")

static void pages_become_code(void **state)
{
    struct smp s;

    smp_create(&s, accel_of(state), 2);
    SMP_CODE(&s, 0x1000, page_writer);
    SMP_CODE(&s, 0x2000, page_caller);
    smp_start(&s, 1, 0x2000, 0);
    smp_start(&s, 0, 0x1000, TARGET);
    smp_join(&s, 0);
    smp_join(&s, 1);
    smp_destroy(&s);
}

/* Three execute what a fourth writes, in pages that all of them have cached. */
static void many_cachers(void **state)
{
    struct smp s;

    smp_create(&s, accel_of(state), 4);
    SMP_CODE(&s, 0x1000, page_writer);
    SMP_CODE(&s, 0x2000, page_caller);
    for (unsigned n = 1; n < 4; n++)
        smp_start(&s, n, 0x2000, 0);
    smp_start(&s, 0, 0x1000, TARGET);
    for (unsigned n = 0; n < 4; n++)
        smp_join(&s, n);
    smp_destroy(&s);
}

/* ---- a device writes code ------------------------------------------------------ */

static void patch(struct smp *s, uint32_t at, uint32_t value)
{
    assert_int_equal(guest_mem_write(&s->m->mem, GPA(at + 1), &value, 4), 0);
}

/* Only what was written is dropped, while the vCPU runs. */
static void written_from_outside(void **state)
{
    uint64_t built;
    struct smp s;

    smp_create(&s, accel_of(state), 1);
    SMP_CODE(&s, 0x2000, page_caller);
    SMP_CODE(&s, TARGET, function);
    smp_write(&s, FLAG, TARGET);
    smp_start(&s, 0, 0x2000, 0);
    for (uint32_t n = 1; n <= 500; n++) {
        patch(&s, TARGET, n);
        while ((uint32_t)smp_read(&s, DONE) != n)
            __builtin_ia32_pause();
        patch(&s, TARGET + 0x100, n); /* the same page, but not the code */
    }
    smp_write(&s, FLAG, UINT64_MAX);
    smp_join(&s, 0);
    assert_int_equal(smp_stat(&s, 0, "flushes of all blocks"), 0);
    assert_true(smp_stat(&s, 0, "blocks dropped by writes to code") <= 500);
    assert_true(smp_stat(&s, 0, "blocks dropped by writes to code") >= 250);
    built = smp_stat(&s, 0, "blocks decoded");
    assert_true(built <= 500 + 10); /* the caller's own stayed */
    smp_destroy(&s);
}

/* Call the functions of 100 pages from rdi on; RAX is the sum. */
GUEST(call_all, 64,
      "movl $100, %ecx\n"
      "xorl %ebx, %ebx\n"
      "1: call *%rdi\n"
      "addq %rax, %rbx\n"
      "addq $0x1000, %rdi\n"
      "loop 1b\n"
      "movq %rbx, %rax\n"
      "hlt")

/* More pages than an inbox has room for, in one write. */
static void written_beyond_the_inbox(void **state)
{
    static uint8_t pages[100 * 0x1000];
    struct smp s;

    smp_create(&s, accel_of(state), 1);
    SMP_CODE(&s, 0x1000, call_all);
    for (uint32_t round = 1; round <= 3; round++) {
        for (uint32_t n = 0; n < 100; n++) {
            memcpy(pages + n * 0x1000, g_function, 6);
            memcpy(pages + n * 0x1000 + 1, &round, 4);
        }
        assert_int_equal(guest_mem_write(&s.m->mem, GPA(TARGET), pages, sizeof(pages)), 0);
        smp_start(&s, 0, 0x1000, TARGET);
        assert_int_equal(smp_join(&s, 0), 100 * round);
    }
    smp_destroy(&s);
}

/* ---- atomic operations ------------------------------------------------------------ */

/* All wait for the word at 0x200(%rbp), so that they run at the same time. */
#define START (SMP_DATA + 0x200)
#define READY "9: pause\ncmpl $0, 0x200(%rbp)\nje 9b\n"

/* Run the same code on all vCPUs; the sum of their RAX. */
static uint64_t together(struct smp *s, const uint64_t arg[])
{
    uint64_t sum = 0;

    for (unsigned n = 0; n < s->count; n++)
        smp_start(s, n, 0x1000, arg[n]);
    smp_write(s, START, 1);
    for (unsigned n = 0; n < s->count; n++)
        sum += smp_join(s, n);
    return sum;
}

/* 20000 times what adds one to (rdi), in each of several ways. */
GUEST(counts, 64,
      READY "movl $20000, %ecx\n"
            "1: lock incl (%rdi)\n"
            "lock addl $1, (%rdi)\n"
            "movl $1, %edx\n"
            "lock xaddl %edx, (%rdi)\n"
            "movl (%rdi), %eax\n"
            "2: leal 1(%rax), %edx\n"
            "lock cmpxchgl %edx, (%rdi)\n"
            "jne 2b\n"
            "stc\n"
            "lock adcl $0, (%rdi)\n"
            "lock subl $-1, (%rdi)\n"
            "loop 1b\n"
            "hlt")

static void count_at(void **state, uint32_t linear, uint32_t gpa)
{
    const uint64_t arg[SMP_CPUS] = {linear, linear, linear, linear};
    uint32_t low = MIN(4, 0x1000 - (linear & 0xfff)), sum = 0;
    struct smp s;

    smp_create(&s, accel_of(state), SMP_CPUS);
    if (linear >= SMP_RAM) { /* two pages, in memory the second before the first */
        smp_page(&s, linear, gpa);
        smp_page(&s, linear + low, gpa - 0x1000);
    }
    SMP_CODE(&s, 0x1000, counts);
    together(&s, arg);
    gpa += linear & 0xfff;
    memcpy(&sum, s.ram + gpa, low);
    memcpy((uint8_t *)&sum + low,
           linear < SMP_RAM ? s.ram + gpa + low : s.ram + (gpa & ~0xfffu) - 0x1000, 4 - low);
    assert_int_equal(sum, SMP_CPUS * 20000 * 6);
    smp_destroy(&s);
}

static void locked_aligned(void **state)
{
    count_at(state, SMP_DATA, SMP_DATA);
}

static void locked_across_a_line(void **state)
{
    count_at(state, SMP_DATA + 62, SMP_DATA);
}

static void locked_in_a_page_of_code(void **state)
{
    count_at(state, 0x1800, 0x1000);
}

static void locked_across_pages(void **state)
{
    count_at(state, SMP_DATA + 0xffd, SMP_DATA);
}

static void locked_across_strewn_pages(void **state)
{
    count_at(state, SMP_RAM + 0xffe, SMP_DATA + 0x8000);
}

/* Bit rdi of the first word is this vCPU's own: 100000 times by each instruction that sets, clears
 * or flips it. RAX: how often it was not what it was left as. */
GUEST(bits, 64,
      READY "xorl %eax, %eax\n"
            "movl %edi, %ecx\n"
            "movl $1, %ebx\n"
            "shll %cl, %ebx\n"
            "movl %ebx, %edx\n"
            "notl %edx\n"
            "movl $100000, %ecx\n"
            "1: lock btsl %edi, (%rbp)\n"
            "adcl $0, %eax\n"
            "lock btrl %edi, (%rbp)\n"
            "cmc\n"
            "adcl $0, %eax\n"
            "lock btcl %edi, (%rbp)\n"
            "adcl $0, %eax\n"
            "lock xorl %ebx, (%rbp)\n"
            "btl %edi, (%rbp)\n"
            "adcl $0, %eax\n"
            "lock orl %ebx, (%rbp)\n"
            "btl %edi, (%rbp)\n"
            "cmc\n"
            "adcl $0, %eax\n"
            "lock andl %edx, (%rbp)\n"
            "btl %edi, (%rbp)\n"
            "adcl $0, %eax\n"
            "loop 1b\n"
            "hlt")

static void locked_bits(void **state)
{
    const uint64_t arg[SMP_CPUS] = {0, 1, 2, 3};
    struct smp s;

    smp_create(&s, accel_of(state), SMP_CPUS);
    SMP_CODE(&s, 0x1000, bits);
    assert_int_equal(together(&s, arg), 0);
    assert_int_equal((uint32_t)smp_read(&s, SMP_DATA), 0);
    smp_destroy(&s);
}

/* Both halves of (rdi) up by one, 20000 times. */
GUEST(pairs, 64,
      READY "movl $20000, %esi\n"
            "1: movq (%rdi), %rax\n"
            "movq 8(%rdi), %rdx\n"
            "2: leaq 1(%rax), %rbx\n"
            "leaq 1(%rdx), %rcx\n"
            "lock cmpxchg16b (%rdi)\n"
            "jne 2b\n"
            "decl %esi\n"
            "jnz 1b\n"
            "hlt")

static void cmpxchg16b_counts(void **state)
{
    const uint64_t arg[SMP_CPUS] = {SMP_DATA, SMP_DATA, SMP_DATA, SMP_DATA};
    struct smp s;

    smp_create(&s, accel_of(state), SMP_CPUS);
    SMP_CODE(&s, 0x1000, pairs);
    together(&s, arg);
    assert_int_equal(smp_read(&s, SMP_DATA), SMP_CPUS * 20000);
    assert_int_equal(smp_read(&s, SMP_DATA + 8), SMP_CPUS * 20000);
    smp_destroy(&s);
}

/* Vectors of two equal halves go in; RAX: how many came out with different ones. */
GUEST(vectors, 64,
      READY "xorl %eax, %eax\n"
            "movl $500000, %ecx\n"
            "1: movd %ecx, %xmm0\n"
            "pshufd $0, %xmm0, %xmm0\n"
            "movdqa %xmm0, (%rdi)\n"
            "movdqa (%rdi), %xmm1\n"
            "pshufd $0x4e, %xmm1, %xmm2\n"
            "pcmpeqd %xmm1, %xmm2\n"
            "pmovmskb %xmm2, %edx\n"
            "cmpl $0xffff, %edx\n"
            "setne %dl\n"
            "movzbl %dl, %edx\n"
            "addl %edx, %eax\n"
            "loop 1b\n"
            "hlt")

static void vectors_are_whole(void **state)
{
    const uint64_t arg[] = {SMP_DATA, SMP_DATA};
    struct smp s;

    smp_create(&s, accel_of(state), 2);
    SMP_CODE(&s, 0x1000, vectors);
    assert_int_equal(together(&s, arg), 0);
    smp_destroy(&s);
}

/* ---- memory order --------------------------------------------------------------- */

/*
 * Store 1 to one's own word, fence, load the other's (rdi = 0 or 8, rsi the other); meet at a
 * barrier before and after. Both loads giving 0 is what MFENCE rules out. RAX counts own zeros,
 * as bits in a word per round that the test compares.
 */
GUEST(dekker, 64,
      "movq %rdi, %rsi\n"
      "xorq $8, %rsi\n"
      "xorl %r8d, %r8d\n"
      "1: addl $2, %r8d\n"
      "lock incl 0x80(%rbp)\n"
      "2: pause\n"
      "cmpl %r8d, 0x80(%rbp)\n"
      "jb 2b\n"
      "movl %r8d, 0(%rbp,%rdi)\n"
      "mfence\n"
      "cmpl %r8d, 0(%rbp,%rsi)\n"
      "setb %al\n"
      "movzbl %al, %eax\n"
      "lock addl %eax, 0x100(%rbp,%r8,4)\n"
      "cmpl $4000, %r8d\n"
      "jne 1b\n"
      "hlt")

static void mfence_orders(void **state)
{
    struct smp s;

    smp_create(&s, accel_of(state), 2);
    SMP_CODE(&s, 0x1000, dekker);
    for (unsigned n = 0; n < 2; n++)
        smp_start(&s, n, 0x1000, n * 8);
    for (unsigned n = 0; n < 2; n++)
        smp_join(&s, n);
    for (uint32_t round = 2; round <= 4000; round += 2)
        assert_true((uint32_t)smp_read(&s, SMP_DATA + 0x100 + round * 4) < 2);
    smp_destroy(&s);
}

/* ---- kvmclock --------------------------------------------------------------------- */

/* Register kvmclock's page at rdi. */
GUEST(clock_page, 64,
      "movl $0x4b564d01, %ecx\n"
      "movl %edi, %eax\n"
      "orl $1, %eax\n"
      "xorl %edx, %edx\n"
      "wrmsr\n"
      "hlt")

/* Whenever they register it, all vCPUs' clocks tell the same time. */
static void one_clock(void **state)
{
    struct smp s;

    smp_create(&s, accel_of(state), 2);
    SMP_CODE(&s, 0x1000, clock_page);
    for (unsigned n = 0; n < 2; n++) {
        smp_start(&s, n, 0x1000, SMP_DATA + n * 64);
        smp_join(&s, n);
    }
    assert_true(s.ram[SMP_DATA + 29] & 1); /* flags: the TSCs agree */
    assert_memory_equal(s.ram + SMP_DATA, s.ram + SMP_DATA + 64, 32);
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(cross_modifying_code),
        TEST(serialising_ends_a_block),
        TEST(pages_become_code),
        TEST(many_cachers),
        TEST(written_from_outside),
        TEST(written_beyond_the_inbox),
        TEST(locked_aligned),
        TEST(locked_across_a_line),
        TEST(locked_in_a_page_of_code),
        TEST(locked_across_pages),
        TEST(locked_across_strewn_pages),
        TEST(locked_bits),
        TEST(cmpxchg16b_counts),
        TEST(vectors_are_whole),
        TEST(mfence_orders),
        TEST(one_clock),
    };

    return cmocka_run_group_tests_name("soft, several vCPUs", tests, NULL, NULL);
}
