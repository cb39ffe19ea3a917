/* Hot code that one vCPU changes itself: the next instruction executed is the new one. */
#include "hot.h"

#include "base/bits.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define FUNCTION 0x20000u        /* where the code is that is changed */
#define SCRATCH  (SMP_DATA + 64) /* what is stored to otherwise */
#define EVENTS   10u
#define STEP     0x01010101u

/* ---- a store in the midst of the loop ------------------------------------------------- */

/*
 * One iteration: R10 goes to (RDX), which is (RDI) but for each HOT'th time: then it is
 * (RSI), code, and R10 has a new value. Whoever runs that code must find R10 in it.
 */
#define TICK                                                                                       \
    "movq %rdi, %rdx\n"                                                                            \
    "leal 0x01010101(%r10), %r11d\n"                                                               \
    "decl %ecx\n"                                                                                  \
    "cmovzq %rsi, %rdx\n"                                                                          \
    "cmovzl %r11d, %r10d\n"                                                                        \
    "cmovzl %r9d, %ecx\n"
#define CHECK "cmpl %r10d, %eax\njne 9f\n"
#define AGAIN "decl %r12d\njnz 1b\n9: int3"

GUEST(same_block, 64,
      "1:" TICK "movl %r10d, (%rdx)\n"
      ".global same_block_at\nsame_block_at: movl $0, %eax\n" CHECK AGAIN)
GUEST(next_block, 64,
      "1:" TICK "movl %r10d, (%rdx)\njmp 2f\nhlt\n2: nop\n"
      ".global next_block_at\nnext_block_at: movl $0, %eax\n" CHECK AGAIN)
GUEST(beginning, 64,
      "1: .global beginning_at\nbeginning_at: movl $0, %eax\n" CHECK TICK
      "movl %r10d, (%rdx)\n" AGAIN)
GUEST(other_page, 64, "1:" TICK "movl %r10d, (%rdx)\ncall *%rbx\n" CHECK AGAIN)
/* The call is taken from a block that the store behind it changes. */
GUEST(returns, 64,
      "1:" TICK "call *%rbx\nmovl %r10d, (%rdx)\nnop\n"
      ".global returns_at\nreturns_at: movl $0, %eax\n" CHECK AGAIN)
/* Two bytes of the instruction change, the other two stay. */
GUEST(half, 64,
      "1:" TICK "movw %r10w, (%rdx)\n"
      ".global half_at\nhalf_at: movl $0, %eax\nmovzwl %r10w, %r11d\ncmpl %r11d, %eax\njne 9f\n"
      "movl %r10d, %eax\n" AGAIN)
GUEST(function, 64, "movl $0, %eax\nret")

extern const uint8_t same_block_at[], next_block_at[], beginning_at[], returns_at[], half_at[];

/* Run it; `patched` is the immediate's address. */
static void run_patching(struct smp *s, const uint8_t *code, const uint8_t *end, uint64_t patched)
{
    smp_code(s, HOT_CODE, code, end);
    SMP_CODE(s, FUNCTION, function);
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, RDI, SCRATCH);
    hot_set_gpr(s, RSI, patched);
    hot_set_gpr(s, RBX, FUNCTION);
    hot_set_gpr(s, R9, HOT);
    hot_set_gpr(s, RCX, HOT);
    hot_set_gpr(s, R10, 0);
    hot_set_gpr(s, R12, EVENTS * HOT + HOT);
}

static void patches(const uint8_t *code, const uint8_t *end, const uint8_t *at)
{
    struct smp s;

    hot_create(&s, 1);
    run_patching(&s, code, end, (at ? HOT_CODE + (uint64_t)(at - code) : (uint64_t)FUNCTION) + 1);
    assert_int_equal(hot_end(&s), (EVENTS + 1) * STEP); /* the last one with the last iteration */
    assert_int_equal(hot_gpr(&s, R12), 0);
    smp_destroy(&s);
}
#define PATCHES(name, at) patches(g_##name, g_##name##_end, at)

static void ahead_in_the_block(void **state)
{
    PATCHES(same_block, same_block_at);
}

static void ahead_in_the_next_block(void **state)
{
    PATCHES(next_block, next_block_at);
}

static void ahead_in_another_page(void **state)
{
    PATCHES(other_page, NULL);
}

static void behind_a_return(void **state)
{
    PATCHES(returns, returns_at);
}

static void half_an_immediate(void **state)
{
    PATCHES(half, half_at);
}

GUEST(own, 64,
      "1:" TICK
      ".global own_at\nown_at: addl $0x7f000001, (%rdx)\nsubl $0x7f000000, (%rdi)\n" AGAIN)
extern const uint8_t own_at[];

/* addl $imm32, (rdx) doubles its own immediate. */
static void own_immediate(void **state)
{
    uint32_t immediate = 1, sum = 0, found;
    uint64_t at = HOT_LABEL(HOT_CODE, own, own_at) + 2;
    struct smp s;

    hot_create(&s, 1);
    SMP_CODE(&s, HOT_CODE, own);
    run_patching(&s, g_own, g_own_end, at);
    must(guest_mem_write(&s.m->mem, GPA(at), &immediate, 4), "immediate");
    hot_end(&s);
    for (uint32_t i = 1; i <= (EVENTS + 1) * HOT; i++) {
        if (i % HOT)
            sum += immediate;
        else
            immediate *= 2;
        sum -= 0x7f000000;
    }
    memcpy(&found, s.ram + at, 4);
    assert_int_equal(found, immediate);
    assert_int_equal((uint32_t)smp_read(&s, SCRATCH), sum);
    smp_destroy(&s);
}

/* A block writes its own beginning, which is executed at the next iteration. */
static void own_beginning(void **state)
{
    struct smp s;

    hot_create(&s, 1);
    run_patching(&s, g_beginning, g_beginning_end,
                 HOT_LABEL(HOT_CODE, beginning, beginning_at) + 1);
    assert_int_equal(hot_end(&s), EVENTS * STEP);
    assert_int_equal(hot_gpr(&s, R12), 0);
    smp_destroy(&s);
}

/* ---- every kind of store ------------------------------------------------------------------ */

/*
 * EVENTS times: the code at RBX makes the function at R15 return R8D, writing to R13, which
 * is the same memory; then the function is called HOT times. R14 is the function's image.
 */
GUEST(rounds, 64,
      "xorl %r8d, %r8d\n"
      "1: addl $0x01010101, %r8d\n"
      "movl %r8d, 1(%r14)\n"
      "call *%rbx\n"
      "movl $3000, %ecx\n"
      "2: call *%r15\n"
      "cmpl %r8d, %eax\n"
      "jne 9f\n"
      "decl %ecx\n"
      "jnz 2b\n"
      "decl %r12d\n"
      "jnz 1b\n"
      "9: int3")

GUEST(by_mov, 64, "movl %r8d, 1(%r13)\nret")
GUEST(by_xchg, 64, "movl %r8d, %eax\nxchgl %eax, 1(%r13)\nret")
GUEST(by_add, 64, "lock addl $0x01010101, 1(%r13)\nret")
GUEST(by_cmpxchg, 64, "movl 1(%r13), %eax\nlock cmpxchgl %r8d, 1(%r13)\nret")
GUEST(by_movs, 64, "movl $6, %ecx\nmovq %r14, %rsi\nmovq %r13, %rdi\nrep movsb\nret")
GUEST(by_movs_of_a_page, 64, "movl $512, %ecx\nmovq %r14, %rsi\nmovq %r13, %rdi\nrep movsq\nret")
GUEST(by_stos, 64, "movl $1, %ecx\nmovl %r8d, %eax\nleaq 1(%r13), %rdi\nrep stosl\nret")
GUEST(by_stos_of_bytes, 64, "movl $4, %ecx\nmovl %r8d, %eax\nleaq 1(%r13), %rdi\nrep stosb\nret")
GUEST(by_movups, 64, "movups (%r14), %xmm0\nmovups %xmm0, (%r13)\nret")
GUEST(by_movnti, 64, "movnti %r8d, 1(%r13)\nret")
GUEST(by_fistp, 64, "fildl 1(%r14)\nfistpl 1(%r13)\nret")
GUEST(by_push, 64, "movq %rsp, %rcx\nleaq 8(%r13), %rsp\npushq (%r14)\nmovq %rcx, %rsp\nret")
/* The store begins in the page before the function's. */
GUEST(across_pages, 64,
      "movq %r8, %rax\nshlq $32, %rax\nmovl $0xb8abcdef, %ecx\norq %rcx, %rax\n"
      "movq %rax, -3(%r13)\nret")
GUEST(across_pages_locked, 64,
      "movq (%r14), %rcx\n1: movq -3(%r13), %rax\nmovq (%r14), %rcx\n"
      "shlq $24, %rcx\nlock cmpxchgq %rcx, -3(%r13)\njne 1b\nret")
GUEST(across_pages_vector, 64, "movups -8(%r14), %xmm0\nmovups %xmm0, -8(%r13)\nret")
GUEST(across_pages_movs, 64,
      "movl $40, %ecx\nleaq -32(%r14), %rsi\nleaq -32(%r13), %rdi\nrep movsb\nret")

#define PATCHER 0x30000u
#define IMAGE   (SMP_DATA + 0x1000)

struct patcher {
    const char *name;
    const uint8_t *code, *end;
};
#define PATCHER_OF(name)                                                                           \
    {                                                                                              \
#name, g_##name, g_##name##_end                                                            \
    }

static void run_rounds(const struct patcher *p, uint32_t through)
{
    struct smp s;

    hot_create(&s, 1);
    smp_page(&s, HOT_ALIAS, FUNCTION - 0x1000);
    smp_page(&s, HOT_ALIAS + 0x1000, FUNCTION);
    SMP_CODE(&s, HOT_CODE, rounds);
    SMP_CODE(&s, FUNCTION, function);
    SMP_CODE(&s, IMAGE, function);
    smp_code(&s, PATCHER, p->code, p->end);
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, RBX, PATCHER);
    hot_set_gpr(&s, R12, EVENTS);
    hot_set_gpr(&s, R13, through);
    hot_set_gpr(&s, R14, IMAGE);
    hot_set_gpr(&s, R15, FUNCTION);
    if (hot_end(&s) != EVENTS * STEP)
        fail_msg("%s through %#x: %#lx in round %u", p->name, through,
                 (unsigned long)hot_gpr(&s, RAX), EVENTS - (unsigned)hot_gpr(&s, R12));
    assert_int_equal(hot_gpr(&s, R12), 0);
    smp_destroy(&s);
}

static const struct patcher patchers[] = {
    PATCHER_OF(by_mov),
    PATCHER_OF(by_xchg),
    PATCHER_OF(by_add),
    PATCHER_OF(by_cmpxchg),
    PATCHER_OF(by_movs),
    PATCHER_OF(by_movs_of_a_page),
    PATCHER_OF(by_stos),
    PATCHER_OF(by_stos_of_bytes),
    PATCHER_OF(by_movups),
    PATCHER_OF(by_movnti),
    PATCHER_OF(by_fistp),
    PATCHER_OF(by_push),
    PATCHER_OF(across_pages),
    PATCHER_OF(across_pages_locked),
    PATCHER_OF(across_pages_vector),
    PATCHER_OF(across_pages_movs),
};

static void every_kind_of_store(void **state)
{
    for (unsigned n = 0; n < ARRAY_SIZE(patchers); n++)
        run_rounds(&patchers[n], FUNCTION);
}

/* The stores go to another linear address than the calls. */
static void through_an_alias(void **state)
{
    for (unsigned n = 0; n < ARRAY_SIZE(patchers); n++)
        run_rounds(&patchers[n], HOT_ALIAS + 0x1000);
}

/* ---- written from outside ------------------------------------------------------------------- */

GUEST(calls, 64,
      "1: call *%rdi\n"
      "movl %eax, 0x40(%rbp)\n"
      "incq 0x80(%rbp)\n"
      "cmpl $0, 0(%rbp)\n"
      "je 1b\n"
      "hlt")

static void wait_for_calls(struct smp *s, uint64_t more)
{
    uint64_t until = smp_read(s, SMP_DATA + 0x80) + more;

    while (smp_read(s, SMP_DATA + 0x80) < until)
        __builtin_ia32_pause();
}

/*
 * A device or loader writes while the vCPU runs: at most the call under way is an old one, and
 * those that have run already, but whose stores are still in the processor's store buffer. A call
 * has several stores, the buffer room for about a hundred.
 */
static void by_a_device(void **state)
{
    struct smp s;

    hot_create(&s, 1);
    SMP_CODE(&s, HOT_CODE, calls);
    SMP_CODE(&s, FUNCTION, function);
    smp_start(&s, 0, HOT_CODE, FUNCTION);
    for (uint32_t n = 1; n <= 50; n++) {
        wait_for_calls(&s, HOT);
        must(guest_mem_write(&s.m->mem, GPA(FUNCTION + 1), &n, 4), "guest_mem_write");
        wait_for_calls(&s, 100); /* stores of some calls wait in the host's store buffer */
        assert_int_equal((uint32_t)smp_read(&s, SMP_DATA + 0x40), n);
    }
    smp_write(&s, SMP_DATA, 1);
    smp_join(&s, 0);
    smp_destroy(&s);
}

/* ---- code without end -------------------------------------------------------------------------
 */

#define SPACE    (48u << 20) /* of guest memory for the code */
#define SPACE_AT 0x2000000u
#ifdef __SANITIZE_THREAD__ /* many times slower, and memory is no question there */
#define WRITTEN (SPACE / 4)
#define ROUNDS  1
#else
#define WRITTEN SPACE
#define ROUNDS  3
#endif

/*
 * R9 times, from RDI to RSI each 2 KiB: copy what is at RBX there, a function that adds to RAX what
 * its immediate says, with a new immediate, and call it 24 times. RAX: all of it.
 */
GUEST(endless, 64,
      "xorl %eax, %eax\n"
      "xorl %r8d, %r8d\n"
      "1: movq %rdi, %r10\n"
      "2: incl %r8d\n"
      "movq %r10, %r11\n"
      "movq %rbx, %r12\n"
      "movl $32, %ecx\n"
      "3: movq (%r12), %r13\n"
      "movq %r13, (%r11)\n"
      "addq $8, %r12\n"
      "addq $8, %r11\n"
      "decl %ecx\n"
      "jnz 3b\n"
      "movl %r8d, 1(%r10)\n"
      "movl $24, %ecx\n"
      "4: call *%r10\n"
      "decl %ecx\n"
      "jnz 4b\n"
      "addq $2048, %r10\n"
      "cmpq %rsi, %r10\n"
      "jb 2b\n"
      "decl %r9d\n"
      "jnz 1b\n"
      "hlt")
GUEST(body, 64,
      "movl $0, %edx\n"
      ".rept 60\nleal 1(%rdx), %edx\n.endr\n"
      "subl $60, %edx\naddq %rdx, %rax\nret")

static uint64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long size, resident;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &size, &resident), 2);
    fclose(file);
    return resident * 4096;
}

/* New code over tens of MiB, several times: the results are right, the host's memory bounded. */
static void code_without_end(void **state)
{
    const uint64_t functions = ROUNDS * WRITTEN / 2048;
    uint64_t before;
    struct fixture f;
    uint8_t *ram;

    fixture_create(&f, accel_of(state));
    ram = mmap(NULL, SPACE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(ram, MAP_FAILED);
    memset(ram, 0xf4, SPACE);
    must(machine_map(f.m, GPA(SPACE_AT), SPACE, ram, MEM_RWX), "machine_map");
    RUN_LONG(&f, endless);
    for (uint64_t at = SPACE_AT; at < SPACE_AT + SPACE; at += 0x200000)
        le64_put(f.ram + PAGE_DIRS + 0x2000 + (at >> 21) * 8, at | 0x83);
    assert_true(g_body_end - g_body <= 256);
    memcpy(f.ram + 0x3000, g_body, (size_t)(g_body_end - g_body));
    f.v->state->gpr[RBX] = 0x3000;
    f.v->state->gpr[RDI] = SPACE_AT;
    f.v->state->gpr[RSI] = SPACE_AT + WRITTEN;
    f.v->state->gpr[R9] = ROUNDS;
    before = resident_bytes();
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 24 * functions * (functions + 1) / 2);
    assert_true(resident_bytes() - before < 160u << 20);
    fixture_destroy(&f);
    munmap(ram, SPACE);
}

/* ---- code that other code relies on ---------------------------------------------------- */

/* What is behind the jump sets the flags anew, so those of CMP need not outlive the store. */
GUEST(no_flags_needed, 64,
      "1: cmpl %r15d, %r15d\nmovl %eax, (%rbx)\njmp 2f\n"
      ".balign 64\n"
      ".global needs_flags\nneeds_flags: 2: testl %eax, %eax\n"
      "setz %cl\nmovzbl %cl, %ecx\naddq %rcx, %r8\n"
      "decl %r15d\njnz 1b\nint3")
extern const uint8_t needs_flags[];

/* Then it is changed to read them. */
static void flags_needed_after_all(void **state)
{
    static const uint8_t nop[] = {0x66, 0x90};
    struct smp s;

    hot_create(&s, 1);
    for (unsigned round = 0; round < 2; round++) {
        if (round)
            must(guest_mem_write(&s.m->mem, GPA(HOT_LABEL(HOT_CODE, no_flags_needed, needs_flags)),
                                 nop, 2),
                 "nop");
        else
            SMP_CODE(&s, HOT_CODE, no_flags_needed);
        hot_at(&s, HOT_KERNEL, HOT_CODE);
        hot_set_gpr(&s, RAX, 1);
        hot_set_gpr(&s, RBX, SMP_DATA);
        hot_set_gpr(&s, R8, 0);
        hot_set_gpr(&s, R15, HOT);
        hot_end(&s);
        assert_int_equal(hot_gpr(&s, R8), round ? HOT : 0);
    }
    smp_destroy(&s);
}

/* The same where the jump is not taken, so what is behind it was never executed. */
GUEST(not_taken, 64,
      "1: addl %r14d, %eax\nmovl %ecx, (%rbx)\njz 2f\n"
      "subl $1, %r15d\njnz 1b\nint3\n"
      ".skip 256\n"
      ".global needs_carry\nneeds_carry: 2: testl %eax, %eax\n"
      "setc %cl\nmovzbl %cl, %eax\nint3")
extern const uint8_t needs_carry[];

static void flags_needed_by_new_code(void **state)
{
    static const uint8_t nop[] = {0x66, 0x90};
    struct smp s;

    hot_create(&s, 1);
    HOT_CODE_AT(&s, not_taken);
    hot_set_gpr(&s, RAX, 1);
    hot_set_gpr(&s, R14, 0);
    hot_set_gpr(&s, RBX, SMP_DATA);
    hot_set_gpr(&s, R15, HOT);
    assert_int_equal(hot_end(&s), 1);
    must(guest_mem_write(&s.m->mem, GPA(HOT_LABEL(HOT_CODE, not_taken, needs_carry)), nop, 2),
         "nop");
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, RAX, UINT32_MAX);
    hot_set_gpr(&s, R14, 1);
    assert_int_equal(hot_end(&s), 1); /* the carry */
    smp_destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(ahead_in_the_block),
        TEST(ahead_in_the_next_block),
        TEST(ahead_in_another_page),
        TEST(behind_a_return),
        TEST(half_an_immediate),
        TEST(own_immediate),
        TEST(own_beginning),
        TEST(every_kind_of_store),
        TEST(through_an_alias),
        TEST(by_a_device),
        TEST(code_without_end),
        TEST(flags_needed_after_all),
        TEST(flags_needed_by_new_code),
    };

    return cmocka_run_group_tests_name("soft, code that changes itself", tests, NULL, NULL);
}
