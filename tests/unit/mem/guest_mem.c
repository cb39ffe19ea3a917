/* The guest-physical map: what overlaps, what is a hole, what the accessor refuses. */
#include "mem/guest_mem.h"

#include "base/bits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_bad_slots),
        cmocka_unit_test(accessor_checks_range_and_rights),
        cmocka_unit_test(copies_across_slots_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
