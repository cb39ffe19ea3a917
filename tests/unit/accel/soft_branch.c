/*
 * Branches in hot code whose target is no canonical address: #GP at the branch, and nothing
 * of it has happened (SDM Vol. 2, CALL, JMP, RET).
 */
#include "hot.h"

#include "base/bits.h"

#include <sys/resource.h>

#define BAD UINT64_C(0x800000000000)
#define OLD UINT64_C(0x5555aaaa5555aaaa) /* where a CALL would have stored */

/*
 * Each iteration branches to 2:, which RBX holds, with RSP = RDI + sp; when R15 has come down to
 * R14, RBX becomes R13.
 */
#define KIND_CODE(name, sp, before, insn)                                                          \
    GUEST(name, 64,                                                                                \
          "leaq 2f(%rip), %rbx\n"                                                                  \
          "1: cmpl %r14d, %r15d\ncmoveq %r13, %rbx\nmovq %rsi, -8(%rdi)\n"                         \
          "movq %rbx, 16(%rdi)\nleaq " #sp "(%rdi), %rsp\n" before "\ncmpl %eax, %eax\n"           \
          ".global at_" #name "\nat_" #name ": " insn "\nud2\n"                                    \
          "2: decl %r15d\njnz 1b\nint3")                                                           \
    extern const uint8_t at_##name[];
/* X(name, sp, before, insn) */
#define KINDS(X)                                                                                   \
    X(jump_register, 0, "", "jmp *%rbx")                                                           \
    X(jump_memory, 0, "", "jmp *16(%rdi)")                                                         \
    X(jump_r10, 0, "movq %rbx, %r10", "jmp *%r10")                                                 \
    X(call_register, 0, "", "call *%rbx")                                                          \
    X(call_memory, 0, "", "call *16(%rdi)")                                                        \
    X(call_stack, 0, "", "call *16(%rsp)")                                                         \
    X(call_r11, 0, "movq %rbx, %r11", "call *%r11")                                                \
    X(ret, 16, "", "ret")                                                                          \
    X(ret_imm, 16, "", "ret $24")
KINDS(KIND_CODE)

static const struct kind {
    const char *name;
    const uint8_t *code, *end, *at;
    unsigned sp;
} kinds[] = {
#define KIND(name, sp, before, insn) {#name, g_##name, g_##name##_end, at_##name, sp},
    KINDS(KIND)
#undef KIND
};

static void start(struct smp *s, uint64_t bad, unsigned left)
{
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, RDI, SMP_DATA + 0x100);
    hot_set_gpr(s, RSI, OLD);
    hot_set_gpr(s, R13, bad);
    hot_set_gpr(s, R14, left);
    hot_set_gpr(s, R15, HOT);
}

static void bad_target(const struct kind *k, uint64_t bad)
{
    struct hot_trap t;
    struct smp s;

    hot_create(&s, 1);
    smp_code(&s, HOT_CODE, k->code, k->end);
    start(&s, bad, 500);
    t = hot_run(&s);
    if (t.vector != EXC_GP || t.error || t.frame.rip != HOT_CODE + (uint64_t)(k->at - k->code))
        fail_msg("%s: %s(%x) at %#lx", k->name, x86_exception_name(t.vector), t.error,
                 (unsigned long)t.frame.rip);
    assert_int_equal(t.frame.rsp, SMP_DATA + 0x100 + k->sp);
    assert_int_equal(t.frame.rflags & FLAG_STATUS, FLAG_ZF | FLAG_PF);
    assert_int_equal(smp_read(&s, SMP_DATA + 0x100 - 8), OLD);
    assert_int_equal(hot_gpr(&s, R15), 500);
    smp_destroy(&s);
}

static void targets_not_canonical(void **state)
{
    for (unsigned n = 0; n < ARRAY_SIZE(kinds); n++) {
        bad_target(&kinds[n], BAD);
        bad_target(&kinds[n], BAD | HOT_CODE); /* the low bits are those of code */
        bad_target(&kinds[n], -BAD - 1);
    }
}

/* ---- direct branches out of the last canonical page ------------------------------------------ */

#define LAST   (BAD - 0x1000)
#define TABLES 0x30000u /* three levels down to it */

/* At the page's end; the branch, behind 3000 others, leads into the next. */
#define DIRECT_CODE(name, before, insn)                                                            \
    GUEST(name, 64,                                                                                \
          ".skip 0xf80\n1: leaq 16(%rdi), %rsp\nmovq %rsi, 8(%rdi)\n"                              \
          "cmpl %r14d, %r15d\n" before ".global at_" #name "\nat_" #name ": " insn                 \
          "\n2: decl %r15d\njmp 1b\n3: .skip 0x1000")                                              \
    extern const uint8_t at_##name[];
DIRECT_CODE(direct_jump, "jne 2f\n", "jmp 3f+0x800")
DIRECT_CODE(direct_call, "jne 2f\n", "call 3f+0x800")
DIRECT_CODE(direct_if, "", "je 3f+0x800")

static void map_last(struct smp *s)
{
    le64_put(s->ram + SMP_PAGES + 255 * 8, TABLES | 7);
    le64_put(s->ram + TABLES + 511 * 8, (TABLES + 0x1000) | 7);
    le64_put(s->ram + TABLES + 0x1000 + 511 * 8, (TABLES + 0x2000) | 7);
    le64_put(s->ram + TABLES + 0x2000 + 511 * 8, HOT_CODE | 7);
}

static void out_of(const uint8_t *code, const uint8_t *at)
{
    const uint64_t rip = LAST + (uint64_t)(at - code);
    struct hot_trap t;
    struct smp s;

    hot_create(&s, 1);
    smp_code(&s, HOT_CODE, code, code + 0x1000);
    map_last(&s);
    start(&s, 0, 500);
    hot_at(&s, HOT_KERNEL, LAST + 0xf80);
    t = hot_run(&s);
    if (t.vector != EXC_GP || t.error || t.frame.rip != rip)
        fail_msg("%s(%x) at %#lx, not %#lx", x86_exception_name(t.vector), t.error,
                 (unsigned long)t.frame.rip, (unsigned long)rip);
    assert_int_equal(t.frame.rsp, SMP_DATA + 0x110);
    assert_int_equal(smp_read(&s, SMP_DATA + 0x108), OLD);
    assert_int_equal(hot_gpr(&s, R15), 500);
    smp_destroy(&s);
}

static void out_of_the_last_page(void **state)
{
    out_of(g_direct_jump, at_direct_jump);
    out_of(g_direct_call, at_direct_call);
    out_of(g_direct_if, at_direct_if);
}

/* ---- a host that gives no memory for code -----------------------------------------------------
 */

/* Without a file descriptor to be had there is no memfd. */
static void interpreted_all_the_same(void **state)
{
    const struct kind *k = &kinds[0];
    struct rlimit old, none;
    struct smp s;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){0, old.rlim_max};
    for (unsigned given = 0; given < 2; given++) {
        assert_int_equal(setrlimit(RLIMIT_NOFILE, given ? &old : &none), 0);
        hot_create(&s, 1);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        smp_code(&s, HOT_CODE, k->code, k->end);
        start(&s, BAD, UINT32_MAX);
        hot_end(&s);
        assert_int_equal(hot_gpr(&s, R15), 0);
        if (given)
            assert_true(smp_stat(&s, 0, "blocks translated"));
        else
            assert_true(smp_stat(&s, 0, "instructions") > HOT); /* counted by the interpreter */
        smp_destroy(&s);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(targets_not_canonical),
        TEST(out_of_the_last_page),
        TEST(interpreted_all_the_same),
    };

    return cmocka_run_group_tests_name("soft, hot branches", tests, NULL, NULL);
}
