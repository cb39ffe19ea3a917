/*
 * The same hot code in several address spaces, and several codes at one address: what is
 * cached goes by the page of memory and the mode, what it computes with by the address.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>

#define CODE_A (HOT_CODE + 0x20000) /* pages of memory */
#define CODE_B (HOT_CODE + 0x21000)
#define DATA_A (HOT_CODE + 0x22000)
#define DATA_B (HOT_CODE + 0x23000)
#define AT_A   HOT_ALIAS /* linear addresses: code, and its data behind it */
#define AT_B   (HOT_ALIAS + 0x10000)

/* ---- one page of code, two addresses ------------------------------------------------------ */

/* The word at the beginning of the next page. */
GUEST(reads_next_page, 64, "1: movl 1b+0x1000(%rip), %eax\nret")
/* The upper half of its own address, in three ways. */
GUEST(own_address, 64, "leaq 0(%rip), %rax\nshrq $16, %rax\nret")
GUEST(own_address_called, 64, "call 1f\n1: popq %rax\nshrq $16, %rax\nret")
GUEST(own_address_far, 64,
      "leaq 1f(%rip), %rcx\njmp *%rcx\nhlt\n1: movq %rcx, %rax\nshrq $16, %rax\nret")

/* Call (RDI) and (RSI) in turn, R15 times; and HOT times (RDI), then as often (RSI). */
GUEST(alternates, 64,
      "1: call *%rdi\ncmpl %r12d, %eax\njne 9f\n"
      "call *%rsi\ncmpl %r13d, %eax\njne 9f\n"
      "decl %r15d\njnz 1b\n"
      "movl $3, %r15d\n"
      "2: movl $3000, %r14d\n"
      "3: call *%rdi\ncmpl %r12d, %eax\njne 9f\ndecl %r14d\njnz 3b\n"
      "movl $3000, %r14d\n"
      "4: call *%rsi\ncmpl %r13d, %eax\njne 9f\ndecl %r14d\njnz 4b\n"
      "decl %r15d\njnz 2b\n"
      "xorl %eax, %eax\nint3\n"
      "9: movl $1, %eax\nint3")

static void start(struct smp *s, const uint8_t *function, const uint8_t *end)
{
    hot_create(s, 1);
    smp_page(s, AT_A, CODE_A);
    smp_page(s, AT_A + 0x1000, DATA_A);
    smp_page(s, AT_B, CODE_A);
    smp_page(s, AT_B + 0x1000, DATA_B);
    le64_put(s->ram + DATA_A, 0xa);
    le64_put(s->ram + DATA_B, 0xb);
    smp_code(s, CODE_A, function, end);
}

static void two_addresses(const uint8_t *function, const uint8_t *end, uint32_t a, uint32_t b)
{
    struct smp s;

    start(&s, function, end);
    HOT_CODE_AT(&s, alternates);
    hot_set_gpr(&s, RDI, AT_A);
    hot_set_gpr(&s, RSI, AT_B);
    hot_set_gpr(&s, R12, a);
    hot_set_gpr(&s, R13, b);
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_end(&s), 0);
    smp_destroy(&s);
}
#define TWO_ADDRESSES(name, a, b) two_addresses(g_##name, g_##name##_end, a, b)

static void data_beside_the_code(void **state)
{
    TWO_ADDRESSES(reads_next_page, 0xa, 0xb);
}

static void its_own_address(void **state)
{
    TWO_ADDRESSES(own_address, AT_A >> 16, AT_B >> 16);
    TWO_ADDRESSES(own_address_called, AT_A >> 16, AT_B >> 16);
    TWO_ADDRESSES(own_address_far, AT_A >> 16, AT_B >> 16);
}

/* The same function faults at one address, and not at the other. */
static void faults_at_one_address(void **state)
{
    struct hot_trap t;
    struct smp s;

    start(&s, g_reads_next_page, g_reads_next_page_end);
    HOT_CODE_AT(&s, alternates);
    hot_set_gpr(&s, RDI, AT_A);
    hot_set_gpr(&s, RSI, AT_A);
    hot_set_gpr(&s, R12, 0xa);
    hot_set_gpr(&s, R13, 0xa);
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_end(&s), 0);
    smp_entry(&s, AT_B + 0x1000, DATA_B | 2);
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, RSI, AT_B);
    hot_set_gpr(&s, R13, 0xb);
    hot_set_gpr(&s, R15, HOT);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_PF);
    assert_int_equal(t.cr2, AT_B + 0x1000);
    assert_int_equal(t.frame.rip, AT_B);
    assert_int_equal(t.error, 0);
    assert_int_equal(hot_gpr(&s, R15), HOT);
    smp_page(&s, AT_B + 0x1000, DATA_B);
    assert_int_equal(hot_end(&s), 0);
    smp_destroy(&s);
}

/* ---- two codes at one address --------------------------------------------------------------- */

GUEST(returns_a, 64, "movl $0xa, %eax\nret")
GUEST(returns_b, 64, "nop\nmovl $0xb, %eax\nret")

/*
 * HOT times call (RBX) in both spaces, RDI and RSI for CR3; then HOT times at one go in each.
 */
GUEST(switches, 64,
      "1: movq %rdi, %cr3\ncall *%rbx\ncmpl $0xa, %eax\njne 9f\n"
      "movq %rsi, %cr3\ncall *%rbx\ncmpl $0xb, %eax\njne 9f\n"
      "decl %r15d\njnz 1b\n"
      "movl $10, %r15d\n"
      "2: movq %rdi, %cr3\nmovl $3000, %r14d\n"
      "3: call *%rbx\ncmpl $0xa, %eax\njne 9f\ndecl %r14d\njnz 3b\n"
      "movq %rsi, %cr3\nmovl $3000, %r14d\n"
      "4: call *%rbx\ncmpl $0xb, %eax\njne 9f\ndecl %r14d\njnz 4b\n"
      "decl %r15d\njnz 2b\n"
      "xorl %eax, %eax\nint3\n"
      "9: movl $1, %eax\nint3")

#define SPACE_B (SMP_PAGES + 0x10000) /* four tables like the first ones */

static void build_space(struct smp *s)
{
    static const uint32_t from[] = {0, 0x1000, 0x2000, 0x4000};

    for (unsigned n = 0; n < 4; n++) {
        uint32_t to = SPACE_B + n * 0x1000;

        memcpy(s->ram + to, s->ram + SMP_PAGES + from[n], 0x1000);
        if (n < 3)
            le64_put(s->ram + to + (n == 2 ? 8 : 0), (to + 0x1000) | 7);
    }
}

static void one_address_two_spaces(void **state)
{
    struct smp s;

    start(&s, g_returns_a, g_returns_a_end);
    SMP_CODE(&s, CODE_B, returns_b);
    build_space(&s);
    le64_put(s.ram + SPACE_B + 0x3000, CODE_B | 3); /* AT_A */
    HOT_CODE_AT(&s, switches);
    hot_set_gpr(&s, RBX, AT_A);
    hot_set_gpr(&s, RDI, SMP_PAGES);
    hot_set_gpr(&s, RSI, SPACE_B);
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_end(&s), 0);
    smp_destroy(&s);
}

/* The page at (RBX) is RDI and RSI in turn, by its entry at R11: HOT times, and then for longer. */
GUEST(remaps, 64,
      "1: movq %rdi, (%r11)\ninvlpg (%rbx)\ncall *%rbx\ncmpl $0xa, %eax\njne 9f\n"
      "movq %rsi, (%r11)\ninvlpg (%rbx)\ncall *%rbx\ncmpl $0xb, %eax\njne 9f\n"
      "decl %r15d\njnz 1b\n"
      "movl $10, %r15d\n"
      "2: movq %rdi, (%r11)\ninvlpg (%rbx)\nmovl $3000, %r14d\n"
      "3: call *%rbx\ncmpl $0xa, %eax\njne 9f\ndecl %r14d\njnz 3b\n"
      "movq %rsi, (%r11)\ninvlpg (%rbx)\nmovl $3000, %r14d\n"
      "4: call *%rbx\ncmpl $0xb, %eax\njne 9f\ndecl %r14d\njnz 4b\n"
      "decl %r15d\njnz 2b\n"
      "xorl %eax, %eax\nint3\n"
      "9: movl $1, %eax\nint3")

static void remapped_by_invlpg(void **state)
{
    struct smp s;

    start(&s, g_returns_a, g_returns_a_end);
    SMP_CODE(&s, CODE_B, returns_b);
    HOT_CODE_AT(&s, remaps);
    hot_set_gpr(&s, RBX, AT_A);
    hot_set_gpr(&s, RDI, CODE_A | 3);
    hot_set_gpr(&s, RSI, CODE_B | 3);
    hot_set_gpr(&s, R11, SMP_ENTRY(AT_A));
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_end(&s), 0);
    smp_destroy(&s);
}

/*
 * A page remaps itself: the rest of the block that did it is of the new page, as the next
 * instruction is fetched anew (SDM Vol. 3A 4.10.4.1).
 */
GUEST(remaps_itself, 64,
      "1: movq %rdi, (%r11)\ninvlpg (%rbx)\nmovl $0, %eax\naddl %eax, %r8d\n"
      "xchgq %rdi, %rsi\ndecl %r15d\njnz 1b\nint3")

static void page_remaps_itself(void **state)
{
    struct smp s;

    start(&s, g_remaps_itself, g_remaps_itself_end);
    memcpy(s.ram + CODE_B, s.ram + CODE_A, 0x1000);
    for (unsigned n = 0; n < 32; n++) { /* the immediate */
        if (s.ram[CODE_B + n] == 0xb8) {
            s.ram[CODE_B + n + 1] = 1;
            break;
        }
    }
    hot_at(&s, HOT_KERNEL, AT_A);
    hot_set_gpr(&s, RBX, AT_A);
    hot_set_gpr(&s, RDI, CODE_B | 3);
    hot_set_gpr(&s, RSI, CODE_A | 3);
    hot_set_gpr(&s, R8, 0);
    hot_set_gpr(&s, R11, SMP_ENTRY(AT_A));
    hot_set_gpr(&s, R15, 2 * HOT);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R8), HOT);
    smp_destroy(&s);
}

/* ---- two privileges ----------------------------------------------------------------------------
 */

GUEST(tells_cs, 64, "movl %cs, %eax\nret")

/* In ring 0, then in ring 3, then by INT 64 back; R8 and R9 add up what the function tells. */
GUEST(both_rings, 64,
      "1: call *%rdi\naddl %eax, %r8d\n"
      "pushq $0x23\npushq %rbp\npushq $2\npushq $0x2b\nleaq 2f(%rip), %rax\npushq %rax\niretq\n"
      "2: call *%rdi\naddl %eax, %r9d\nint $0x40\n"
      ".global both_rings_back\nboth_rings_back: movq %rbp, %rsp\ndecl %r15d\njnz 1b\nint3")
extern const uint8_t both_rings_back[];

static void all_pages_for_user(struct smp *s)
{
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(s, page, page | 7);
    smp_entry(s, AT_A, CODE_A | 7);
    smp_entry(s, AT_B, CODE_A | 7);
}

static void both_rings_in_turn(void **state)
{
    struct smp s;

    start(&s, g_tells_cs, g_tells_cs_end);
    all_pages_for_user(&s);
    HOT_CODE_AT(&s, both_rings);
    hot_gate(&s, 0x40, HOT_LABEL(HOT_CODE, both_rings, both_rings_back));
    hot_set_gpr(&s, RBP, SMP_DATA);
    hot_set_gpr(&s, RDI, AT_A);
    hot_set_gpr(&s, R8, 0);
    hot_set_gpr(&s, R9, 0);
    hot_set_gpr(&s, R15, HOT);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R8), 8 * HOT);
    assert_int_equal(hot_gpr(&s, R9), HOT_CS_USER * HOT);
    smp_destroy(&s);
}

/* What only ring 0 may do, hot there, is not done in ring 3. */
#define PRIVILEGED(X)                                                                              \
    X(cli, "cli", EXC_GP)                                                                          \
    X(read_cr3, "movq %cr3, %rax", EXC_GP)                                                         \
    X(write_cr3, "movq %rsi, %cr3", EXC_GP)                                                        \
    X(clts, "clts", EXC_GP)                                                                        \
    X(invlpg, "invlpg (%rbx)", EXC_GP)                                                             \
    X(rdmsr, "rdmsr", EXC_GP)                                                                      \
    X(read_dr7, "movq %dr7, %rax", EXC_GP)                                                         \
    X(load, "movl (%rbx), %eax", EXC_PF)                                                           \
    X(store, "movl %edi, (%rbx)", EXC_PF)                                                          \
    X(locked, "lock incl (%rbx)", EXC_PF)
#define X(name, insn, vector) GUEST(only_##name, 64, "1: " insn "\ndecl %r15d\njnz 1b\nint3")
PRIVILEGED(X)
#undef X

static void only_in_ring_0(void **state)
{
#define X(name, insn, vector) {g_only_##name, g_only_##name##_end, vector},
    static const struct {
        const uint8_t *code, *end;
        unsigned vector;
    } rows[] = {PRIVILEGED(X)};
#undef X
    struct smp s;

    hot_create(&s, 1);
    all_pages_for_user(&s);
    smp_page(&s, DATA_A, DATA_A);
    hot_set_gpr(&s, RBX, DATA_A);
    hot_set_gpr(&s, RSI, SMP_PAGES);
    hot_set_gpr(&s, RCX, MSR_EFER);
    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
        smp_code(&s, HOT_CODE, rows[n].code, rows[n].end);
        for (unsigned round = 0; round < 3; round++) {
            struct hot_trap t;

            hot_at(&s, HOT_KERNEL, HOT_CODE);
            hot_set_gpr(&s, R15, HOT);
            hot_end(&s);
            hot_at(&s, HOT_USER, HOT_CODE);
            hot_set_gpr(&s, R15, HOT);
            t = hot_run(&s);
            if (t.vector != rows[n].vector || t.frame.rip != HOT_CODE)
                fail_msg("row %u: %s at %#lx", n, x86_exception_name(t.vector),
                         (unsigned long)t.frame.rip);
            assert_int_equal(hot_gpr(&s, R15), HOT);
        }
    }
    smp_destroy(&s);
}

/* ---- two modes
 * ----------------------------------------------------------------------------------- */

/* 0x48 is a prefix in 64-bit mode, and DEC EAX else; 0x41 INC ECX, 0x4d DEC EBP. */
GUEST(ambiguous, 64,
      "1: .byte 0x48, 0xff, 0xc0\n" /* inc %rax, or dec %eax; inc %eax */
      ".byte 0x41, 0x01, 0xc1\n"    /* add %eax, %r9d, or inc %ecx; add %eax, %ecx */
      ".byte 0x4d, 0x31, 0xd2\n"    /* xor %r10, %r10, or dec %ebp; xor %edx, %edx */
      ".byte 0xff, 0xce\n"          /* dec %esi */
      "jnz 1b\nint3")

static void two_modes(void **state)
{
    struct smp s;

    hot_create(&s, 1);
    SMP_CODE(&s, HOT_CODE, ambiguous);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned n = 0; n < 2; n++) {
            hot_at(&s, n ? HOT_COMPAT : HOT_KERNEL, HOT_CODE);
            hot_set_gpr(&s, RAX, 0xffffffff);
            hot_set_gpr(&s, RCX, 0);
            hot_set_gpr(&s, RDX, 9);
            hot_set_gpr(&s, RBP, HOT);
            hot_set_gpr(&s, RSI, HOT);
            hot_set_gpr(&s, R10, 9);
            hot_end(&s);
            assert_int_equal(hot_gpr(&s, RAX), n ? 0xffffffff : 0xffffffff + UINT64_C(1) * HOT);
            assert_int_equal(hot_gpr(&s, RCX), 0);
            assert_int_equal(hot_gpr(&s, RBP), n ? 0 : HOT);
            assert_int_equal(hot_gpr(&s, RDX), n ? 0 : 9);
            assert_int_equal(hot_gpr(&s, R10), n ? 9 : 0);
        }
    }
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(data_beside_the_code),   TEST(its_own_address),    TEST(faults_at_one_address),
        TEST(one_address_two_spaces), TEST(remapped_by_invlpg), TEST(page_remaps_itself),
        TEST(both_rings_in_turn),     TEST(only_in_ring_0),     TEST(two_modes),
    };

    return cmocka_run_group_tests_name("soft, code in several spaces", tests, NULL, NULL);
}
