/* What is kept for as long as the host runs, and the TSC's frequency, which is. */
#include "base/bootcache.h"

#include "base/bits.h"
#include "base/tsc.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/mote-test-XXXXXX";
static char folder[64], file[80];

static int setup(void **state)
{
    const char *name = *state ? *state : "thing";

    assert_non_null(mkdtemp(strcpy(dir, "/tmp/mote-test-XXXXXX")));
    snprintf(folder, sizeof(folder), "%s/mote", dir);
    snprintf(file, sizeof(file), "%s/%s", folder, name);
    setenv("XDG_RUNTIME_DIR", dir, 1);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    return 0;
}

static int teardown(void **state)
{
    unlink(file);
    rmdir(folder);
    unlink(folder);
    return rmdir(dir);
}

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void read_file(char *text, size_t size)
{
    FILE *f = fopen(file, "r");

    assert_non_null(f);
    text[fread(text, 1, size - 1, f)] = '\0';
    fclose(f);
}

static void keeps_a_text(void **state)
{
    char text[256];
    struct stat st;

    assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), -ENOENT);
    assert_int_equal(bootcache_write("thing", "key", "one\ntwo\n"), 0);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), 0);
    assert_string_equal(text, "one\ntwo\n");
    assert_int_equal(bootcache_read("thing", "key", text, 3), -EFBIG);
    assert_int_equal(bootcache_read("thing", "ke", text, sizeof(text)), -ENOENT);
    assert_int_equal(bootcache_read("thing", "key2", text, sizeof(text)), -ENOENT);
    assert_int_equal(bootcache_write("thing", "key", ""), 0);
    assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), 0);
    assert_string_equal(text, "");
}

/* Every character of the line before the text matters: version, boot, user, key. */
static void distrusts_what_is_not_its_own(void **state)
{
    char good[256], bad[256], text[256];
    size_t len;

    assert_int_equal(bootcache_write("thing", "key", "one"), 0);
    read_file(good, sizeof(good));
    len = (size_t)(strchr(good, '\n') + 1 - good);
    for (size_t i = 0; i < len; i++) {
        strcpy(bad, good);
        bad[i] ^= 1;
        write_file(bad);
        assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), -ENOENT);
        strcpy(bad, good);
        bad[i] = '\0';
        write_file(bad);
        assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), -ENOENT);
    }
    write_file(good);
    assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), 0);
    assert_int_equal(chmod(file, 0622), 0); /* others may have written it */
    assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), -ENOENT);
}

static void follows_no_links(void **state)
{
    char text[256];

    assert_int_equal(bootcache_write("thing", "key", "one"), 0);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(symlink("/proc/version", file), 0);
    assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), -ENOENT);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(symlink("/tmp", folder), 0);
    assert_int_equal(bootcache_write("thing", "key", "two"), -ENOENT);
    assert_int_equal(bootcache_read("thing", "key", text, sizeof(text)), -ENOENT);
}

/* As another process finds it. */
static uint32_t khz_of_another(void)
{
    uint32_t khz = 0;
    int fds[2], status;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (!pid) {
        khz = host_tsc_khz();
        _exit(write(fds[1], &khz, sizeof(khz)) != sizeof(khz));
    }
    assert_true(pid > 0);
    assert_int_equal(read(fds[0], &khz, sizeof(khz)), sizeof(khz));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(fds[0]);
    close(fds[1]);
    return khz;
}

static void keeps_the_tsc_frequency(void **state)
{
    uint32_t khz = khz_of_another(), kept, other;
    char text[512], head[512], line[64], *at;
    uint64_t ns, tsc;

    assert_true(khz > 100000);
    if (access(file, F_OK)) {
        print_message("CPUID tells the TSC's frequency, nothing is kept\n");
        skip();
    }
    read_file(text, sizeof(text));
    at = strchr(text, '\n') + 1;
    snprintf(head, sizeof(head), "%.*s", (int)(at - text), text);
    assert_int_equal(sscanf(at, "%" SCNu32 " %" SCNu64 " %" SCNu64, &kept, &ns, &tsc), 3);
    assert_int_equal(kept, khz);
#define KEEP(...)                                                                                  \
    (snprintf(line, sizeof(line), __VA_ARGS__), strcpy(text, head), write_file(strcat(text, line)))
    other = khz + khz / 5000; /* near enough to be believed, and not what would be measured */
    KEEP("%" PRIu32 " %" PRIu64 " %" PRIu64 "\n", other, ns, tsc);
    assert_int_equal(khz_of_another(), other);
    other = khz + khz / 50;
    KEEP("%" PRIu32 " %" PRIu64 " %" PRIu64 "\n", other, ns, tsc);
    assert_int_not_equal(khz_of_another(), other);
    other = khz + khz / 5000;
    KEEP("%" PRIu32 " %" PRIu64 " %" PRIu64 "\n", other, ns, UINT64_MAX); /* still to come */
    assert_int_not_equal(khz_of_another(), other);
    KEEP("%" PRIu32 " %" PRIu64 " %" PRIu64 "x\n", other, ns, tsc);
    assert_int_not_equal(khz_of_another(), other);
    KEEP("0 0 0\n");
    khz = khz_of_another();
    assert_true(khz > 100000);
    read_file(text, sizeof(text)); /* measured, and kept again */
    assert_int_equal(strtoul(strchr(text, '\n') + 1, NULL, 10), khz);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static char tsc[] = "tsc";
    const struct CMUnitTest tests[] = {
        T(keeps_a_text),
        T(distrusts_what_is_not_its_own),
        T(follows_no_links),
        cmocka_unit_test_prestate_setup_teardown(keeps_the_tsc_frequency, setup, teardown, tsc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
