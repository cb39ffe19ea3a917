/* --pin's lists of host CPUs. */
#include "host/affinity.h"

#include "base/err.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct host_cpus list;

static void lists(void **state)
{
    assert_int_equal(host_cpus_parse("7,2-4,7", &list), 0);
    assert_int_equal(list.count, 5);
    assert_int_equal(host_cpus_nth(&list, 0), 7);
    assert_int_equal(host_cpus_nth(&list, 3), 4);
    assert_int_equal(host_cpus_nth(&list, 6), 2);
    assert_int_equal(host_cpus_parse("0-1023", &list), 0);
    assert_int_equal(list.count, HOST_CPUS_MAX);
    list.count = 0;
    assert_int_equal(host_cpus_nth(&list, 3), -1);
    assert_int_equal(host_cpus_check(&list), 0);
}

static void what_is_no_list(void **state)
{
    static const char *const bad[] = {
        "",     ",",    "0,",       ",0",   "-1", "0-",  "3-2",   "x",
        "0 ,1", "1024", "0-1023,0", "0--1", "+1", "0x1", "1-2-3", "99999999999999999999999",
        " 1"};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (host_cpus_parse(bad[i], &list) != -EINVAL)
            fail_msg("'%s' is taken", bad[i]);
    }
}

static void only_cpus_that_we_may_use(void **state)
{
    cpu_set_t may;
    unsigned none = 0;
    char text[16];

    assert_int_equal(sched_getaffinity(0, sizeof(may), &may), 0);
    while (CPU_ISSET(none, &may))
        none++;
    list = (struct host_cpus){.count = 1, .cpu = {(uint16_t)none}};
    assert_int_equal(host_cpus_check(&list), -EINVAL);
    snprintf(text, sizeof(text), "CPU %u ", none);
    assert_non_null(strstr(err_text(), text));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(what_is_no_list),
        cmocka_unit_test(only_cpus_that_we_may_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
