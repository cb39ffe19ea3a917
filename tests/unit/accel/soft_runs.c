/*
 * Loops over memory, which the translator runs a page at a time: the same ones on a machine that
 * interprets, with pages that are apart, missing, read-only, code, or elsewhere the next time.
 * What either comes to must be the same: the exception, registers, and all of memory.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>

#define PAGES  16
#define DATA   0x30000u  /* pages of memory, PAGES of them, and as many again */
#define AT     HOT_ALIAS /* linear addresses of the first ones, in another order */
#define AT2    (HOT_ALIAS + 0x80000u)
#define COUNTS "loops that run by pages"

struct pair {
    struct smp fast, plain;
};

/* How a loop is run. */
struct start {
    uint64_t rsi, rdi, rcx, rdx;
    unsigned odd; /* this page of AT2, or of AT, has */
    enum { ALL, MISSING, MISSING_SOURCE, READ_ONLY } what;
};

static uint32_t place(unsigned page)
{
    return DATA + page * 7 % PAGES * 0x1000u;
}

static void map(struct smp *s, const struct start *start)
{
    for (unsigned n = 0; n < PAGES; n++) {
        bool odd = n == start->odd;
        uint64_t first = odd && start->what == MISSING_SOURCE ? 6 : 7;
        uint64_t second = odd && start->what == MISSING     ? 6
                          : odd && start->what == READ_ONLY ? 5
                                                            : 7;

        smp_entry(s, AT + n * 0x1000, place(n) | first);
        smp_entry(s, AT2 + n * 0x1000, (place(n) + PAGES * 0x1000) | second);
    }
    hot_flush(s);
}

static void fill(struct smp *s)
{
    uint64_t word = 1;

    memset(s->ram + SMP_DATA, 0, 64);
    for (uint32_t at = DATA; at < DATA + 2 * PAGES * 0x1000; at += 8) {
        word = word * UINT64_C(6364136223846793005) + 1442695040888963407;
        le64_put(s->ram + at, (word ^ word >> 29) | UINT64_C(0x0101010101010101));
    }
}

static struct hot_trap run(struct smp *s, enum hot_mode mode, const struct start *start)
{
    fill(s);
    s->ram[place(PAGES - 3) + 77] = 0; /* to be found */
    map(s, start);
    hot_at(s, mode, HOT_CODE);
    hot_set_gpr(s, RAX, 0);
    hot_set_gpr(s, RSI, start->rsi);
    hot_set_gpr(s, RDI, start->rdi);
    hot_set_gpr(s, RCX, start->rcx);
    hot_set_gpr(s, RDX, start->rdx);
    hot_set_gpr(s, RBX, AT + 0x123);
    hot_set_gpr(s, RBP, SMP_DATA);
    hot_set_gpr(s, R8, 0);
    hot_set_gpr(s, R9, 0);
    return hot_run(s);
}

static void same(struct pair *p, const struct hot_trap *fast, const struct hot_trap *plain)
{
    assert_int_equal(fast->vector, plain->vector);
    assert_int_equal(fast->error, plain->error);
    assert_int_equal(fast->cr2, plain->cr2);
    assert_int_equal(fast->frame.rip, plain->frame.rip);
    for (unsigned reg = 0; reg < 16; reg++)
        assert_int_equal(hot_gpr(&p->fast, reg), hot_gpr(&p->plain, reg));
    for (uint32_t at = DATA; at < SMP_RAM; at += 8) {
        if (le64_get(p->fast.ram + at) != le64_get(p->plain.ram + at))
            fail_msg("memory at %#x: %#lx, not %#lx", at, (unsigned long)le64_get(p->fast.ram + at),
                     (unsigned long)le64_get(p->plain.ram + at));
    }
}

static void both(struct pair *p, enum hot_mode mode, const struct start *start)
{
    struct hot_trap fast = run(&p->fast, mode, start), plain = run(&p->plain, mode, start);

    same(p, &fast, &plain);
}

static void pair_create(struct pair *p, const uint8_t *code, const uint8_t *end, bool count)
{
    const struct machine_config fast = {.vcpus = 1, .count = count};
    const struct machine_config plain = {
        .vcpus = 1, .count = count, .engine = ACCEL_ENGINE_INTERPRET};
    struct smp *all[] = {&p->fast, &p->plain};

    hot_create_as(&p->fast, &fast);
    hot_create_as(&p->plain, &plain);
    for (unsigned n = 0; n < 2; n++) {
        for (uint32_t page = HOT_CODE; page < SMP_PAGES; page += 0x1000)
            smp_entry(all[n], page, page | 7);
        smp_code(all[n], HOT_CODE, code, end);
    }
}

static void pair_destroy(struct pair *p)
{
    assert_true(smp_stat(&p->fast, 0, COUNTS) > 0);
    smp_destroy(&p->fast);
    smp_destroy(&p->plain);
}

/* ---- loops --------------------------------------------------------------------------- */

#define NEXT(insns) insns "cmpq %rdx, %rcx\njne 1b\n"

/* What is in XMM1 is stored in the end. From RCX to RDX. */
GUEST(copies, 64,
      "pxor %xmm1, %xmm1\n"
      "1: movdqu (%rsi,%rcx), %xmm0\npaddb %xmm0, %xmm1\nmovdqu %xmm0, (%rdi,%rcx)\n" NEXT(
          "addq $16, %rcx\n") "movdqu %xmm1, (%rbp)\nint3")
GUEST(scales, 64,
      "1: movl (%rsi,%rcx,4), %eax\naddl %eax, (%rdi,%rcx,8)\n" NEXT("incq %rcx\n") "int3")
/* Three pointers, and sums in a register that the host has in memory. */
GUEST(adds, 64,
      "1: movq (%rsi,%rcx), %rax\naddq (%rbx,%rcx), %rax\naddq %rax, %r9\nmovq %r9, "
      "(%rdi,%rcx)\n" NEXT("leaq 8(%rcx), %rcx\n") "int3")
/* No scratch register is spared; the place of RBP stays, and so does a constant. */
GUEST(stays, 64,
      "1: movq (%rsi,%rcx), %r9\nxorq 2f(%rip), %r9\naddq %r9, 8(%rbp)\n"
      "movq 8(%rbp), %r10\nbswapq %r10\nmovq %r10, (%rdi,%rcx)\n" NEXT(
          "addq $8, %rcx\n") "int3\n.balign 8\n2: .quad 0x123456789abcdef")
GUEST(backwards, 64,
      "1: movzbl -1(%rsi,%rcx), %eax\naddl %eax, %r8d\nmovb %r8b, 3(%rdi,%rcx)\n" NEXT(
          "decq %rcx\n") "int3")
GUEST(backwards_by_24, 64,
      "1: movq -8(%rsi,%rcx), %rax\nsubq %rax, -20(%rdi,%rcx)\n" NEXT("subq $24, %rcx\n") "int3")
/* The base moves, more than once, and by no power of 2; two accesses, one aligned. */
GUEST(strides, 64,
      "pxor %xmm1, %xmm1\n"
      "1: movaps (%rsi), %xmm0\naddq $160, %rsi\npaddd -144(%rsi), %xmm0\naddq $32, %rsi\n"
      "paddd %xmm0, %xmm1\nmovups %xmm0, (%rdi,%rcx)\n" NEXT(
          "addq $16, %rcx\n") "movdqu %xmm1, (%rbp)\nint3")
/* A way out in the middle, of a loop that ends with JMP. */
GUEST(searches, 64,
      "1: cmpb %al, (%rsi,%rcx)\nje 2f\nmovb %cl, (%rdi,%rcx)\nincq %rcx\njmp 1b\n2: int3")
/* What one round stores the next one loads. */
GUEST(chains, 64,
      "1: movl (%rdi,%rcx), %eax\naddl %ecx, %eax\nmovl %eax, 4(%rdi,%rcx)\n" NEXT(
          "addq $4, %rcx\n") "int3")
/* Read first, then written. */
GUEST(updates, 64,
      "1: movl (%rdi,%rcx), %eax\naddl %ecx, %eax\nmovl %eax, (%rdi,%rcx)\n" NEXT(
          "addq $4, %rcx\n") "int3")
/* One pointer, and an instruction that needs its register. */
GUEST(swaps, 64,
      "1: movq (%rsi,%rcx), %r10\naddq 8(%rsi,%rcx), %r8\nbswapq %r10\nxorq %r10, %r8\n" NEXT(
          "addq $8, %rcx\n") "int3")
/* Two pointers, and registers in memory, which are no scratch registers' to have. */
GUEST(exchanges, 64,
      "1: movq (%rsi,%rcx), %rax\nmovq (%rdi,%rcx), %r9\nmovq %rax, (%rdi,%rcx)\n"
      "movq %r9, (%rsi,%rcx)\n" NEXT("addq $8, %rcx\n") "int3")
/* The loop goes on in the same block, where the last operand was. */
GUEST(ends, 64,
      "1: addq (%rsi), %r8\naddq $8, %rsi\n" NEXT(
          "addq $8, %rcx\n") "addq -8(%rsi), %r8\naddq -16(%rsi), %r8\nint3")
/* Flags go from one round to the next. */
GUEST(carries, 64,
      "1: movq (%rsi,%rcx), %rax\nadcq %rax, (%rdi,%rcx)\nsetc %r9b\n"
      "addq $8, %rcx\ncmpq %rdx, %rcx\nje 2f\naddb $255, %r9b\njmp 1b\n2: int3")

struct loop {
    const uint8_t *code, *end;
    unsigned step, align; /* of RCX; of RSI and RDI */
    bool back, no_run;
};
#define LOOP(name, ...)                                                                            \
    {                                                                                              \
        g_##name, g_##name##_end, __VA_ARGS__                                                      \
    }

static const struct loop loops[] = {
    LOOP(copies, .step = 16),
    LOOP(scales, .step = 1),
    LOOP(adds, .step = 8),
    LOOP(stays, .step = 8),
    LOOP(backwards, .step = 1, .back = true),
    LOOP(backwards_by_24, .step = 24, .back = true),
    LOOP(strides, .step = 16, .align = 15),
    LOOP(searches, .step = 1),
    LOOP(chains, .step = 4),
    LOOP(updates, .step = 4),
    LOOP(swaps, .step = 8),
    LOOP(exchanges, .step = 8),
    LOOP(ends, .step = 8),
    LOOP(carries, .step = 8, .no_run = true),
};

static struct start start_of(const struct loop *l, unsigned n)
{
    static const unsigned source[] = {0, 4080, 1, 2049, 16, 4095}, to[] = {0, 5, 4088, 1000};
    uint64_t rounds = l->step == 16 ? 40 + n % 7 * 40 : 300 + n % 11 * 600;
    uint64_t from = l->back ? (rounds + 20) * l->step : 0;

    return (struct start){
        .rsi = (AT + 0x1000 + source[n % 6]) & ~(uint64_t)l->align,
        .rdi = (AT2 + 0x1000 + to[n / 6 % 4]) & ~(uint64_t)l->align,
        .rcx = from,
        .rdx = from + (l->back ? -rounds : rounds) * l->step,
        .odd = 1 + n % 5,
    };
}

/* counted: and so must the number of instructions be, which is exact where nothing faults. */
static void all_loops(bool counted)
{
    for (unsigned n = 0; n < ARRAY_SIZE(loops); n++) {
        const struct loop *l = &loops[n];
        struct pair p;

        pair_create(&p, l->code, l->end, counted);
        for (unsigned m = 0; m < 48; m++) {
            struct start start = start_of(l, m);

            start.what = m % 4;
            if (counted && start.what != ALL)
                continue;
            both(&p, m / 4 % 2 ? HOT_USER : HOT_KERNEL, &start);
        }
        if (counted)
            assert_int_equal(smp_stat(&p.fast, 0, "instructions"),
                             smp_stat(&p.plain, 0, "instructions"));
        if (l->no_run) {
            assert_int_equal(smp_stat(&p.fast, 0, COUNTS), 0);
            smp_destroy(&p.fast);
            smp_destroy(&p.plain);
        } else {
            pair_destroy(&p);
        }
    }
}

static void like_interpreted(void **state)
{
    all_loops(false);
}

static void counted(void **state)
{
    all_loops(true);
}

/* What must be aligned faults in the round that it is not, for a stride that is no multiple. */
GUEST(misaligns, 64,
      "1: movdqu (%rsi,%rcx), %xmm0\npaddb (%rdi,%rcx), %xmm0\nmovdqu %xmm0, (%rsi,%rcx)\n" NEXT(
          "addq $16, %rcx\n") "int3")

static void misaligned(void **state)
{
    struct start start = {.rsi = AT + 7, .rdi = AT2, .rdx = 2000 * 16, .odd = 15};
    struct pair p;

    pair_create(&p, g_misaligns, g_misaligns_end, false);
    for (unsigned n = 0; n < 3; n++) {
        start.rdi = AT2 + (n == 1 ? 8 : 0);
        both(&p, HOT_USER, &start);
    }
    pair_destroy(&p);
}

/* ---- loops that write to themselves --------------------------------------------------------- */

#define CODE_PAGE 8
#define CODE_AT   (AT2 + CODE_PAGE * 0x1000u) /* linear */
#define IMMEDIATE 5

/* Copies what is at RSI; R8 counts by a constant that the copy has another value of. */
GUEST(overwrites, 64,
      "1: movb (%rsi,%rcx), %al\n.globl ow_adds\now_adds: addl $1, %r8d\nmovb %al, "
      "(%rdi,%rcx)\n" NEXT("incq %rcx\n") "int3")
extern const uint8_t ow_adds[];

static struct hot_trap overwrite(struct smp *s, uint32_t begin)
{
    const size_t size = (size_t)(g_overwrites_end - g_overwrites);
    struct start start = {.odd = PAGES};

    fill(s);
    map(s, &start);
    smp_code(s, place(CODE_PAGE) + PAGES * 0x1000 + begin, g_overwrites, g_overwrites_end);
    for (unsigned n = 0; n < 4; n++) /* what is copied: the same, in linear order */
        memcpy(s->ram + place(n), s->ram + place(CODE_PAGE - 2 + n) + PAGES * 0x1000, 0x1000);
    assert_memory_equal(s->ram + place(2) + begin, g_overwrites, size);
    s->ram[place(2) + begin + (uint32_t)(ow_adds - g_overwrites) + 3] = IMMEDIATE;
    hot_at(s, HOT_USER, CODE_AT + begin);
    hot_set_gpr(s, RAX, 0);
    hot_set_gpr(s, RSI, AT);
    hot_set_gpr(s, RDI, CODE_AT - 0x2000);
    hot_set_gpr(s, RCX, 0x1000);
    hot_set_gpr(s, RDX, 0x4000);
    hot_set_gpr(s, R8, 0);
    return hot_run(s);
}

static void written_by_itself(void **state)
{
    struct pair p;

    pair_create(&p, g_overwrites, g_overwrites_end, false);
    for (uint32_t begin = 0; begin < 0xf00; begin += 0x333) {
        struct hot_trap fast = overwrite(&p.fast, begin), plain = overwrite(&p.plain, begin);
        uint64_t before = 0x1000 + begin + (uint64_t)(ow_adds - g_overwrites) + 4;

        same(&p, &fast, &plain);
        assert_int_equal(hot_gpr(&p.fast, R8), before + (0x3000 - before) * IMMEDIATE);
    }
    pair_destroy(&p);
}

/* ---- pages that are elsewhere ------------------------------------------------------------- */

/* R8 adds up the page at RSI, R15 times; in between it is remapped, seen by INVLPG or by CR3. */
#define SUMS(flush)                                                                                \
    "2: xorl %ecx, %ecx\n"                                                                         \
    "1: addq (%rsi,%rcx), %r8\naddq $8, %rcx\ncmpq $0x1000, %rcx\njne 1b\n"                        \
    "xchgq %rdi, %rdx\nmovq %rdi, (%r11)\n" flush "decl %r15d\njnz 2b\nint3"
GUEST(sums_invlpg, 64, SUMS("invlpg (%rsi)\n"))
GUEST(sums_cr3, 64, SUMS("movq %cr3, %rax\nmovq %rax, %cr3\n"))

static void elsewhere_by(const uint8_t *code, const uint8_t *end)
{
    const struct start start = {.odd = PAGES};
    struct pair p;
    struct smp *all[] = {&p.fast, &p.plain};
    uint64_t sum[2];

    pair_create(&p, code, end, false);
    for (unsigned n = 0; n < 2; n++) {
        fill(all[n]);
        map(all[n], &start);
        hot_at(all[n], HOT_KERNEL, HOT_CODE);
        hot_set_gpr(all[n], RSI, AT);
        hot_set_gpr(all[n], RDI, place(0) | 3);
        hot_set_gpr(all[n], RDX, place(1) | 3);
        hot_set_gpr(all[n], R8, 0);
        hot_set_gpr(all[n], R11, SMP_ENTRY(AT));
        hot_set_gpr(all[n], R15, 100);
        hot_end(all[n]);
        sum[n] = hot_gpr(all[n], R8);
    }
    assert_int_equal(sum[0], sum[1]);
    pair_destroy(&p);
}

static void elsewhere(void **state)
{
    elsewhere_by(g_sums_invlpg, g_sums_invlpg_end);
    elsewhere_by(g_sums_cr3, g_sums_cr3_end);
}

/* ---- pages that another vCPU executes ----------------------------------------------------- */

/* Fill the page at RDI with functions that return R8, publish that at (RBP), wait at 64(RBP). */
GUEST(fills, 64,
      "movl $1, %r8d\n"
      "1: movabsq $0x9090c300000000b8, %rax\nmovq %r8, %rdx\nshlq $8, %rdx\norq %rdx, %rax\n"
      "xorl %ecx, %ecx\n"
      "2: movq %rax, (%rdi,%rcx)\naddq $8, %rcx\ncmpq $0x1000, %rcx\njne 2b\n"
      "movl %r8d, (%rbp)\n"
      "3: pause\ncmpl %r8d, 64(%rbp)\njne 3b\n"
      "incl %r8d\ncmpl $200, %r8d\njne 1b\nmovl $-1, (%rbp)\nhlt")
/* Calls the first of them when something was published, which is what they return. RAX is 1 when
 * it is not. The other's last stores are to where nobody knows code, without a check. */
GUEST(calls, 64,
      "xorl %r12d, %r12d\nxorl %r14d, %r14d\n"
      "1: pause\nmovl (%rbp), %r15d\ncmpl %r12d, %r15d\nje 1b\n"
      "movl %r15d, %r12d\ncmpl $-1, %r12d\nje 8f\nxorl %eax, %eax\ncpuid\n"
      "movl $200, %r13d\n"
      "2: leaq (%rdi,%r14), %rax\ncall *%rax\ncmpl %r12d, %eax\njne 9f\n"
      "addl $8, %r14d\nandl $0x78, %r14d\ndecl %r13d\njnz 2b\n"
      "movl %r12d, 64(%rbp)\njmp 1b\n"
      "8: xorl %eax, %eax\nhlt\n"
      "9: movl %r12d, 64(%rbp)\nmovl $1, %eax\nhlt")

static void executed_elsewhere(void **state)
{
    struct smp s;

    hot_create(&s, 2);
    SMP_CODE(&s, HOT_CODE, fills);
    SMP_CODE(&s, HOT_CODE + 0x1000, calls);
    memset(s.ram + SMP_DATA, 0, 128);
    for (uint32_t at = DATA; at < DATA + 0x1000; at += 8)
        le64_put(s.ram + at, UINT64_C(0x9090c300000000b8));
    smp_start(&s, 1, HOT_CODE + 0x1000, DATA);
    smp_start(&s, 0, HOT_CODE, DATA);
    assert_int_equal(smp_join(&s, 1), 0);
    smp_join(&s, 0);
    assert_true(smp_stat(&s, 0, COUNTS) > 0);
    smp_destroy(&s);
}

/* ---- a loop without end ------------------------------------------------------------------- */

GUEST(endless, 64, "1: addb (%rsi), %al\nincq %rsi\njmp 1b")

/* 256 TiB of linear addresses less the code's are the same 2 MiB. */
static void kicked(void **state)
{
    struct smp s;

    hot_create(&s, 1);
    SMP_CODE(&s, HOT_CODE, endless);
    for (uint32_t n = 1; n < 512; n++) {
        le64_put(s.ram + SMP_PAGES + 0x1000 + n * 8, le64_get(s.ram + SMP_PAGES + 0x1000));
        if (n > 1)
            le64_put(s.ram + SMP_PAGES + 0x2000 + n * 8, le64_get(s.ram + SMP_PAGES + 0x2000));
    }
    le64_put(s.ram + SMP_PAGES + 0x2008, le64_get(s.ram + SMP_PAGES + 0x2000));
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, RSI, SMP_RAM);
    for (unsigned n = 0; n < 3 || !smp_stat(&s, 0, COUNTS); n++) {
        uint64_t before = hot_gpr(&s, RSI);

        do /* a busy host may give it nothing before the kick */
            hot_kicked(&s);
        while (hot_gpr(&s, RSI) == before);
        assert_true(hot_gpr(&s, RSI) > before);
    }
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(like_interpreted), TEST(counted),
        TEST(misaligned),       TEST(written_by_itself),
        TEST(elsewhere),        TEST(executed_elsewhere),
        TEST(kicked),
    };

    return cmocka_run_group_tests_name("soft, loops by pages", tests, NULL, NULL);
}
