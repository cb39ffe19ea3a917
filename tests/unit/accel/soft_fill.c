/*
 * Code that walks through more pages than the engine's TLB holds, so that it misses each of them:
 * that is no matter of the interpreter's, but for a fault, which comes exactly where it has to.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>

#define PAGES  16                   /* of data; page n has n + 1 in its first two words */
#define DATA   (HOT_CODE + 0x20000) /* where they are */
#define AT     HOT_ALIAS            /* linear: them again and again, in 8192 pages */
#define TABLES 16                   /* page directory entries for the same page table */
#define EACH   512
#define COUNT  (TABLES * EACH)
#define SUM    (COUNT / PAGES * (PAGES * (PAGES + 1) / 2))
#define ROUNDS 4
/* A slot that misses often is the interpreter's once, and then given up; where misses take so long
 * that they do not count as often, once in 64 of them. */
#define SELDOM (ROUNDS * COUNT / 64 + 64)

#define PTE_A 0x20
#define PTE_D 0x40

static uint64_t entry(unsigned n)
{
    return (DATA + n % PAGES * 0x1000) | 7;
}

static void start(struct smp *s, enum hot_mode mode)
{
    uint8_t *directory;

    hot_create(s, 1);
    directory = s->ram + SMP_PAGES + 0x2000;
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(s, page, page | 7);
    for (unsigned n = 2; n <= TABLES; n++)
        le64_put(directory + n * 8, le64_get(directory + 8));
    for (unsigned n = 0; n < EACH; n++)
        smp_entry(s, AT + n * 0x1000, entry(n));
    for (unsigned n = 0; n < PAGES; n++) {
        le64_put(s->ram + DATA + n * 0x1000, n + 1);
        le64_put(s->ram + DATA + n * 0x1000 + 8, n + 1);
    }
    hot_at(s, mode, HOT_CODE);
    hot_set_gpr(s, RDI, AT);
    hot_set_gpr(s, R15, ROUNDS);
    hot_set_gpr(s, RAX, 0);
    hot_set_gpr(s, R13, 0);
}

static uint64_t interpreted(struct smp *s)
{
    return smp_stat(s, 0, "instructions interpreted from translated code");
}

/* R15 rounds; each with R14 and RBX through all pages. */
#define WALK(access)                                                                               \
    "1: movl $8192, %r14d\nmovq %rdi, %rbx\n2: " access                                            \
    "\nleaq 0x1000(%rbx), %rbx\ndecl %r14d\njnz 2b\ndecl %r15d\njnz 1b\nint3"

/* ---- pages that are there ------------------------------------------------------------- */

GUEST(reads, 64, WALK("addq (%rbx), %rax"))
/* Carry lives through all of it, and is of both kinds. */
GUEST(carries, 64, WALK("adcq (%rbx), %rax\nbtq $1, %rax"))
GUEST(writes, 64, WALK("movq %rax, 16(%rbx)\nincq %rax"))
GUEST(groups, 64, WALK("addq (%rbx), %rax\naddq 8(%rbx), %rax\nmovq %rax, 16(%rbx)"))
/* So far apart that the size of the group does not fit into a signed byte. */
GUEST(spread, 64, WALK("addq (%rbx), %rax\naddq 160(%rbx), %rax"))
GUEST(pushes, 64,
      "movq %rsp, %rbp\n" WALK("leaq 32(%rbx), %rsp\npushq %r14\npopq %rcx\naddq %rcx, %rax") "\n")
GUEST(vectors, 64, "movq %rax, %xmm0\n" WALK("paddq (%rbx), %xmm0\nmovq %xmm0, %rax"))
/* Registers that C may destroy are all in use. */
GUEST(registers, 64,
      "movl $1, %ecx\nmovl $2, %edx\nmovl $3, %esi\nmovl $4, %r8d\nmovl $5, %r9d\nmovl $6, %r10d\n"
      "movl $7, %r11d\n" WALK("addq (%rbx), %rax\naddq %rcx, %r13\naddq %rdx, %r13\n"
                              "addq %rsi, %r13\naddq %r8, %r13\naddq %r9, %r13\naddq %r10, %r13\n"
                              "addq %r11, %r13"))

static uint64_t walked(enum hot_mode mode, const uint8_t *code, const uint8_t *end)
{
    uint64_t rax, before, filled;
    struct smp s;

    start(&s, mode);
    smp_code(&s, HOT_CODE, code, end);
    rax = hot_end(&s); /* it is translated */
    before = interpreted(&s);
    filled = smp_stat(&s, 0, "pages looked up from translated code");
    hot_at(&s, mode, HOT_CODE);
    hot_set_gpr(&s, R15, ROUNDS);
    hot_set_gpr(&s, RAX, 0);
    hot_set_gpr(&s, R13, 0);
    assert_true(hot_end(&s) == rax);
    assert_true(interpreted(&s) - before < SELDOM);
    assert_true(smp_stat(&s, 0, "pages looked up from translated code") - filled >=
                ROUNDS * COUNT - SELDOM);
    if (code == g_registers)
        assert_int_equal(hot_gpr(&s, R13), ROUNDS * COUNT * (1 + 2 + 3 + 4 + 5 + 6 + 7));
    smp_destroy(&s);
    return rax;
}

/* What `carries` comes to. */
static uint64_t carried(void)
{
    uint64_t rax = 0, carry = 0;

    for (unsigned n = 0; n < ROUNDS * COUNT; n++) {
        rax += n % PAGES + 1 + carry;
        carry = rax >> 1 & 1;
    }
    return rax;
}

#define WALKED(mode, name) walked(mode, g_##name, g_##name##_end)

static void there(void **state)
{
    for (enum hot_mode mode = HOT_KERNEL; mode <= HOT_USER; mode++) {
        assert_int_equal(WALKED(mode, reads), ROUNDS * SUM);
        assert_int_equal(WALKED(mode, carries), carried());
        assert_int_equal(WALKED(mode, writes), ROUNDS * COUNT);
        assert_int_equal(WALKED(mode, groups), ROUNDS * SUM * 2);
        assert_int_equal(WALKED(mode, spread), ROUNDS * SUM);
        assert_int_equal(WALKED(mode, pushes), ROUNDS * (UINT64_C(8192) * 8193 / 2));
        assert_int_equal(WALKED(mode, vectors), ROUNDS * SUM);
        assert_int_equal(WALKED(mode, registers), ROUNDS * SUM);
    }
}

/* ---- beyond 4 GiB -------------------------------------------------------------------------- */

#define FAR_AWAY (UINT64_C(64) << 30)

/* The same pages, but there is nothing at the lower half of the address. */
static void far_away(void **state)
{
    for (enum hot_mode mode = HOT_KERNEL; mode <= HOT_USER; mode++) {
        const uint32_t far = HOT_CODE + 0x10000, directory = SMP_PAGES + 0x2000;
        uint64_t before;
        struct smp s;

        start(&s, mode);
        memset(s.ram + far, 0, 0x1000);
        memcpy(s.ram + far + 8, s.ram + directory + 8, TABLES * 8);
        memset(s.ram + directory + 8, 0, TABLES * 8);
        le64_put(s.ram + SMP_PAGES + 0x1000 + 64 * 8, far | 7);
        SMP_CODE(&s, HOT_CODE, reads);
        for (unsigned n = 0; n < 2; n++) {
            before = interpreted(&s);
            hot_at(&s, mode, HOT_CODE);
            hot_set_gpr(&s, RDI, FAR_AWAY + AT);
            hot_set_gpr(&s, R15, ROUNDS);
            hot_set_gpr(&s, RAX, 0);
            assert_int_equal(hot_end(&s), ROUNDS * SUM);
        }
        assert_true(interpreted(&s) - before < SELDOM);
        smp_destroy(&s);
    }
}

/* ---- pages that are not -------------------------------------------------------------------- */

static void fault_at(enum hot_mode mode, uint64_t bits, const uint8_t *code, const uint8_t *end,
                     uint32_t error)
{
    unsigned user = mode == HOT_USER ? 4 : 0, n = 300;
    uint64_t sum = 0, before, rax;
    struct hot_trap t;
    struct smp s;

    for (unsigned m = 0; m < n; m++)
        sum += m % PAGES + 1;
    start(&s, mode);
    smp_code(&s, HOT_CODE, code, end);
    rax = hot_end(&s);
    smp_entry(&s, AT + n * 0x1000, (entry(n) & ~UINT64_C(7)) | bits);
    hot_at(&s, mode, HOT_CODE);
    hot_set_gpr(&s, R15, ROUNDS);
    hot_set_gpr(&s, RAX, 0);
    before = interpreted(&s);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_PF);
    assert_int_equal(t.error, error | user);
    assert_int_equal(t.cr2, AT + n * 0x1000 + (error & 2 ? 16 : 0));
    assert_int_equal(hot_gpr(&s, R14), COUNT - n);
    assert_int_equal(hot_gpr(&s, RBX), AT + n * 0x1000);
    assert_int_equal(hot_gpr(&s, RAX), error & 2 ? n : sum);
    assert_int_equal(le64_get(s.ram + SMP_ENTRY(AT + n * 0x1000)) & (PTE_A | PTE_D), 0);
    assert_true(interpreted(&s) - before < SELDOM);

    smp_entry(&s, AT + n * 0x1000, entry(n));
    assert_true(hot_end(&s) == rax);
    assert_true(interpreted(&s) - before < 2 * SELDOM);
    smp_destroy(&s);
}

static void not_there(void **state)
{
    for (enum hot_mode mode = HOT_KERNEL; mode <= HOT_USER; mode++) {
        fault_at(mode, 6, g_reads, g_reads_end, 0);
        fault_at(mode, 6, g_writes, g_writes_end, 2);
        fault_at(mode, 5, g_writes, g_writes_end, 3);
    }
    fault_at(HOT_USER, 3, g_reads, g_reads_end, 1);
}

/* ---- pages that are looked up for an access that is not done -----------------------------------
 */

/* The page of RDI is not written to: the source faults first; it is not aligned. */
GUEST(moves, 64,
      "1: movq %r8, %rsi\nmovq %r9, %rdi\nmovl $4, %ecx\nrep movsq\ndecl %r15d\njnz 1b\nint3")
GUEST(aligned, 64, "1: movaps %xmm0, (%r9)\ndecl %r15d\njnz 1b\nint3")

static void not_marked(const uint8_t *code, const uint8_t *end, unsigned vector, uint64_t r8,
                       uint64_t r9)
{
    for (enum hot_mode mode = HOT_KERNEL; mode <= HOT_USER; mode++) {
        struct hot_trap t;
        struct smp s;

        start(&s, mode);
        smp_code(&s, HOT_CODE, code, end);
        hot_set_gpr(&s, R8, AT);
        hot_set_gpr(&s, R9, AT + 0x1000);
        hot_set_gpr(&s, R15, HOT);
        hot_end(&s);
        smp_entry(&s, AT + 0x4000, 0);
        smp_entry(&s, AT + 0x8000, entry(8));
        hot_at(&s, mode, HOT_CODE);
        hot_set_gpr(&s, R8, r8);
        hot_set_gpr(&s, R9, r9);
        hot_set_gpr(&s, R15, HOT);
        t = hot_run(&s);
        assert_int_equal(t.vector, vector);
        assert_int_equal(le64_get(s.ram + SMP_ENTRY(AT + 0x8000)), entry(8));
        smp_destroy(&s);
    }
}

static void not_done(void **state)
{
    not_marked(g_moves, g_moves_end, EXC_PF, AT + 0x3ffc, AT + 0x8000);
    not_marked(g_aligned, g_aligned_end, EXC_GP, 0, AT + 0x8008);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {TEST(there), TEST(far_away), TEST(not_there),
                                       TEST(not_done)};

    return cmocka_run_group_tests_name("soft, pages looked up", tests, NULL, NULL);
}
