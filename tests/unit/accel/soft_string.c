/*
 * Hot MOVS and STOS that repeat over several pages, which lie apart in memory: as one element
 * after the other, by translated code, and with flags as before.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>

/*
 * R12 elements from RSI = R8 to RDI = R9, R15 times. RBX counts the carries, behind the
 * instruction, of a compare of what it changes: none, unless that was done anew.
 */
#define STRING(name, insn)                                                                         \
    GUEST(name, 64,                                                                                \
          "1: movq %r8, %rsi\nmovq %r9, %rdi\nmovq %r12, %rcx\ncmpq $1, %rcx\n" insn               \
          "\nadcq $0, %rbx\ndecl %r15d\njnz 1b\nint3")
STRING(movsb, "rep movsb")
STRING(movsw, "rep movsw")
STRING(movsl, "rep movsl")
STRING(movsq, "rep movsq")
STRING(stosb, "rep stosb")
STRING(stosw, "rep stosw")
STRING(stosl, "rep stosl")
STRING(stosq, "rep stosq")

struct string {
    const char *name;
    const uint8_t *code, *end;
    unsigned size;
    bool moves;
};
static const struct string strings[] = {
    {"movsb", g_movsb, g_movsb_end, 1, true},  {"movsw", g_movsw, g_movsw_end, 2, true},
    {"movsl", g_movsl, g_movsl_end, 4, true},  {"movsq", g_movsq, g_movsq_end, 8, true},
    {"stosb", g_stosb, g_stosb_end, 1, false}, {"stosw", g_stosw, g_stosw_end, 2, false},
    {"stosl", g_stosl, g_stosl_end, 4, false}, {"stosq", g_stosq, g_stosq_end, 8, false},
};

/* Linear pages from here on lie in memory in the opposite order. */
#define SPACE  HOT_ALIAS
#define PAGES  12u
#define MEMORY 0xa0000u
#define VALUE  UINT64_C(0x8877665544332211)

static uint8_t *at(struct smp *s, uint32_t offset)
{
    return s->ram + MEMORY + (PAGES - 1 - offset / PAGE_SIZE) * PAGE_SIZE + offset % PAGE_SIZE;
}

/* One element after the other, byte by byte, as no element overlaps itself. */
static void expect(uint8_t *memory, const struct string *r, uint32_t from, uint32_t to,
                   uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        if (r->moves)
            memmove(memory + to + n * r->size, memory + from + n * r->size, r->size);
        else
            memcpy(memory + to + n * r->size, &(uint64_t){VALUE}, r->size);
    }
}

/* whole: no element lies in two pages, so the interpreter is not needed. */
static void string(const struct string *r, uint32_t from, uint32_t to, uint32_t count, bool whole)
{
    static uint8_t expected[PAGES * PAGE_SIZE];
    struct smp s;

    hot_create(&s, 1);
    smp_code(&s, HOT_CODE, r->code, r->end);
    for (uint32_t n = 0; n < PAGES; n++)
        smp_page(&s, SPACE + n * PAGE_SIZE, MEMORY + (PAGES - 1 - n) * PAGE_SIZE);
    for (uint32_t n = 0; n < sizeof(expected); n++)
        expected[n] = *at(&s, n) = (uint8_t)(n * 7 + n / 256);
    hot_at(&s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(&s, RAX, VALUE);
    hot_set_gpr(&s, RBX, 0);
    hot_set_gpr(&s, R8, SPACE + from);
    hot_set_gpr(&s, R9, SPACE + to);
    hot_set_gpr(&s, R12, count);
    hot_set_gpr(&s, R15, HOT);
    hot_end(&s);

    for (unsigned round = 0; round < HOT; round++)
        expect(expected, r, from, to, count);
    for (uint32_t n = 0; n < sizeof(expected); n++) {
        if (*at(&s, n) != expected[n])
            fail_msg("%s of %u from %#x to %#x: %#x is %#x, expected %#x", r->name, count, from, to,
                     n, *at(&s, n), expected[n]);
    }
    assert_int_equal(hot_gpr(&s, RBX), 0); /* nor was RCX below 1 */
    assert_int_equal(hot_gpr(&s, RCX), 0);
    assert_int_equal(hot_gpr(&s, RDI), SPACE + to + count * r->size);
    assert_int_equal(hot_gpr(&s, RSI), SPACE + from + (r->moves ? count * r->size : 0));
    assert_true(smp_stat(&s, 0, "blocks translated"));
    if (whole && smp_stat(&s, 0, "instructions interpreted from translated code") > HOT / 10)
        fail_msg("%s of %u from %#x to %#x is interpreted", r->name, count, from, to);
    smp_destroy(&s);
}

static void over_pages(void **state)
{
    for (unsigned n = 0; n < ARRAY_SIZE(strings); n++) {
        const struct string *r = &strings[n];
        uint32_t all = 3 * PAGE_SIZE / r->size;

        string(r, 0x100, 0x6f08, all, true);
        string(r, 0xff8, 0x6000, all + 5, true);
        string(r, 0, 0x6000, all, true);
        string(r, 0x108, 0x6108, 1, true);
        string(r, 0x108, 0x6ff8, 8 / r->size, true);
        string(r, 0x103, 0x6ff9, all, r->size == 1);
        string(r, 0xfff, 0x6000, 9, r->size == 1);
    }
}

/* The second operand begins within the first: what was written is read. */
static void overlapping(void **state)
{
    for (unsigned n = 0; n < ARRAY_SIZE(strings); n++) {
        const struct string *r = &strings[n];

        if (!r->moves)
            continue;
        string(r, 0x100, 0x100 + r->size, 2 * PAGE_SIZE / r->size, true);
        string(r, 0x100, 0x100 + 24, 2 * PAGE_SIZE / r->size, true);
        string(r, 0x1000, 0x1000 - r->size, PAGE_SIZE / r->size, true);
        string(r, 0x100, 0x100, PAGE_SIZE / r->size, true);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_prestate(name, (void *)accel_find("soft"))
    const struct CMUnitTest tests[] = {
        TEST(over_pages),
        TEST(overlapping),
    };

    return cmocka_run_group_tests_name("soft, hot strings", tests, NULL, NULL);
}
