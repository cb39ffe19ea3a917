/*
 * Faults in hot code, of an instruction's memory operand or of a division: the exception tells what
 * happened, nothing has changed, and once the cause is gone the code goes on where it was.
 */
#include "faults.h"

#include "base/bits.h"

#include <string.h>

#define NON_CANONICAL UINT64_C(0x8000000000000800)

/* ---- kinds of instructions -------------------------------------------------------------- */

/*
 * Each iteration begins with RBX, the good operand; when R15 has come down to R14, it becomes
 * R13, the bad one, and stays. But for RBX and R15 the registers are the same at the
 * instruction each time, and memory stays as it is after the first time.
 */
#define CODE_OF(name, before, insn, after)                                                         \
    GUEST(name, 64,                                                                                \
          ".global first_" #name ", loop_" #name ", at_" #name "\n"                                \
          "first_" #name ":\n"                                                                     \
          "fninit\nfld1\nmovaps %xmm2, %xmm0\n"                                                    \
          "loop_" #name ": cmpl %r14d, %r15d\ncmoveq %r13, %rbx\n" before "\nat_" #name ": " insn  \
          "\n" after "\ndecl %r15d\njnz loop_" #name "\nint3")

/* X(name, access, size, before, insn, after, further fields) */
#define RAX_BACK "movq %r12, %rax"
#define XMM_BACK "movaps %xmm2, %xmm0"
#define ON_STACK .copy = RSP, .stack = true
#define KINDS(X)                                                                                   \
    X(load, READ, 8, "", "movq (%rbx), %rax", "movq %rsi, %rax")                                   \
    X(load_byte, READ, 1, "", "movzbl (%rbx), %eax", RAX_BACK)                                     \
    X(load_word_signed, READ, 2, "", "movswq (%rbx), %rax", RAX_BACK)                              \
    X(load_disp, READ, 4, "", "movl 0x40(%rbx), %eax", RAX_BACK, .disp = 0x40)                     \
    X(load_index, READ, 4, "", "movl -8(%rbx,%rsi,4), %eax", RAX_BACK, .disp = 4)                  \
    X(add_to_register, READ, 8, "", "addq (%rbx), %rax", RAX_BACK)                                 \
    X(compare, READ, 4, "", "cmpl (%rbx), %eax", "")                                               \
    X(test_imm, READ, 2, "", "testw $1, (%rbx)", "")                                               \
    X(imul, READ, 4, "", "imull (%rbx), %eax", RAX_BACK)                                           \
    X(mul, READ, 8, "", "mulq (%rbx)", RAX_BACK "\nmovl $5, %edx")                                 \
    X(cmov, READ, 8, "", "cmovneq (%rbx), %rax", "")                                               \
    X(bit_test, READ, 4, "", "btl $3, (%rbx)", "")                                                 \
    X(store, WRITE, 8, "", "movq %rax, (%rbx)", "")                                                \
    X(store_byte, WRITE, 1, "", "movb %al, (%rbx)", "")                                            \
    X(store_imm, WRITE, 4, "", "movl $0x12345678, (%rbx)", "")                                     \
    X(store_movnti, WRITE, 8, "", "movntiq %rax, (%rbx)", "")                                      \
    X(setcc, WRITE, 1, "", "setz (%rbx)", "")                                                      \
    X(add_to_memory, WRITE, 8, "", "addq %rax, (%rbx)", "subq %rax, (%rbx)")                       \
    X(negate, WRITE, 4, "", "negl (%rbx)", "negl (%rbx)")                                          \
    X(rotate, WRITE, 2, "", "rolw $3, (%rbx)", "rorw $3, (%rbx)")                                  \
    X(increment, WRITE, 1, "", "incb (%rbx)", "decb (%rbx)")                                       \
    X(exchange, WRITE, 8, "", "xchgq %rax, (%rbx)", "xchgq %rax, (%rbx)")                          \
    X(locked_add, WRITE, 4, "", "lock addl $5, (%rbx)", "lock subl $5, (%rbx)")                    \
    X(locked_inc, WRITE, 8, "", "lock incq (%rbx)", "lock decq (%rbx)")                            \
    X(locked_xadd, WRITE, 4, "", "lock xaddl %eax, (%rbx)", RAX_BACK "\nsubl %eax, (%rbx)")        \
    X(locked_cmpxchg, WRITE, 8, "", "lock cmpxchgq %rcx, (%rbx)", "movq %rax, (%rbx)\n" RAX_BACK)  \
    X(locked_bts, WRITE, 4, "", "lock btsl $2, (%rbx)", "lock btrl $2, (%rbx)")                    \
    X(push, WRITE, 8, "movq %rbx, %rsp", "pushq %rax", "movq %rbp, %rsp", ON_STACK, .disp = -8)    \
    X(push_imm, WRITE, 8, "movq %rbx, %rsp", "pushq $7", "movq %rbp, %rsp", ON_STACK, .disp = -8)  \
    X(pushf, WRITE, 8, "movq %rbx, %rsp\ncmpl %eax, %eax", "pushfq",                               \
      "movq %rbp, %rsp\nmovq %rax, (%rbx)", ON_STACK, .disp = -8)                                  \
    X(push_memory, READ, 8, "", "pushq (%rbx)", "movq %rbp, %rsp")                                 \
    X(pop, READ, 8, "movq %rbx, %rsp", "popq %rax", "movq %rsi, %rax\nmovq %rbp, %rsp", ON_STACK)  \
    X(pop_memory, WRITE, 8, "", "popq (%rbx)", "movq %rbp, %rsp")                                  \
    X(call, WRITE, 8, "movq %rbx, %rsp", "call 2f", "2: movq %rbp, %rsp", ON_STACK, .disp = -8)    \
    X(call_indirect, WRITE, 8, "movq %rbx, %rsp\nleaq 2f(%rip), %rdi", "call *%rdi",               \
      "2: movq %rbp, %rsp", ON_STACK, .disp = -8)                                                  \
    X(call_memory, READ, 8, "", "call *(%rbx)", "2: movq %rbp, %rsp", .target = true)              \
    X(jump_memory, READ, 8, "", "jmp *(%rbx)", "2:", .target = true)                               \
    X(ret, READ, 8, "movq %rbx, %rsp", "ret", "2: movq %rbp, %rsp", ON_STACK, .target = true)      \
    X(ret_imm, READ, 8, "movq %rbx, %rsp", "ret $16", "2: movq %rbp, %rsp", ON_STACK,              \
      .target = true)                                                                              \
    X(leave, READ, 8, "movq %rbp, %rdi\nmovq %rbx, %rbp", "leave",                                 \
      "movq %rdi, %rbp\nmovq %rdi, %rsp", .copy = RBP, .stack = true)                              \
    X(lods, READ, 4, "movq %rbx, %rsi", "lodsl", RAX_BACK "\nmovl $3, %esi", .copy = RSI)          \
    X(stos, WRITE, 8, "movq %rbx, %rdi", "stosq", "movq %rbp, %rdi", .copy = RDI)                  \
    X(movs, WRITE, 2, "movq %rbp, %rsi\nmovq %rbx, %rdi", "movsw", "movl $3, %esi", .copy = RDI)   \
    X(scas, READ, 4, "movq %rbx, %rdi", "scasl", "movq %rbp, %rdi", .copy = RDI)                   \
    X(sse_load, READ, 16, "", "movups (%rbx), %xmm0", XMM_BACK)                                    \
    X(sse_load_aligned, READ, 16, "", "movaps (%rbx), %xmm0", XMM_BACK, .align = 16)               \
    X(sse_load_low, READ, 8, "", "movlps (%rbx), %xmm0", XMM_BACK)                                 \
    X(sse_add, READ, 16, "", "paddd (%rbx), %xmm0", XMM_BACK, .align = 16)                         \
    X(sse_scalar, READ, 4, "", "addss (%rbx), %xmm0", XMM_BACK)                                    \
    X(sse_convert, READ, 8, "", "cvtsi2sdq (%rbx), %xmm0", XMM_BACK)                               \
    X(sse_store, WRITE, 16, "", "movups %xmm0, (%rbx)", "")                                        \
    X(sse_store_aligned, WRITE, 16, "", "movdqa %xmm0, (%rbx)", "", .align = 16)                   \
    X(sse_store_nontemporal, WRITE, 16, "", "movntps %xmm0, (%rbx)", "", .align = 16)              \
    X(sse_store_scalar, WRITE, 8, "", "movsd %xmm0, (%rbx)", "")                                   \
    X(cmpxchg16b, WRITE, 16, "", "cmpxchg16b (%rbx)", RAX_BACK "\nmovl $5, %edx\nmovl $1, %ecx",   \
      .align = 16)                                                                                 \
    X(x87_load, READ, 8, "", "fldl (%rbx)", "fstp %st(0)")                                         \
    X(x87_add, READ, 4, "", "fadds (%rbx)", "fninit\nfld1")                                        \
    X(x87_store, WRITE, 8, "", "fstpl (%rbx)", "fld1")                                             \
    X(x87_store_int, WRITE, 4, "", "fistpl (%rbx)", "fld1")                                        \
    X(fxsave, WRITE, 512, "", "fxsave (%rbx)", "", .align = 16)
#define AVX_KINDS(X)                                                                               \
    X(avx_load, READ, 32, "", "vmovups (%rbx), %ymm0", "vmovaps %ymm2, %ymm0")                     \
    X(avx_load_aligned, READ, 32, "", "vmovaps (%rbx), %ymm0", "vmovaps %ymm2, %ymm0",             \
      .align = 32)                                                                                 \
    X(avx_load_short, READ, 16, "", "vmovups (%rbx), %xmm0", "vmovaps %ymm2, %ymm0")               \
    X(avx_add, READ, 32, "", "vaddps (%rbx), %ymm1, %ymm0", "vmovaps %ymm2, %ymm0")                \
    X(avx_store, WRITE, 32, "", "vmovups %ymm0, (%rbx)", "")                                       \
    X(avx_store_aligned, WRITE, 32, "", "vmovdqa %ymm0, (%rbx)", "", .align = 32)

#define X(name, access, bytes, before, insn, after, ...)                                           \
    CODE_OF(name, before, insn, after)                                                             \
    extern const uint8_t loop_##name[], at_##name[];
KINDS(X)
AVX_KINDS(X)
#undef X

#define X(name, access, bytes, before, insn, after, ...)                                           \
    {#name,     g_##name, g_##name##_end,  loop_##name,                                            \
     at_##name, access,   .size = (bytes), ##__VA_ARGS__},
static const struct kind kinds[] = {KINDS(X)};
static const struct kind avx_kinds[] = {AVX_KINDS(X)};
#undef X

/* ---- one fault ------------------------------------------------------------------------------ */

struct snapshot {
    uint64_t gpr[16];
    uint8_t xsave[X86_XSAVE_SIZE];
    uint8_t memory[0x2000]; /* of BAD and NEXT */
};

static void take(struct smp *s, struct snapshot *to)
{
    const struct mote_state *st = s->v[0]->state;

    must(vcpu_get(s->v[0], X86_GPRS | X86_FPU), "vcpu_get");
    memcpy(to->gpr, st->gpr, sizeof(to->gpr));
    memcpy(to->xsave, st->xsave, sizeof(to->xsave));
    memcpy(to->memory, s->ram + BAD, sizeof(to->memory));
}

static void same_vectors(const struct kind *k, const struct snapshot *a, const struct snapshot *b)
{
    static const unsigned parts[][2] = {{0, 5}, {32, 128}, {160, 256}, {576, 256}};

    for (unsigned n = 0; n < ARRAY_SIZE(parts); n++) {
        if (memcmp(a->xsave + parts[n][0], b->xsave + parts[n][0], parts[n][1]))
            fail_msg("%s: XSAVE area from %u on differs", k->name, parts[n][0]);
    }
}

/* The address of the instruction after the one at k->at: where "2:" is, by its length. */
static uint64_t address_of(const struct kind *k, const uint8_t *label)
{
    return HOT_CODE + (uint64_t)(label - k->code);
}

/* Operands that are targets lead to what follows the instruction. */
static uint64_t operand_of(const struct kind *k)
{
    static const struct {
        const char *name;
        unsigned length;
    } targets[] = {{"call_memory", 2}, {"jump_memory", 2}, {"ret", 1}, {"ret_imm", 3}};

    if (!k->target)
        return OPERAND;
    for (unsigned n = 0; n < ARRAY_SIZE(targets); n++) {
        if (!strcmp(targets[n].name, k->name))
            return address_of(k, k->at) + targets[n].length;
    }
    fail_msg("%s: unknown length", k->name);
    return 0;
}

static void put_operand(struct smp *s, const struct kind *k, uint64_t rbx)
{
    uint64_t at = rbx + (uint64_t)(int64_t)k->disp;

    for (unsigned n = 0; n < MAX(k->size, 64); n += 8)
        le64_put(s->ram + at + n, operand_of(k));
}

/* Run the loop with the bad operand in its midst, until it faults. */
static struct hot_trap go_bad(struct smp *s, const struct kind *k, const struct bad *b,
                              uint64_t rbx, struct snapshot *hot)
{
    hot_set_gpr(s, RBX, GOOD);
    hot_set_gpr(s, R14, 0);
    hot_set_gpr(s, R15, HOT);
    hot_end(s);
    take(s, hot);
    hot_at(s, b->mode, address_of(k, k->loop));
    hot_set_gpr(s, R13, rbx);
    hot_set_gpr(s, R14, 500);
    hot_set_gpr(s, R15, 1000);
    return hot_run(s);
}

static void check_trap(struct smp *s, const struct kind *k, const struct bad *b, uint64_t rbx,
                       const struct hot_trap *t, const struct snapshot *hot)
{
    struct snapshot now;

    take(s, &now);
    now.gpr[RSP] = t->frame.rsp;
    for (unsigned n = 0; n < 16; n++) {
        uint64_t want = n == RBX || (n && n == k->copy) ? rbx
                        : n == R13                      ? rbx
                        : n == R14 || n == R15          ? 500
                                                        : hot->gpr[n];

        if (n == RSP && k->copy != RSP)
            want = SMP_DATA;
        if (n == RSI && !strcmp(k->name, "movs"))
            want = SMP_DATA;
        if (now.gpr[n] != want)
            fail_msg("%s, %s: register %u is %#lx, not %#lx", k->name, b->name, n,
                     (unsigned long)now.gpr[n], (unsigned long)want);
    }
    same_vectors(k, &now, hot);
    assert_memory_equal(now.memory, hot->memory, sizeof(now.memory));
    assert_int_equal(t->frame.rip, address_of(k, k->at));
    fault_flags(t);
    assert_int_equal(t->frame.cs, b->mode == HOT_USER ? HOT_CS_USER : 8);
}

/* The rest of the loop; then both operands have seen the same. */
static void go_on(struct smp *s, const struct kind *k, const struct bad *b, uint64_t rbx,
                  const struct snapshot *hot)
{
    struct snapshot now;

    hot_end(s);
    take(s, &now);
    assert_int_equal(now.gpr[R15], 0);
    for (unsigned n = 0; n < RSP; n++) {
        if (n != RBX && n != k->copy)
            assert_int_equal(now.gpr[n], hot->gpr[n]);
    }
    same_vectors(k, &now, hot);
    if (rbx != GOOD && strcmp(k->name, "fxsave") != 0)
        assert_memory_equal(s->ram + rbx + k->disp, s->ram + GOOD + k->disp, k->size);
}

static void page_fault(const struct kind *k, const struct bad *b)
{
    const uint32_t page = b->crosses ? NEXT : BAD;
    const uint32_t operand = b->crosses ? NEXT - k->size / 2 : BAD + 0x800;
    const uint64_t rbx = operand - (uint64_t)(int64_t)k->disp;
    static struct snapshot hot;
    struct hot_trap t;
    struct smp s;

    fault_start(&s, k, b);
    put_operand(&s, k, GOOD);
    put_operand(&s, k, rbx);
    smp_entry(&s, page, page | b->entry);
    t = go_bad(&s, k, b, rbx, &hot);
    if (t.vector != EXC_PF)
        fail_msg("%s, %s: %s instead of #PF", k->name, b->name, x86_exception_name(t.vector));
    if (t.error != (b->error | (k->access == WRITE ? PF_W : 0)))
        fail_msg("%s, %s: error code %#x", k->name, b->name, t.error);
    if (t.cr2 != (b->crosses ? NEXT : operand))
        fail_msg("%s, %s: CR2 %#lx", k->name, b->name, (unsigned long)t.cr2);
    check_trap(&s, k, b, rbx, &t, &hot);
    smp_entry(&s, page, page | 3 | (b->mode == HOT_USER ? 4 : 0));
    go_on(&s, k, b, rbx, &hot);
    smp_destroy(&s);
}

/* #GP(0) or #SS(0), put right by another address. */
static void protection_fault(const struct kind *k, const struct bad *b, uint64_t rbx,
                             unsigned vector)
{
    static struct snapshot hot;
    struct hot_trap t;
    struct smp s;

    fault_start(&s, k, b);
    put_operand(&s, k, GOOD);
    t = go_bad(&s, k, b, rbx, &hot);
    if (t.vector != vector)
        fail_msg("%s, %s: %s instead of %s", k->name, b->name, x86_exception_name(t.vector),
                 x86_exception_name(vector));
    assert_int_equal(t.error, 0);
    check_trap(&s, k, b, rbx, &t, &hot);
    hot_set_gpr(&s, RBX, GOOD);
    if (k->copy == RSP)
        t.frame.rsp = GOOD;
    else if (k->copy)
        hot_set_gpr(&s, k->copy, GOOD);
    hot_set_frame(&s, &t.frame);
    go_on(&s, k, b, GOOD, &hot);
    smp_destroy(&s);
}

static void each_kind(void (*test)(const struct kind *k, const struct bad *b), const struct bad *b)
{
    for (unsigned n = 0; n < ARRAY_SIZE(kinds); n++)
        test(&kinds[n], b);
    for (unsigned n = 0; hot_has_avx() && n < ARRAY_SIZE(avx_kinds); n++)
        test(&avx_kinds[n], b);
}

static void page_fault_if_any(const struct kind *k, const struct bad *b)
{
    if (b->only_writes && k->access == READ)
        return;
    if (b->crosses && (k->size == 1 || (k->align && k->size / 2 % k->align)))
        return;
    page_fault(k, b);
}

#define PAGE_FAULT(function, ...)                                                                  \
    static void function(void **state)                                                             \
    {                                                                                              \
        const struct bad b = {#function, __VA_ARGS__};                                             \
                                                                                                   \
        each_kind(page_fault_if_any, &b);                                                          \
    }
PAGE_FAULT(not_present, .entry = 2)
PAGE_FAULT(second_page_not_present, .entry = 2, .crosses = true)
PAGE_FAULT(read_only, .entry = 1, .error = PF_P, .only_writes = true)
PAGE_FAULT(second_page_read_only, .entry = 1, .error = PF_P, .only_writes = true, .crosses = true)
PAGE_FAULT(reserved_bit, .entry = BIT(51) | 3, .error = PF_P | PF_R)
PAGE_FAULT(not_present_for_user, HOT_USER, .entry = 2, .error = PF_U)
PAGE_FAULT(supervisors_page, HOT_USER, .entry = 3, .error = PF_P | PF_U)
PAGE_FAULT(users_page_under_smap, .entry = 7, .error = PF_P, .cr4 = CR4_SMAP)

static void non_canonical_of(const struct kind *k, const struct bad *b)
{
    protection_fault(k, b, NON_CANONICAL, k->stack ? EXC_SS : EXC_GP);
}

static void non_canonical(void **state)
{
    const struct bad b = {"non-canonical", .mode = HOT_KERNEL};

    each_kind(non_canonical_of, &b);
}

static void misaligned_of(const struct kind *k, const struct bad *b)
{
    if (k->align)
        protection_fault(k, b, GOOD + k->align / 2, EXC_GP);
}

static void misaligned(void **state)
{
    const struct bad b = {"misaligned", .mode = HOT_KERNEL};

    each_kind(misaligned_of, &b);
}

/* ---- division ------------------------------------------------------------------------------- */

#define DIVISIONS(X)                                                                               \
    X(div_byte, READ, 1, "", "divb (%rbx)", RAX_BACK)                                              \
    X(div_long, READ, 4, "", "divl (%rbx)", RAX_BACK "\nmovl $5, %edx")                            \
    X(div_quad, READ, 8, "", "divq (%rbx)", RAX_BACK "\nmovl $5, %edx")                            \
    X(idiv_long, READ, 4, "", "idivl (%rbx)", RAX_BACK "\nmovl $5, %edx")                          \
    X(idiv_quad, READ, 8, "", "idivq (%rbx)", RAX_BACK "\nmovl $5, %edx")
#define X(name, access, bytes, before, insn, after)                                                \
    CODE_OF(name, before, insn, after)                                                             \
    extern const uint8_t loop_##name[], at_##name[];
DIVISIONS(X)
#undef X
#define X(name, access, bytes, before, insn, after)                                                \
    {#name, g_##name, g_##name##_end, loop_##name, at_##name, access, .size = (bytes)},
static const struct kind divisions[] = {DIVISIONS(X)};
#undef X

/* By zero, and with a quotient that is too large. */
static void divides(void **state)
{
    static const struct bad b = {"#DE", .mode = HOT_KERNEL};
    static struct snapshot hot;

    for (unsigned n = 0; n < 2 * ARRAY_SIZE(divisions); n++) {
        const struct kind *k = &divisions[n / 2];
        struct hot_trap t;
        struct smp s;

        fault_start(&s, k, &b);
        put_operand(&s, k, GOOD);
        le64_put(s.ram + GOOD, UINT64_C(0x7f7f7f7f7f7f7f7f));
        le64_put(s.ram + BAD + 0x800, n % 2);
        t = go_bad(&s, k, &b, BAD + 0x800, &hot);
        if (t.vector != EXC_DE)
            fail_msg("%s by %u: %s", k->name, n % 2, x86_exception_name(t.vector));
        check_trap(&s, k, &b, BAD + 0x800, &t, &hot);
        le64_put(s.ram + BAD + 0x800, UINT64_C(0x7f7f7f7f7f7f7f7f));
        go_on(&s, k, &b, GOOD, &hot);
        smp_destroy(&s);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(not_present),      TEST(second_page_not_present),
        TEST(read_only),        TEST(second_page_read_only),
        TEST(reserved_bit),     TEST(not_present_for_user),
        TEST(supervisors_page), TEST(users_page_under_smap),
        TEST(non_canonical),    TEST(misaligned),
        TEST(divides),
    };

    return cmocka_run_group_tests_name("soft, faults in hot code", tests, NULL, NULL);
}
