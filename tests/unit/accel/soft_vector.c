/*
 * Hot code with vector instructions, when CR0, CR4 and XCR0 begin to forbid them, and when
 * MXCSR begins to let exceptions through.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>

#define SSE "paddd %xmm1, %xmm0\nmovd %xmm0, %eax\n"
#define AVX "vpaddd %xmm1, %xmm0, %xmm0\nvmovd %xmm0, %eax\n"

/* ---- the guest sets and clears TS -------------------------------------------------------- */

/* Each round is #NM once; its handler clears TS and counts in R8. */
#define TOGGLES(insns)                                                                             \
    "movl $1, %eax\nmovd %eax, %xmm1\npxor %xmm0, %xmm0\n"                                         \
    "1: movq %cr0, %rax\norq $8, %rax\nmovq %rax, %cr0\n" insns "decl %r15d\njnz 1b\nint3\n"
#define HANDLER "clts\nincl %r8d\niretq\n"
GUEST(sse_toggles, 64, TOGGLES(SSE) ".globl sse_nm\nsse_nm: " HANDLER)
GUEST(avx_toggles, 64, TOGGLES(AVX) ".globl avx_nm\navx_nm: " HANDLER)
extern const uint8_t sse_nm[], avx_nm[];

static void toggles(const uint8_t *code, const uint8_t *end, const uint8_t *handler)
{
    struct smp s;

    hot_create(&s, 1);
    smp_code(&s, HOT_CODE, code, end);
    hot_gate(&s, EXC_NM, HOT_CODE + (uint64_t)(handler - code));
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, R8, 0);
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_end(&s), HOT);
    assert_int_equal(hot_gpr(&s, R8), HOT);
    smp_destroy(&s);
}

static void guest_toggles_ts(void **state)
{
    toggles(g_sse_toggles, g_sse_toggles_end, sse_nm);
    if (hot_has_avx())
        toggles(g_avx_toggles, g_avx_toggles_end, avx_nm);
}

/* ---- all of the reasons, from outside ------------------------------------------------------ */

#define COUNTS(insns) "1: " insns "decl %r15d\njnz 1b\nint3"
GUEST(sse_counts, 64, COUNTS(SSE))
GUEST(avx_counts, 64, COUNTS(AVX))

struct control {
    uint64_t cr0_set, cr4_clear, xcr0_clear;
    unsigned sse, avx; /* the exception, EXC_BP: none */
};

static void set_control(struct smp *s, const struct control *c)
{
    struct mote_state *st = s->v[0]->state;

    must(vcpu_get(s->v[0], X86_CRS), "vcpu_get");
    st->cr0 = (st->cr0 & ~(uint64_t)(CR0_TS | CR0_EM)) | c->cr0_set;
    st->cr4 |= CR4_OSFXSR;
    if (hot_has_avx()) {
        st->cr4 |= CR4_OSXSAVE;
        st->xcr0 = (XCR0_X87 | XCR0_SSE | XCR0_AVX) & ~c->xcr0_clear;
    }
    st->cr4 &= ~c->cr4_clear;
    must(vcpu_set(s->v[0], X86_CRS), "vcpu_set");
}

static void expect(struct smp *s, const struct control *c, unsigned vector)
{
    struct hot_trap t;

    set_control(s, c);
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, R15, HOT);
    t = hot_run(s);
    assert_int_equal(t.vector, vector);
    if (vector != EXC_BP)
        assert_int_equal(t.frame.rip, HOT_CODE);
}

static void forbidden(const uint8_t *code, const uint8_t *end, bool avx)
{
    static const struct control all[] = {
        {CR0_TS, 0, 0, EXC_NM, EXC_NM},           {CR0_EM, 0, 0, EXC_UD, EXC_BP},
        {0, CR4_OSFXSR, 0, EXC_UD, EXC_BP},       {0, CR4_OSXSAVE, 0, EXC_BP, EXC_UD},
        {0, 0, XCR0_AVX, EXC_BP, EXC_UD},         {CR0_TS, CR4_OSFXSR, 0, EXC_UD, EXC_NM},
        {CR0_TS, CR4_OSXSAVE, 0, EXC_NM, EXC_UD},
    };
    static const struct control nothing = {0};
    struct smp s;

    hot_create(&s, 1);
    smp_code(&s, HOT_CODE, code, end);
    expect(&s, &nothing, EXC_BP);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned n = 0; n < ARRAY_SIZE(all); n++) {
            expect(&s, &all[n], avx ? all[n].avx : all[n].sse);
            expect(&s, &nothing, EXC_BP);
        }
    smp_destroy(&s);
}

static void forbidden_from_outside(void **state)
{
    forbidden(g_sse_counts, g_sse_counts_end, false);
    if (hot_has_avx())
        forbidden(g_avx_counts, g_avx_counts_end, true);
}

/* ---- MXCSR ----------------------------------------------------------------------------------- */

/* 1 / 0 under the MXCSR at RBP, which is R13 from R15 = R14 on; what came of it is at RBP + 8. */
GUEST(divides, 64,
      "movl $0x3f800000, %eax\n1: cmpl %r14d, %r15d\njne 2f\nmovl %r13d, (%rbp)\n"
      "2: .globl divides_load\ndivides_load: ldmxcsr (%rbp)\nmovd %eax, %xmm0\nxorps %xmm1, %xmm1\n"
      ".globl divides_at\ndivides_at: divss %xmm1, %xmm0\nstmxcsr 8(%rbp)\n"
      "decl %r15d\njnz 1b\nint3")
extern const uint8_t divides_load[], divides_at[];

static void divide(struct smp *s, uint32_t mxcsr, unsigned vector, const uint8_t *at)
{
    struct hot_trap t;

    HOT_CODE_AT(s, divides);
    le32_put(s->ram + SMP_DATA, 0x1f80);
    hot_set_gpr(s, RBP, SMP_DATA);
    hot_set_gpr(s, R13, mxcsr);
    hot_set_gpr(s, R14, 10);
    hot_set_gpr(s, R15, HOT);
    t = hot_run(s);
    assert_int_equal(t.vector, vector);
    if (at)
        assert_int_equal(t.frame.rip, HOT_LABEL(HOT_CODE, divides, at));
    assert_int_equal(hot_gpr(s, R15), at ? 10 : 0);
}

static void mxcsr_unmasks(void **state)
{
    const uint32_t zero_divide = 4;
    struct smp s;

    hot_create(&s, 1);
    for (unsigned round = 0; round < 2; round++) {
        divide(&s, 0x1f80, EXC_BP, NULL);
        assert_int_equal(le32_get(s.ram + SMP_DATA + 8), 0x1f80 | zero_divide);
        divide(&s, 0x1d80, EXC_XM, divides_at);
        assert_int_equal(le32_get(s.ram + SMP_DATA + 8), 0x1f80 | zero_divide);
        divide(&s, 0x1e80, EXC_BP, NULL); /* another exception's mask */
        assert_int_equal(le32_get(s.ram + SMP_DATA + 8), 0x1e80 | zero_divide);
        divide(&s, 0x11f80, EXC_GP, divides_load);
        divide(&s, 0x7f80, EXC_BP, NULL);
        assert_int_equal(le32_get(s.ram + SMP_DATA + 8), 0x7f80 | zero_divide);
    }
    smp_destroy(&s);
}

/* ---- registers over a call of the interpreter ---------------------------------------------- */

/* All are loaded from (RBP), CPUID is interpreted, and all are stored to 512(RBP). */
#define SAME16(X)                                                                                  \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD(n)  "vmovups 32*" #n "(%rbp), %ymm" #n "\n"
#define STORE(n) "vmovups %ymm" #n ", 512+32*" #n "(%rbp)\n"
GUEST(registers, 64, "1: " SAME16(LOAD) "cpuid\n" SAME16(STORE) "decl %r15d\njnz 1b\nint3")

static void go_through(struct smp *s, unsigned rounds)
{
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, RBP, SMP_DATA);
    hot_set_gpr(s, R15, rounds);
    hot_end(s);
    assert_memory_equal(s->ram + SMP_DATA + 512, s->ram + SMP_DATA, 512);
}

/* Upper halves that are zero are not loaded: it takes one bit of one of them. */
static void upper_halves_stay(void **state)
{
    const struct control nothing = {0};
    struct smp s;

    if (!hot_has_avx())
        return;
    hot_create(&s, 1);
    SMP_CODE(&s, HOT_CODE, registers);
    set_control(&s, &nothing);
    memset(s.ram + SMP_DATA, 0, 512);
    go_through(&s, HOT);
    for (uint32_t bit = 0; bit < 512 * 8; bit += 31) {
        memset(s.ram + SMP_DATA, 0, 512);
        s.ram[SMP_DATA + bit / 8] = (uint8_t)(1u << bit % 8);
        go_through(&s, 2);
        memset(s.ram + SMP_DATA, 0, 512);
        go_through(&s, 2);
    }
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(guest_toggles_ts),
        TEST(forbidden_from_outside),
        TEST(mxcsr_unmasks),
        TEST(upper_halves_stay),
    };

    return cmocka_run_group_tests_name("soft, hot vector instructions", tests, NULL, NULL);
}
