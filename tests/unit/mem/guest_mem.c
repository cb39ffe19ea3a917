/* The guest-physical map: what overlaps, what is a hole, what the accessor refuses. */
#include "mem/guest_mem.h"

#include "base/bits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t ram[4 * 4096] __attribute__((aligned(4096)));

static void refuses_bad_slots(void **state)
{
    struct guest_mem mem;

    guest_mem_init(&mem);
    assert_int_equal(guest_mem_map(&mem, GPA(1), 4096, ram, MEM_RWX), -EINVAL);
    assert_int_equal(guest_mem_map(&mem, GPA(0), 0, ram, MEM_RWX), -EINVAL);
    assert_int_equal(guest_mem_map(&mem, GPA(0), 100, ram, MEM_RWX), -EINVAL);
    assert_int_equal(guest_mem_map(&mem, GPA(0), 4096, ram + 8, MEM_RWX), -EINVAL);
    assert_int_equal(guest_mem_map(&mem, GPA(BIT(52) - 4096), 8192, ram, MEM_RWX), -EINVAL);
    assert_int_equal(guest_mem_map(&mem, GPA(-4096), 8192, ram, MEM_RWX), -EINVAL);
    assert_int_equal(guest_mem_map(&mem, GPA(4096), 8192, ram, MEM_RWX), 0);
    assert_int_equal(guest_mem_map(&mem, GPA(0), 8192, ram, MEM_RWX), -EEXIST);
    assert_int_equal(guest_mem_map(&mem, GPA(8192), 4096, ram, MEM_RWX), -EEXIST);
    assert_int_equal(guest_mem_map(&mem, GPA(12288), 4096, ram, MEM_RWX), 0);
    assert_int_equal(guest_mem_map(&mem, GPA(0), 4096, ram, MEM_RWX), 0);
    assert_int_equal(guest_mem_unmap(&mem, GPA(8192)), -ENOENT);
    assert_int_equal(guest_mem_unmap(&mem, GPA(4096)), 0);
    assert_int_equal(mem.count, 2);
}

static void accessor_checks_range_and_rights(void **state)
{
    struct guest_mem mem;

    guest_mem_init(&mem);
    assert_int_equal(guest_mem_map(&mem, GPA(0x10000), 8192, ram, MEM_READ), 0);
    assert_int_equal(guest_mem_map(&mem, GPA(0x12000), 8192, ram + 8192, MEM_RWX), 0);
    assert_ptr_equal(guest_mem_at(&mem, GPA(0x10010), 16, MEM_READ), ram + 16);
    assert_null(guest_mem_at(&mem, GPA(0x10010), 16, MEM_WRITE));
    assert_null(guest_mem_at(&mem, GPA(0x11fff), 2, MEM_READ));
    assert_null(guest_mem_at(&mem, GPA(0x13fff), 2, MEM_READ));
    assert_null(guest_mem_at(&mem, GPA(0x13fff), UINT64_MAX, MEM_READ));
    assert_null(guest_mem_at(&mem, GPA(0x14000), 1, MEM_READ));
    assert_null(guest_mem_at(&mem, GPA(0xffff), 1, MEM_READ));
}

static void count_written(void *user, gpa_t gpa, uint64_t len)
{
    *(uint64_t *)user += len;
}

static void copies_across_slots_or_not_at_all(void **state)
{
    struct guest_mem mem;
    uint64_t written = 0;
    uint8_t buf[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, back[16];

    guest_mem_init(&mem);
    mem.written = count_written;
    mem.user = &written;
    assert_int_equal(guest_mem_map(&mem, GPA(0), 4096, ram, MEM_RWX), 0);
    assert_int_equal(guest_mem_map(&mem, GPA(4096), 4096, ram + 8192, MEM_RWX), 0);
    assert_int_equal(guest_mem_write(&mem, GPA(4090), buf, 16), 0);
    assert_int_equal(written, 16);
    assert_int_equal(guest_mem_read(&mem, GPA(4090), back, 16), 0);
    assert_memory_equal(buf, back, 16);
    assert_memory_equal(ram + 8192, buf + 6, 10);
    memset(buf, 0xee, 16);
    assert_int_equal(guest_mem_write(&mem, GPA(8185), buf, 16), -EFAULT);
    assert_int_equal(written, 16);
    assert_int_not_equal(ram[8192 + 4090], 0xee);
    assert_int_equal(guest_mem_read(&mem, GPA(1 << 20), back, 1), -EFAULT);
}

/* A write is all or nothing at the edges of ROM too, and reads go across. */
static void rom_is_filled_by_the_board_alone(void **state)
{
    struct guest_mem mem;
    uint64_t written = 0;
    uint8_t buf[16], back[16];

    guest_mem_init(&mem);
    mem.written = count_written;
    mem.user = &written;
    memset(ram, 0, sizeof(ram));
    memset(buf, 0x55, 16);
    assert_int_equal(guest_mem_map(&mem, GPA(4096), 4096, ram + 4096, MEM_READ | MEM_EXEC), 0);
    assert_int_equal(guest_mem_map(&mem, GPA(0), 4096, ram, MEM_RWX), 0);
    assert_int_equal(guest_mem_map(&mem, GPA(8192), 4096, ram + 8192, MEM_RWX), 0);
    assert_int_equal(guest_mem_write(&mem, GPA(4096), buf, 1), -EFAULT);
    assert_int_equal(guest_mem_write(&mem, GPA(4088), buf, 16), -EFAULT);
    assert_int_equal(guest_mem_write(&mem, GPA(8184), buf, 16), -EFAULT);
    assert_int_equal(guest_mem_write(&mem, GPA(0), ram, sizeof(ram)), -EFAULT);
    assert_int_equal(written, 0);
    for (unsigned i = 0; i < sizeof(ram); i++)
        assert_int_equal(ram[i], 0);
    assert_int_equal(guest_mem_fill_rom(&mem, GPA(4090), buf, 16), -EFAULT);
    assert_int_equal(guest_mem_fill_rom(&mem, GPA(8180), buf, 16), -EFAULT);
    assert_int_equal(guest_mem_fill_rom(&mem, GPA(1 << 20), buf, 16), -EFAULT);
    assert_int_equal(guest_mem_fill_rom(&mem, GPA(8176), buf, 16), 0);
    assert_int_equal(written, 16);
    assert_int_equal(guest_mem_read(&mem, GPA(8180), back, 16), 0);
    assert_memory_equal(back, buf, 12);
    assert_int_equal(back[12], 0);
}

/* What a look-up says equals what a look at every slot says, for random maps and addresses. */
static void finds_what_is_there(void **state)
{
    unsigned seed = 1;

    for (unsigned round = 0; round < 2000; round++) {
        struct guest_mem mem;

        guest_mem_init(&mem);
        for (unsigned n = 0; n < 12; n++)
            guest_mem_map(&mem, GPA((uint64_t)(rand_r(&seed) % 40) << 12),
                          (uint64_t)(1 + rand_r(&seed) % 4) << 12, ram, MEM_RWX);
        for (unsigned n = 0; n < 45 * 4; n++) {
            gpa_t gpa = GPA(n * 1024 + (unsigned)rand_r(&seed) % 1024);
            uint64_t len = (unsigned)rand_r(&seed) % 9000, left = len, at = gpa.v;
            const struct mem_slot *there = NULL;
            static uint8_t buf[9000];

            for (unsigned i = 0; i < mem.count; i++) {
                if (gpa.v >= mem.slot[i].gpa.v && gpa.v < mem.slot[i].gpa.v + mem.slot[i].size)
                    there = &mem.slot[i];
            }
            assert_ptr_equal(guest_mem_find(&mem, gpa), there);
            for (unsigned i = 0; i < mem.count && left; i++) {
                uint64_t end = mem.slot[i].gpa.v + mem.slot[i].size;

                if (at >= mem.slot[i].gpa.v && at < end) {
                    left -= MIN(left, end - at);
                    at = end;
                }
            }
            assert_int_equal(guest_mem_read(&mem, gpa, buf, len), left ? -EFAULT : 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_bad_slots),
        cmocka_unit_test(accessor_checks_range_and_rights),
        cmocka_unit_test(copies_across_slots_or_not_at_all),
        cmocka_unit_test(rom_is_filled_by_the_board_alone),
        cmocka_unit_test(finds_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
