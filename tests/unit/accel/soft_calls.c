/*
 * System calls of code that is translated, from ring 3 and back, INVLPG, and returns to many
 * places: done as the interpreter does them, but not by it.
 */
#include "hot.h"

#include "base/bits.h"
#include "x86/state.h"

#include <string.h>

#define USER   0x20000u
#define KERNEL 0x30000u
#define OTHER  0x31000u
#define ROUNDS 4096u

#define STATUS  0xd5u /* of the low byte; SAHF's */
#define FLIPPED 0x41u

/* Flags are R15B's, then the same again but for CF and ZF: R8 and R10 add up, R9 the way back. */
GUEST(calls, 64,
      "1: movl %r15d, %eax\nshll $8, %eax\ntestl %eax, %eax\nsahf\n"
      "syscall\n"
      ".global h_behind\nh_behind: pushfq\npopq %rax\naddq %rax, %r10\n"
      "decl %r15d\njnz 1b\nint3")
extern const uint8_t h_behind[];
/* SFMASK has CF. R12 counts CF, R13 counts ZF. */
GUEST(serves, 64,
      "movq %rsp, %rdx\nmovl $0, %eax\nsetb %al\nleaq (%r12,%rax), %r12\nsetz %al\n"
      "leaq (%r13,%rax), %r13\n"
      "addq %r11, %r8\nsubq %rcx, %r9\nxorq $0x41, %r11\nsysretq")
GUEST(serves_otherwise, 64, "movl $1, %r15d\nsysretq")

static void set_msrs(struct smp *s, uint64_t lstar, bool on)
{
    struct mote_msrs *msr = &s->v[0]->state->msr;

    must(vcpu_get(s->v[0], X86_MSRS), "vcpu_get");
    msr->efer = on ? msr->efer | EFER_SCE : msr->efer & ~(uint64_t)EFER_SCE;
    msr->star = (uint64_t)(HOT_CS_USER - 16) << 48 | UINT64_C(8) << 32;
    msr->lstar = lstar;
    msr->sfmask = FLAG_CF | FLAG_IF;
    must(vcpu_set(s->v[0], X86_MSRS), "vcpu_set");
}

static void begin(struct smp *s)
{
    hot_at(s, HOT_USER, USER);
    for (unsigned reg = R8; reg < R15; reg++)
        hot_set_gpr(s, reg, 0);
    hot_set_gpr(s, R15, ROUNDS);
}

static uint64_t interpreted(struct smp *s)
{
    return smp_stat(s, 0, "instructions interpreted from translated code");
}

static void check_sums(struct smp *s)
{
    uint64_t flags = 0, back = 0, zeros = 0;

    for (unsigned n = ROUNDS; n; n--) {
        unsigned now = (n & STATUS) | 2;

        flags += now;
        back += now ^ FLIPPED;
        zeros += !!(now & FLAG_ZF);
    }
    assert_int_equal(hot_gpr(s, R8), flags);
    assert_int_equal(hot_gpr(s, R10), back);
    assert_int_equal(-hot_gpr(s, R9), ROUNDS * HOT_LABEL(USER, calls, h_behind));
    assert_int_equal(hot_gpr(s, R12), 0);
    assert_int_equal(hot_gpr(s, R13), zeros);
    assert_int_equal(hot_gpr(s, RDX), SMP_DATA);
}

static void calls_start(struct smp *s)
{
    hot_create(s, 1);
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(s, page, page | 7);
    SMP_CODE(s, USER, calls);
    SMP_CODE(s, KERNEL, serves);
    SMP_CODE(s, OTHER, serves_otherwise);
    set_msrs(s, KERNEL, true);
    begin(s);
    hot_end(s);
    check_sums(s);
}

static void system_calls(void **state)
{
    uint64_t before;
    struct smp s;

    calls_start(&s);
    before = interpreted(&s);
    begin(&s);
    hot_end(&s);
    check_sums(&s);
    assert_true(interpreted(&s) - before < 16);
    assert_int_equal(hot_gpr(&s, R11) & ~UINT64_C(0xff), 0);

    set_msrs(&s, OTHER, true); /* hot code leads elsewhere now */
    begin(&s);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R8), 0);
    assert_int_equal(hot_gpr(&s, R15), 0);
    smp_destroy(&s);
}

static void refused(void **state)
{
    struct hot_trap t;
    struct smp s;

    calls_start(&s);
    set_msrs(&s, KERNEL, false);
    begin(&s);
    hot_set_gpr(&s, RCX, 77);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_UD);
    assert_int_equal(t.frame.rip, HOT_LABEL(USER, calls, h_behind) - 2);
    assert_int_equal(t.frame.cs, HOT_CS_USER);
    assert_int_equal(t.frame.rflags & STATUS, ROUNDS & STATUS);
    assert_int_equal(hot_gpr(&s, RCX), 77);
    set_msrs(&s, KERNEL, true);
    hot_end(&s);
    check_sums(&s);
    smp_destroy(&s);
}

/* ---- INVLPG -------------------------------------------------------------------------------- */

/* Flags live across it. */
GUEST(invalidates, 64,
      "1: movq %rdi, (%r11)\nxchgq %rdi, %rsi\nbtl $0, %r15d\ninvlpg (%rbx)\n"
      "adcl (%rbx), %eax\ndecl %r15d\njnz 1b\nint3")

static void invalidations(void **state)
{
    const uint32_t data = HOT_CODE + 0x20000;
    uint64_t before;
    struct smp s;

    hot_create(&s, 1);
    smp_entry(&s, HOT_ALIAS, data | 7);
    le64_put(s.ram + data, 1);
    le64_put(s.ram + data + 0x1000, 1000);
    SMP_CODE(&s, HOT_CODE, invalidates);
    for (unsigned n = 0; n < 2; n++) {
        hot_at(&s, HOT_KERNEL, HOT_CODE);
        hot_set_gpr(&s, RAX, 0);
        hot_set_gpr(&s, RBX, HOT_ALIAS);
        hot_set_gpr(&s, RDI, data | 7);
        hot_set_gpr(&s, RSI, (data + 0x1000) | 7);
        hot_set_gpr(&s, R11, SMP_ENTRY(HOT_ALIAS));
        hot_set_gpr(&s, R15, ROUNDS);
        before = interpreted(&s);
        assert_int_equal(hot_end(&s), ROUNDS / 2 * 1002);
    }
    assert_true(interpreted(&s) - before < 8);
    smp_destroy(&s);
}

/* ---- targets that are not known -------------------------------------------------------------- */

GUEST(jumps, 64,
      "1: movq %cr3, %rax\nmovq %rax, %cr3\n"
      "movq %rdi, %rbx\nmovl $64, %ecx\n"
      "2: call *%rbx\naddq $64, %rbx\ndecl %ecx\njnz 2b\n"
      "decl %r15d\njnz 1b\nint3")
GUEST(counts, 64, ".rept 64\nincq %r8\nret\n.fill 60, 1, 0x90\n.endr")
GUEST(jumps_badly, 64, "call *%rbx\nint3")

static void targets(void **state)
{
    struct hot_trap t;
    uint64_t before;
    struct smp s;

    hot_create(&s, 1);
    SMP_CODE(&s, HOT_CODE, jumps);
    SMP_CODE(&s, USER, counts);
    for (unsigned n = 0; n < 2; n++) {
        hot_at(&s, HOT_KERNEL, HOT_CODE);
        hot_set_gpr(&s, RDI, USER);
        hot_set_gpr(&s, R8, 0);
        hot_set_gpr(&s, R15, 1000);
        before = interpreted(&s);
        hot_end(&s);
        assert_int_equal(hot_gpr(&s, R8), 64 * 1000);
    }
    assert_true(interpreted(&s) - before < 1100); /* the load of CR3 is the interpreter's */

    SMP_CODE(&s, HOT_CODE, jumps_badly);
    for (unsigned n = 0; n < HOT; n++) {
        hot_at(&s, HOT_KERNEL, HOT_CODE);
        hot_set_gpr(&s, RBX, USER);
        hot_end(&s);
    }
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, RBX, UINT64_C(1) << 47);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_GP);
    assert_int_equal(t.frame.rip, HOT_CODE);
    assert_int_equal(t.frame.rsp, SMP_DATA);
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {TEST(system_calls), TEST(refused), TEST(invalidations),
                                       TEST(targets)};

    return cmocka_run_group_tests_name("soft, calls", tests, NULL, NULL);
}
