/*
 * Several vCPUs and hot code: one patches what another executes, as kernels do it; one
 * writes data beside it; and locks made of it.
 */
#include "hot.h"

#include "base/bits.h"

#define FUNCTION 0x20000u
#define HANDLER  0x21000u

GUEST(function, 64, "movl $0, %eax\nret")

/* ---- a breakpoint while code is patched ------------------------------------------------------ */

/*
 * The words at RBP: 0x00 which synchronisation is asked for, 0x40 which is done, 0x80 calls,
 * 0xc0 what the function must return from the one on that is asked for; 0: old or new.
 */
#define ROUNDS "150"

/* Linux' text_poke_bp(): INT3, the rest of the instruction, its first byte; all wait in between. */
#define SYNC                                                                                       \
    "incl %r9d\nmovl %r9d, 0x00(%rbp)\n"                                                           \
    "3: pause\ncmpl %r9d, 0x40(%rbp)\njne 3b\n"
GUEST(pokes, 64,
      "xorl %r8d, %r8d\nxorl %r9d, %r9d\n"
      "1: incl %r8d\n"
      "movq 0x80(%rbp), %rax\naddq $1500, %rax\n" /* let it get hot */
      "2: pause\ncmpq %rax, 0x80(%rbp)\njb 2b\n"
      "movl $0, 0xc0(%rbp)\n"
      "movb $0xcc, (%rdi)\n" SYNC "movl %r8d, 1(%rdi)\n" SYNC
      "movl %r8d, 0xc0(%rbp)\nmovb $0xb8, (%rdi)\n" SYNC "cmpl $" ROUNDS ", %r8d\njne 1b\nhlt")

/* Calls without end; R9 is what the function returned last. RAX is 1 when it was anything wrong. */
GUEST(is_poked, 64,
      "xorl %r9d, %r9d\n"
      "1: call *%rdi\n"
      "incq 0x80(%rbp)\n"
      "cmpl $-1, %eax\nje 2f\n" /* the breakpoint */
      "cmpl %r9d, %eax\nje 2f\n"
      "incl %r9d\ncmpl %r9d, %eax\njne 9f\n"
      "2: movl 0x00(%rbp), %r12d\ncmpl %r12d, 0x40(%rbp)\nje 1b\n"
      "xorl %eax, %eax\ncpuid\n"
      "cmpl $0, 0xc0(%rbp)\nje 3f\n"
      "call *%rdi\ncmpl 0xc0(%rbp), %eax\njne 9f\nmovl %eax, %r9d\n"
      "3: movl %r12d, 0x40(%rbp)\n"
      "cmpl $3*" ROUNDS ", %r12d\njne 1b\n"
      "xorl %eax, %eax\nhlt\n"
      "9: movl $1, %eax\nhlt")

/* #BP: -1, and the rest of the instruction is skipped. */
GUEST(breakpoint, 64, "movl $-1, %eax\naddq $4, (%rsp)\nlock incl 0x100(%rbp)\niretq")

static void breakpoint_protocol(void **state)
{
    struct smp s;

    hot_create(&s, 2);
    SMP_CODE(&s, 0x10000, pokes);
    SMP_CODE(&s, 0x11000, is_poked);
    SMP_CODE(&s, FUNCTION, function);
    SMP_CODE(&s, HANDLER, breakpoint);
    hot_gate(&s, EXC_BP, HANDLER);
    smp_start(&s, 0, 0x11000, FUNCTION);
    smp_start(&s, 1, 0x10000, FUNCTION);
    assert_int_equal(smp_join(&s, 0), 0);
    smp_join(&s, 1);
    assert_true((uint32_t)smp_read(&s, SMP_DATA + 0x100) > 0); /* it was executed, too */
    smp_destroy(&s);
}

/* ---- data beside hot code -----------------------------------------------------------------------
 */

/* Count in the word behind the code of page (RBP), which changes; negative: the end. RAX: all. */
GUEST(counts_beside, 64,
      "xorl %eax, %eax\n"
      "1: movq (%rbp), %rdi\ntestq %rdi, %rdi\njz 1b\njs 2f\n"
      "incl 8(%rdi)\nincl %eax\njmp 1b\n"
      "2: hlt")

/*
 * Page after page from RDI on, 40 of them: let the other write there; put a function there,
 * and call it 3000 times while it does. RAX is 1 when it returned anything else.
 */
GUEST(calls_beside, 64,
      "movl $40, %r8d\n"
      "1: movq %rdi, (%rbp)\n"
      "2: pause\ncmpl $100, 8(%rdi)\njb 2b\n"
      "movb $0xb8, (%rdi)\nmovl %r8d, 1(%rdi)\nmovb $0xc3, 5(%rdi)\n"
      "movl $3000, %ecx\n"
      "3: call *%rdi\ncmpl %r8d, %eax\njne 9f\ndecl %ecx\njnz 3b\n"
      "movl 8(%rdi), %eax\naddl $1000, %eax\n" /* it goes on */
      "4: pause\ncmpl %eax, 8(%rdi)\njb 4b\n"
      "movl $3000, %ecx\n"
      "5: call *%rdi\ncmpl %r8d, %eax\njne 9f\ndecl %ecx\njnz 5b\n"
      "addq $0x1000, %rdi\ndecl %r8d\njnz 1b\n"
      "movq $-1, (%rbp)\nxorl %eax, %eax\nhlt\n"
      "9: movq $-1, (%rbp)\nmovl $1, %eax\nhlt")

static void data_beside_code(void **state)
{
    uint64_t counted;
    uint32_t sum = 0;
    struct smp s;

    hot_create(&s, 2);
    SMP_CODE(&s, 0x10000, counts_beside);
    SMP_CODE(&s, 0x11000, calls_beside);
    smp_start(&s, 1, 0x10000, 0);
    smp_start(&s, 0, 0x11000, FUNCTION);
    assert_int_equal(smp_join(&s, 0), 0);
    counted = smp_join(&s, 1);
    for (uint32_t n = 0; n < 40; n++)
        sum += le32_get(s.ram + FUNCTION + n * 0x1000 + 8);
    assert_int_equal(sum, counted);
    smp_destroy(&s);
}

/* ---- locks
 * ----------------------------------------------------------------------------------------- */

#define START (SMP_DATA + 0x200)
#define READY "9: pause\ncmpl $0, 0x200(%rbp)\nje 9b\n"

/* A lock at (RDI) around words that are added to without one. */
GUEST(spinlock, 64,
      READY "movl $10000, %ecx\n"
            "1: movl $1, %eax\nxchgl %eax, (%rdi)\ntestl %eax, %eax\njz 3f\n"
            "2: pause\ncmpl $0, (%rdi)\njne 2b\njmp 1b\n"
            "3: incl 0x40(%rdi)\nmovl 0x44(%rdi), %edx\naddl $3, %edx\nmovl %edx, 0x44(%rdi)\n"
            "movl $0, (%rdi)\n"
            "decl %ecx\njnz 1b\nhlt")

/* One that hands out numbers, in the order of which it is held. */
GUEST(ticket_lock, 64,
      READY "movl $2000, %ecx\n"
            "1: movl $1, %eax\nlock xaddw %ax, (%rdi)\n"
            "2: cmpw %ax, 2(%rdi)\nje 3f\npause\njmp 2b\n"
            "3: incl 0x40(%rdi)\naddl $3, 0x44(%rdi)\n"
            "incw 2(%rdi)\n"
            "decl %ecx\njnz 1b\nhlt")

/* Two words that change together, and two that change alone. */
GUEST(sums, 64,
      READY "movl $10000, %r8d\n"
            "1: movq 0x100(%rdi), %rax\nmovq 0x108(%rdi), %rdx\n"
            "2: leaq 5(%rax), %rbx\nleaq 1(%rdx), %rcx\nlock cmpxchg16b 0x100(%rdi)\njne 2b\n"
            "movq $3, %r9\nlock xaddq %r9, 0x110(%rdi)\n"
            "lock incq 0x118(%rdi)\n"
            "decl %r8d\njnz 1b\nhlt")

static void together(struct smp *s, const uint8_t *code, const uint8_t *end, unsigned cpus)
{
    hot_create(s, cpus);
    smp_code(s, 0x10000, code, end);
    for (unsigned n = 0; n < cpus; n++)
        smp_start(s, n, 0x10000, SMP_DATA + 0x400);
    smp_write(s, START, 1);
    for (unsigned n = 0; n < cpus; n++)
        smp_join(s, n);
}

static void spinlocks(void **state)
{
    for (unsigned cpus = 2; cpus <= SMP_CPUS; cpus++) {
        struct smp s;

        together(&s, g_spinlock, g_spinlock_end, cpus);
        assert_int_equal(le32_get(s.ram + SMP_DATA + 0x440), cpus * 10000);
        assert_int_equal(le32_get(s.ram + SMP_DATA + 0x444), cpus * 30000);
        smp_destroy(&s);
    }
}

static void ticket_locks(void **state)
{
    struct smp s;

    together(&s, g_ticket_lock, g_ticket_lock_end, 2);
    assert_int_equal(le32_get(s.ram + SMP_DATA + 0x440), 2 * 2000);
    assert_int_equal(le32_get(s.ram + SMP_DATA + 0x444), 2 * 6000);
    smp_destroy(&s);
}

static void exact_sums(void **state)
{
    for (unsigned cpus = 2; cpus <= SMP_CPUS; cpus++) {
        struct smp s;

        together(&s, g_sums, g_sums_end, cpus);
        assert_int_equal(smp_read(&s, SMP_DATA + 0x500), cpus * 50000);
        assert_int_equal(smp_read(&s, SMP_DATA + 0x508), cpus * 10000);
        assert_int_equal(smp_read(&s, SMP_DATA + 0x510), cpus * 30000);
        assert_int_equal(smp_read(&s, SMP_DATA + 0x518), cpus * 10000);
        smp_destroy(&s);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(breakpoint_protocol), TEST(data_beside_code), TEST(spinlocks),
        TEST(ticket_locks),        TEST(exact_sums),
    };

    return cmocka_run_group_tests_name("soft, hot code of several vCPUs", tests, NULL, NULL);
}
