/* Board pc without a guest: interrupt fan-out, the memory map around the hole, ends, control lines.
 */
#include "board/control.h"
#include "board/irq.h"
#include "board/layout.h"
#include "board/life.h"
#include "board/memory_map.h"
#include "board/ram.h"
#include "mem/guest_mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

static const uint64_t sizes[] = {PC_MEMORY_MIN,     UINT64_C(256) << 20, PC_HOLE - PAGE_SIZE,
                                 PC_HOLE,           PC_HOLE + PAGE_SIZE, UINT64_C(1) << 32,
                                 UINT64_C(64) << 30};

/* Every byte of RAM has one place at most; where devices and video memory are there is none. */
static void memory_goes_around_the_holes(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct memory_piece piece[MEMORY_PIECES_MAX];
        unsigned n = memory_pieces(sizes[i], piece);
        uint64_t end = 0, used = 0;

        assert_int_equal(n, sizes[i] > PC_HOLE ? 4 : 3);
        for (unsigned p = 0; p < n; p++) {
            assert_true(piece[p].size && !((piece[p].gpa | piece[p].size) & PAGE_MASK));
            assert_true(piece[p].gpa >= end && piece[p].offset >= used);
            end = piece[p].gpa + piece[p].size;
            used = piece[p].offset + piece[p].size;
            assert_true(end <= 0xa0000 || piece[p].gpa >= 0xc0000);
            assert_true(end <= PC_HOLE || piece[p].gpa >= PC_HOLE_END);
            assert_int_equal(piece[p].rights & MEM_WRITE, piece[p].gpa == PC_ROM ? 0 : MEM_WRITE);
            /* so that large pages of the host can back large pages of the guest */
            assert_int_equal((piece[p].gpa - piece[p].offset) % (UINT64_C(1) << 30), 0);
        }
        assert_int_equal(used, sizes[i]);
    }
}

/* What is told as RAM is RAM throughout, and nothing that is there is left out. */
static void the_guest_is_told_the_truth(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct memory_piece piece[MEMORY_PIECES_MAX];
        struct boot_e820 map[MEMORY_E820_MAX];
        unsigned pieces = memory_pieces(sizes[i], piece), n = memory_e820(sizes[i], map);
        uint64_t told = 0, there = 0, ram = 0, end = 0;

        assert_true(n <= MEMORY_E820_MAX);
        for (unsigned p = 0; p < pieces; p++)
            there += piece[p].size;
        for (unsigned e = 0; e < n; e++) {
            bool backed = false;

            assert_true(map[e].base >= end && map[e].size);
            end = map[e].base + map[e].size;
            told += map[e].size;
            ram += map[e].type == E820_RAM ? map[e].size : 0;
            for (unsigned p = 0; p < pieces; p++)
                backed |= range_in(map[e].base - piece[p].gpa, map[e].size, piece[p].size) &&
                          (map[e].type != E820_RAM || piece[p].rights == MEM_RWX);
            assert_true(backed);
        }
        assert_int_equal(told, there);
        assert_int_equal(ram, sizes[i] - (PC_HIGH_BASE - PC_EBDA));
    }
}

static void memory_beyond_the_host_is_refused(void **state)
{
    const struct ram_config huge = {.size = UINT64_C(1) << 47}, small = {.size = PC_MEMORY_MIN};
    struct ram ram = {0};

    assert_int_equal(ram_alloc(&ram, &huge), -ENOMEM); /* whatever the host's policy: no address */
    assert_null(ram.hva);
    assert_int_equal(ram_alloc(&ram, &small), 0);
    assert_int_equal(ram.hva[PC_MEMORY_MIN - 1], 0);
    assert_int_equal(ram.fd, -1);
    assert_int_equal((uintptr_t)ram.hva % PC_MEMORY_MIN, 0);
    ram_free(&ram);
}

/* Another mapping of it sees the same bytes, and its size is fixed. */
static void shared_memory_is_a_sealed_memfd(void **state)
{
    const struct ram_config cfg = {.size = PC_MEMORY_MIN * 2, .shared = true};
    struct ram ram;
    uint8_t *other;

    assert_int_equal(ram_alloc(&ram, &cfg), 0);
    assert_true(ram.fd >= 0);
    assert_int_equal(ftruncate(ram.fd, PC_MEMORY_MIN), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(ram.fd, PC_MEMORY_MIN * 4), -1);
    other = mmap(NULL, PC_MEMORY_MIN, PROT_READ, MAP_SHARED, ram.fd, PC_MEMORY_MIN);
    assert_ptr_not_equal(other, MAP_FAILED);
    ram.hva[PC_MEMORY_MIN + 5] = 0x42;
    assert_int_equal(other[5], 0x42);
    munmap(other, PC_MEMORY_MIN);
    ram_free(&ram);
    assert_int_equal(ram.fd, -1);
}

static void prefaulted_memory_is_there(void **state)
{
    struct ram_config cfg = {.size = (UINT64_C(37) << 20) + PAGE_SIZE};
    struct ram ram;

    for (unsigned shared = 0; shared < 2; shared++) {
        cfg.shared = shared;
        cfg.prefault = false;
        assert_int_equal(ram_alloc(&ram, &cfg), 0);
        assert_int_equal(ram_resident(&ram), 0);
        ram_free(&ram);
        cfg.prefault = true;
        assert_int_equal(ram_alloc(&ram, &cfg), 0);
        assert_int_equal(ram_resident(&ram), cfg.size);
        ram_free(&ram);
    }
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
        cmocka_unit_test(memory_goes_around_the_holes),
        cmocka_unit_test(the_guest_is_told_the_truth),
        cmocka_unit_test(memory_beyond_the_host_is_refused),
        cmocka_unit_test(shared_memory_is_a_sealed_memfd),
        cmocka_unit_test(prefaulted_memory_is_there),
        cmocka_unit_test(the_first_end_counts),
        cmocka_unit_test(control_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
