/*
 * Hot loops that lie in two pages, and then the second page is another one, or has other code, or
 * the loop is executed elsewhere: branches between pages must notice at once.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>
#include <time.h>

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

static uint32_t start(struct smp *s, enum hot_mode mode, const uint8_t *code, const uint8_t *end)
{
    uint32_t add;

    hot_create(s, 1);
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(s, page, page | 7);
    smp_code(s, FIRST + BEGIN, code, end);
    add = second_page(s);
    memcpy(s->ram + OTHER, s->ram + SECOND, 0x1000);
    s->ram[OTHER + add + ADDEND] = 5;
    smp_entry(s, LINEAR, FIRST | 7);
    smp_entry(s, LINEAR + 0x1000, SECOND | 7);
    smp_entry(s, TWIN, FIRST | 7);
    smp_entry(s, TWIN + 0x1000, OTHER | 7);
    hot_at(s, mode, LINEAR + BEGIN);
    hot_set_gpr(s, R8, 0);
    hot_set_gpr(s, R9, 0);
    return add;
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

/* ---- without end ----------------------------------------------------------------------------- */

GUEST(endless, 64, "1: incq %r8\njmp 2f\n.skip 64\n2: addq $3, %r9\njmp 1b")

static void *kick(void *vcpu)
{
    const struct timespec while_it_runs = {.tv_nsec = 50 * 1000 * 1000};

    nanosleep(&while_it_runs, NULL);
    vcpu_kick(vcpu);
    return NULL;
}

static void kicked(void **state)
{
    struct vcpu_exit exit;
    pthread_t thread;
    struct smp s;

    start(&s, HOT_USER, g_endless, g_endless_end);
    for (unsigned n = 0; n < 3; n++) {
        uint64_t before = hot_gpr(&s, R8);

        assert_int_equal(pthread_create(&thread, NULL, kick, s.v[0]), 0);
        must(vcpu_run(s.v[0], &exit), "vcpu_run");
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(exit.reason, VCPU_EXIT_NONE);
        assert_true(hot_gpr(&s, R8) > before + HOT);
    }
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(remapped),
        TEST(in_two_places),
        TEST(patched),
        TEST(kicked),
    };

    return cmocka_run_group_tests_name("soft, branches between pages", tests, NULL, NULL);
}
