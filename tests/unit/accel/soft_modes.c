/*
 * Hot code whose meaning hangs on the processor's state: the state changes in its midst, and
 * the next instruction goes by the new one.
 */
#include "hot.h"

#include "base/bits.h"

#define BEFORE (HOT_CODE + 0x1000) /* functions: called until the event, and at it */
#define EVENT  (HOT_CODE + 0x2000)

/*
 * Each iteration calls (R8), which at R15 = R14 becomes (R13) for once; then INSN. RBX, RCX
 * and RDX are the functions' and INSN's own.
 */
#define HOT_LOOP(name, insn)                                                                       \
    GUEST(name, 64,                                                                                \
          "1: movq %r9, %r8\ncmpl %r14d, %r15d\ncmoveq %r13, %r8\ncall *%r8\n"                     \
          ".global at_" #name "\nat_" #name ": " insn "\n"                                         \
          "decl %r15d\njnz 1b\nint3")                                                              \
    extern const uint8_t at_##name[];

GUEST(nothing, 64, "ret")

static void start(struct smp *s, const uint8_t *code, const uint8_t *end, const uint8_t *event,
                  const uint8_t *event_end)
{
    hot_create(s, 1);
    smp_code(s, HOT_CODE, code, end);
    SMP_CODE(s, BEFORE, nothing);
    smp_code(s, EVENT, event, event_end);
    hot_at(s, HOT_KERNEL, HOT_CODE);
    for (unsigned n = RAX; n <= RDI; n++) {
        if (n != RSP)
            hot_set_gpr(s, n, 0);
    }
    hot_set_gpr(s, RBP, SMP_DATA);
    hot_set_gpr(s, R9, BEFORE);
    hot_set_gpr(s, R13, EVENT);
    hot_set_gpr(s, R14, 500);
    hot_set_gpr(s, R15, HOT);
}
#define START(s, name, event) start(s, g_##name, g_##name##_end, g_##event, g_##event##_end)

/* ---- vectors and x87 are taken away -----------------------------------------------------------
 */

#define UNITS(X)                                                                                   \
    X(sse, "movups %xmm0, %xmm1")                                                                  \
    X(sse_load, "movss (%rbp), %xmm1")                                                             \
    X(sse_integer, "paddd %xmm0, %xmm1")                                                           \
    X(avx, "vaddps %ymm0, %ymm1, %ymm1")                                                           \
    X(x87, "fld1\nfstp %st(0)")
#define X(name, insn) HOT_LOOP(uses_##name, insn)
UNITS(X)
#undef X

GUEST(sets_ts, 64, "movq %cr0, %rcx\norl $8, %ecx\nmovq %rcx, %cr0\nret")
GUEST(sets_em, 64, "movq %cr0, %rcx\norl $4, %ecx\nmovq %rcx, %cr0\nret")
GUEST(clears_osfxsr, 64, "movq %cr4, %rcx\nandl $~0x200, %ecx\nmovq %rcx, %cr4\nret")
GUEST(clears_osxsave, 64, "movq %cr4, %rcx\nandl $~0x40000, %ecx\nmovq %rcx, %cr4\nret")
GUEST(clears_xcr0, 64, "xorl %ecx, %ecx\nmovl $3, %eax\nxorl %edx, %edx\nxsetbv\nret")

static void taken_away(void **state)
{
    enum { SSE = 1, AVX = 2, X87 = 4 };
    static const struct {
        const char *name;
        const uint8_t *code, *end, *at;
    } units[] = {
#define X(name, insn) {#name, g_uses_##name, g_uses_##name##_end, at_uses_##name},
        UNITS(X)
#undef X
    };
    static const unsigned kinds[] = {SSE, SSE, SSE, AVX, X87};
    static const struct {
        const uint8_t *code, *end;
        unsigned of, vector; /* the units that it takes away */
    } events[] = {
        {g_sets_ts, g_sets_ts_end, SSE | AVX | X87, EXC_NM},
        {g_sets_em, g_sets_em_end, SSE, EXC_UD},
        {g_sets_em, g_sets_em_end, X87, EXC_NM},
        {g_clears_osfxsr, g_clears_osfxsr_end, SSE, EXC_UD},
        {g_clears_osxsave, g_clears_osxsave_end, AVX, EXC_UD},
        {g_clears_xcr0, g_clears_xcr0_end, AVX, EXC_UD},
    };

    for (unsigned u = 0; u < ARRAY_SIZE(units); u++) {
        for (unsigned e = 0; e < ARRAY_SIZE(events); e++) {
            struct hot_trap t;
            struct smp s;

            if (!(kinds[u] & events[e].of) || (kinds[u] == AVX && !hot_has_avx()))
                continue;
            start(&s, units[u].code, units[u].end, events[e].code, events[e].end);
            must(vcpu_get(s.v[0], X86_CRS), "vcpu_get");
            t = hot_run(&s);
            if (t.vector != events[e].vector)
                fail_msg("%s, event %u: %s", units[u].name, e, x86_exception_name(t.vector));
            assert_int_equal(t.frame.rip, HOT_CODE + (uint64_t)(units[u].at - units[u].code));
            assert_int_equal(hot_gpr(&s, R15), 500);
            must(vcpu_get(s.v[0], X86_CRS), "vcpu_get");
            s.v[0]->state->cr0 &= ~(uint64_t)(CR0_TS | CR0_EM);
            s.v[0]->state->cr4 |= CR4_OSFXSR | (hot_has_avx() ? CR4_OSXSAVE : 0);
            if (hot_has_avx())
                s.v[0]->state->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
            must(vcpu_set(s.v[0], X86_CRS), "vcpu_set");
            hot_set_gpr(&s, R14, 0);
            hot_end(&s);
            assert_int_equal(hot_gpr(&s, R15), 0);
            smp_destroy(&s);
        }
    }
}

/* ---- rounding and unmasked exceptions
 * -------------------------------------------------------------- */

HOT_LOOP(rounds_sse, "cvtss2si (%rbp), %eax\naddl %eax, %ebx")
HOT_LOOP(rounds_x87, "flds (%rbp)\nfistpl 8(%rbp)\naddl 8(%rbp), %ebx")
GUEST(sse_rounds_up, 64, "movl $0x5f80, 16(%rbp)\nldmxcsr 16(%rbp)\nret")
GUEST(x87_rounds_up, 64, "movl $0x0b7f, 16(%rbp)\nfldcw 16(%rbp)\nret")

/* 2.5 is 2 to nearest, and then 3. */
static void rounding_changes(void **state)
{
    struct smp s;

    for (unsigned n = 0; n < 2; n++) {
        if (n)
            START(&s, rounds_x87, x87_rounds_up);
        else
            START(&s, rounds_sse, sse_rounds_up);
        le64_put(s.ram + SMP_DATA, 0x40200000);
        hot_end(&s);
        assert_int_equal(hot_gpr(&s, RBX), (HOT - 500) * 2 + 500 * 3);
        smp_destroy(&s);
    }
}

HOT_LOOP(divides,
         "movss (%rbp), %xmm0\n.global divide\ndivide: divss 4(%rbp), %xmm0\naddl $1, %ebx")
GUEST(unmasks, 64, "movl $0x1d80, 16(%rbp)\nldmxcsr 16(%rbp)\nret")
extern const uint8_t divide[];

/* A division by zero gives infinity, until the exception is unmasked. */
static void exception_is_unmasked(void **state)
{
    struct hot_trap t;
    struct smp s;

    START(&s, divides, unmasks);
    le64_put(s.ram + SMP_DATA, 0x3f800000);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_XM);
    assert_int_equal(t.frame.rip, HOT_LABEL(HOT_CODE, divides, divide));
    assert_int_equal(hot_gpr(&s, RBX), HOT - 500);
    must(vcpu_get(s.v[0], X86_FPU), "vcpu_get");
    assert_int_equal(le32_get(s.v[0]->state->xsave + 160), 0x3f800000);
    assert_int_equal(le32_get(s.v[0]->state->xsave + 24), 0x1d84); /* MXCSR.ZE */
    le64_put(s.ram + SMP_DATA, UINT64_C(0x400000003f800000));
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, RBX), HOT);
    smp_destroy(&s);
}

/* ---- flags and segments
 * --------------------------------------------------------------------------------- */

HOT_LOOP(copies, "leaq 0x100(%rbp), %rsi\nleaq 0x200(%rbp), %rdi\nlodsb\nmovsl\nstosw\n"
                 "addq %rsi, %rbx\naddq %rdi, %rdx")
GUEST(sets_df, 64, "std\nret")

static void direction_changes(void **state)
{
    const uint64_t rsi = SMP_DATA + 0x100, rdi = SMP_DATA + 0x200;
    struct smp s;

    START(&s, copies, sets_df);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, RBX), (HOT - 500) * (rsi + 5) + 500 * (rsi - 5));
    assert_int_equal(hot_gpr(&s, RDX), (HOT - 500) * (rdi + 6) + 500 * (rdi - 6));
    smp_destroy(&s);
}

HOT_LOOP(reads_fs, "addq %fs:8, %rbx")
HOT_LOOP(reads_gs, "movl $8, %ecx\naddq %gs:(%rcx), %rbx")
GUEST(writes_fs_base, 64,
      "movl $0xc0000100, %ecx\nleaq 0x100(%rbp), %rax\nxorl %edx, %edx\nwrmsr\nret")
GUEST(loads_fs, 64, "movl $0x10, %ecx\nmovl %ecx, %fs\nret")
GUEST(swaps_gs, 64, "swapgs\nret")

/* The word at the old base is 5, at the new one 7. */
static void segment_base_changes(void **state)
{
    static const struct {
        const uint8_t *code, *end, *event, *event_end;
        unsigned seg;
    } rows[] = {
        {g_reads_fs, g_reads_fs_end, g_writes_fs_base, g_writes_fs_base_end, SEG_FS},
        {g_reads_fs, g_reads_fs_end, g_loads_fs, g_loads_fs_end, SEG_FS}, /* the new base is 0 */
        {g_reads_gs, g_reads_gs_end, g_swaps_gs, g_swaps_gs_end, SEG_GS},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
        struct smp s;

        start(&s, rows[n].code, rows[n].end, rows[n].event, rows[n].event_end);
        must(vcpu_get(s.v[0], X86_SEGS | X86_MSRS), "vcpu_get");
        s.v[0]->state->seg[rows[n].seg].base = SMP_DATA;
        s.v[0]->state->msr.kernel_gs_base = SMP_DATA + 0x100;
        must(vcpu_set(s.v[0], X86_SEGS | X86_MSRS), "vcpu_set");
        le64_put(s.ram + SMP_DATA + 8, 5);
        le64_put(s.ram + SMP_DATA + 0x108, 7);
        le64_put(s.ram + 8, 7);
        hot_end(&s);
        assert_int_equal(hot_gpr(&s, RBX), (HOT - 500) * 5 + 500 * 7);
        smp_destroy(&s);
    }
}

HOT_LOOP(misaligned, "addl 1(%rbp), %ebx")
GUEST(sets_ac, 64, "pushfq\norl $0x40000, (%rsp)\npopfq\nret")

/* Alignment is checked in ring 3 once AC is set. */
static void alignment_is_checked(void **state)
{
    struct hot_trap t;
    struct smp s;

    START(&s, misaligned, sets_ac);
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(&s, page, page | 7);
    hot_at(&s, HOT_USER, HOT_CODE);
    must(vcpu_get(s.v[0], X86_CRS), "vcpu_get");
    s.v[0]->state->cr0 |= CR0_AM;
    must(vcpu_set(s.v[0], X86_CRS), "vcpu_set");
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_AC);
    assert_int_equal(t.error, 0);
    assert_int_equal(t.frame.rip, HOT_LABEL(HOT_CODE, misaligned, at_misaligned));
    assert_int_equal(hot_gpr(&s, R15), 500);
    t.frame.rflags &= ~(uint64_t)FLAG_AC;
    hot_set_frame(&s, &t.frame);
    hot_set_gpr(&s, R14, 0);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R15), 0);
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(taken_away),        TEST(rounding_changes),     TEST(exception_is_unmasked),
        TEST(direction_changes), TEST(segment_base_changes), TEST(alignment_is_checked),
    };

    return cmocka_run_group_tests_name("soft, state that hot code hangs on", tests, NULL, NULL);
}
