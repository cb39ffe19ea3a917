/* Names of machines, and the folder of their sockets. */
#include "host/ctl_path.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/mote-path-XXXXXX";

static int setup(void **state)
{
    strcpy(folder, "/tmp/mote-path-XXXXXX");
    return mkdtemp(folder) && !setenv("XDG_RUNTIME_DIR", folder, 1) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static void names(void **state)
{
    static const char *const good[] = {"a", "vm-1.2_x", "9", "/tmp/x", "./x", "a/b"};
    static const char *const bad[] = {"",    ".",   "..",   "-a",
                                      ".a",  "a b", "a\n",  "\303\244",
                                      "a:b", "a*b", "$(a)", "123456789012345678901234567890123"};
    char longest[CTL_PATH_MAX + 1];

    for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_true(ctl_name_is_good(good[i]));
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(ctl_name_is_good(bad[i]));
    memset(longest, '/', sizeof(longest));
    longest[CTL_PATH_MAX] = '\0';
    assert_false(ctl_name_is_good(longest));
    longest[CTL_PATH_MAX - 1] = '\0';
    assert_true(ctl_name_is_good(longest));
}

static void folder_is_private(void **state)
{
    char path[CTL_PATH_MAX], wanted[64];
    struct stat st;

    snprintf(wanted, sizeof(wanted), "%s/mote/a.sock", folder);
    assert_int_equal(ctl_path(path, "a", false), -ENOENT);
    assert_int_equal(ctl_path(path, "a", true), 0);
    assert_string_equal(path, wanted);
    assert_int_equal(ctl_path(path, "a", false), 0);
    *strrchr(wanted, '/') = '\0';
    assert_int_equal(stat(wanted, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(chmod(wanted, 0770), 0); /* others may change it */
    assert_int_equal(ctl_path(path, "a", true), -EPERM);
    assert_int_equal(rmdir(wanted), 0);
    assert_int_equal(symlink("/tmp", wanted), 0);
    assert_int_equal(ctl_path(path, "a", true), -EPERM);
    assert_int_equal(unlink(wanted), 0);
    if (!geteuid()) {
        assert_int_equal(mkdir(wanted, 0700), 0);
        assert_int_equal(chown(wanted, 65534, 65534), 0);
        assert_int_equal(ctl_path(path, "a", true), -EPERM);
    }
}

/* One that is missing, relative or somebody else's is not the user's runtime folder. */
static void runtime_folder_of_others(void **state)
{
    static const char *const others[] = {"relative", "/nonexistent/folder", "/dev/null", ""};
    const char *wanted = geteuid() ? "/tmp/mote-" : "/run/mote";
    char path[CTL_PATH_MAX] = "";

    for (unsigned i = 0; i < sizeof(others) / sizeof(*others); i++) {
        setenv("XDG_RUNTIME_DIR", others[i], 1);
        ctl_folder(path, false);
        assert_int_equal(strncmp(path, wanted, strlen(wanted)), 0);
    }
    if (!geteuid()) {
        assert_int_equal(chown(folder, 65534, 65534), 0);
        setenv("XDG_RUNTIME_DIR", folder, 1);
        ctl_folder(path, false);
        assert_string_equal(path, wanted);
    }
}

static void long_runtime_folder(void **state)
{
    char path[CTL_PATH_MAX], longest[160];
    int len = snprintf(longest, sizeof(longest), "%s/", folder);

    memset(longest + len, 'x', sizeof(longest) - (size_t)len - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(mkdir(longest, 0700), 0);
    setenv("XDG_RUNTIME_DIR", longest, 1);
    assert_int_equal(ctl_path(path, "a", true), -ENAMETOOLONG);
    longest[95] = '\0'; /* the folder fits, its sockets do not */
    assert_int_equal(mkdir(longest, 0700), 0);
    setenv("XDG_RUNTIME_DIR", longest, 1);
    assert_int_equal(ctl_path(path, "12345678", true), -ENAMETOOLONG);
    assert_int_equal(ctl_path(path, "1", true), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names),
        TEST(folder_is_private),
        TEST(runtime_folder_of_others),
        TEST(long_runtime_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
