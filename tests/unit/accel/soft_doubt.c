/*
 * Code that is changed from outside, without a word about where: only that all of memory may have
 * been written (guest_mem_written), before the vCPU runs again. Whatever the engine keeps must be
 * the new code then, and must be kept where nothing changed.
 */
#include "hot.h"

#include "base/bits.h"
#include "x86/regs.h"

#include <string.h>

#define TWO      HOT_ALIAS             /* linear: two pages, which are not neighbours in memory */
#define FUNCTION (HOT_ALIAS + 0x8000u) /* linear: another one */
#define FIRST    0x30000u
#define SECOND   0x32000u
#define CALLED   0x40000u
#define SLOT     SMP_RAM /* gpa of CALLED's page, too */

/*
 * The loop of each form: from an exit to the next one, (RBP) iterations. What an engine may look at
 * together is apart: a block before the loop, and other ones of it. SOME executes 2: when there are
 * at least LATER iterations.
 */
#define LATER 5
#define MORE  "incl %r8d\n"
#define TWELVE                                                                                     \
    MORE MORE MORE MORE MORE MORE MORE MORE MORE MORE MORE MORE /* translations look at 10 */
#define APART ".skip 192\n"
#define SOME  "cmpl $5, (%rbp)\njae 2f\njmp 3f\n"
#define FORM(name, entry, loop)                                                                    \
    GUEST(name, 64,                                                                                \
          "9: outb %al, $0x80\nxorl %eax, %eax\nmovl (%rbp), %ecx\n" entry "\njmp 1f\n" APART      \
          "1: " loop "\ndecl %ecx\njnz 1b\njmp 9b\n4: .skip 16\n")
#define AT(name)                                                                                   \
    ".global at_" #name "\n"                                                                       \
    "at_" #name ": "

FORM(first, AT(first) "movl $3, %edx", "addl %edx, %eax")
FORM(middle, "", "incl %r8d\n" AT(middle) "addl $3, %eax\nmovl %eax, %edx")
FORM(linked, "",
     TWELVE "jmp 2f\n" APART "2: " TWELVE "jmp 3f\n" APART "3:" AT(linked) "addl $3, %eax")
FORM(branch, "",
     TWELVE "testl %eax, %eax\njns 2f\nud2\n" APART "2: " TWELVE
            "testl %eax, %eax\njns 3f\nud2\n" APART "3: " AT(branch) "addl $3, %eax")
FORM(far, "", "incl %r8d\njmp 2f\n.skip 64\n2: " AT(far) "addl $3, %eax")
FORM(crossing, "", "incl %r8d\n" AT(crossing) ".byte 0x81, 0xc0, 3, 0, 0, 0")
FORM(called, "", "call *%rbx")
FORM(returned, "", "call *%rbx\n" AT(returned) "addl $3, %eax")
FORM(two, "", AT(two) "addl $3, %eax\njmp 2f\n2: addl $3, %eax")
FORM(later, "", SOME "2: " AT(later) "addl $3, %eax\njmp 3f\n3: nop")
FORM(later_apart, "", SOME APART "2: " AT(later_apart) "addl $3, %eax\njmp 3f\n" APART "3: nop")
FORM(later_crossing, "",
     SOME "2: " AT(later_crossing) ".byte 0x81, 0xc0, 3, 0, 0, 0\njmp 3f\n3: nop")
/* A store beside the code, which the engine must notice, and not mistake for one into it. */
FORM(beside, "", AT(beside) "addl $3, %eax\nincl 4f + 2(%rip)\nmovl %eax, %edx")
/* TEST makes the flags anew: those of CMP need not outlive the store. If it is changed, they do. */
FORM(flags, "",
     "cmpl $-1, %ecx\nmovl %r8d, 8(%rbp)\njmp 2f\n" APART
     "2: " AT(flags) "testl %ebp, %ebp\nsetc %dl\nmovzbl %dl, %edx\naddl %edx, %eax")
/* Where that is executed behind the loop only. */
FORM(flags_ahead, "",
     "cmpl $-1, %ecx\ndecl %ecx\nmovl %r8d, 8(%rbp)\njz 2f\njmp 1b\n.skip 1200\n2: " AT(
         flags_ahead) "testl %ebp, %ebp\nsetc %dl\nmovzbl %dl, %eax\nimull (%rbp), %eax\njmp 9b")
GUEST(function, 64, AT(function) "addl $3, %eax\nret")
GUEST(nothing, 64, "ret")

extern const uint8_t at_first[], at_middle[], at_linked[], at_branch[], at_far[], at_crossing[],
    at_returned[], at_two[], at_later[], at_later_apart[], at_later_crossing[], at_beside[],
    at_flags[], at_flags_ahead[], at_function[];

struct form {
    const char *name;
    const uint8_t *code, *end, *at; /* `at` NULL: the function changes */
    const uint8_t *function, *function_end;
    bool crosses, later; /* the instruction does, before what changes; it is SOME's */
    unsigned offset, len;
    uint8_t bytes[3][6];
    uint64_t gives[3]; /* an iteration, with each of them */
};

#define OF(name)       #name, g_##name, g_##name##_end
#define CHANGING(name) OF(name), at_##name, g_nothing, g_nothing_end
#define CONSTANT                                                                                   \
    1, {{3}, {5}, {0x70}},                                                                         \
    {                                                                                              \
        3, 5, 0x70                                                                                 \
    }
#define TWICE                                                                                      \
    {3, 0xeb, 0, 0x83, 0xc0, 3}, {5, 0xeb, 0, 0x83, 0xc0, 5},                                      \
    {                                                                                              \
        7, 0xeb, 0, 0x83, 0xc0, 4                                                                  \
    }
#define FLAGS                                                                                      \
    2, {{0x85, 0xed}, {0x66, 0x90}, {0x39, 0xe4}},                                                 \
    {                                                                                              \
        0, 1, 0                                                                                    \
    } /* TEST; NOP; CMP */

static const struct form forms[] = {
    {CHANGING(first), false, false, 1, CONSTANT},
    {CHANGING(middle), false, false, 2, CONSTANT},
    {CHANGING(linked), false, false, 2, CONSTANT},
    {CHANGING(branch), false, false, 2, CONSTANT},
    {CHANGING(far), false, false, 2, CONSTANT},
    {CHANGING(crossing), true, false, 2, CONSTANT},
    {OF(called), NULL, g_function, g_function_end, false, false, 2, CONSTANT},
    {CHANGING(returned), false, false, 2, CONSTANT},
    {CHANGING(two), false, false, 2, 6, {TWICE}, {6, 10, 11}},
    {CHANGING(later), false, true, 2, CONSTANT},
    {CHANGING(later_apart), false, true, 2, CONSTANT},
    {CHANGING(later_crossing), true, true, 2, CONSTANT},
    {CHANGING(beside), false, false, 2, CONSTANT},
    {CHANGING(flags), false, false, 0, FLAGS},
    {CHANGING(flags_ahead), false, false, 0, FLAGS},
};

/* Where the code is. */
enum place {
    IN_A_PAGE,   /* all of it */
    IN_TWO,      /* what changes is in the second, and what is before it in the first */
    IN_ITS_SLOT, /* as the first, but the function is executed at its other gpa */
    PLACES
};

struct doubted {
    struct smp s;
    const struct form *form;
    uint8_t *changing; /* in the guest's memory */
    unsigned now;      /* which of form.bytes it is */
};

static void doubt(struct smp *s)
{
    guest_mem_written(&s->m->mem, GPA(0), UINT64_MAX);
}

static void change(struct doubted *d, unsigned to)
{
    memcpy(d->changing, d->form->bytes[to], d->form->len);
    d->now = to;
}

static int takes_all(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    return 0;
}

/* To the next exit. */
static uint64_t run_on(struct smp *s, unsigned cpu)
{
    static const struct accel_bus_ops bus = {.io = takes_all};
    struct vcpu_exit exit;

    must(vcpu_run(s->v[cpu], &exit), "vcpu_run");
    assert_int_equal(exit.reason, VCPU_EXIT_IO);
    must(vcpu_assist(s->v[cpu], &bus), "vcpu_assist");
    must(vcpu_get(s->v[cpu], X86_GPRS), "vcpu_get");
    return s->v[cpu]->state->gpr[RAX];
}

static void set_count(struct doubted *d, uint64_t count)
{
    must(guest_mem_write(&d->s.m->mem, GPA(SMP_DATA), &count, sizeof(count)), "guest_mem_write");
}

static void check(struct doubted *d, const char *when, unsigned count)
{
    uint64_t got, want = d->form->later && count < LATER ? 0 : count * d->form->gives[d->now];

    set_count(d, count);
    got = run_on(&d->s, 0);
    if (got != want)
        fail_msg("%s, %s, %u iterations: %#lx, not %#lx", d->form->name, when, count,
                 (unsigned long)got, (unsigned long)want);
}

static void begin(struct doubted *d, const struct form *form, enum place place, enum hot_mode mode,
                  enum accel_engine engine)
{
    const struct machine_config config = {.vcpus = 1, .engine = engine};
    const uint32_t at = form->at ? (uint32_t)(form->at - form->code) : 0;
    uint32_t offset = place == IN_TWO ? 0x1000 - at - (form->crosses ? form->offset : 0) : 0x100;
    struct smp *s = &d->s;

    hot_create_as(s, &config);
    for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
        smp_entry(s, page, page | 7);
    if (place == IN_ITS_SLOT)
        must(machine_map(s->m, GPA(SLOT), 0x1000, s->ram + CALLED, MEM_RWX), "machine_map");
    smp_entry(s, TWO, FIRST | 7);
    smp_entry(s, TWO + 0x1000, SECOND | 7);
    smp_entry(s, FUNCTION, (place == IN_ITS_SLOT ? SLOT : CALLED) | 7);
    if (place == IN_TWO) {
        const uint8_t *split = form->code + (0x1000 - offset);

        smp_code(s, FIRST + offset, form->code, split);
        smp_code(s, SECOND, split, form->end);
        d->changing = s->ram + SECOND + (form->crosses ? 0 : form->offset);
    } else {
        smp_code(s, FIRST + offset, form->code, form->end);
        d->changing = s->ram + FIRST + offset + at + form->offset;
    }
    smp_code(s, CALLED, form->function, form->function_end);
    if (!form->at)
        d->changing = s->ram + CALLED + form->offset;
    hot_at(s, mode, TWO + offset);
    hot_set_gpr(s, RBP, SMP_DATA);
    hot_set_gpr(s, RBX, FUNCTION);
    must(vcpu_get(s->v[0], X86_GPRS), "vcpu_get");
    s->v[0]->state->rflags |= FLAG_IOPL;
    must(vcpu_set(s->v[0], X86_GPRS), "vcpu_set");
    d->form = form;
    d->now = 0;
    run_on(s, 0);
}

/* Nothing changes: nothing is dropped. */
static void stays(struct doubted *d)
{
    uint64_t decoded;

    check(d, "trusted", HOT);
    check(d, "trusted", 1);
    for (unsigned n = 0; n < 3; n++) {
        doubt(&d->s);
        check(d, "unchanged", HOT);
    }
    decoded = smp_stat(&d->s, 0, "blocks decoded");
    for (unsigned n = 0; n < 3; n++) {
        doubt(&d->s);
        check(d, "unchanged", n ? HOT : 1);
    }
    assert_int_equal(smp_stat(&d->s, 0, "blocks decoded"), decoded);
    assert_true(smp_stat(&d->s, 0, "flushes of all blocks") <= 1);
    assert_true(smp_stat(&d->s, 0, "blocks dropped by writes to code") <= 1);
}

static void changes(struct doubted *d)
{
    static const unsigned order[] = {1, 0, 2, 0, 1, 2, 1, 0}, counts[] = {HOT, 1, 20, HOT};

    for (unsigned n = 0; n < ARRAY_SIZE(order); n++) {
        change(d, order[n]);
        doubt(&d->s);
        check(d, "changed", counts[n % ARRAY_SIZE(counts)]);
        if (n % 3 == 0)
            check(d, "changed, and on", HOT);
        if (n % 3 == 1)
            doubt(&d->s);
    }
}

/*
 * Before anybody is told it may be the old code or the new, or some of both; not afterwards. The
 * witness of --engine-check would take the one for the other.
 */
static void changes_back(struct doubted *d)
{
    for (unsigned n = 0; n < 12; n++) {
        unsigned from = n % 3, to = (from + 1 + n / 3 % 2) % 3;

        change(d, 3 - from - to);
        doubt(&d->s);
        check(d, "another", 1);
        change(d, from);
        doubt(&d->s);
        if (n < 6)
            check(d, "seen", 1);
        change(d, to);
        set_count(d, n % 2 ? 20 : HOT);
        run_on(&d->s, 0);
        change(d, from);
        doubt(&d->s);
        check(d, "changed back", HOT);
        check(d, "changed back, and on", 1);
    }
}

/* The host tells of the bytes, while it is doubted that there is no more: neither is to hide the
 * other. */
static void is_told_and_doubted(struct doubted *d)
{
    const gpa_t gpa = GPA((uint64_t)(d->changing - d->s.ram));

    doubt(&d->s);
    for (unsigned n = 0; n < 6; n++) {
        check(d, "before it is told", 1);
        change(d, (n + 1) % 3);
        guest_mem_written(&d->s.m->mem, gpa, d->form->len);
        check(d, "told", n % 2 ? LATER : HOT);
        doubt(&d->s);
        check(d, "told and doubted", HOT);
        guest_mem_written(&d->s.m->mem, gpa, d->form->len);
        change(d, n % 3);
        doubt(&d->s);
        check(d, "told of nothing", HOT);
    }
}

static void each_form(void (*happens)(struct doubted *), enum accel_engine engine)
{
    for (unsigned n = 0; n < ARRAY_SIZE(forms); n++) {
        for (enum place place = IN_A_PAGE; place < PLACES; place++) {
            if (place != IN_A_PAGE && (place == IN_TWO) != (forms[n].at != NULL))
                continue;
            for (enum hot_mode mode = HOT_KERNEL; mode <= HOT_USER; mode++) {
                struct doubted d;

                begin(&d, &forms[n], place, mode, engine);
                happens(&d);
                smp_destroy(&d.s);
            }
        }
    }
}

#define EACH(name, engine)                                                                         \
    static void name##_##engine(void **state)                                                      \
    {                                                                                              \
        each_form(name, ACCEL_ENGINE_##engine);                                                    \
    }
#define ENGINES(X, name) X(name, TRANSLATE) X(name, INTERPRET) X(name, CHECK)
ENGINES(EACH, stays)
ENGINES(EACH, changes)
EACH(changes_back, TRANSLATE)
EACH(changes_back, INTERPRET)
ENGINES(EACH, is_told_and_doubted)

/* ---- a page that follows itself -------------------------------------------------------------- */

GUEST(around, 64, ".byte 0xe9, 0x1b, 0, 0, 0") /* in two pages: to 20h of the second */
GUEST(lands, 64, "movl $3, %eax\noutb %al, $0x80\nud2")
#define AROUND 0xffeu
#define LANDS  0x1eu /* where the jump leads to, from the second page on */

/*
 * An instruction in two pages is all that is cached from this page, when a new block there finds
 * that it has changed. The page must be watched as before.
 */
static void in_its_own_next_page(void **state)
{
    struct smp s;

    hot_create(&s, 1);
    smp_page(&s, TWO, FIRST);
    smp_page(&s, TWO + 0x1000, FIRST);
    SMP_CODE(&s, HOT_CODE, lands);
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    assert_int_equal(run_on(&s, 0), 3);
    doubt(&s);
    for (unsigned n = 0; n < 4; n++) {
        smp_code(&s, FIRST + AROUND, g_around, g_around + 2);
        smp_code(&s, FIRST, g_around + 2, g_around_end);
        s.ram[FIRST + LANDS] = 0x0f; /* no instruction, and not cached */
        s.ram[FIRST + LANDS + 1] = 0x0b;
        hot_at(&s, HOT_KERNEL, TWO + AROUND);
        assert_int_equal(hot_run(&s).vector, EXC_UD);
        s.ram[FIRST] = 0x1c;
        memcpy(s.ram + FIRST + LANDS, g_lands, (size_t)(g_lands_end - g_lands));
        doubt(&s);
        for (uint8_t value = 3; value < 6; value++) {
            must(guest_mem_write(&s.m->mem, GPA(FIRST + LANDS + 1), &value, 1), "value");
            hot_at(&s, HOT_KERNEL, TWO + LANDS);
            assert_int_equal(run_on(&s, 0), value);
        }
    }
    smp_destroy(&s);
}

/* ---- several vCPUs ------------------------------------------------------------------------- */

GUEST(calls, 64,
      "1: xorl %eax, %eax\ncall *%rdi\nmovl %eax, 0x40(%rbp)\nincq 0x80(%rbp)\n"
      "cmpl $0, 0(%rbp)\nje 1b\nhlt")

static void wait_for_calls(struct smp *s, uint64_t more)
{
    uint64_t until = smp_read(s, SMP_DATA + 0x80) + more;

    while (smp_read(s, SMP_DATA + 0x80) < until)
        __builtin_ia32_pause();
}

/* One that runs looks up, too; as with a device that says where it wrote. */
static void while_one_runs(void **state)
{
    struct smp s;

    hot_create(&s, 2);
    SMP_CODE(&s, HOT_CODE, calls);
    SMP_CODE(&s, CALLED, function);
    smp_start(&s, 1, HOT_CODE, CALLED);
    for (uint8_t n = 1; n <= 50; n++) {
        wait_for_calls(&s, HOT);
        s.ram[CALLED + 2] = n;
        doubt(&s);
        wait_for_calls(&s, 100); /* stores of some calls wait in the host's store buffer */
        assert_int_equal((uint32_t)smp_read(&s, SMP_DATA + 0x40), n);
    }
    smp_write(&s, SMP_DATA, 1);
    smp_join(&s, 1);
    assert_true(smp_stat(&s, 1, "flushes of all blocks") <= 1);
    smp_destroy(&s);
}

/* What one vCPU has looked at since is no news for another. */
static void one_after_the_other(void **state)
{
    struct smp s;

    hot_create(&s, 2);
    SMP_CODE(&s, HOT_CODE, calls);
    SMP_CODE(&s, CALLED, function);
    smp_write(&s, SMP_DATA, 1);
    for (unsigned n = 1; n <= 200; n++) {
        s.ram[CALLED + 2] = (uint8_t)(n / 2 % 100);
        doubt(&s);
        for (unsigned cpu = 0; cpu < 2; cpu++) {
            smp_start(&s, cpu, HOT_CODE, CALLED);
            assert_int_equal(smp_join(&s, cpu), n / 2 % 100);
        }
    }
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name)              cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
#define TEST_WITH(name, engine) TEST(name##_##engine),
    const struct CMUnitTest tests[] = {
        ENGINES(TEST_WITH, stays) ENGINES(TEST_WITH, changes) TEST(changes_back_TRANSLATE),
        TEST(changes_back_INTERPRET),
        ENGINES(TEST_WITH, is_told_and_doubted) TEST(in_its_own_next_page),
        TEST(while_one_runs),
        TEST(one_after_the_other),
    };

    return cmocka_run_group_tests_name("soft, code in doubt", tests, NULL, NULL);
}
