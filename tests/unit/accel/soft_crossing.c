/*
 * Hot instructions that lie in two pages, which are two pages of memory wherever the guest
 * maps them: the second one vanishes, may not be executed, is another, or is written.
 */
#include "hot.h"

#include "base/bits.h"

#include <stdio.h>
#include <string.h>

#define LINEAR        HOT_ALIAS /* the first page; the second follows */
#define SECOND_LINEAR (LINEAR + 0x1000)
#define FIRST         0x30000u
#define SECOND        0x31000u
#define OTHER         0x40000u /* what may be there instead of the second */

/* When R15 has come down to R14, R13 is stored to (R11), and the TLB's entry of (R12) dropped. */
#define CROSSING(name, insn, after)                                                                \
    GUEST(name, 64,                                                                                \
          "5: movq %r13, (%r11)\ninvlpg (%r12)\njmp 6f\n"                                          \
          ".global loop_" #name ", at_" #name ", behind_" #name "\n"                               \
          "loop_" #name ": cmpl %r14d, %r15d\nje 5b\n"                                             \
          "6: xorl %eax, %eax\n"                                                                   \
          "at_" #name ": " insn "\nbehind_" #name ": " after "\n"                                  \
          "addq %rax, %r8\ndecl %r15d\njnz loop_" #name "\nint3")                                  \
    extern const uint8_t loop_##name[], at_##name[], behind_##name[];

/* X(name, which byte of it changes, to what, RAX before and then, instruction, what follows) */
#define INSNS(X)                                                                                   \
    X(immediate, 4, 1, 0x11, 0x01000011, "movl $0x11, %eax", "")                                   \
    X(long_immediate, 9, 1, 0x11, 0x0100000000000011, "movabsq $0x11, %rax", "")                   \
    X(arithmetic, 2, 5, 3, 5, "addl $3, %eax", "")                                                 \
    X(no_operand, 2, 0xc8, 1, UINT64_MAX, "incq %rax", "")                                         \
    X(load, 2, 16, 0x21, 0x43, "movl 8(%rbp), %eax", "")                                           \
    X(store, 3, 16, 7, 9, "movw %si, 8(%rbp)",                                                     \
      "cmpw $7, 8(%rbp)\nmovl $9, %eax\ncmovel %esi, %eax\nmovw $0, 8(%rbp)")                      \
    X(locked, 4, 5, 3, 5, "lock addl $3, 0x40(%rbp)",                                              \
      "movl 0x40(%rbp), %eax\nandl $0, 0x40(%rbp)")                                                \
    X(vector, 4, 16, 0x21, 0x43, "movd 8(%rbp), %xmm0", "movd %xmm0, %eax")                        \
    X(push, 1, 7, 5, 7, "pushq $5", "popq %rax")                                                   \
    X(jump, 1, 5, 8, 7, ".byte 0xeb, 0", "movl $1, %eax\naddl $7, %eax")                           \
    X(long_jump, 1, 5, 8, 7, ".byte 0xe9, 0, 0, 0, 0", "movl $1, %eax\naddl $7, %eax")             \
    X(branch, 1, 5, 8, 7, ".byte 0x74, 0", "movl $1, %eax\naddl $7, %eax")                         \
    X(long_branch, 2, 5, 8, 7, ".byte 0x0f, 0x84, 0, 0, 0, 0", "movl $1, %eax\naddl $7, %eax")     \
    X(call, 1, 5, 8, 7, ".byte 0xe8, 0, 0, 0, 0", "movl $1, %eax\naddl $7, %eax\npopq %rdx")       \
    X(indirect_call, 3, 16, 8, 7, "call *8(%r10)", "movl $1, %eax\naddl $7, %eax\npopq %rdx")      \
    X(string, 1, 0xab, 3, 3, "rep lodsl", "movl $3, %eax")
#define X(name, ...)                                               CROSSING_OF(name, __VA_ARGS__)
#define CROSSING_OF(name, offset, byte, before, then, insn, after) CROSSING(name, insn, after)
INSNS(X)
#undef CROSSING_OF

struct insn {
    const char *name;
    const uint8_t *code, *end, *loop, *at, *behind;
    unsigned offset;
    uint8_t byte;
    uint64_t before, then; /* what each iteration adds to R8 */
};
#define CROSSING_OF(name, offset, byte, before, then, insn, after)                                 \
    {#name,         g_##name, g_##name##_end, loop_##name, at_##name,                              \
     behind_##name, offset,   byte,           before,      then},
static const struct insn insns[] = {INSNS(X)};
#undef X

enum change { VANISHES, NO_EXECUTE, IS_ANOTHER, IS_WRITTEN, IS_WRITTEN_OUTSIDE };

/* Where the code begins, in both pages, when `split` bytes of the instruction are in the first. */
static uint32_t begin_of(const struct insn *i, unsigned split)
{
    return 0x1000 - split - (uint32_t)(i->at - i->code);
}

/* R10 points to two targets of a call, as the operands of `indirect_call`. */
static void put_operands(struct smp *s, const struct insn *i, uint32_t begin)
{
    uint64_t behind = LINEAR + begin + (uint64_t)(i->behind - i->code);

    le64_put(s->ram + SMP_DATA + 8, 0x21);
    le64_put(s->ram + SMP_DATA + 16, 0x43);
    le64_put(s->ram + SMP_DATA + 0x108, behind);
    le64_put(s->ram + SMP_DATA + 0x110, behind + 5);
    if (!strcmp(i->name, "store"))
        memset(s->ram + SMP_DATA, 0, 32);
}

static void start(struct smp *s, const struct insn *i, uint32_t begin, enum change change)
{
    const uint32_t changed =
        SECOND_LINEAR + (begin + (uint32_t)(i->at - i->code) + i->offset) % 4096;
    uint8_t patched[8];

    hot_create(s, 1);
    smp_page(s, LINEAR, FIRST);
    smp_page(s, SECOND_LINEAR, SECOND);
    smp_code(s, FIRST + begin, i->code, i->end);
    put_operands(s, i, begin);
    memcpy(s->ram + OTHER, s->ram + SECOND, 0x1000);
    s->ram[OTHER + changed % 0x1000] = i->byte;
    memcpy(patched, s->ram + OTHER + changed % 0x1000, 8);
    hot_at(s, HOT_KERNEL, LINEAR + begin + (uint64_t)(i->loop - i->code));
    hot_set_gpr(s, RBP, SMP_DATA);
    hot_set_gpr(s, RCX, 0);
    hot_set_gpr(s, RSI, 7);
    hot_set_gpr(s, R8, 0);
    hot_set_gpr(s, R10, SMP_DATA + 0x100);
    hot_set_gpr(s, R11, change == IS_WRITTEN ? changed : SMP_ENTRY(SECOND_LINEAR));
    hot_set_gpr(s, R12, SECOND_LINEAR);
    hot_set_gpr(s, R13,
                change == VANISHES     ? SECOND | 2
                : change == NO_EXECUTE ? BIT(63) | SECOND | 3
                : change == IS_ANOTHER ? OTHER | 3
                                       : le64_get(patched));
    hot_set_gpr(s, R14, change == IS_WRITTEN_OUTSIDE ? 0 : 500);
    hot_set_gpr(s, R15, HOT);
}

static void crosses(const struct insn *i, unsigned split, enum change change)
{
    const uint32_t begin = begin_of(i, split);
    const uint64_t at = LINEAR + begin + (uint64_t)(i->at - i->code);
    uint64_t want = (HOT - 500) * i->before + 500 * i->then;
    struct smp s;

    start(&s, i, begin, change);
    if (change == VANISHES || change == NO_EXECUTE) {
        struct hot_trap t = hot_run(&s);

        if (t.vector != EXC_PF || t.frame.rip != at || t.cr2 != SECOND_LINEAR)
            fail_msg("%s, %u bytes: %s at %#lx, CR2 %#lx", i->name, split,
                     x86_exception_name(t.vector), (unsigned long)t.frame.rip,
                     (unsigned long)t.cr2);
        assert_int_equal(t.error, PF_I | (change == NO_EXECUTE ? PF_P : 0));
        assert_int_equal(hot_gpr(&s, RAX), 0);
        assert_int_equal(hot_gpr(&s, R15), 500);
        assert_int_equal(hot_gpr(&s, R8), (HOT - 500) * i->before);
        hot_set_gpr(&s, R14, 0);
        smp_page(&s, SECOND_LINEAR, OTHER);
    }
    if (change == IS_WRITTEN_OUTSIDE) {
        hot_end(&s);
        assert_int_equal(hot_gpr(&s, R8), HOT * i->before);
        must(guest_mem_write(&s.m->mem, GPA(SECOND), s.ram + OTHER, 0x1000), "guest_mem_write");
        hot_at(&s, HOT_KERNEL, LINEAR + begin + (uint64_t)(i->loop - i->code));
        hot_set_gpr(&s, R15, 500);
        want = HOT * i->before + 500 * i->then;
    }
    hot_end(&s);
    if (hot_gpr(&s, R8) != want)
        fail_msg("%s, %u bytes in the first page: %#lx instead of %#lx", i->name, split,
                 (unsigned long)hot_gpr(&s, R8), (unsigned long)want);
    smp_destroy(&s);
}

/* With each number of bytes in the first page that leaves what changes to the second. */
static void each_crosses(enum change change)
{
    for (unsigned n = 0; n < ARRAY_SIZE(insns); n++) {
        for (unsigned split = 1; split <= insns[n].offset; split++)
            crosses(&insns[n], split, change);
    }
}

static void second_page_vanishes(void **state)
{
    each_crosses(VANISHES);
}

static void second_page_is_not_executable(void **state)
{
    each_crosses(NO_EXECUTE);
}

static void second_page_is_another(void **state)
{
    each_crosses(IS_ANOTHER);
}

static void second_page_is_written(void **state)
{
    each_crosses(IS_WRITTEN);
}

static void second_page_is_written_outside(void **state)
{
    each_crosses(IS_WRITTEN_OUTSIDE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(second_page_vanishes),           TEST(second_page_is_not_executable),
        TEST(second_page_is_another),         TEST(second_page_is_written),
        TEST(second_page_is_written_outside),
    };

    return cmocka_run_group_tests_name("soft, instructions in two pages", tests, NULL, NULL);
}
