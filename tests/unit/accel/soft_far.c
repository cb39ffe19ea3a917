/*
 * Hot loops that lie in two pages, and then the second page is another one, or has other code, or
 * may not be executed, or the loop is executed elsewhere: branches between pages must notice at
 * once.
 */
#include "hot.h"

#include "base/bits.h"
#include "x86/regs.h"

#include <string.h>

#define LINEAR HOT_ALIAS /* of two pages */
#define TWIN   (HOT_ALIAS + 0x8000u)
#define FIRST  0x30000u
#define SECOND 0x31000u
#define OTHER  0x40000u /* instead of the second, with another constant */
#define BEGIN  0xfe0u   /* of the code; 2: is in the second page */
#define ROUNDS 20

/* HOT rounds, each of which adds the second page's constant to R9; INT 40h; all that R15 times.
 * The handlers are called at their own address. */
#define LOOP(handler)                                                                              \
    "3: movl $3000, %ecx\n"                                                                        \
    "1: incq %r8\njmp 2f\n"                                                                        \
    ".skip 64\n"                                                                                   \
    "2: addq $3, %r9\ndecl %ecx\njnz 1b\n"                                                         \
    "int $0x40\ndecl %r15d\njnz 3b\nint3\n.balign 16\n" handler
#define ADDEND 3 /* offset of the constant in the ADD */

GUEST(remaps, 64,
      LOOP(".globl by_invlpg, by_cr3\n"
           "by_invlpg: xchgq %rdi, %rsi\nmovq %rdi, (%r11)\ninvlpg (%r12)\niretq\n"
           "by_cr3: xchgq %rdi, %rsi\nmovq %rdi, (%r11)\nmovq %cr3, %rax\nmovq %rax, %cr3\niretq"))
GUEST(patches, 64, LOOP(".globl h_patches\nh_patches: xorb $6, (%rbx)\niretq"))
extern const uint8_t by_invlpg[], by_cr3[], h_patches[];

/* The offset of ADD $3, R9 in the page. */
static uint32_t second_page(struct smp *s)
{
    static const uint8_t add[] = {0x49, 0x83, 0xc1, 3};

    for (uint32_t at = 0; at < 128; at++) {
        if (!memcmp(s->ram + SECOND + at, add, sizeof(add)))
            return at;
    }
    fail_msg("no ADD in the second page");
    return 0;
}

static uint32_t start_at(struct smp *s, enum hot_mode mode, uint64_t linear, const uint8_t *code,
                         const uint8_t *end)
{
    uint32_t add;

    hot_create(s, 1);
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(s, page, page | 7);
    smp_code(s, FIRST + BEGIN, code, end);
    add = second_page(s);
    memcpy(s->ram + OTHER, s->ram + SECOND, 0x1000);
    s->ram[OTHER + add + ADDEND] = 5;
    smp_entry(s, (uint32_t)linear, FIRST | 7);
    smp_entry(s, (uint32_t)linear + 0x1000, SECOND | 7);
    smp_entry(s, TWIN, FIRST | 7);
    smp_entry(s, TWIN + 0x1000, OTHER | 7);
    hot_at(s, mode, linear + BEGIN);
    hot_set_gpr(s, R8, 0);
    hot_set_gpr(s, R9, 0);
    return add;
}

static uint32_t start(struct smp *s, enum hot_mode mode, const uint8_t *code, const uint8_t *end)
{
    return start_at(s, mode, LINEAR, code, end);
}

/* ---- another page is next --------------------------------------------------------------- */

static void remapped_by(const uint8_t *handler, enum hot_mode mode)
{
    struct smp s;

    start(&s, mode, g_remaps, g_remaps_end);
    hot_gate(&s, 0x40, FIRST + BEGIN + (uint64_t)(handler - g_remaps));
    hot_set_gpr(&s, RDI, SECOND | 7);
    hot_set_gpr(&s, RSI, OTHER | 7);
    hot_set_gpr(&s, R11, SMP_ENTRY(LINEAR + 0x1000));
    hot_set_gpr(&s, R12, LINEAR + 0x1000);
    hot_set_gpr(&s, R15, ROUNDS);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R8), ROUNDS * HOT);
    assert_int_equal(hot_gpr(&s, R9), ROUNDS / 2 * HOT * (3 + 5));
    smp_destroy(&s);
}

static void remapped(void **state)
{
    remapped_by(by_invlpg, HOT_USER);
    remapped_by(by_cr3, HOT_USER);
    remapped_by(by_invlpg, HOT_KERNEL);
}

/* ---- the same page, elsewhere too ---------------------------------------------------------- */

static void in_two_places(void **state)
{
    struct smp s;

    start(&s, HOT_USER, g_remaps, g_remaps_end);
    for (unsigned n = 0; n < ROUNDS; n++) {
        struct hot_trap t;

        hot_at(&s, HOT_USER, (n % 2 ? TWIN : LINEAR) + BEGIN);
        hot_set_gpr(&s, R9, 0);
        hot_set_gpr(&s, R15, 1);
        t = hot_run(&s);
        assert_int_equal(t.vector, 0x40);
        assert_int_equal(hot_gpr(&s, R9), HOT * (n % 2 ? 5 : 3));
        assert_int_equal(align_down(t.frame.rip, 0x1000), (n % 2 ? TWIN : LINEAR) + 0x1000);
    }
    smp_destroy(&s);
}

/* ---- other code is there ------------------------------------------------------------------- */

static void patched(void **state)
{
    struct smp s;
    uint32_t add = start(&s, HOT_USER, g_patches, g_patches_end);

    hot_gate(&s, 0x40, FIRST + BEGIN + (uint64_t)(h_patches - g_patches));
    hot_set_gpr(&s, RBX, SECOND + add + ADDEND);
    hot_set_gpr(&s, R15, ROUNDS);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R9), ROUNDS / 2 * HOT * (3 + 5));
    smp_destroy(&s);
}

/* ---- all translations are dropped ---------------------------------------------------------- */

/* Takes their place. */
GUEST(others, 64,
      "movl $3000, %ecx\n1:\n.rept 30\naddq (%rsi), %rdx\nrolq $3, %rdx\n.endr\n"
      "decl %ecx\njnz 1b\nint3")

static void dropped(void **state)
{
    static struct x86_cpuid cpuid;
    const struct x86_cpuid_topology topology = {.vcpus = 1};
    struct smp s;

    start(&s, HOT_USER, g_remaps, g_remaps_end);
    SMP_CODE(&s, HOT_CODE, others);
    must(machine_default_cpuid(s.m, &topology, &cpuid), "machine_default_cpuid");
    for (unsigned n = 0; n < 2; n++) {
        hot_at(&s, HOT_USER, LINEAR + BEGIN);
        hot_set_gpr(&s, R8, 0);
        hot_set_gpr(&s, R9, 0);
        hot_set_gpr(&s, R15, 1);
        assert_int_equal(hot_run(&s).vector, 0x40);
        assert_int_equal(hot_gpr(&s, R8), HOT);
        assert_int_equal(hot_gpr(&s, R9), HOT * ADDEND);
        must(vcpu_set_cpuid(s.v[0], &cpuid), "vcpu_set_cpuid");
        hot_at(&s, HOT_USER, HOT_CODE);
        hot_set_gpr(&s, RSI, SMP_DATA);
        hot_end(&s);
    }
    smp_destroy(&s);
}

/* ---- it may not be executed ------------------------------------------------------------------ */

/* The handler changes the page's entry; the loop's next round ends in its second page. */
static void revoked_by(const uint8_t *handler, uint64_t bits, uint32_t error)
{
    struct hot_trap t;
    struct smp s;

    start(&s, HOT_USER, g_remaps, g_remaps_end);
    hot_gate(&s, 0x40, FIRST + BEGIN + (uint64_t)(handler - g_remaps));
    hot_set_gpr(&s, RSI, SECOND | bits);
    hot_set_gpr(&s, R11, SMP_ENTRY(LINEAR + 0x1000));
    hot_set_gpr(&s, R12, LINEAR + 0x1000);
    hot_set_gpr(&s, R15, ROUNDS);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_PF);
    assert_int_equal(t.error, error);
    assert_int_equal(t.cr2 & ~UINT64_C(0xfff), LINEAR + 0x1000);
    assert_int_equal(hot_gpr(&s, R9), HOT * ADDEND);
    smp_destroy(&s);
}

static void revoked(void **state)
{
    const uint64_t no_execution = UINT64_C(1) << 63;
    const uint8_t *const by[] = {by_invlpg, by_cr3};

    for (unsigned n = 0; n < 2; n++) {
        revoked_by(by[n], 6, 0x14);
        revoked_by(by[n], 3, 0x15);
        revoked_by(by[n], 7 | no_execution, 0x15);
    }
}

/*
 * Vector registers are switched off, so the second page's instruction on them is another one. It
 * is passed over but for the end, in code that is hot with them and then in code that is hot
 * without, and neither may lead to the other.
 */
#define PASSED_OVER "cmpl $1000, %ecx\ncmovel %r14d, %ebx\ntestl %ebx, %ebx\njz 4f\n"
GUEST(switches, 64,
      "3: movl $3000, %ecx\n"
      "1: incq %r8\njmp 2f\n.skip 64\n"
      "2: addq $3, %r9\n" PASSED_OVER "paddd %xmm0, %xmm1\n4: decl %ecx\njnz 1b\n"
      "int $0x40\njmp 3b\n.balign 16\n"
      ".globl h_switches\nh_switches: movl $1, %r14d\n"
      "movq %cr0, %rax\norq $8, %rax\nmovq %rax, %cr0\niretq")
extern const uint8_t h_switches[];

static void switched_off(void **state)
{
    struct hot_trap t;
    struct smp s;

    start(&s, HOT_USER, g_switches, g_switches_end);
    hot_gate(&s, 0x40, FIRST + BEGIN + (uint64_t)(h_switches - g_switches));
    hot_set_gpr(&s, RBX, 0);
    hot_set_gpr(&s, R14, 0);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_NM);
    assert_int_equal(hot_gpr(&s, RCX), 1000);
    assert_int_equal(hot_gpr(&s, R8), HOT + HOT - 999);
    assert_int_equal(hot_gpr(&s, R9), (HOT + HOT - 999) * ADDEND);
    smp_destroy(&s);
}

/* ---- from address 0 ------------------------------------------------------------------------- */

/* Where nothing is known must not look as if it were known from page 0, or of address 0. */
static void from_page_0(void **state)
{
    struct hot_trap t;
    struct smp s;

    start_at(&s, HOT_USER, 0, g_remaps, g_remaps_end);
    hot_set_gpr(&s, R15, 1);
    t = hot_run(&s);
    assert_int_equal(t.vector, 0x40);
    assert_int_equal(hot_gpr(&s, R9), HOT * ADDEND);
    smp_destroy(&s);
}

/* Who leaps is hot first. */
GUEST(leaps, 64,
      "jmp 2f\n.globl leaps_begin\n"
      "leaps_begin: 2: incq %r8\ndecl %ecx\njz 1f\nxorl %eax, %eax\njmp *%rax\n1: int3")
extern const uint8_t leaps_begin[];

static void to_address_0(void **state)
{
    for (enum hot_mode mode = HOT_KERNEL; mode <= HOT_USER; mode++) {
        struct smp s;

        start_at(&s, mode, 0, g_remaps, g_remaps_end);
        SMP_CODE(&s, FIRST, leaps);
        for (unsigned n = 0; n < 2; n++) {
            hot_flush(&s);
            hot_at(&s, mode, HOT_LABEL(0, leaps, leaps_begin));
            hot_set_gpr(&s, R8, 0);
            hot_set_gpr(&s, RCX, HOT);
            hot_end(&s);
            assert_int_equal(hot_gpr(&s, R8), HOT);
        }
        smp_destroy(&s);
    }
}

/* ---- by the kernel, too --------------------------------------------------------------------- */

/*
 * The kernel may not look at a user's page, which user code at the same addresses does: a loop is
 * the user's and then, by INT 40h, the kernel's. Nobody forgets any address in between, and the
 * kernel looks when its loop is hot.
 */
GUEST(looks, 64,
      "1: incq %r8\njmp 2f\n.skip 64\n"
      "2: addq $3, %r9\n" PASSED_OVER "movq (%rsi), %rax\n4: decl %ecx\njnz 1b\n"
      "int $0x40\n.balign 16\n"
      ".globl h_looks\n"
      "h_looks: xorl %ebx, %ebx\nmovl $1, %r14d\nmovl $3000, %ecx\njmp 1b")
extern const uint8_t h_looks[];

static void by_kernel(void **state)
{
    struct hot_trap t;
    struct smp s;

    start(&s, HOT_USER, g_looks, g_looks_end);
    hot_set_cr4(&s, 0, CR4_SMAP);
    hot_gate(&s, 0x40, HOT_LABEL(LINEAR + BEGIN, looks, h_looks));
    hot_set_gpr(&s, RBX, 1);
    hot_set_gpr(&s, R14, 1);
    hot_set_gpr(&s, RCX, HOT);
    hot_set_gpr(&s, RSI, SMP_DATA);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_PF);
    assert_int_equal(t.error, 1);
    assert_int_equal(t.cr2, SMP_DATA);
    assert_int_equal(hot_gpr(&s, RCX), 1000);
    assert_int_equal(hot_gpr(&s, R8), HOT + HOT - 999);
    smp_destroy(&s);
}

/* ---- more than are remembered -------------------------------------------------------------- */

#define STAIRS      32u  /* pages, each with */
#define STEPS       520u /* jumps to the next one, the last one's to the first's next step */
#define STAIRS_AT   FIRST
#define STAIRS_TWIN 0x60000u /* of one of them */
/* No two have the same low 16 bits: they would be in each other's way in the jump cache. */
#define STEP(m, n) (STAIRS_AT + (m)*0x1000u + (n)*5u + (m) / 16 * 2u)

/* One of the last goes by way of code that counts. */
#define COUNTED    516u
#define COUNTER_AT (STEP(1, 0) + 0xf00u)

/* Behind the last step: all again. Then what misses its place in the TLB in each round. */
GUEST(steps, 64,
      "decl %ecx\njz 1f\nmovl $0x30000, %eax\njmp *%rax\n"
      "1: movl $3000, %ecx\n2: addq (%rsi), %rdx\nxorl $0x1000, %esi\ndecl %ecx\njnz 2b\nint3")

static void put_jump(struct smp *s, uint32_t at, uint32_t to)
{
    s->ram[at] = 0xe9;
    le32_put(s->ram + at + 1, to - (at + 5));
}

static void put_steps(struct smp *s)
{
    static const uint8_t count[] = {0x49, 0xff, 0xc0}; /* inc %r8 */

    for (unsigned n = 0; n < STEPS; n++) {
        for (unsigned m = 0; m < STAIRS; m++)
            put_jump(s, STEP(m, n), m + 1 < STAIRS ? STEP(m + 1, n) : STEP(0, n + 1));
    }
    put_jump(s, STEP(0, COUNTED), COUNTER_AT);
    memcpy(s->ram + COUNTER_AT, count, sizeof(count));
    put_jump(s, COUNTER_AT + sizeof(count), STEP(1, COUNTED));
    smp_code(s, STEP(0, STEPS), g_steps, g_steps_end);
}

/* The page of what counts is another one, with an INT3. */
static void elsewhere(struct smp *s)
{
    const uint32_t page = align_down(COUNTER_AT, 0x1000);
    struct hot_trap t;

    memcpy(s->ram + STAIRS_TWIN, s->ram + page, 0x1000);
    s->ram[STAIRS_TWIN + COUNTER_AT - page] = 0xcc;
    smp_entry(s, page, STAIRS_TWIN | 7);
    hot_flush(s);
    hot_at(s, HOT_USER, STAIRS_AT);
    hot_set_gpr(s, RCX, 1);
    t = hot_run(s);
    assert_int_equal(t.vector, EXC_BP);
    assert_int_equal(t.frame.rip, COUNTER_AT + 1);
}

static void many(void **state)
{
    struct smp s;

    hot_create(&s, 1);
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(&s, page, page | 7);
    put_steps(&s);
    le64_put(s.ram + SMP_DATA, 1);
    le64_put(s.ram + SMP_DATA + 0x1000, 2);
    for (unsigned n = 0; n < 4; n++) {
        hot_flush(&s); /* all are forgotten, and remembered once more */
        hot_at(&s, HOT_USER, STAIRS_AT);
        hot_set_gpr(&s, RCX, n ? 3 : 40);
        hot_set_gpr(&s, R8, 0);
        hot_set_gpr(&s, RDX, 0);
        hot_set_gpr(&s, RSI, SMP_DATA);
        hot_end(&s);
        assert_int_equal(hot_gpr(&s, RDX), HOT / 2 * (1 + 2));
        assert_int_equal(hot_gpr(&s, R8), n ? 3 : 40);
    }
    elsewhere(&s);
    smp_destroy(&s);
}

/* ---- without end ----------------------------------------------------------------------------- */

GUEST(endless, 64, "1: incq %r8\njmp 2f\n.skip 64\n2: addq $3, %r9\njmp 1b")

static void kicked(void **state)
{
    for (enum hot_mode mode = HOT_KERNEL; mode <= HOT_USER; mode++) {
        struct smp s;

        start(&s, mode, g_endless, g_endless_end);
        for (unsigned n = 0; n < 3; n++) {
            uint64_t before = hot_gpr(&s, R8);

            do /* a busy host may give it nothing before the kick */
                hot_kicked(&s);
            while (hot_gpr(&s, R8) <= before + HOT);
        }
        smp_destroy(&s);
    }
}

/* Nothing but one jump, to itself, in two pages. */
static void kicked_between(void **state)
{
    static const uint8_t jump[] = {0xe9, 0xfb, 0xff, 0xff, 0xff};
    const uint32_t at = 0xffe;

    for (enum hot_mode mode = HOT_KERNEL; mode <= HOT_USER; mode++) {
        struct smp s;

        start(&s, mode, g_remaps, g_remaps_end);
        smp_code(&s, FIRST + at, jump, jump + sizeof(jump));
        hot_at(&s, mode, LINEAR + at);
        for (unsigned n = 0; n < 3; n++) {
            hot_kicked(&s);
            assert_int_equal(s.v[0]->state->rip, LINEAR + at);
        }
        smp_destroy(&s);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(remapped),  TEST(in_two_places), TEST(patched),     TEST(dropped),
        TEST(revoked),   TEST(switched_off),  TEST(from_page_0), TEST(to_address_0),
        TEST(by_kernel), TEST(many),          TEST(kicked),      TEST(kicked_between),
    };

    return cmocka_run_group_tests_name("soft, branches between pages", tests, NULL, NULL);
}
