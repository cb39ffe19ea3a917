/*
 * Code in ring 3 that accesses memory so often that the engine remembers where its pages are; and
 * then they are elsewhere, or may not be written to any more. The very next access must notice.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>

#define PAGES  16
#define DATA   (HOT_CODE + 0x20000) /* pages of memory, PAGES of them */
#define AT     HOT_ALIAS            /* linear addresses */
#define ROUNDS 60

static void start(struct smp *s)
{
    hot_create(s, 1);
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(s, page, page | 7);
    for (unsigned n = 0; n < PAGES; n++) {
        smp_entry(s, AT + n * 0x1000, (DATA + n * 0x1000) | 7);
        le64_put(s->ram + DATA + n * 0x1000, UINT64_C(1) << 2 * n);
    }
}

/* ---- pages that are elsewhere ------------------------------------------------------- */

/* R8 adds up (RBX), HOT times a round, in three ways; between rounds ring 0 remaps it. */
#define READS                                                                                      \
    "1: movl $1000, %r14d\n"                                                                       \
    "2: movl (%rbx), %eax\naddq %rax, %r8\n"                                                       \
    "addl 4(%rbx), %eax\naddl (%rbx,%rcx), %eax\nsubl (%rbx,%rcx), %eax\naddq %rax, %r9\n"         \
    "decl %r14d\njnz 2b\n"                                                                         \
    "int $0x40\n"                                                                                  \
    "decl %r15d\njnz 1b\nint3\n"                                                                   \
    ".balign 16\n"
#define REMAPS "xchgq %rdi, %rsi\nmovq %rdi, (%r11)\n"

GUEST(by_invlpg, 64, READS ".global h_invlpg\nh_invlpg: " REMAPS "invlpg (%rbx)\niretq")
GUEST(by_cr3, 64, READS ".global h_cr3\nh_cr3: " REMAPS "movq %cr3, %rax\nmovq %rax, %cr3\niretq")
GUEST(by_pge, 64,
      READS ".global h_pge\nh_pge: " REMAPS
            "movq %cr4, %rax\nxorq $0x80, %rax\nmovq %rax, %cr4\niretq")
extern const uint8_t h_invlpg[], h_cr3[], h_pge[];

static void remapped(const uint8_t *code, const uint8_t *end, const uint8_t *handler)
{
    struct smp s;

    start(&s);
    smp_code(&s, HOT_CODE, code, end);
    hot_gate(&s, 0x40, HOT_CODE + (uint64_t)(handler - code));
    hot_at(&s, HOT_USER, HOT_CODE);
    hot_set_gpr(&s, RBX, AT);
    hot_set_gpr(&s, RCX, 0);
    hot_set_gpr(&s, RDI, DATA | 7);
    hot_set_gpr(&s, RSI, (DATA + 0x5000) | 7);
    hot_set_gpr(&s, R11, SMP_ENTRY(AT));
    hot_set_gpr(&s, R8, 0);
    hot_set_gpr(&s, R9, 0);
    hot_set_gpr(&s, R15, ROUNDS);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R8), ROUNDS / 2 * 1000 * (1 + (1 << 10)));
    assert_int_equal(hot_gpr(&s, R9), ROUNDS / 2 * 1000 * (1 + (1 << 10)));
    smp_destroy(&s);
}

static void elsewhere(void **state)
{
    remapped(g_by_invlpg, g_by_invlpg_end, h_invlpg);
    remapped(g_by_cr3, g_by_cr3_end, h_cr3);
    remapped(g_by_pge, g_by_pge_end, h_pge);
}

/* ---- rights that are gone ------------------------------------------------------------ */

GUEST(stores, 64,
      "1: movl $1000, %r14d\n"
      "2: movl %r14d, (%rbx)\ndecl %r14d\njnz 2b\n"
      "int $0x40\n"
      "decl %r15d\njnz 1b\nint3\n"
      ".global h_protects\nh_protects: movq %rdi, (%r11)\ninvlpg (%rbx)\niretq")
extern const uint8_t h_protects[];

static void protected_since(uint64_t rights, uint32_t error)
{
    struct hot_trap t;
    struct smp s;

    start(&s);
    SMP_CODE(&s, HOT_CODE, stores);
    hot_gate(&s, 0x40, HOT_LABEL(HOT_CODE, stores, h_protects));
    hot_at(&s, HOT_USER, HOT_CODE);
    hot_set_gpr(&s, RBX, AT);
    hot_set_gpr(&s, RDI, DATA | rights);
    hot_set_gpr(&s, R11, SMP_ENTRY(AT));
    hot_set_gpr(&s, R15, 2);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_PF);
    assert_int_equal(t.error, error);
    assert_int_equal(t.cr2, AT);
    assert_int_equal(hot_gpr(&s, R14), 1000);
    assert_int_equal(hot_gpr(&s, R15), 1);
    assert_int_equal(le32_get(s.ram + DATA), 1);
    smp_destroy(&s);
}

static void without_rights(void **state)
{
    protected_since(5, 7); /* user, write, present */
    protected_since(3, 7); /* the supervisor's */
    protected_since(6, 6); /* not present */
}

/* ---- pages that become code ------------------------------------------------------------ */

/* Stores to a function's immediate, often, then calls it as often; R15 times. */
GUEST(becomes_code, 64,
      "movl $1000, %ecx\n"
      "2: movl %eax, 1(%rbx)\ndecl %ecx\njnz 2b\n"
      "movl $1000, %ecx\n"
      "3: call *%rbx\ncmpl %eax, %edx\njne 9f\ndecl %ecx\njnz 3b\n"
      "incl %eax\nmovl $1000, %ecx\ndecl %r15d\njnz 2b\nxorl %eax, %eax\nint3\n"
      "9: movl $1, %eax\nint3")
GUEST(constant, 64, "movl $0, %edx\nret")

static void becoming_code(void **state)
{
    struct smp s;

    start(&s);
    SMP_CODE(&s, HOT_CODE, becomes_code);
    SMP_CODE(&s, DATA, constant);
    hot_at(&s, HOT_USER, HOT_CODE);
    hot_set_gpr(&s, RBX, AT);
    hot_set_gpr(&s, RAX, 7);
    hot_set_gpr(&s, R15, ROUNDS);
    assert_int_equal(hot_end(&s), 0);
    smp_destroy(&s);
}

/* ---- more places than are remembered ------------------------------------------------------ */

/* 96 places see another page each time, as ring 0 remaps it in between. */
GUEST(many, 64,
      "1: .rept 48\naddq (%rbx), %r8\naddq (%rbp), %r9\n.endr\n"
      "int $0x40\n"
      "decl %r15d\njnz 1b\nint3\n"
      ".balign 16\n"
      ".global h_many\nh_many: " REMAPS "invlpg (%rbx)\niretq")
extern const uint8_t h_many[];

static void many_places(void **state)
{
    struct smp s;

    start(&s);
    SMP_CODE(&s, HOT_CODE, many);
    hot_gate(&s, 0x40, HOT_LABEL(HOT_CODE, many, h_many));
    hot_at(&s, HOT_USER, HOT_CODE);
    hot_set_gpr(&s, RBX, AT);
    hot_set_gpr(&s, RBP, AT);
    hot_set_gpr(&s, RDI, DATA | 7);
    hot_set_gpr(&s, RSI, (DATA + 0x5000) | 7);
    hot_set_gpr(&s, R11, SMP_ENTRY(AT));
    hot_set_gpr(&s, R8, 0);
    hot_set_gpr(&s, R9, 0);
    hot_set_gpr(&s, R15, 400);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R8), 200 * 48 * (1 + (1 << 10)));
    assert_int_equal(hot_gpr(&s, R9), 200 * 48 * (1 + (1 << 10)));
    smp_destroy(&s);
}

/* ---- accesses that share a check ----------------------------------------------------------- */

/* A frame of 64 bytes is made and left, with the stack's end at RSP. */
GUEST(frames, 64,
      "1: pushq %rbp\npushq %rbx\npushq %r15\nsubq $24, %rsp\n"
      "movq %r15, 8(%rsp)\nmovl %r15d, 20(%rsp)\nmovq 8(%rsp), %rax\nmovl 20(%rsp), %edx\n"
      "addq %rax, %r8\naddq %rdx, %r8\nmovq 24(%rsp), %rax\nsubq %rax, %r8\n"
      "addq $24, %rsp\npopq %rax\naddq %rax, %r8\npopq %rbx\npopq %rbp\n"
      "decl %r15d\njnz 1b\nint3")

/* Each place in two pages, which are apart in memory: no push may be lost, whatever the distance
 * from the page's end; and a page that is missing is told by the push that gets there. */
static void across_pages(void **state)
{
    struct smp s;

    start(&s);
    SMP_CODE(&s, HOT_CODE, frames);
    smp_entry(&s, AT + 0x1000, (DATA + 0x9000) | 7);
    for (unsigned over = 0; over <= 64; over += 4) {
        struct hot_trap t;

        memset(s.ram + DATA + 0x9000, 0, 0x1000);
        hot_at(&s, HOT_USER, HOT_CODE);
        hot_set_gpr(&s, RSP, AT + 0x1000 + over);
        hot_set_gpr(&s, RBX, 0x1234);
        hot_set_gpr(&s, RBP, 0x5678);
        hot_set_gpr(&s, R8, 0);
        hot_set_gpr(&s, R15, HOT);
        t = hot_run(&s);
        assert_int_equal(t.vector, EXC_BP);
        assert_int_equal(hot_gpr(&s, R8), UINT64_C(2) * HOT * (HOT + 1) / 2);
        assert_int_equal(t.frame.rsp, AT + 0x1000 + over);
        assert_int_equal(hot_gpr(&s, RBX), 0x1234);
        assert_int_equal(hot_gpr(&s, RBP), 0x5678);
        if (over >= 8)
            assert_int_equal(le64_get(s.ram + DATA + 0x9000 + over - 8), 0x5678);
    }
    for (unsigned over = 8; over <= 24; over += 8) {
        struct hot_trap t;

        smp_entry(&s, AT, 0);
        hot_flush(&s);
        hot_at(&s, HOT_USER, HOT_CODE);
        hot_set_gpr(&s, RSP, AT + 0x1000 + over);
        t = hot_run(&s);
        assert_int_equal(t.vector, EXC_PF);
        assert_int_equal(t.error, 6);
        assert_int_equal(t.frame.rsp, AT + 0x1000 + (over < 24 ? 0 : -24));
        assert_int_equal(t.cr2, AT + 0x1000 - (over < 24 ? 8 : 16));
        smp_entry(&s, AT, DATA | 7);
        hot_flush(&s);
    }
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(elsewhere),   TEST(without_rights), TEST(becoming_code),
        TEST(many_places), TEST(across_pages),
    };

    return cmocka_run_group_tests_name("soft, remembered pages", tests, NULL, NULL);
}
