/* The debugger's breakpoints: where they go, and what they leave behind. */
#include "board/breakpoints.h"

#include "base/bits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define PAGES 4
#define HIGH  UINT64_C(0xffffffff81000000) /* mapped to page 1 of memory */
#define ALIAS UINT64_C(0xffff888000001000) /* too */
#define LATE  UINT64_C(0xffffffff82000000) /* mapped to page 2 once `paging` is on */

static bool paging;

static int translate(struct vcpu *v, uint64_t gva, gpa_t *gpa)
{
    uint64_t page = align_down(gva, PAGE_SIZE);

    if (page == HIGH || page == ALIAS)
        *gpa = GPA(PAGE_SIZE + (gva & PAGE_MASK));
    else if (page == LATE && paging)
        *gpa = GPA(2 * PAGE_SIZE + (gva & PAGE_MASK));
    else
        return -EFAULT;
    return 0;
}

static const struct accel accel = {.translate = translate};

struct bench {
    struct vcpu vcpu;
    struct guest_mem mem;
    uint8_t *ram;
    struct breakpoints b;
};

static int setup(void **state)
{
    struct bench *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->ram = aligned_alloc(PAGE_SIZE, PAGES * PAGE_SIZE);
    assert_non_null(t->ram);
    memset(t->ram, 0x90, PAGES * PAGE_SIZE);
    guest_mem_init(&t->mem);
    assert_int_equal(guest_mem_map(&t->mem, GPA(0), PAGES * PAGE_SIZE, t->ram, MEM_RWX), 0);
    t->vcpu.accel = &accel;
    t->b.mem = &t->mem;
    paging = false;
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct bench *t = *state;

    free(t->ram);
    free(t);
    return 0;
}

static int insert(struct bench *t, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    return breakpoints_insert(&t->b, &t->vcpu, kind, gva, size);
}

static unsigned registers_used(struct bench *t)
{
    struct vcpu_debug debug = {0};
    unsigned n = 0;

    breakpoints_apply(&t->b, &debug);
    for (unsigned i = 0; i < VCPU_WATCHES; i++)
        n += debug.watch[i].kind != VCPU_WATCH_OFF;
    return n;
}

/* Let nothing be left for software breakpoints but INT3. */
static void take_registers(struct bench *t)
{
    for (unsigned i = 0; i < VCPU_WATCHES; i++)
        assert_int_equal(insert(t, GDB_BREAK_HARD, HIGH + 0x800 + i, 1), 0);
}

static void registers_come_first(void **state)
{
    struct bench *t = *state;

    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH + i, 1), 0);
    assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH + 5, 1), 0); /* again */
    assert_int_equal(registers_used(t), 4);
    assert_int_equal(t->b.count, 2);
    assert_memory_equal(t->ram + PAGE_SIZE, "\x90\x90\x90\x90\xcc\xcc\x90", 7);
    breakpoints_clear(&t->b);
    assert_int_equal(registers_used(t), 0);
    assert_memory_equal(t->ram + PAGE_SIZE, "\x90\x90\x90\x90\x90\x90\x90", 7);
}

static void watches_push_them_out(void **state)
{
    struct bench *t = *state;

    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH + i, 1), 0);
    assert_int_equal(insert(t, GDB_WATCH_WRITE, HIGH + 0x100, 8), 0);
    assert_int_equal(registers_used(t), 4);
    assert_int_equal(t->b.count, 1);
    assert_int_equal(t->ram[PAGE_SIZE], 0xcc);
    breakpoints_remove(&t->b, GDB_BREAK_SOFT, HIGH, 1);
    assert_int_equal(t->ram[PAGE_SIZE], 0x90);
    assert_int_equal(t->b.count, 0);
}

static void unmapped_needs_a_register(void **state)
{
    struct bench *t = *state;

    assert_int_equal(insert(t, GDB_BREAK_SOFT, LATE, 1), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH + i, 1), 0);
    /* A mapped one makes room for it; the other cannot. */
    assert_int_equal(insert(t, GDB_BREAK_SOFT, LATE + 1, 1), 0);
    assert_int_equal(t->b.count, 1);
    assert_int_equal(insert(t, GDB_WATCH_ACCESS, HIGH + 0x100, 16), 0);
    assert_int_equal(insert(t, GDB_WATCH_ACCESS, HIGH + 0x200, 1), -ENOSPC);
    assert_int_equal(insert(t, GDB_BREAK_SOFT, LATE + 2, 1), -ENOSPC);
    paging = true;
    assert_int_equal(insert(t, GDB_BREAK_SOFT, LATE + 2, 1), 0);
    assert_int_equal(t->ram[2 * PAGE_SIZE + 2], 0xcc);
}

static void reads_and_writes_pass_below(void **state)
{
    struct bench *t = *state;
    uint8_t buf[4];

    take_registers(t);
    assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH + 1, 1), 0);
    assert_int_equal(breakpoints_read(&t->b, GPA(PAGE_SIZE), buf, 4), 0);
    assert_memory_equal(buf, "\x90\x90\x90\x90", 4);
    assert_int_equal(breakpoints_write(&t->b, GPA(PAGE_SIZE), "abcd", 4), 0);
    assert_memory_equal(t->ram + PAGE_SIZE,
                        "a\xcc"
                        "cd",
                        4);
    assert_int_equal(breakpoints_read(&t->b, GPA(PAGE_SIZE), buf, 4), 0);
    assert_memory_equal(buf, "abcd", 4);
    assert_int_equal(breakpoints_read(&t->b, GPA(PAGES * PAGE_SIZE - 1), buf, 4), -EFAULT);
    breakpoints_remove(&t->b, GDB_BREAK_SOFT, HIGH + 1, 1);
    assert_memory_equal(t->ram + PAGE_SIZE, "abcd", 4);
}

static void the_guests_own_write_stays(void **state)
{
    struct bench *t = *state;
    uint8_t byte;

    take_registers(t);
    assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH, 1), 0);
    t->ram[PAGE_SIZE] = 0x55;
    assert_int_equal(breakpoints_read(&t->b, GPA(PAGE_SIZE), &byte, 1), 0);
    assert_int_equal(byte, 0x55);
    breakpoints_remove(&t->b, GDB_BREAK_SOFT, HIGH, 1);
    assert_int_equal(t->ram[PAGE_SIZE], 0x55);
}

/* Two linear addresses of one byte: the first to go must not take the other's INT3 with it. */
static void one_byte_twice(void **state)
{
    struct bench *t = *state;

    take_registers(t);
    assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH, 1), 0);
    assert_int_equal(insert(t, GDB_BREAK_SOFT, ALIAS, 1), 0);
    breakpoints_remove(&t->b, GDB_BREAK_SOFT, HIGH, 1);
    assert_int_equal(t->ram[PAGE_SIZE], 0xcc);
    assert_int_equal(breakpoints_find(&t->b, GPA(PAGE_SIZE))->gva, ALIAS);
    breakpoints_remove(&t->b, GDB_BREAK_SOFT, ALIAS, 1);
    assert_int_equal(t->ram[PAGE_SIZE], 0x90);
}

static void many_bytes_take_several_registers(void **state)
{
    struct bench *t = *state;
    struct vcpu_debug debug = {0};

    assert_int_equal(insert(t, GDB_WATCH_WRITE, HIGH + 3, 14), 0);
    breakpoints_apply(&t->b, &debug);
    assert_int_equal(debug.watch[0].gva, HIGH + 3);
    assert_int_equal(debug.watch[0].size, 1);
    assert_int_equal(debug.watch[1].size, 4);
    assert_int_equal(debug.watch[2].size, 8);
    assert_int_equal(debug.watch[3].gva, HIGH + 16);
    assert_int_equal(debug.watch[3].size, 1);
    assert_int_equal(debug.watch[3].kind, VCPU_WATCH_WRITE);
    breakpoints_remove(&t->b, GDB_WATCH_WRITE, HIGH + 3, 14);
    assert_int_equal(registers_used(t), 0);
    assert_int_equal(insert(t, GDB_WATCH_WRITE, HIGH + 1, 32), -ENOSPC);
    assert_int_equal(registers_used(t), 0); /* all or nothing */
}

static void hostile_addresses(void **state)
{
    struct bench *t = *state;

    assert_int_equal(insert(t, GDB_WATCH_WRITE, HIGH, 0), -EINVAL);
    assert_int_equal(insert(t, GDB_WATCH_WRITE, UINT64_C(1) << 47, 8), -EINVAL);
    assert_int_equal(insert(t, GDB_WATCH_WRITE, (UINT64_C(1) << 47) - 1, 2), -EINVAL);
    assert_int_equal(insert(t, GDB_WATCH_WRITE, UINT64_MAX, 1), 0);
    assert_int_equal(insert(t, GDB_WATCH_WRITE, UINT64_MAX, 2), -EINVAL);
    assert_int_equal(insert(t, GDB_WATCH_WRITE, HIGH, UINT64_MAX), -EINVAL);
    assert_int_equal(insert(t, GDB_WATCH_WRITE, 0, UINT64_MAX), -ENOSPC);
    breakpoints_remove(&t->b, GDB_BREAK_SOFT, HIGH, 1); /* never inserted */
    breakpoints_clear(&t->b);
    take_registers(t);
    for (unsigned i = 0; i < BREAKPOINTS_SOFT; i++)
        assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH + i, 1), 0);
    assert_int_equal(insert(t, GDB_BREAK_SOFT, HIGH + BREAKPOINTS_SOFT, 1), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(registers_come_first),
        TEST(watches_push_them_out),
        TEST(unmapped_needs_a_register),
        TEST(reads_and_writes_pass_below),
        TEST(the_guests_own_write_stays),
        TEST(one_byte_twice),
        TEST(many_bytes_take_several_registers),
        TEST(hostile_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
