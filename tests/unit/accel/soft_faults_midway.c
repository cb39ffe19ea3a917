/*
 * Faults in hot code that are not simply of an operand: in the midst of a repeated string, at the
 * target of a branch that is done, and by what an earlier instruction said of SMAP.
 */
#include "faults.h"

#include "base/bits.h"

#include <string.h>

/* ---- repeated strings ------------------------------------------------------------------------ */

/* RCX elements from R8 to RBX, R12 times; once from R9 to R13. */
#define STRING(name, insn)                                                                         \
    GUEST(name, 64,                                                                                \
          "1: movq %r8, %rsi\nmovq %rbx, %rdi\ncmpl %r14d, %r15d\n"                                \
          "cmoveq %r9, %rsi\ncmoveq %r13, %rdi\nmovl %r12d, %ecx\ncmpl %eax, %eax\n"               \
          ".global at_" #name "\nat_" #name ": " insn "\n"                                         \
          "decl %r15d\njnz 1b\nint3")                                                              \
    extern const uint8_t at_##name[];
STRING(rep_movsb, "rep movsb")
STRING(rep_movsq, "rep movsq")
STRING(rep_stosb, "rep stosb")
STRING(rep_stosl, "rep stosl")
STRING(rep_lodsw, "rep lodsw")
STRING(repe_scasb, "repe scasb")
STRING(repe_cmpsl, "repe cmpsl")

struct string {
    const char *name;
    const uint8_t *code, *end, *at;
    unsigned size;
    bool reads, writes, source, destination;
};
#define STRING_OF(name, ...)                                                                       \
    {                                                                                              \
#name, g_##name, g_##name##_end, at_##name, __VA_ARGS__                                    \
    }
static const struct string strings[] = {
    STRING_OF(rep_movsb, 1, true, true, true, true),
    STRING_OF(rep_movsq, 8, true, true, true, true),
    STRING_OF(rep_stosb, 1, false, true, false, true),
    STRING_OF(rep_stosl, 4, false, true, false, true),
    STRING_OF(rep_lodsw, 2, true, false, true, false),
    STRING_OF(repe_scasb, 1, true, false, false, true),
    STRING_OF(repe_cmpsl, 4, true, false, true, true),
};

#define ELEMENTS 40u
#define DONE     24u /* elements before the page that is missing */

/* All but the last elements are done, and registers say so; then it goes on with the next. */
static void string_fault(const struct string *r, bool at_source)
{
    const uint32_t other = SMP_DATA + 0x1800, bad = NEXT - DONE * r->size;
    const uint32_t error = at_source || !r->writes ? 0 : PF_W;
    const struct kind k = {.code = r->code, .end = r->end};
    const struct bad b = {r->name, .mode = HOT_KERNEL};
    uint64_t rsi, rdi;
    struct hot_trap t;
    struct smp s;

    fault_start(&s, &k, &b);
    memset(s.ram + SMP_DATA, 0xab, 0x4000);
    memset(s.ram + BAD, 0xab, 0x2000); /* what is compared is the same everywhere */
    smp_entry(&s, NEXT, NEXT | 2);
    if (r->writes)
        memset(s.ram + (at_source ? other : bad), 0x11, ELEMENTS * r->size);
    hot_set_gpr(&s, RAX, UINT64_C(0xabababababababab));
    hot_set_gpr(&s, R8, SMP_DATA + 0x400);
    hot_set_gpr(&s, RBX, GOOD);
    hot_set_gpr(&s, R9, at_source ? bad : SMP_DATA + 0x400);
    hot_set_gpr(&s, R13, at_source ? other : bad);
    hot_set_gpr(&s, R12, ELEMENTS);
    hot_set_gpr(&s, R14, 500);
    hot_set_gpr(&s, R15, HOT);
    t = hot_run(&s);
    rsi = hot_gpr(&s, RSI);
    rdi = hot_gpr(&s, RDI);
    if (t.vector != EXC_PF || t.error != error || t.cr2 != NEXT)
        fail_msg("%s: %s(%x), CR2 %#lx", r->name, x86_exception_name(t.vector), t.error,
                 (unsigned long)t.cr2);
    assert_int_equal(t.frame.rip, HOT_CODE + (uint64_t)(r->at - r->code));
    fault_flags(&t);
    assert_int_equal(hot_gpr(&s, RCX), ELEMENTS - DONE);
    assert_int_equal(hot_gpr(&s, R15), 500);
    assert_int_equal(hot_gpr(&s, RAX), UINT64_C(0xabababababababab));
    if (r->source)
        assert_int_equal(rsi, at_source ? NEXT : SMP_DATA + 0x400 + DONE * r->size);
    if (r->destination)
        assert_int_equal(rdi, at_source ? other + DONE * r->size : NEXT);
    for (unsigned n = 0; r->writes && n < ELEMENTS * r->size; n++)
        assert_int_equal(s.ram[(at_source ? other : bad) + n], n < DONE * r->size ? 0xab : 0x11);
    smp_entry(&s, NEXT, NEXT | 3);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, R15), 0);
    assert_int_equal(hot_gpr(&s, RCX), 0);
    for (unsigned n = 0; r->writes && n < ELEMENTS * r->size; n++)
        assert_int_equal(s.ram[(at_source ? other : bad) + n], 0xab);
    smp_destroy(&s);
}

static void strings_fault_in_the_middle(void **state)
{
    for (unsigned n = 0; n < ARRAY_SIZE(strings); n++) {
        if (strings[n].source)
            string_fault(&strings[n], true);
        if (strings[n].destination)
            string_fault(&strings[n], false);
    }
}

/* ---- fetches ----------------------------------------------------------------------------- */

GUEST(fetches, 64,
      "1: movq %r8, %rbx\ncmpl %r14d, %r15d\ncmoveq %r13, %rbx\n"
      "call *%rbx\n.global after_call\nafter_call: addl %eax, %edx\n"
      "decl %r15d\njnz 1b\nint3")
GUEST(returns_seven, 64, "movl $7, %eax\nret")
extern const uint8_t after_call[];

/* The target itself is what cannot be fetched; the CALL before it is done. */
static void fetch_fault(const struct bad *b)
{
    const struct kind k = {.code = g_fetches, .end = g_fetches_end};
    const uint64_t user = b->mode == HOT_USER ? 4 : 0;
    const uint32_t at = BAD + 0x123, good = HOT_CODE + 0x1000;
    struct hot_trap t;
    struct smp s;

    fault_start(&s, &k, b);
    SMP_CODE(&s, good, returns_seven);
    memcpy(s.ram + at, g_returns_seven, 6);
    hot_set_gpr(&s, R8, good);
    hot_set_gpr(&s, R13, at);
    hot_set_gpr(&s, R14, 500);
    hot_set_gpr(&s, R15, HOT);
    hot_end(&s); /* the target is hot, too, when it becomes bad */
    assert_int_equal(hot_gpr(&s, RDX), 5 + 7 * HOT);
    hot_set_gpr(&s, R8, at);
    hot_set_gpr(&s, R15, HOT);
    hot_at(&s, b->mode, HOT_CODE);
    hot_end(&s);
    smp_entry(&s, BAD, BAD | b->entry);
    hot_flush(&s);
    hot_at(&s, b->mode, HOT_CODE);
    hot_set_gpr(&s, RDX, 0);
    hot_set_gpr(&s, R8, good);
    hot_set_gpr(&s, R15, 1000);
    t = hot_run(&s);
    if (t.vector != EXC_PF || t.error != b->error || t.cr2 != at || t.frame.rip != at)
        fail_msg("%s: %s(%x) at %#lx, CR2 %#lx", b->name, x86_exception_name(t.vector), t.error,
                 (unsigned long)t.frame.rip, (unsigned long)t.cr2);
    assert_int_equal(t.frame.rsp, SMP_DATA - 8);
    assert_int_equal(smp_read(&s, SMP_DATA - 8), HOT_LABEL(HOT_CODE, fetches, after_call));
    assert_int_equal(hot_gpr(&s, R15), 500);
    smp_entry(&s, BAD, BAD | 3 | user);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, RDX), 7000);
    smp_destroy(&s);
}

static void fetches_fault(void **state)
{
    static const struct bad bads[] = {
        {"not present", .entry = 2, .error = PF_I},
        {"no-execute", .entry = BIT(63) | 3, .error = PF_P | PF_I},
        {"no-execute, ring 3", HOT_USER, .entry = BIT(63) | 7, .error = PF_P | PF_U | PF_I},
        {"supervisor's", HOT_USER, .entry = 3, .error = PF_P | PF_U | PF_I},
        {"user's under SMEP", .entry = 7, .error = PF_P | PF_I, .cr4 = CR4_SMEP},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(bads); n++)
        fetch_fault(&bads[n]);
}

/* ---- SMAP -------------------------------------------------------------------------------- */

/* Flags are R8, but once R13; a user's page is read with them. */
GUEST(popf_reads, 64,
      "1: cmpl %r14d, %r15d\ncmoveq %r13, %r8\npushq %r8\npopfq\n"
      ".global at_popf_reads\nat_popf_reads: addl (%rbx), %eax\n"
      "decl %r15d\njnz 1b\nint3")
/* The same, but what makes the difference is which of STAC and CLAC is called. */
GUEST(stac_reads, 64,
      "1: cmpl %r14d, %r15d\ncmoveq %r13, %r8\ncall *%r8\n"
      ".global at_stac_reads\nat_stac_reads: addl (%rbx), %eax\n"
      "decl %r15d\njnz 1b\nint3")
GUEST(stac, 64, "stac\nret")
GUEST(clac, 64, "clac\nret")
extern const uint8_t at_popf_reads[], at_stac_reads[];

static void smap_follows_ac(const uint8_t *code, const uint8_t *end, uint64_t at, uint64_t with,
                            uint64_t without)
{
    const struct bad b = {"SMAP and AC", .cr4 = CR4_SMAP};
    const struct kind k = {.code = code, .end = end};
    struct hot_trap t;
    struct smp s;

    fault_start(&s, &k, &b);
    SMP_CODE(&s, HOT_CODE + 0x1000, stac);
    SMP_CODE(&s, HOT_CODE + 0x2000, clac);
    smp_entry(&s, BAD, BAD | 7);
    le64_put(s.ram + BAD, 3);
    hot_set_gpr(&s, RAX, 0);
    hot_set_gpr(&s, RBX, BAD);
    hot_set_gpr(&s, R8, with);
    hot_set_gpr(&s, R13, without);
    hot_set_gpr(&s, R14, 500);
    hot_set_gpr(&s, R15, HOT);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_PF);
    assert_int_equal(t.error, PF_P);
    assert_int_equal(t.cr2, BAD);
    assert_int_equal(t.frame.rip, at);
    assert_false(t.frame.rflags & FLAG_AC);
    assert_int_equal(hot_gpr(&s, R15), 500);
    assert_int_equal(hot_gpr(&s, RAX), 3 * (HOT - 500));
    hot_set_gpr(&s, R8, with);
    t.frame.rflags |= FLAG_AC;
    hot_set_frame(&s, &t.frame);
    hot_set_gpr(&s, R14, 0);
    hot_end(&s);
    assert_int_equal(hot_gpr(&s, RAX), 3 * HOT);
    smp_destroy(&s);
}

static void smap_follows_popf(void **state)
{
    smap_follows_ac(g_popf_reads, g_popf_reads_end, HOT_LABEL(HOT_CODE, popf_reads, at_popf_reads),
                    FLAG_AC | FLAG_R1, FLAG_R1);
}

static void smap_follows_stac(void **state)
{
    smap_follows_ac(g_stac_reads, g_stac_reads_end, HOT_LABEL(HOT_CODE, stac_reads, at_stac_reads),
                    HOT_CODE + 0x1000, HOT_CODE + 0x2000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(strings_fault_in_the_middle),
        TEST(fetches_fault),
        TEST(smap_follows_popf),
        TEST(smap_follows_stac),
    };

    return cmocka_run_group_tests_name("soft, faults in the midst of hot code", tests, NULL, NULL);
}
