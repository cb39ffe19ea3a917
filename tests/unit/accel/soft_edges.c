/*
 * Loops that the translator runs a page at a time, and what ends that, or must not be taken for
 * something else: pages of the kernel, addresses of 32 bits, the ends of the address space,
 * strides that miss a page's end by a byte, displacements that are as large as they can be. What
 * comes out is compared with the interpreter's.
 */
#include "hot.h"

#include "base/bits.h"
#include "x86/regs.h"

#include <string.h>

#define PAGES  16u
#define DATA   0x30000u  /* pages of memory, PAGES of them, and as many again */
#define AT     HOT_ALIAS /* linear addresses of the first ones, in another order */
#define COUNTS "loops that run by pages"

#define TABLES 0x60000u               /* of this test */
#define HIGH   (0u - PAGES * 0x1000u) /* the uppermost pages of 4 GiB: the first ones */

/* Sets up registers, and what else code needs, for its n-th time. */
typedef void setup_fn(struct smp *s, unsigned n);

static uint32_t place(unsigned page)
{
    return DATA + page * 7 % PAGES * 0x1000u;
}

static void fill(struct smp *s)
{
    uint64_t word = 1;

    for (uint32_t at = DATA; at < DATA + 2 * PAGES * 0x1000; at += 8) {
        word = word * UINT64_C(6364136223846793005) + 1442695040888963407;
        le64_put(s->ram + at, word ^ word >> 29);
    }
}

static void create(struct smp *s, const uint8_t *code, const uint8_t *end, bool interpret)
{
    const struct machine_config config = {
        .vcpus = 1, .engine = interpret ? ACCEL_ENGINE_INTERPRET : ACCEL_ENGINE_TRANSLATE};

    hot_create_as(s, &config);
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(s, page, page | 7);
    for (unsigned n = 0; n < PAGES; n++)
        smp_entry(s, AT + n * 0x1000, place(n) | 7);
    fill(s);
    smp_code(s, HOT_CODE, code, end);
}

/* So many times on either; each comes to the same. Memory is not written. */
static void same(const uint8_t *code, const uint8_t *end, setup_fn *setup, unsigned times,
                 bool by_pages)
{
    struct smp s[2];

    for (unsigned m = 0; m < 2; m++)
        create(&s[m], code, end, m);
    for (unsigned n = 0; n < times; n++) {
        struct hot_trap t[2];

        for (unsigned m = 0; m < 2; m++) {
            setup(&s[m], n);
            t[m] = hot_run(&s[m]);
        }
        assert_int_equal(t[0].vector, t[1].vector);
        assert_int_equal(t[0].error, t[1].error);
        assert_int_equal(t[0].cr2, t[1].cr2);
        assert_int_equal(t[0].frame.rip, t[1].frame.rip);
        for (unsigned reg = 0; reg < 16; reg++)
            assert_int_equal(hot_gpr(&s[0], reg), hot_gpr(&s[1], reg));
    }
    assert_int_equal(smp_stat(&s[0], 0, COUNTS) > 0, by_pages);
    for (unsigned m = 0; m < 2; m++)
        smp_destroy(&s[m]);
}

#define SAME(name, setup, times, by_pages)                                                         \
    same(g_##name, g_##name##_end, (setup), (times), (by_pages))

/* ---- strides ------------------------------------------------------------------------------- */

/* From each of 512 places 48 rounds, of so many bytes. */
#define STEPS(bytes)                                                                               \
    "movl $512, %r15d\n"                                                                           \
    "2: movq %rdi, %rsi\nmovl $48, %ecx\n"                                                         \
    "1: movzbl (%rsi), %eax\naddq %rax, %r8\nrolq $1, %r8\naddq $" bytes ", %rsi\n"                \
    "decl %ecx\njnz 1b\nincq %rdi\ndecl %r15d\njnz 2b\nint3"
GUEST(by_511, 64, STEPS("511"))
GUEST(by_509, 64, STEPS("509"))
GUEST(by_487, 64, STEPS("487"))
GUEST(by_7, 64, STEPS("7"))
GUEST(back_by_511, 64, STEPS("-511"))
GUEST(back_by_257, 64, STEPS("-257"))

static void upwards(struct smp *s, unsigned n)
{
    hot_at(s, HOT_USER, HOT_CODE);
    hot_set_gpr(s, RDI, AT + 0x800);
    hot_set_gpr(s, R8, n);
}

static void downwards(struct smp *s, unsigned n)
{
    upwards(s, n);
    hot_set_gpr(s, RDI, AT + (PAGES - 1) * 0x1000);
}

static void strides(void **state)
{
    SAME(by_511, upwards, 1, true);
    SAME(by_509, upwards, 1, true);
    SAME(by_487, upwards, 1, true);
    SAME(by_7, upwards, 1, true);
    SAME(back_by_511, downwards, 1, true);
    SAME(back_by_257, downwards, 1, true);
}

/* Not by 8, which is all that the instruction says. */
GUEST(by_two, 64,
      "movl $300, %ecx\nmovl $8, %r12d\n"
      "1: addq (%rdi), %r8\nrolq $3, %r8\nleaq 8(%rdi,%r12), %rdi\ndecl %ecx\njnz 1b\nint3")

/* The stack pointer that is popped has nothing to do with the one that it was popped by. */
GUEST(pops, 64,
      "movl $300, %ecx\n"
      "1: movq %rbp, %rsp\nmovq %rdi, (%rsp)\npopq %rsp\naddq 8(%rsp), %r8\nrolq $3, %r8\n"
      "addq $8, %rdi\ndecl %ecx\njnz 1b\nint3")

static void onto_stack(struct smp *s, unsigned n)
{
    upwards(s, n);
    hot_set_gpr(s, RBP, SMP_DATA);
}

/* Without their bases, these operands are there, too. */
GUEST(segments, 64,
      "movl $3000, %ecx\n"
      "1: addq %fs:(%rdi), %r8\nrolq $3, %r8\naddq %gs:(%rdi), %r8\naddq (%rdi), %r8\n"
      "addq $8, %rdi\ndecl %ecx\njnz 1b\nint3")

static void in_segments(struct smp *s, unsigned n)
{
    struct mote_state *st = s->v[0]->state;

    upwards(s, n);
    must(vcpu_get(s->v[0], X86_SEGS), "vcpu_get");
    st->seg[SEG_FS].base = 0x1000;
    st->seg[SEG_GS].base = 0x2000 + 24;
    must(vcpu_set(s->v[0], X86_SEGS), "vcpu_set");
}

static void sums(void **state)
{
    SAME(by_two, upwards, 4, false);
    SAME(pops, onto_stack, 4, false);
    SAME(segments, in_segments, 4, true);
}

/* ---- the kernel's pages -------------------------------------------------------------------- */

/* The kernel, which INT 40h calls, looks at the page at R13; then the loop comes to it. */
GUEST(users, 64,
      "int $0x40\nxorl %ecx, %ecx\n"
      "1: addq (%rsi,%rcx), %r8\naddq $8, %rcx\ncmpq $0x4000, %rcx\njne 1b\nint3\n.balign 16\n"
      ".globl h_users\nh_users: movq (%r13), %rax\niretq")
extern const uint8_t h_users[];

static void of_kernel(struct smp *s, unsigned n)
{
    struct mote_state *st = s->v[0]->state;
    bool its = n % 3 == 1;

    hot_gate(s, 0x40, HOT_LABEL(HOT_CODE, users, h_users));
    smp_entry(s, AT + 0x2000, place(2) | (its ? 3 : 7));
    must(vcpu_get(s->v[0], X86_CRS), "vcpu_get");
    st->cr4 = n / 3 % 2 ? st->cr4 | CR4_SMAP : st->cr4 & ~(uint64_t)CR4_SMAP;
    must(vcpu_set(s->v[0], X86_CRS), "vcpu_set");
    hot_at(s, HOT_USER, HOT_CODE);
    hot_set_gpr(s, RSI, AT);
    hot_set_gpr(s, R8, 0);
    hot_set_gpr(s, R13, its ? AT + 0x2000 : HOT_TABLES);
}

static void kernels(void **state)
{
    struct hot_trap t;
    struct smp s;

    SAME(users, of_kernel, 12, true);
    create(&s, g_users, g_users_end, false);
    for (unsigned n = 0; n < 5; n++) {
        of_kernel(&s, n);
        t = hot_run(&s);
        assert_int_equal(t.vector, n % 3 == 1 ? EXC_PF : EXC_BP);
    }
    assert_int_equal(t.error, 5);
    assert_int_equal(t.cr2, AT + 0x2000);
    assert_int_equal(hot_gpr(&s, RCX), 0x2000);
    smp_destroy(&s);
}

/* ---- large displacements ------------------------------------------------------------------- */

/* As if the register never moved, the place of the operand does not fit into an instruction. */
GUEST(beyond, 64,
      "subq $0x7ffffff0, %rsi\nmovl $300, %ecx\n"
      "1: addq $128, %rsi\naddq 0x7ffffff0(%rsi), %r8\nrolq $3, %r8\ndecl %ecx\njnz 1b\nint3")
GUEST(beyond_downwards, 64,
      "addq $0x7ffffff0, %rsi\nmovl $300, %ecx\n"
      "1: subq $128, %rsi\naddq -0x7ffffff0(%rsi), %r8\nrolq $3, %r8\ndecl %ecx\njnz 1b\nint3")
/* Just fits. */
GUEST(fits, 64,
      "subq $0x7ffffb00, %rsi\nmovl $300, %ecx\n"
      "1: addq $128, %rsi\naddq 0x7ffffb00(%rsi), %r8\nrolq $3, %r8\ndecl %ecx\njnz 1b\nint3")

static void from_first(struct smp *s, unsigned n)
{
    hot_at(s, HOT_USER, HOT_CODE);
    hot_set_gpr(s, RSI, AT + n * 1000);
    hot_set_gpr(s, R8, 0);
}

static void from_last(struct smp *s, unsigned n)
{
    from_first(s, n);
    hot_set_gpr(s, RSI, AT + PAGES * 0x1000 - 8 - n * 1000);
}

static void displacements(void **state)
{
    SAME(beyond, from_first, 8, false);
    SAME(beyond_downwards, from_last, 8, false);
    SAME(fits, from_first, 8, true);
}

/* ---- the ends of the address space --------------------------------------------------------- */

/* The uppermost pages of 4 GiB and of all are not the same ones; in both the first of all follow.
 */
static void map_high(struct smp *s)
{
    uint8_t *table = s->ram + TABLES, *top = s->ram + SMP_PAGES;

    memset(table, 0, 0x4000);
    le64_put(top + 511 * 8, (SMP_PAGES + 0x1000) | 7);
    le64_put(top + 0x1000 + 511 * 8, TABLES | 7);
    le64_put(top + 0x1000 + 3 * 8, (TABLES + 0x1000) | 7);
    le64_put(table + 511 * 8, (TABLES + 0x2000) | 7);
    le64_put(table + 0x1000 + 511 * 8, (TABLES + 0x3000) | 7);
    for (unsigned n = 0; n < PAGES; n++) {
        le64_put(table + 0x2000 + (512 - PAGES + n) * 8, place(n) | 7);
        le64_put(table + 0x3000 + (512 - PAGES + n) * 8, (place(n) + PAGES * 0x1000) | 7);
    }
    for (unsigned n = 0; n < 2; n++) /* behind them are tables, which are the kernel's */
        smp_entry(s, n * 0x1000, place(PAGES - 1 - n) | 5);
    hot_flush(s);
}

#define ROUND(access)                                                                              \
    "movl $3000, %ecx\n1: " access "\nrolq $3, %r8\naddq $8, %rsi\ndecl %ecx\njnz 1b\nint3"
GUEST(wraps, 64, ROUND("addq (%rsi), %r8"))
/* Operands of the same registers that are not the same; their addresses wrap apart. */
GUEST(narrow, 64, ROUND("addq (%rsi), %r8\naddq (%esi), %r8"))
GUEST(narrow_only, 64, ROUND("addq (%esi), %r8"))
GUEST(narrow_vectors, 64,
      "movl $3000, %ecx\npxor %xmm0, %xmm0\n"
      "1: movq (%rsi), %xmm1\npaddq %xmm1, %xmm0\nmovq (%esi), %xmm1\npaddq %xmm1, %xmm0\n"
      "addq $8, %rsi\nmovq %xmm0, %r8\ndecl %ecx\njnz 1b\nint3")
/* A counter of 32 bits, which wraps at 4 GiB. */
GUEST(counts, 64,
      "movl $3000, %ecx\nmovl $-12000, %edx\n"
      "1: addq (%rsi,%rdx), %r8\nrolq $3, %r8\naddl $8, %edx\ndecl %ecx\njnz 1b\nint3")
GUEST(counts_by_lea, 64,
      "movl $3000, %ecx\nmovl $-12000, %edx\n"
      "1: addq (%rsi,%rdx), %r8\nrolq $3, %r8\nleaq 8(%edx), %rdx\ndecl %ecx\njnz 1b\nint3")

static void at_top(struct smp *s, unsigned n)
{
    map_high(s);
    hot_at(s, HOT_USER, HOT_CODE);
    hot_set_gpr(s, RSI, (uint64_t)(int32_t)HIGH + 0x9000 + n * 1001);
    hot_set_gpr(s, R8, 0);
}

static void at_4_gib(struct smp *s, unsigned n)
{
    at_top(s, n);
    hot_set_gpr(s, RSI, HIGH + 0x9000 + n * 1001);
}

static void at_0(struct smp *s, unsigned n)
{
    at_top(s, n);
    hot_set_gpr(s, RSI, n * 8);
}

static void ends(void **state)
{
    SAME(wraps, at_top, 6, true);
    SAME(wraps, at_4_gib, 6, true);
    SAME(narrow, at_top, 6, false);
    SAME(narrow_only, at_top, 6, false);
    SAME(narrow_only, at_4_gib, 6, false);
    SAME(narrow_vectors, at_top, 6, false);
    SAME(counts, at_0, 6, false);
    SAME(counts_by_lea, at_0, 6, false);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {TEST(strides), TEST(sums), TEST(kernels),
                                       TEST(displacements), TEST(ends)};

    return cmocka_run_group_tests_name("soft, edges of loops by pages", tests, NULL, NULL);
}
