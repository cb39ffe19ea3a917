/*
 * Kicks, interrupts and NMIs into hot loops: they come soon, whatever the loop consists of,
 * and never in the shadow of STI or MOV SS.
 */
#include "hot.h"

#include "base/bits.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#define VECTOR 0x40

static void set_if(struct smp *s)
{
    must(vcpu_get(s->v[0], X86_GPRS), "vcpu_get");
    s->v[0]->state->rflags |= FLAG_IF;
    must(vcpu_set(s->v[0], X86_GPRS), "vcpu_set");
}

static void inject(struct smp *s, uint32_t kind, uint8_t vector)
{
    const struct mote_event event = {.kind = kind, .vector = vector};

    must(vcpu_inject(s->v[0], &event), "vcpu_inject");
}

static enum vcpu_exit_reason run(struct smp *s, struct vcpu_exit *exit)
{
    must(vcpu_run(s->v[0], exit), "vcpu_run");
    return exit->reason;
}

/* ---- kicks out of every kind of loop -------------------------------------------------------- */

#define LOOPS(X)                                                                                   \
    X(jump_to_itself, "1: jmp 1b")                                                                 \
    X(branch_to_itself, "xorl %eax, %eax\n1: jz 1b")                                               \
    X(counts, "1: incq %rax\njmp 1b")                                                              \
    X(branches, "1: decq %rax\njnz 1b\njmp 1b")                                                    \
    X(loops, "1: loop 1b\njmp 1b")                                                                 \
    X(jrcxz, "xorl %ecx, %ecx\n1: jrcxz 1b")                                                       \
    X(two_blocks, "1: jmp 2f\nhlt\n2: jmp 1b")                                                     \
    X(straight, "1: .rept 300\nincl %eax\n.endr\njmp 1b")                                          \
    X(indirect_jump, "leaq 1f(%rip), %rbx\n1: jmp *%rbx")                                          \
    X(indirect_jumps, "leaq 1f(%rip), %rbx\nleaq 2f(%rip), %rcx\n1: jmp *%rcx\nhlt\n2: jmp *%rbx") \
    X(jump_by_memory, "leaq 1f(%rip), %rax\nmovq %rax, (%rbp)\n1: jmp *(%rbp)")                    \
    X(call_and_return, "1: call 2f\njmp 1b\n2: ret")                                               \
    X(indirect_calls, "leaq 2f(%rip), %rbx\n1: call *%rbx\njmp 1b\n2: ret")                        \
    X(calls_only, "1: movq %rbp, %rsp\ncall 1b")                                                   \
    X(push_and_return, "leaq 1f(%rip), %rbx\n1: pushq %rbx\nret")                                  \
    X(many_returns, "leaq 1f(%rip), %rbx\nleaq 2f(%rip), %rcx\n"                                   \
                    "1: pushq %rbx\n.rept 19\npushq %rcx\n.endr\n2: ret")                          \
    X(returns_in_turn, "leaq 1f(%rip), %rbx\nleaq 2f(%rip), %rcx\n1: pushq %rcx\nret\n"            \
                       "hlt\n2: pushq %rbx\nret")                                                  \
    X(memory, "1: incl (%rbp)\njmp 1b")                                                            \
    X(locked, "1: lock incl (%rbp)\njmp 1b")                                                       \
    X(pauses, "1: pause\njmp 1b")                                                                  \
    X(waits, "1: cmpl $1, (%rbp)\njne 1b")                                                         \
    X(strings, "1: movl $0x20000, %ecx\nmovl $0x90000, %edi\nxorl %eax, %eax\nrep stosb\njmp 1b")  \
    X(cpuid, "1: xorl %eax, %eax\ncpuid\njmp 1b")                                                  \
    X(serialising, "1: movq %cr3, %rax\nmovq %rax, %cr3\njmp 1b")                                  \
    X(iret, "1: movl %ss, %eax\npushq %rax\npushq %rbp\npushfq\nmovl %cs, %eax\npushq %rax\n"      \
            "leaq 1b(%rip), %rax\npushq %rax\niretq")                                              \
    X(far_return, "1: movl %cs, %eax\npushq %rax\nleaq 1b(%rip), %rax\npushq %rax\nlretq")         \
    X(faults, "1: ud2\njmp 1b")                                                                    \
    X(writes_itself, "1: incl 2f+1(%rip)\n2: movl $0, %eax\njmp 1b")                               \
    X(vectors, "1: paddd %xmm1, %xmm0\njmp 1b")                                                    \
    X(x87, "1: fld1\nfstp %st(0)\njmp 1b")
#define X(name, text) GUEST(loop_##name, 64, text)
LOOPS(X)
#undef X
GUEST(irets, 64, "iretq")

#define HANDLER (HOT_CODE + 0x3000)

static const struct loop {
    const char *name;
    const uint8_t *code, *end;
} loops[] = {
#define X(name, text) {#name, g_loop_##name, g_loop_##name##_end},
    LOOPS(X)
#undef X
};

static void start(struct smp *s, const struct loop *l)
{
    hot_create(s, 1);
    smp_code(s, HOT_CODE, l->code, l->end);
    SMP_CODE(s, HANDLER, irets);
    hot_gate(s, EXC_UD, HANDLER); /* back to what raised it */
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, RBP, SMP_DATA);
    set_if(s);
}

static void *kick(void *v)
{
    usleep(3000); /* the loop is hot by then, on most hosts */
    vcpu_kick(v);
    return NULL;
}

/* Run the hot loop until the kick, which comes soon. A loop that is not left never ends. */
static void run_until_kicked(struct smp *s, const struct loop *l)
{
    struct vcpu_exit exit;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, kick, s->v[0]), 0);
    run(s, &exit);
    pthread_join(thread, NULL);
    if (exit.reason != VCPU_EXIT_NONE)
        fail_msg("%s: exit %s", l->name, vcpu_exit_name(exit.reason));
    must(vcpu_get(s->v[0], X86_GPRS), "vcpu_get");
    if (s->v[0]->state->rip < HOT_CODE) /* it had not even left the last interrupt's stub */
        run_until_kicked(s, l);
}

/* Is this in the loop, or in the handler of its faults? */
static void within(const struct loop *l, uint64_t rip)
{
    if (rip != HANDLER && (rip < HOT_CODE || rip >= HOT_CODE + (uint64_t)(l->end - l->code)))
        fail_msg("%s: interrupted at %#lx", l->name, (unsigned long)rip);
}

/* The kick; a window, an interrupt in it, and an NMI; and on it goes each time. */
static void every_loop_is_left(void **state)
{
    for (unsigned n = 0; n < ARRAY_SIZE(loops); n++) {
        const struct loop *l = &loops[n];
        struct vcpu_exit exit;
        struct hot_trap t;
        struct smp s;

        start(&s, l);
        for (unsigned round = 0; round < 3; round++) {
            run_until_kicked(&s, l);
            vcpu_request_window(s.v[0], true, false);
            if (run(&s, &exit) != VCPU_EXIT_INTR_WINDOW)
                fail_msg("%s: exit %s", l->name, vcpu_exit_name(exit.reason));
            assert_true(exit.intr_ready);
            inject(&s, X86_EVENT_INTR, VECTOR);
            t = hot_run(&s);
            assert_int_equal(t.vector, VECTOR);
            assert_true(t.frame.rflags & FLAG_IF || t.frame.rip == HANDLER);
            within(l, t.frame.rip);
            run_until_kicked(&s, l);
            vcpu_request_window(s.v[0], false, true);
            if (run(&s, &exit) != VCPU_EXIT_NMI_WINDOW)
                fail_msg("%s: exit %s", l->name, vcpu_exit_name(exit.reason));
            inject(&s, X86_EVENT_NMI, EXC_NMI);
            t = hot_run(&s);
            assert_int_equal(t.vector, EXC_NMI);
            within(l, t.frame.rip);
        }
        smp_destroy(&s);
    }
}

/* ---- shadows
 * ------------------------------------------------------------------------------------- */

#define SHADOWS(X)                                                                                 \
    X(sti_nop, "1: sti\nnop\ncli\njmp 1b", BIT(2))                                                 \
    X(sti_add, "1: cli\nincl %ecx\nsti\naddl %ecx, (%rbp)\njmp 1b", BIT(0) | BIT(7))               \
    X(sti_call, "1: sti\ncall 2f\njmp 1b\nhlt\n2: cli\nret", BIT(9))                               \
    X(sti_jump, "1: sti\njmp 2f\nhlt\nhlt\n2: cli\njmp 1b", BIT(5))                                \
    X(sti_sti, "sti\n1: sti\nnop\njmp 1b", BIT(1) | BIT(2) | BIT(3))                               \
    X(mov_ss, "sti\nmovl %ss, %eax\n1: movl %eax, %ss\nincl %ecx\njmp 1b", BIT(3) | BIT(7))        \
    X(mov_ss_jump, "sti\nmovl %ss, %eax\n1: movl %eax, %ss\njmp 1b", BIT(3))                       \
    X(popf, "1: cli\npushq %r8\nincl %ecx\npopfq\njmp 1b", BIT(0) | BIT(6))
#define X(name, text, open) GUEST(shadow_##name, 64, text)
SHADOWS(X)
#undef X

static const struct shadow {
    const char *name;
    const uint8_t *code, *end;
    uint64_t open; /* offsets at which interrupts are accepted */
} shadows[] = {
#define X(name, text, open) {#name, g_shadow_##name, g_shadow_##name##_end, open},
    SHADOWS(X)
#undef X
};

static void start_shadow(struct smp *s, const uint8_t *code, const uint8_t *end)
{
    hot_create(s, 1);
    smp_code(s, HOT_CODE, code, end);
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, RBP, SMP_DATA);
    hot_set_gpr(s, R8, FLAG_R1 | FLAG_IF);
}

static void check_open(const struct shadow *w, uint64_t rip)
{
    if (rip - HOT_CODE >= 64 || !(w->open & BIT(rip - HOT_CODE)))
        fail_msg("%s: interrupted at +%#lx", w->name, (unsigned long)(rip - HOT_CODE));
}

struct pulse {
    struct vcpu *v;
    atomic_bool stop;
};

static void *kick_all_the_time(void *arg)
{
    struct pulse *p = arg;

    while (!atomic_load(&p->stop)) {
        usleep(100);
        vcpu_kick(p->v);
    }
    return NULL;
}

/* As a board does it: a kick, the interrupt at once or in its window. */
static void interrupts_respect_shadows(void **state)
{
    for (unsigned n = 0; n < ARRAY_SIZE(shadows); n++) {
        const struct shadow *w = &shadows[n];
        struct vcpu_exit exit;
        struct pulse p = {0};
        pthread_t thread;
        struct smp s;

        start_shadow(&s, w->code, w->end);
        p.v = s.v[0];
        assert_int_equal(pthread_create(&thread, NULL, kick_all_the_time, &p), 0);
        for (unsigned round = 0; round < 300; round++) {
            struct hot_trap t;

            assert_int_equal(run(&s, &exit), VCPU_EXIT_NONE);
            if (!exit.intr_ready) {
                vcpu_request_window(s.v[0], true, false);
                while (run(&s, &exit) == VCPU_EXIT_NONE)
                    ;
                assert_int_equal(exit.reason, VCPU_EXIT_INTR_WINDOW);
                vcpu_request_window(s.v[0], false, false);
            }
            must(vcpu_get(s.v[0], X86_GPRS | X86_INTR), "vcpu_get");
            assert_int_equal(s.v[0]->state->intr.shadow, 0);
            check_open(w, s.v[0]->state->rip);
            inject(&s, X86_EVENT_INTR, VECTOR);
            t = hot_run(&s);
            assert_int_equal(t.vector, VECTOR);
            check_open(w, t.frame.rip);
        }
        atomic_store(&p.stop, true);
        pthread_join(thread, NULL);
        smp_destroy(&s);
    }
}

GUEST(never, 64, "1: sti\ncli\nincq %rax\njmp 1b")

/* STI; CLI accepts nothing. */
static void window_that_never_opens(void **state)
{
    const struct loop l = {"sti; cli", g_never, g_never_end};
    struct smp s;

    start_shadow(&s, g_never, g_never_end);
    vcpu_request_window(s.v[0], true, false);
    for (unsigned round = 0; round < 5 || hot_gpr(&s, RAX) <= HOT; round++)
        run_until_kicked(&s, &l);
    smp_destroy(&s);
}

GUEST(sleeps, 64, "1: sti\nhlt\ncli\nincq (%rbp)\njmp 1b")

/* The interrupt that waits for STI ends the HLT behind it; it does not come before. */
static void sti_hlt(void **state)
{
    struct vcpu_exit exit;
    struct hot_trap t;
    struct smp s;

    start_shadow(&s, g_sleeps, g_sleeps_end);
    for (unsigned round = 0; round < HOT; round++) {
        vcpu_request_window(s.v[0], true, false);
        assert_int_equal(run(&s, &exit), VCPU_EXIT_HALT);
        assert_true(exit.intr_ready);
        assert_int_equal(hot_gpr(&s, RBP), SMP_DATA);
        assert_int_equal(s.v[0]->state->rip, HOT_CODE + 2);
        inject(&s, X86_EVENT_INTR, VECTOR);
        t = hot_run(&s);
        assert_int_equal(t.vector, VECTOR);
        assert_int_equal(t.frame.rip, HOT_CODE + 2);
        assert_true(t.frame.rflags & FLAG_IF);
        t.frame.rflags &= ~(uint64_t)FLAG_IF; /* the next one waits for STI */
        hot_set_frame(&s, &t.frame);
        vcpu_request_window(s.v[0], false, false);
    }
    assert_int_equal(smp_read(&s, SMP_DATA), HOT - 1);
    smp_destroy(&s);
}

/* ---- exits in the midst of all that --------------------------------------------------------- */

GUEST(outs, 64, "1: incl %eax\nnop\noutl %eax, $0x80\nincl %ebx\njmp 1b")

static int count_outs(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    uint32_t *count = user;

    assert_int_equal(port, 0x80);
    assert_true(write && size == 4);
    assert_int_equal(*data, ++*count);
    return 0;
}

struct asked {
    struct vcpu *v;
    atomic_bool kick, stop;
};

static void *kick_when_asked(void *arg)
{
    struct asked *a = arg;

    while (!atomic_load(&a->stop)) {
        if (atomic_exchange(&a->kick, false))
            vcpu_kick(a->v);
        else
            sched_yield();
    }
    return NULL;
}

/* The kick, or an OUT, which is answered. */
static enum vcpu_exit_reason run_outs(struct smp *s, uint32_t *count)
{
    const struct accel_bus_ops bus = {.io = count_outs, .user = count};
    struct vcpu_exit exit;

    if (run(s, &exit) == VCPU_EXIT_NONE)
        return exit.reason;
    assert_int_equal(exit.reason, VCPU_EXIT_IO);
    must(vcpu_get(s->v[0], X86_GPRS), "vcpu_get");
    assert_int_equal(s->v[0]->state->rip, HOT_CODE + 3);
    assert_int_equal(s->v[0]->state->gpr[RBX], *count);
    must(vcpu_assist(s->v[0], &bus), "vcpu_assist");
    return exit.reason;
}

/* Each kick is one exit and each OUT is one, at the instruction, though both come at once. */
static void exits_and_kicks(void **state)
{
    const time_t enough = time(NULL) + 20; /* s; a busy host gets through fewer */
    struct asked a = {0};
    uint32_t count = 0;
    pthread_t thread;
    struct smp s;

    start_shadow(&s, g_outs, g_outs_end);
    SMP_CODE(&s, HANDLER, irets);
    hot_gate(&s, EXC_NMI, HANDLER);
    hot_set_gpr(&s, RAX, 0);
    hot_set_gpr(&s, RBX, 0);
    a.v = s.v[0];
    assert_int_equal(pthread_create(&thread, NULL, kick_when_asked, &a), 0);
    for (unsigned round = 0; round < 1000 && (round < 50 || time(NULL) < enough); round++) {
        atomic_store(&a.kick, true);
        while (run_outs(&s, &count) == VCPU_EXIT_IO)
            ;
        inject(&s, X86_EVENT_NMI, EXC_NMI);
        for (unsigned n = 0; n < 10; n++)
            assert_int_equal(run_outs(&s, &count), VCPU_EXIT_IO);
    }
    atomic_store(&a.stop, true);
    pthread_join(thread, NULL);
    smp_destroy(&s);
}

/* ---- a pause for the registers
 * -------------------------------------------------------------------- */

GUEST(invariant, 64,
      "1: movq %rax, %rbx\naddq $1, %rbx\nmovq %rbx, %rax\nmovq %rax, (%rbp)\nmovq (%rbp), %rdx\n"
      "cmpq %rdx, %rbx\njne 9f\njmp 1b\n9: int3")

/* Wherever a kick leaves the loop, registers are those of a point between two instructions. */
static void kicked_between_instructions(void **state)
{
    static const uint8_t at[] = {0, 3, 7, 10, 14, 18, 21, 23};
    struct pulse p = {0};
    uint64_t last = 0;
    pthread_t thread;
    struct smp s;

    start_shadow(&s, g_invariant, g_invariant_end);
    hot_set_gpr(&s, RAX, 0);
    p.v = s.v[0];
    assert_int_equal(pthread_create(&thread, NULL, kick_all_the_time, &p), 0);
    for (unsigned round = 0; round < 500 || last <= HOT; round++) {
        const struct mote_state *st = s.v[0]->state;
        struct vcpu_exit exit;
        unsigned where = 0;

        assert_int_equal(run(&s, &exit), VCPU_EXIT_NONE);
        must(vcpu_get(s.v[0], X86_GPRS), "vcpu_get");
        while (where < ARRAY_SIZE(at) && HOT_CODE + at[where] != st->rip)
            where++;
        if (where == ARRAY_SIZE(at))
            fail_msg("kicked at %#lx", (unsigned long)st->rip);
        assert_true(st->gpr[RAX] >= last);
        last = st->gpr[RAX];
        if (!last)
            continue; /* it has hardly begun */
        assert_int_equal(st->gpr[RBX], last + (where == 2));
        assert_int_equal(smp_read(&s, SMP_DATA), last - (where == 3));
        assert_int_equal(st->gpr[RDX], last - (where == 3 || where == 4));
    }
    atomic_store(&p.stop, true);
    pthread_join(thread, NULL);
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(every_loop_is_left),          TEST(interrupts_respect_shadows),
        TEST(window_that_never_opens),     TEST(sti_hlt),
        TEST(kicked_between_instructions), TEST(exits_and_kicks),
    };

    return cmocka_run_group_tests_name("soft, interrupts of hot loops", tests, NULL, NULL);
}
