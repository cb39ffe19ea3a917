/* Numbers and sizes of the command line. */
#include "base/parse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void sizes(void **state)
{
    static const struct {
        const char *text;
        int err;
        uint64_t bytes;
    } row[] = {
        {"0", 0, 0},
        {"4096", 0, 4096},
        {"0x1000", 0, 4096},
        {"1K", 0, 1024},
        {"256M", 0, 256 << 20},
        {"256MiB", 0, 256 << 20},
        {"256mb", 0, 256 << 20},
        {"2g", 0, UINT64_C(2) << 30},
        {"1T", 0, UINT64_C(1) << 40},
        {"18014398509481983K", 0, UINT64_MAX - 1023},
        {"18014398509481984K", -ERANGE, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"M", -EINVAL, 0},
        {"-1M", -EINVAL, 0},
        {"+1M", -EINVAL, 0},
        {" 1M", -EINVAL, 0},
        {"1M ", -EINVAL, 0},
        {"1MM", -EINVAL, 0},
        {"1Mi", -EINVAL, 0},
        {"1.5G", -EINVAL, 0},
        {"0x", -EINVAL, 0},
        {"one", -EINVAL, 0},
        {"1iB", -EINVAL, 0},
    };

    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        uint64_t bytes = 0;

        if (parse_size(row[i].text, &bytes) != row[i].err || bytes != row[i].bytes)
            fail_msg("'%s': %d, %llu", row[i].text, parse_size(row[i].text, &bytes),
                     (unsigned long long)bytes);
    }
}

static void numbers(void **state)
{
    uint64_t v;

    assert_int_equal(parse_u64("17", 17, &v), 0);
    assert_int_equal(v, 17);
    assert_int_equal(parse_u64("18", 17, &v), -ERANGE);
    assert_int_equal(parse_u64("0xff", 255, &v), 0);
    assert_int_equal(v, 255);
    assert_int_equal(parse_u64("17K", 1 << 20, &v), -EINVAL);
    assert_int_equal(parse_u64("", 17, &v), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
