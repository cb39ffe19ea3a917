/*
 * Branches in hot code whose target is no canonical address: #GP at the branch, and nothing
 * of it has happened (SDM Vol. 2, CALL, JMP, RET).
 */
#include "hot.h"

#include "base/bits.h"

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

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(targets_not_canonical),
    };

    return cmocka_run_group_tests_name("soft, hot branches", tests, NULL, NULL);
}
