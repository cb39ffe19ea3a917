/*
 * What kernels do at every turn, in hot code: flags of RFLAGS, AC and SMAP, SWAPGS, the TSC;
 * and translations that MOV to CR3, INVLPG and CR4.PGE drop, or keep.
 */
#include "hot.h"

#include "base/bits.h"

#define AT   HOT_ALIAS
#define HIGH UINT64_C(0xffffff8000000000) /* the same memory in the upper half */
#define G    0x100u

/* ---- flags -------------------------------------------------------------------------------- */

/* Load flags R14, do it, compare flags with R12; R15 times. RAX: the wrong ones. */
#define FLAGS(name, text)                                                                          \
    GUEST(name, 64,                                                                                \
          "1: pushq %r14\npopfq\n" text "\npushfq\npopq %rax\ncmpq %r12, %rax\njne 9f\n"           \
          "decl %r15d\njnz 1b\nxorl %eax, %eax\n9: int3")
FLAGS(cli, "cli")
FLAGS(sti, "sti\nnop")
FLAGS(sti_call, "sti\ncall 3f\njmp 4f\n3: ret\n4:")
FLAGS(stac, "stac")
FLAGS(clac, "clac")
FLAGS(swapgs, "swapgs\nswapgs")
FLAGS(rdtsc, "rdtsc")
FLAGS(nothing, "nop")

static void flags_of(struct smp *s, uint64_t clear, uint64_t set)
{
    static const uint64_t images[] = {0x2, 0x8d7, 0x202, 0xad7, 0x40002, 0x408d7, 0x40ad7, 0x3a47};

    for (unsigned n = 0; n < ARRAY_SIZE(images); n++) {
        hot_at(s, HOT_KERNEL, HOT_CODE);
        hot_set_gpr(s, R14, images[n]);
        hot_set_gpr(s, R12, (images[n] & ~clear) | set);
        hot_set_gpr(s, R15, HOT);
        assert_int_equal(hot_end(s), 0);
    }
}

static void flags_are_right(void **state)
{
    struct smp s;

    hot_create(&s, 1);
#define CASE(name, clear, set)                                                                     \
    SMP_CODE(&s, HOT_CODE, name);                                                                  \
    flags_of(&s, clear, set)
    for (unsigned smap = 0; smap < 2; smap++) {
        hot_set_cr4(&s, CR4_SMAP, smap ? CR4_SMAP : 0);
        CASE(cli, FLAG_IF, 0);
        CASE(sti, 0, FLAG_IF);
        CASE(sti_call, 0, FLAG_IF);
        CASE(stac, 0, FLAG_AC);
        CASE(clac, FLAG_AC, 0);
        CASE(swapgs, 0, 0);
        CASE(rdtsc, 0, 0);
        CASE(nothing, 0, 0);
    }
    smp_destroy(&s);
}

/* The ordinary way in and out of user memory; then R14 says what the last access is behind. */
GUEST(user_copy, 64,
      "1: stac\nmovl (%rdi), %eax\nincl 4(%rdi)\nclac\naddl %eax, %ebx\ndecl %r15d\njnz 1b\n"
      "movl 8(%rdi), %eax\nint3")

static void smap_stops_behind_clac(void **state)
{
    struct hot_trap t;
    struct smp s;

    hot_create(&s, 1);
    hot_set_cr4(&s, 0, CR4_SMAP);
    smp_entry(&s, AT, 0x90000 | 7);
    le64_put(s.ram + 0x90000, 3);
    HOT_CODE_AT(&s, user_copy);
    hot_set_gpr(&s, RBX, 0);
    hot_set_gpr(&s, RDI, AT);
    hot_set_gpr(&s, R15, HOT);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_PF);
    assert_int_equal(t.error, 1);
    assert_int_equal(t.cr2, AT + 8);
    assert_int_equal(t.frame.rflags & FLAG_AC, 0);
    assert_int_equal(hot_gpr(&s, RBX), 3 * HOT);
    assert_int_equal(le32_get(s.ram + 0x90004), HOT);
    hot_set_cr4(&s, CR4_SMAP, 0); /* the same code without it */
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, R15, HOT);
    hot_end(&s);
    assert_int_equal(le32_get(s.ram + 0x90004), 2 * HOT);
    smp_destroy(&s);
}

/* A device is read behind STI: that exit is within its shadow if interrupts were off. */
GUEST(reads_device, 64, "1: cli\nsti\nmovl (%rdi), %eax\nsti\nmovl (%rdi), %eax\njmp 1b")

static void exit_in_a_shadow(void **state)
{
    struct vcpu_exit exit;
    struct smp s;

    hot_create(&s, 1);
    smp_entry(&s, AT, 0x10000000 | 3);
    HOT_CODE_AT(&s, reads_device);
    hot_set_gpr(&s, RDI, AT);
    for (unsigned n = 0; n < HOT; n++) {
        must(vcpu_run(s.v[0], &exit), "vcpu_run");
        assert_int_equal(exit.reason, VCPU_EXIT_MMIO);
        assert_int_equal(exit.rflags & FLAG_IF, FLAG_IF);
        assert_int_equal(exit.intr_ready, n & 1);
    }
    smp_destroy(&s);
}

/* ---- bases and time ------------------------------------------------------------------------- */

/* GS is kernel's and user's in turn: their words are 1 and 2. */
GUEST(swaps, 64,
      "1: swapgs\ncmpl $2, %gs:0\njne 9f\nswapgs\ncmpl $1, %gs:0\njne 9f\n"
      "decl %r15d\njnz 1b\nxorl %eax, %eax\nint3\n9: movl $1, %eax\nint3")

static void two_gs_bases(void **state)
{
    struct smp s;

    hot_create(&s, 1);
    must(vcpu_get(s.v[0], X86_SEGS | X86_MSRS), "vcpu_get");
    s.v[0]->state->seg[SEG_GS].base = 0x90000;
    s.v[0]->state->msr.kernel_gs_base = 0x91000;
    must(vcpu_set(s.v[0], X86_SEGS | X86_MSRS), "vcpu_set");
    le64_put(s.ram + 0x90000, 1);
    le64_put(s.ram + 0x91000, 2);
    HOT_CODE_AT(&s, swaps);
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_end(&s), 0);
    must(vcpu_get(s.v[0], X86_SEGS | X86_MSRS), "vcpu_get");
    assert_int_equal(s.v[0]->state->seg[SEG_GS].base, 0x90000);
    assert_int_equal(s.v[0]->state->msr.kernel_gs_base, 0x91000);
    smp_destroy(&s);
}

/* R8 and R10 become bases, all 64 bits and then 32; R12 at R15 = R14. The sum of what is read. */
GUEST(
    bases, 64,
    "1: cmpl %r14d, %r15d\ncmoveq %r12, %r8\n"
    ".global at_wrfsbase\nat_wrfsbase: wrfsbase %r8\nwrgsbase %r10\nrdfsbase %rax\nrdgsbase %r11\n"
    "subq %r8, %rax\nsubq %r10, %r11\naddq %rax, %rbx\naddq %r11, %rbx\n"
    "addq %fs:(%rdi), %rcx\naddq %gs:(%rdi), %rcx\n"
    "cmpl $1, %r15d\nwrfsbase %r9d\nwrgsbase %edx\nadcq $0, %rbx\n" /* no carry */
    "movq $-1, %rax\nrdfsbase %eax\nrdgsbase %r11d\nsubq %rdx, %r11\naddq %r11, %rbx\n"
    "movl %r9d, %r11d\nsubq %r11, %rax\naddq %rax, %rbx\ndecl %r15d\njnz 1b\nint3")
extern const uint8_t at_wrfsbase[];

static struct hot_trap run_bases(struct smp *s, enum hot_mode mode, uint64_t last)
{
    hot_at(s, mode, HOT_CODE);
    hot_set_gpr(s, RBX, 0);
    hot_set_gpr(s, RCX, 0);
    hot_set_gpr(s, RDX, 0x89abcdef);
    hot_set_gpr(s, RDI, 0);
    hot_set_gpr(s, R8, SMP_DATA);
    hot_set_gpr(s, R9, UINT64_C(0xfedcba9876543210));
    hot_set_gpr(s, R10, SMP_DATA + 8);
    hot_set_gpr(s, R12, last);
    hot_set_gpr(s, R14, 500);
    hot_set_gpr(s, R15, HOT);
    return hot_run(s);
}

static void bases_of_segments(void **state)
{
    const uint64_t bad[] = {UINT64_C(0x800000000000), UINT64_C(0xffff7fffffffffff), BIT(63)};
    struct smp s;

    hot_create(&s, 1);
    SMP_CODE(&s, HOT_CODE, bases);
    for (uint32_t n = 0; n < SMP_RAM; n += PAGE_SIZE)
        smp_entry(&s, n, n | 7); /* ring 3's, too */
    for (unsigned user = 0; user < 2; user++) {
        enum hot_mode mode = user ? HOT_USER : HOT_KERNEL;
        uint64_t before;
        struct hot_trap t;

        hot_set_cr4(&s, 0, CR4_FSGSBASE);
        le64_put(s.ram + SMP_DATA, 3);
        le64_put(s.ram + SMP_DATA + 8, 4);
        before = smp_stat(&s, 0, "instructions interpreted from translated code");
        assert_int_equal(run_bases(&s, mode, SMP_DATA).vector, EXC_BP);
        assert_int_equal(hot_gpr(&s, RBX), 0);
        assert_int_equal(hot_gpr(&s, RCX), 7 * HOT);
        assert_in_range(smp_stat(&s, 0, "instructions interpreted from translated code"), before,
                        before + HOT / 10);
        for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
            t = run_bases(&s, mode, bad[n]);
            assert_int_equal(t.vector, EXC_GP);
            assert_int_equal(t.frame.rip, HOT_LABEL(HOT_CODE, bases, at_wrfsbase));
            assert_int_equal(hot_gpr(&s, R15), 500);
        }
        hot_set_cr4(&s, CR4_FSGSBASE, 0);
        t = run_bases(&s, mode, SMP_DATA);
        assert_int_equal(t.vector, EXC_UD);
        assert_int_equal(t.frame.rip, HOT_LABEL(HOT_CODE, bases, at_wrfsbase));
    }
    smp_destroy(&s);
}

/* The sum of what control registers are less what R8 to R13 say: nothing; to memory's and others.
 */
GUEST(controls, 64,
      "1: movq %cr0, %rax\nsubq %r8, %rax\naddq %rax, %rbx\nmovq %cr2, %r11\nsubq %r9, %r11\n"
      "addq %r11, %rbx\nmovq %cr3, %rdx\nsubq %r12, %rdx\naddq %rdx, %rbx\ncmpl $1, %r15d\n"
      "movq %cr4, %rcx\nadcq $0, %rbx\nsubq %r13, %rcx\naddq %rcx, %rbx\ndecl %r15d\njnz 1b\nint3")

static void control_registers(void **state)
{
    struct hot_trap t;
    struct smp s;

    hot_create(&s, 1);
    HOT_CODE_AT(&s, controls);
    must(vcpu_get(s.v[0], X86_CRS), "vcpu_get");
    s.v[0]->state->cr2 = UINT64_C(0x123456789abcdef0);
    must(vcpu_set(s.v[0], X86_CRS), "vcpu_set");
    hot_set_gpr(&s, RBX, 0);
    hot_set_gpr(&s, R8, s.v[0]->state->cr0);
    hot_set_gpr(&s, R9, s.v[0]->state->cr2);
    hot_set_gpr(&s, R12, s.v[0]->state->cr3);
    hot_set_gpr(&s, R13, s.v[0]->state->cr4);
    hot_set_gpr(&s, R15, HOT);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, RBX), 0);
    assert_in_range(smp_stat(&s, 0, "instructions interpreted from translated code"), 0, HOT / 10);
    hot_at(&s, HOT_USER, HOT_CODE);
    for (uint32_t n = 0; n < SMP_RAM; n += PAGE_SIZE)
        smp_entry(&s, n, n | 7);
    hot_flush(&s);
    hot_set_gpr(&s, R15, HOT);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_GP);
    smp_destroy(&s);
}

/* It never goes back, and 3000 reads take less than a minute of it. */
GUEST(reads_tsc, 64,
      "xorl %ebx, %ebx\njmp 1f\n" /* what is hot begins at 1 */
      "1: rdtsc\nshlq $32, %rdx\norq %rdx, %rax\ncmpq %rbx, %rax\njb 9f\n"
      "testq %rbx, %rbx\njz 2f\nmovq %rax, %rcx\nsubq %rbx, %rcx\nshrq $38, %rcx\njnz 9f\n"
      "2: movq %rax, %rbx\ndecl %r15d\njnz 1b\nxorl %eax, %eax\nint3\n9: movl $1, %eax\nint3")

static void tsc_and_who_may_read_it(void **state)
{
    struct smp s;

    hot_create(&s, 1);
    SMP_CODE(&s, HOT_CODE, reads_tsc);
    for (unsigned n = 0; n < SMP_RAM / 0x1000; n++) /* for user code, too */
        smp_entry(&s, n * 0x1000, n * 0x1000 | 7);
    for (unsigned user = 0; user < 2; user++) {
        hot_at(&s, user ? HOT_USER : HOT_KERNEL, HOT_CODE);
        hot_set_gpr(&s, R15, HOT);
        assert_int_equal(hot_end(&s), 0);
    }
    hot_set_cr4(&s, 0, CR4_TSD);
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_end(&s), 0);
    hot_at(&s, HOT_USER, HOT_CODE);
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_run(&s).vector, EXC_GP);
    smp_destroy(&s);
}

/* ---- what flushes drop ------------------------------------------------------------------------
 */

/*
 * The page-table entry at RSI is R8, then R9: the function at RDI and the word at RDI + 0x800
 * must be those of R12, then of R13. R15 times; RAX: 0.
 */
#define REMAPS(name, flush)                                                                        \
    GUEST(name, 64,                                                                                \
          "1: movq %r8, (%rsi)\n" flush "\nmovl $40, %ecx\n"                                       \
          "2: call *%rdi\ncmpl %r12d, %eax\njne 9f\ncmpl %r12d, 0x800(%rdi)\njne 9f\n"             \
          "decl %ecx\njnz 2b\n"                                                                    \
          "movq %r9, (%rsi)\n" flush "\nmovl $40, %ecx\n"                                          \
          "3: call *%rdi\ncmpl %r13d, %eax\njne 9f\ncmpl %r13d, 0x800(%rdi)\njne 9f\n"             \
          "decl %ecx\njnz 3b\n"                                                                    \
          "decl %r15d\njnz 1b\nxorl %eax, %eax\nint3\n9: movl $1, %eax\nint3")
REMAPS(by_invlpg, "invlpg (%rdi)")
REMAPS(by_cr3, "movq %cr3, %rax\nmovq %rax, %cr3")
REMAPS(by_pge, "movq %cr4, %rax\nxorq $0x80, %rax\nmovq %rax, %cr4\nxorq $0x80, %rax\n"
               "movq %rax, %cr4")
GUEST(gives_a, 64, "movl $0xa, %eax\nret")
GUEST(gives_b, 64, "movl $0xb, %eax\nret")

/* A second level-4 entry makes the upper half of the lower one. */
static void start_spaces(struct smp *s)
{
    hot_create(s, 1);
    hot_set_cr4(s, 0, CR4_PGE);
    le64_put(s->ram + SMP_PAGES + 511 * 8, le64_get(s->ram + SMP_PAGES));
    SMP_CODE(s, 0x30000, gives_a);
    SMP_CODE(s, 0x31000, gives_b);
    le64_put(s->ram + 0x30800, 0xa);
    le64_put(s->ram + 0x31800, 0xb);
    smp_entry(s, AT, 0x30000 | 3);
    hot_flush(s);
}

static void set_remap(struct smp *s, uint64_t half, unsigned bits, uint32_t second)
{
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, RDI, half + AT);
    hot_set_gpr(s, RSI, SMP_ENTRY(AT));
    hot_set_gpr(s, R8, 0x30000 | 3 | bits);
    hot_set_gpr(s, R9, 0x31000 | 3 | bits);
    hot_set_gpr(s, R12, 0xa);
    hot_set_gpr(s, R13, second);
    hot_set_gpr(s, R15, 100);
}

static void what_is_dropped(void **state)
{
    struct smp s;

    start_spaces(&s);
    for (unsigned n = 0; n < 4; n++) {
        uint64_t half = n & 1 ? HIGH : 0;
        unsigned bits = n & 2 ? G : 0;

        SMP_CODE(&s, HOT_CODE, by_invlpg);
        set_remap(&s, half, bits, 0xb);
        assert_int_equal(hot_end(&s), 0);
        SMP_CODE(&s, HOT_CODE, by_pge);
        set_remap(&s, half, bits, 0xb);
        assert_int_equal(hot_end(&s), 0);
        if (bits)
            continue;
        SMP_CODE(&s, HOT_CODE, by_cr3);
        set_remap(&s, half, bits, 0xb);
        assert_int_equal(hot_end(&s), 0);
    }
    smp_destroy(&s);
}

/* What a global page is for: its translation is still the old one behind MOV to CR3. */
static void what_is_kept(void **state)
{
    struct smp s;

    start_spaces(&s);
    SMP_CODE(&s, HOT_CODE, by_cr3);
    set_remap(&s, HIGH, G, 0xa);
    assert_int_equal(hot_end(&s), 0);
    hot_set_cr4(&s, CR4_PGE, 0); /* without it there are none */
    set_remap(&s, HIGH, G, 0xb);
    assert_int_equal(hot_end(&s), 0);
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(flags_are_right), TEST(smap_stops_behind_clac),  TEST(exit_in_a_shadow),
        TEST(two_gs_bases),    TEST(tsc_and_who_may_read_it), TEST(what_is_dropped),
        TEST(what_is_kept),    TEST(bases_of_segments),       TEST(control_registers),
    };

    return cmocka_run_group_tests_name("soft, system instructions in hot code", tests, NULL, NULL);
}
