/*
 * More code than the engine has room for: what runs seldom is evicted, and what was translated
 * loses its decoded instructions. Nothing of that is the guest's to notice.
 */
#include "hot.h"

#include "base/bits.h"

#include <string.h>

#define FUNCTION 0x20000u
#define DATA     (SMP_DATA + 0x40)
#define COLD     0x110000u /* cells of code, each a block that leads to the next one */
#define CELL     8u
#define CELLS    98304u
#define VALUE(n) ((n)*2654435761u >> 8)

/* R8 times. */
GUEST(calls, 64, "1: call *%rdi\ndecl %r8d\njnz 1b\nint3")
GUEST(function, 64, "movl (%rdx), %ecx\naddl %ecx, %eax\nret")
GUEST(unmasks, 64, "ldmxcsr (%rbx)\nint3")

/* Returns what the cells add to EAX. */
static uint32_t start(struct smp *s)
{
    uint32_t sum = 0;

    hot_create(s, 1);
    for (uint32_t n = 0; n < CELLS; n++) {
        uint8_t *cell = s->ram + COLD + n * CELL;

        cell[0] = 0x05; /* add $imm32, %eax */
        le32_put(cell + 1, VALUE(n));
        cell[5] = n + 1 < CELLS ? 0xeb : 0xc3; /* jmp, ret */
        cell[6] = 1;
        sum += VALUE(n);
    }
    SMP_CODE(s, HOT_CODE, calls);
    SMP_CODE(s, FUNCTION, function);
    le32_put(s->ram + DATA, 3);
    return sum;
}

/* Prepare `count` calls. */
static void calls(struct smp *s, uint32_t at, uint32_t count)
{
    hot_at(s, HOT_KERNEL, HOT_CODE);
    hot_set_gpr(s, RAX, 0);
    hot_set_gpr(s, RDI, at);
    hot_set_gpr(s, RDX, DATA);
    hot_set_gpr(s, R8, count);
}

static uint32_t call(struct smp *s, uint32_t at, uint32_t count)
{
    calls(s, at, count);
    return (uint32_t)hot_end(s);
}

/* ---- cold code ------------------------------------------------------------------------- */

static void again_and_again(void **state)
{
    struct smp s;
    uint32_t sum = start(&s);

    assert_int_equal(call(&s, COLD, 3), 3 * sum);
    assert_true(smp_stat(&s, 0, "blocks evicted") > 2 * CELLS);
    assert_true(smp_stat(&s, 0, "blocks decoded") > 3 * CELLS);
    assert_int_equal(smp_stat(&s, 0, "flushes of all blocks"), 0);
    assert_int_equal(smp_stat(&s, 0, "blocks translated"), 0);
    smp_destroy(&s);
}

/* Heat outlives decoded instructions. */
static void seldom_is_often_in_the_end(void **state)
{
    struct smp s;
    uint32_t sum = start(&s);

    assert_int_equal(call(&s, COLD, 200), 200 * sum);
    assert_true(smp_stat(&s, 0, "blocks translated") > CELLS / 2);
    assert_int_equal(call(&s, COLD, 3), 3 * sum);
    assert_int_equal(smp_stat(&s, 0, "flushes of all blocks"), 0);
    smp_destroy(&s);
}

/* Cells that were evicted, and some that were not, are others each time: from the outside ... */
static void written_by_the_host(void **state)
{
    struct smp s;
    uint32_t sum = start(&s);

    for (unsigned n = 0; n < 4; n++) {
        assert_int_equal(call(&s, COLD, 1), sum);
        for (uint32_t cell = 0; cell < CELLS; cell += 100) {
            uint8_t *imm = s.ram + COLD + cell * CELL + 1;
            uint8_t value[4];

            le32_put(value, le32_get(imm) + n);
            sum += n;
            assert_int_equal(guest_mem_write(&s.m->mem, GPA(COLD + cell * CELL + 1), value, 4), 0);
        }
    }
    assert_int_equal(call(&s, COLD, 1), sum);
    smp_destroy(&s);
}

/* ... and by the guest: every 128th is the next number. */
GUEST(writes, 64,
      "1: call *%rdi\n"
      "leaq 1(%rdi), %rbx\nmovl $768, %ecx\n"
      "2: incl (%rbx)\naddq $1024, %rbx\ndecl %ecx\njnz 2b\n"
      "decl %r8d\njnz 1b\nint3")

static void written_by_the_guest(void **state)
{
    struct smp s;
    uint32_t sum = start(&s);

    SMP_CODE(&s, HOT_CODE, writes);
    assert_int_equal(call(&s, COLD, 10), 10 * sum + 768 * (10 * 9 / 2));
    assert_true(smp_stat(&s, 0, "blocks dropped by writes to code") > 0);
    smp_destroy(&s);
}

/* ---- hot code, whose instructions are gone --------------------------------------------------- */

/* FUNCTION is translated, and what it was decoded to has been overwritten since. */
static void start_evicted(struct smp *s)
{
    uint32_t sum = start(s);

    assert_int_equal(call(s, FUNCTION, HOT), 3 * HOT);
    assert_int_equal(call(s, COLD, 2), 2 * sum);
    assert_true(smp_stat(s, 0, "blocks evicted") > CELLS);
    assert_true(smp_stat(s, 0, "blocks translated") > 0);
}

/* Translated code refers to instructions of its own. */
static void faults_in_translated_code(void **state)
{
    struct hot_trap t;
    struct smp s;

    start_evicted(&s);
    calls(&s, FUNCTION, 2);
    hot_set_gpr(&s, RDX, HOT_ALIAS + 0x123);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_PF);
    assert_int_equal(t.cr2, HOT_ALIAS + 0x123);
    assert_int_equal(t.frame.rip, FUNCTION);
    assert_int_equal(hot_gpr(&s, RAX), 0);
    assert_int_equal(call(&s, FUNCTION, HOT), 3 * HOT);
    assert_int_equal(smp_stat(&s, 0, "... decoded again, as code needs them"), 0);
    smp_destroy(&s);
}

/* From now on the interpreter does everything. */
static void unmask(struct smp *s)
{
    SMP_CODE(s, HOT_CODE + 0x1000, unmasks);
    hot_at(s, HOT_KERNEL, HOT_CODE + 0x1000);
    le32_put(s->ram + DATA + 8, 0x1f00);
    hot_set_gpr(s, RBX, DATA + 8);
    hot_end(s);
}

static void decoded_again(void **state)
{
    struct smp s;

    start_evicted(&s);
    unmask(&s);
    assert_int_equal(call(&s, FUNCTION, 5), 15);
    assert_true(smp_stat(&s, 0, "... decoded again, as code needs them") >= 2);
    smp_destroy(&s);
}

/* Another vCPU has just written there, and the news is still on its way. */
static void decoded_to_something_else(void **state)
{
    static const uint8_t none[] = {0x06, 0x06}, other[] = {0xff, 0xc0, 0xc3}; /* incl %eax; ret */
    struct hot_trap t;
    struct smp s;

    start_evicted(&s);
    unmask(&s);
    memcpy(s.ram + FUNCTION, none, sizeof(none));
    calls(&s, FUNCTION, 1);
    t = hot_run(&s);
    assert_int_equal(t.vector, EXC_UD);
    assert_int_equal(t.frame.rip, FUNCTION);
    assert_int_equal(guest_mem_write(&s.m->mem, GPA(FUNCTION), other, sizeof(other)), 0);
    assert_int_equal(call(&s, FUNCTION, 7), 7);
    smp_destroy(&s);
}

/* ---- all of memory may have been written ------------------------------------------------------
 */

#define ADDS   (FUNCTION + 2) /* opcode of the function's ADD */
#define IS_ADD 0x01
#define IS_SUB 0x29

/* Returns what a call of all cells gives. What is decoded from now on can be compared. */
static uint32_t start_doubted(struct smp *s)
{
    uint32_t sum = start(s);

    assert_int_equal(call(s, FUNCTION, 1), 3);
    guest_mem_written(&s->m->mem, GPA(0), UINT64_MAX);
    return sum;
}

/* No code is kept from the page, so nobody notes what is stored there. */
static void written_when_nothing_is_left(void **state)
{
    static const uint8_t sub = IS_SUB;
    struct smp s;
    uint32_t sum = start_doubted(&s);

    assert_int_equal(call(&s, FUNCTION, 1), 3);
    assert_int_equal(call(&s, COLD, 2), 2 * sum);
    assert_int_equal(guest_mem_write(&s.m->mem, GPA(ADDS), &sub, 1), 0);
    assert_int_equal(call(&s, FUNCTION, 1), (uint32_t)-3);
    assert_int_equal(smp_stat(&s, 0, "flushes of all blocks"), 1);
    smp_destroy(&s);
}

/* While nobody has said so, they are what they were when they were compared, not what they are. */
static void decoded_again_in_between(void **state)
{
    struct smp s;
    uint32_t sum = start_doubted(&s);

    assert_int_equal(call(&s, FUNCTION, HOT), 3 * HOT);
    assert_int_equal(call(&s, COLD, 2), 2 * sum);
    unmask(&s);
    s.ram[ADDS] = IS_SUB;
    call(&s, FUNCTION, 1);
    assert_true(smp_stat(&s, 0, "... decoded again, as code needs them") > 0);
    s.ram[ADDS] = IS_ADD;
    guest_mem_written(&s.m->mem, GPA(0), UINT64_MAX);
    assert_int_equal(call(&s, FUNCTION, 5), 15);
    smp_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(again_and_again),           cmocka_unit_test(seldom_is_often_in_the_end),
        cmocka_unit_test(written_by_the_host),       cmocka_unit_test(written_by_the_guest),
        cmocka_unit_test(faults_in_translated_code), cmocka_unit_test(decoded_again),
        cmocka_unit_test(decoded_to_something_else), cmocka_unit_test(written_when_nothing_is_left),
        cmocka_unit_test(decoded_again_in_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
