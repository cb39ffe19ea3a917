/*
 * Hot code that somebody begins to step or to watch: the guest by its trap flag and its debug
 * registers, a debugger from outside; and goes on at full speed afterwards.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>

#define DR7_OFF DR7_FIXED

static uint64_t dr6(struct smp *s)
{
    must(vcpu_get(s->v[0], X86_DRS), "vcpu_get");
    return s->v[0]->state->dr[6];
}

static void set_dr(struct smp *s, unsigned n, uint64_t value)
{
    must(vcpu_get(s->v[0], X86_DRS), "vcpu_get");
    s->v[0]->state->dr[n] = value;
    must(vcpu_set(s->v[0], X86_DRS), "vcpu_set");
}

/* A #DB at `rip`, for these reasons of DR6, which is cleared then. */
static struct hot_trap expect_db(struct smp *s, uint64_t rip, uint64_t why)
{
    struct hot_trap t = hot_run(s);

    if (t.vector != EXC_DB || t.frame.rip != rip)
        fail_msg("%s at %#lx, expected #DB at %#lx", x86_exception_name(t.vector),
                 (unsigned long)t.frame.rip, (unsigned long)rip);
    assert_int_equal(dr6(s), DR6_FIXED | why);
    set_dr(s, 6, DR6_FIXED);
    return t;
}

/* ---- the trap flag ------------------------------------------------------------------------ */

/* R8 goes to RFLAGS, which is R13 from R15 = R14 on. */
GUEST(popf, 64,
      "1: cmpl %r14d, %r15d\ncmoveq %r13, %r8\npushq %r8\npopfq\n"
      "incl %eax\naddq %rax, 0(%rbp)\ndecl %r15d\njnz 1b\nint3")
static const uint8_t popf_at[] = {0, 3, 7, 9, 10, 12, 16, 19}; /* its instructions */

/* The same; IRETQ's frame is built below RBP. */
GUEST(
    iret, 64,
    "1: cmpl %r14d, %r15d\ncmoveq %r13, %r8\nmovq %r8, -0x40(%rbp)\nleaq -0x50(%rbp), %rsp\niretq\n"
    "incl %eax\naddq %rax, 0(%rbp)\ndecl %r15d\njnz 1b\nint3")
static const uint8_t iret_at[] = {0, 3, 7, 11, 15, 17, 19, 23, 26};

/* `first`: the instruction before which the first trap is. */
static void steps(const uint8_t *code, const uint8_t *end, const uint8_t *at, unsigned count,
                  unsigned first)
{
    const unsigned left = 700, rounds = 3;
    uint64_t sum = 0;
    struct smp s;

    hot_create(&s, 1);
    smp_code(&s, HOT_CODE, code, end);
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    le64_put(s.ram + SMP_DATA - 0x50, HOT_CODE + iret_at[5]);
    le64_put(s.ram + SMP_DATA - 0x48, 8);
    le64_put(s.ram + SMP_DATA - 0x38, SMP_DATA);
    le64_put(s.ram + SMP_DATA - 0x30, 0x10);
    hot_set_gpr(&s, RAX, 0);
    hot_set_gpr(&s, RBP, SMP_DATA);
    hot_set_gpr(&s, R8, FLAG_R1);
    hot_set_gpr(&s, R13, FLAG_R1 | FLAG_TF);
    hot_set_gpr(&s, R14, left);
    hot_set_gpr(&s, R15, HOT);
    for (unsigned n = 0; n < rounds * count; n++) {
        unsigned where = (first + n) % count;
        struct hot_trap t = expect_db(&s, HOT_CODE + at[where], DR6_BS);
        unsigned done = (first + n) / count;

        assert_true(t.frame.rflags & FLAG_TF);
        assert_int_equal(hot_gpr(&s, R15), left - done - (where == count - 1));
        assert_int_equal(hot_gpr(&s, RAX), HOT - left + done + (where >= first));
        if (n == rounds * count - 1) {
            t.frame.rflags &= ~(uint64_t)FLAG_TF;
            hot_set_frame(&s, &t.frame);
        }
    }
    hot_set_gpr(&s, R8, FLAG_R1);
    hot_set_gpr(&s, R14, 0);
    assert_int_equal(hot_end(&s), HOT);
    for (uint64_t n = 1; n <= HOT; n++)
        sum += n;
    assert_int_equal(smp_read(&s, SMP_DATA), sum);
    smp_destroy(&s);
}

static void popf_begins_to_step(void **state)
{
    steps(g_popf, g_popf_end, popf_at, ARRAY_SIZE(popf_at), 5);
}

static void iret_begins_to_step(void **state)
{
    steps(g_iret, g_iret_end, iret_at, ARRAY_SIZE(iret_at), 6);
}

/* ---- debug registers ------------------------------------------------------------------------- */

/* DR7 is R8; it is R13 from R15 = R14 on. */
#define WATCHED "incl %eax\nmovl %eax, 0(%rbp)\nmovl 0(%rbp), %edx\naddl $1, 8(%rbp)\ncall *%rbx\n"
GUEST(sets_dr7, 64,
      "1: cmpl %r14d, %r15d\ncmoveq %r13, %r8\nmovq %r8, %dr7\n"
      ".global sets_dr7_at\nsets_dr7_at: " WATCHED "decl %r15d\njnz 1b\nint3")
GUEST(leaves_dr7, 64,
      "1: nop\n.global leaves_dr7_at\nleaves_dr7_at: " WATCHED "decl %r15d\njnz 1b\nint3")
GUEST(function, 64, "nop\nincl %ecx\nret")
extern const uint8_t sets_dr7_at[], leaves_dr7_at[];

#define FUNCTION (HOT_CODE + 0x1000)

enum { EXEC, WRITE = 1, ACCESS = 3 };

struct watch {
    const char *name;
    unsigned kind, length;
    uint32_t address; /* below HOT_CODE: of WATCHED's instructions, by offset */
    uint32_t rip[2];  /* of the traps in one iteration, ditto; 0: none */
};

/* Offsets in WATCHED: 0 inc, 2 store, 5 load, 8 add, 12 call, 14 behind it. */
#define NONE UINT32_MAX
static const struct watch watches[] = {
    {"first instruction", EXEC, 1, 0, {0, NONE}},
    {"an instruction", EXEC, 1, 5, {5, NONE}},
    {"a called function", EXEC, 1, FUNCTION, {FUNCTION, NONE}},
    {"within a function", EXEC, 1, FUNCTION + 1, {FUNCTION + 1, NONE}},
    {"within an instruction", EXEC, 1, 6, {NONE, NONE}},
    {"a store", WRITE, 4, SMP_DATA, {5, NONE}},
    {"one byte of a store", WRITE, 1, SMP_DATA + 3, {5, NONE}},
    {"a store and a load", ACCESS, 4, SMP_DATA, {5, 8}},
    {"a read and write", WRITE, 4, SMP_DATA + 8, {12, NONE}},
    {"bytes beside a store", ACCESS, 4, SMP_DATA + 4, {NONE, NONE}},
    {"a page of hot data", ACCESS, 8, SMP_DATA + 0xff8, {NONE, NONE}},
    {"what CALL pushes", WRITE, 8, SMP_DATA - 8, {FUNCTION, NONE}},
};

static uint64_t dr7_of(const struct watch *w, unsigned n)
{
    return DR7_FIXED | (uint64_t)2 << (2 * n) |
           (uint64_t)(w->kind | (w->length == 8 ? 2 : w->length - 1) << 2) << (16 + 4 * n);
}

static uint64_t address_in(uint64_t watched, uint32_t offset)
{
    return offset < HOT_CODE ? watched + offset : offset;
}

static void prepare(struct smp *s, const uint8_t *code, const uint8_t *end)
{
    hot_create(s, 1);
    smp_code(s, HOT_CODE, code, end);
    SMP_CODE(s, FUNCTION, function);
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, RAX, 0);
    hot_set_gpr(s, RBX, FUNCTION);
    hot_set_gpr(s, RCX, 0);
    hot_set_gpr(s, RBP, SMP_DATA);
    hot_set_gpr(s, R8, DR7_OFF);
    hot_set_gpr(s, R14, 0);
    hot_set_gpr(s, R15, HOT);
}

static void expect_hits(struct smp *s, const struct watch *w, unsigned n, uint64_t watched,
                        unsigned left)
{
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 2 && w->rip[i] != NONE; i++) {
            struct hot_trap t = expect_db(s, address_in(watched, w->rip[i]), BIT(n));

            assert_false(t.frame.rflags & FLAG_RF); /* it is the handler's to set */
            t.frame.rflags |= w->kind == EXEC ? FLAG_RF : 0;
            hot_set_frame(s, &t.frame);
            assert_int_equal(hot_gpr(s, R15), left - round);
        }
    }
}

/* The guest sets its DR7 in the midst, and clears it after three iterations. */
static void guest_watches(void **state)
{
    const uint64_t watched = HOT_LABEL(HOT_CODE, sets_dr7, sets_dr7_at);

    for (unsigned n = 0; n < ARRAY_SIZE(watches); n++) {
        const struct watch *w = &watches[n];
        struct smp s;

        prepare(&s, g_sets_dr7, g_sets_dr7_end);
        set_dr(&s, n % 4, address_in(watched, w->address));
        hot_set_gpr(&s, R13, dr7_of(w, n % 4));
        hot_set_gpr(&s, R14, 900);
        expect_hits(&s, w, n % 4, watched, 900);
        if (w->rip[0] != NONE) {
            hot_set_gpr(&s, R8, DR7_OFF);
            hot_set_gpr(&s, R14, 0);
        }
        if (hot_end(&s) != HOT)
            fail_msg("%s: %u iterations", w->name, (unsigned)hot_gpr(&s, RAX));
        assert_int_equal(hot_gpr(&s, RCX), HOT);
        assert_int_equal((uint32_t)smp_read(&s, SMP_DATA), HOT);
        assert_int_equal((uint32_t)smp_read(&s, SMP_DATA + 8), HOT);
        smp_destroy(&s);
    }
}

/* They are set and cleared between runs, as by a guest's context switch or a restored state. */
static void set_from_outside(void **state)
{
    const uint64_t watched = HOT_LABEL(HOT_CODE, leaves_dr7, leaves_dr7_at);

    for (unsigned n = 0; n < ARRAY_SIZE(watches); n++) {
        const struct watch *w = &watches[n];
        struct smp s;

        prepare(&s, g_leaves_dr7, g_leaves_dr7_end);
        assert_int_equal(hot_end(&s), HOT);
        for (unsigned round = 1; round <= 2; round++) {
            set_dr(&s, n % 4, address_in(watched, w->address));
            set_dr(&s, 7, dr7_of(w, n % 4));
            hot_at(&s, HOT_KERNEL, HOT_CODE);
            hot_set_gpr(&s, R15, HOT);
            expect_hits(&s, w, n % 4, watched, HOT);
            set_dr(&s, 7, DR7_OFF);
            if (hot_end(&s) != (1 + round) * HOT)
                fail_msg("%s: %u iterations", w->name, (unsigned)hot_gpr(&s, RAX));
        }
        smp_destroy(&s);
    }
}

/* ---- a debugger outside -----------------------------------------------------------------------
 */

static void set_debug(struct smp *s, const struct vcpu_debug *d)
{
    must(vcpu_set_debug(s->v[0], d), "vcpu_set_debug");
}

static void expect_exit(struct smp *s, uint64_t rip, bool stepped, bool int3)
{
    struct fixture f = {.accel = s->v[0]->accel, .m = s->m, .v = s->v[0]};
    struct vcpu_exit exit = fixture_expect(&f, VCPU_EXIT_DEBUG);

    assert_int_equal(exit.debug.rip, rip);
    assert_int_equal(exit.debug.step, stepped);
    assert_int_equal(exit.debug.int3, int3);
}

static const struct vcpu_debug nothing;

/* Run the hot code once more, in which the debugger wants something. */
static void again(struct smp *s, const struct vcpu_debug *d)
{
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, R15, HOT);
    set_debug(s, d);
}

static void debugger_comes_and_goes(void **state)
{
    static const uint8_t at[] = {0, 2, 5, 8, 12};
    const uint64_t watched = HOT_LABEL(HOT_CODE, leaves_dr7, leaves_dr7_at);
    struct vcpu_debug d = {.step = true};
    const uint8_t int3 = 0xcc;
    uint8_t old;
    struct smp s;

    prepare(&s, g_leaves_dr7, g_leaves_dr7_end);
    assert_int_equal(hot_end(&s), HOT);
    again(&s, &d);
    for (unsigned n = 0; n < ARRAY_SIZE(at); n++)
        expect_exit(&s, watched + at[n], true, false);
    expect_exit(&s, FUNCTION, true, false);
    set_debug(&s, &nothing);
    assert_int_equal(hot_end(&s), 2 * HOT);

    d = (struct vcpu_debug){
        .watch = {{FUNCTION + 1, 1, VCPU_WATCH_EXEC}, {SMP_DATA + 8, 4, VCPU_WATCH_WRITE}}};
    again(&s, &d);
    for (unsigned n = 0; n < 3; n++) {
        expect_exit(&s, watched + 12, false, false);
        expect_exit(&s, FUNCTION + 1, false, false);
    }
    set_debug(&s, &nothing);
    assert_int_equal(hot_end(&s), 3 * HOT);

    d = (struct vcpu_debug){.breakpoints = true};
    must(guest_mem_read(&s.m->mem, GPA(watched + 5), &old, 1), "guest_mem_read");
    must(guest_mem_write(&s.m->mem, GPA(watched + 5), &int3, 1), "guest_mem_write");
    again(&s, &d);
    expect_exit(&s, watched + 5, false, true);
    must(guest_mem_write(&s.m->mem, GPA(watched + 5), &old, 1), "guest_mem_write");
    set_debug(&s, &nothing);
    assert_int_equal(hot_end(&s), 4 * HOT);
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(popf_begins_to_step), TEST(iret_begins_to_step),     TEST(guest_watches),
        TEST(set_from_outside),    TEST(debugger_comes_and_goes),
    };

    return cmocka_run_group_tests_name("soft, hot code stepped and watched", tests, NULL, NULL);
}
