/* Board pc without a guest: interrupt fan-out, the memory map around the hole, ends, control lines.
 */
#include "board/control.h"
#include "board/irq.h"
#include "board/layout.h"
#include "board/life.h"
#include "board/ram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---- interrupts ---- */

struct lines {
    int level[64];
    unsigned calls;
};

static void record(void *user, unsigned line, int level)
{
    struct lines *l = user;

    l->level[line] = level;
    l->calls++;
}

static void gsi_reaches_pic_and_ioapic(void **state)
{
    struct lines pic = {.calls = 0}, ioapic = {.calls = 0};
    struct irq_router router = {.pic = {record, &pic, 0}, .ioapic = {record, &ioapic, 0}};

    for (unsigned gsi = 0; gsi < 30; gsi++) {
        struct dev_irq irq = irq_line(&router, gsi);
        bool on_pic = gsi < 16 && gsi != 2, on_ioapic = gsi < 24 && gsi != 2;
        unsigned pin = gsi == 0 ? 2 : gsi;

        pic.calls = ioapic.calls = 0;
        dev_irq_set(&irq, 1);
        assert_int_equal(pic.calls, on_pic);
        assert_int_equal(ioapic.calls, on_ioapic);
        assert_int_equal(pic.level[gsi], on_pic);
        assert_int_equal(on_ioapic ? ioapic.level[pin] : 1, 1);
        dev_irq_set(&irq, 0);
        assert_int_equal(pic.level[gsi], 0);
        assert_int_equal(ioapic.level[pin], 0);
    }
}

/* ---- memory ---- */

static void memory_goes_around_the_hole(void **state)
{
    static const uint64_t sizes[] = {PC_MEMORY_MIN,     UINT64_C(256) << 20, PC_HOLE - PAGE_SIZE,
                                     PC_HOLE,           PC_HOLE + PAGE_SIZE, UINT64_C(1) << 32,
                                     UINT64_C(64) << 30};

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct ram_piece piece[2];
        struct boot_e820 map[4];
        unsigned pieces = ram_pieces(sizes[i], piece), n = ram_e820(sizes[i], map);
        uint64_t ram = 0, end = 0;

        assert_int_equal(pieces, sizes[i] > PC_HOLE ? 2 : 1);
        assert_int_equal(piece[0].gpa, 0);
        assert_true(piece[0].size <= PC_HOLE);
        if (pieces == 2) {
            assert_int_equal(piece[1].gpa, PC_HOLE_END);
            assert_int_equal(piece[1].offset, piece[0].size);
            assert_int_equal(piece[0].size + piece[1].size, sizes[i]);
        } else {
            assert_int_equal(piece[0].size, sizes[i]);
        }
        for (unsigned e = 0; e < n; e++) {
            assert_true(map[e].base >= end && map[e].size);
            end = map[e].base + map[e].size;
            if (map[e].type == E820_RAM) {
                assert_true(end <= PC_HOLE || map[e].base >= PC_HOLE_END);
                ram += map[e].size;
            } else {
                assert_int_equal(map[e].base, PC_EBDA);
                assert_int_equal(end, PC_HIGH_BASE);
            }
        }
        assert_int_equal(ram, sizes[i] - (PC_HIGH_BASE - PC_EBDA));
    }
}

static void memory_beyond_the_host_is_refused(void **state)
{
    struct ram ram = {0};

    assert_int_equal(ram_alloc(&ram, UINT64_C(1) << 46), -ENOMEM);
    assert_null(ram.hva);
    assert_int_equal(ram_alloc(&ram, PC_MEMORY_MIN), 0);
    assert_int_equal(ram.hva[PC_MEMORY_MIN - 1], 0);
    ram_free(&ram);
}

/* ---- ends ---- */

static void the_first_end_counts(void **state)
{
    struct loop loop;
    struct life life;

    assert_int_equal(loop_init(&loop), 0);
    life_init(&life, &loop);
    assert_true(life_running(&life));
    life_finish(&life, LIFE_DEBUG_EXIT, 7, NULL);
    life_finish(&life, LIFE_FAILED, 1, "later");
    assert_int_equal(atomic_load(&life.end), LIFE_DEBUG_EXIT);
    assert_int_equal(life.detail, 7);
    assert_string_equal(life.why, "");
    assert_int_equal(loop_run(&loop), 0); /* stopped before it began */
    life_destroy(&life);
    loop_destroy(&loop);
}

static int end_of(const char *text, unsigned *detail)
{
    const struct dev_irq none = {0};
    struct loop loop;
    struct life life;
    struct control control;
    int end;

    assert_int_equal(loop_init(&loop), 0);
    life_init(&life, &loop);
    assert_int_equal(control_init(&control, &loop, &life, &none), 0);
    control_take(&control, (const uint8_t *)text, strlen(text));
    end = atomic_load(&life.end);
    *detail = life.detail;
    control_destroy(&control);
    life_destroy(&life);
    loop_destroy(&loop);
    return end;
}

static void control_lines(void **state)
{
    char longest[200] = "";
    unsigned detail;

    assert_int_equal(end_of("exit 42\n", &detail), LIFE_EXIT);
    assert_int_equal(detail, 42);
    assert_int_equal(end_of("noise\r\nexit 255\r\n", &detail), LIFE_EXIT);
    assert_int_equal(detail, 255);
    assert_int_equal(end_of("exit 256\nexit -1\nexit\nexit \nexit 1x\nsize\n", &detail),
                     LIFE_RUNNING);
    assert_int_equal(end_of("exit 1", &detail), LIFE_RUNNING);
    memset(longest, 'x', 150);
    strcat(longest, "\nexit 9\n");
    assert_int_equal(end_of(longest, &detail), LIFE_EXIT);
    assert_int_equal(detail, 9);
    longest[150] = ' '; /* the end of a line that is too long is no line */
    assert_int_equal(end_of(longest, &detail), LIFE_RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gsi_reaches_pic_and_ioapic),
        cmocka_unit_test(memory_goes_around_the_hole),
        cmocka_unit_test(memory_beyond_the_host_is_refused),
        cmocka_unit_test(the_first_end_counts),
        cmocka_unit_test(control_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
