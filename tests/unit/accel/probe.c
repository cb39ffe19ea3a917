/* What `auto` finds, and that its cache helps, and never harms. */
#include "accel/measure.h"
#include "base/bits.h"
#include "fixture.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/mote-test-XXXXXX";
static char folder[64], file[80];

static int setup(void **state)
{
    assert_non_null(mkdtemp(strcpy(dir, "/tmp/mote-test-XXXXXX")));
    snprintf(folder, sizeof(folder), "%s/mote", dir);
    snprintf(file, sizeof(file), "%s/accel", folder);
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

/* The measurement ends, and says either how fast or why not. */
static void measures(void **state)
{
    const struct accel *accel = accel_of(state);
    struct accel_info info;

    accel->probe(NULL, &info);
    accel_measure(accel, &info);
    print_message("%s: %s\n", accel->name, info.reason);
    assert_true(info.usable ? info.mips > 0 : info.reason[0] != '\0');
    assert_null(strstr(info.reason, "not measured"));
    if (info.usable)
        assert_int_equal(strncmp(info.reason, "usable", 6), 0);
}

GUEST(cmpxchg16b, 64, "mov $0x3000,%edi; xor %eax,%eax; xor %edx,%edx; cmpxchg16b (%rdi); hlt")

/* An accelerator that leaves instructions to the interpreter says so. */
static void tells_of_rescues(void **state)
{
    const struct accel *accel = accel_of(state);
    struct accel_info info;
    struct fixture f;

    accel->probe(NULL, &info);
    accel_measure(accel, &info);
    fixture_create(&f, accel);
    RUN_LONG(&f, cmpxchg16b);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(f.v->rescued != 0, strstr(info.reason, "mote's interpreter") != NULL);
    fixture_destroy(&f);
}

/* Processes that want the same processor as this one until they are killed. */
static void hogs_start(pid_t *hog, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        hog[i] = fork();
        assert_true(hog[i] >= 0);
        if (!hog[i]) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                ;
        }
    }
}

/* What a busy host leaves to this process does not make an accelerator slow. */
static void counts_its_own_time(void **state)
{
    const struct accel *accel = accel_of(state);
    struct accel_info alone, crowded;
    unsigned tries = 20;
    cpu_set_t all, one;
    pid_t hog[9];

    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++) {
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    do { /* a host that shares its processors may be slower the second time */
        accel->probe(NULL, &alone);
        crowded = alone;
        accel_measure(accel, &alone);
        hogs_start(hog, ARRAY_SIZE(hog));
        accel_measure(accel, &crowded);
        for (unsigned i = 0; i < ARRAY_SIZE(hog); i++) {
            kill(hog[i], SIGKILL);
            waitpid(hog[i], NULL, 0);
        }
        print_message("alone %.1f, crowded %.1f million instructions/s\n", alone.mips,
                      crowded.mips);
    } while (crowded.mips <= alone.mips / 4 && --tries); /* by the clock it is a tenth */
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
    assert_int_not_equal(tries, 0);
}

static bool absent;

/* The guest begins a while after it should have, and finds a kick waiting. */
static int run_late(struct vcpu *v, struct vcpu_exit *exit)
{
    if (absent) {
        absent = false;
        usleep(1200000);
        vcpu_kick(v);
    }
    return accel_find("soft")->run(v, exit);
}

static int get_and_forget(struct vcpu *v, unsigned groups)
{
    absent = true; /* before the next of the guest's runs */
    return accel_find("soft")->get(v, groups);
}

/* A host that comes back to this process only after a second has said nothing about the engine. */
static void outlasts_an_absence(void **state)
{
    struct accel late = *accel_find("soft");
    struct accel_info info;

    late.run = run_late;
    late.get = get_and_forget;
    late.probe(NULL, &info);
    accel_measure(&late, &info);
    print_message("%s\n", info.reason);
    assert_true(info.usable);
    assert_true(info.mips > 0);
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

/* A doctored line shows whether an answer came from the file. */
static void doctor(char *text, size_t size)
{
    char *line;
    size_t len;

    read_file(text, size);
    line = strchr(text, '\n');
    assert_non_null(line);
    len = (size_t)(line + 1 - text);
    for (unsigned i = 0; accel_list[i]; i++)
        len += (size_t)snprintf(text + len, size - len, "%s\t1\t%u\tdoctored\n",
                                accel_list[i]->name, 5000 - i);
}

static void answers_from_the_cache(void **state)
{
    struct accel_info infos[8];
    char why[512], text[4096];
    struct stat st;

    accel_choose(infos, why, sizeof(why));
    print_message("%s\n", why);
    assert_true(why[0] != '\0');
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    doctor(text, sizeof(text));
    write_file(text);
    assert_ptr_equal(accel_choose(infos, why, sizeof(why)), accel_list[0]);
    assert_string_equal(infos[0].reason, "doctored");
    assert_true(infos[0].mips == 5.0);

    text[2] ^= 1; /* another version's */
    write_file(text);
    accel_choose(infos, NULL, 0);
    assert_string_not_equal(infos[0].reason, "doctored");
}

static void distrusts_bad_files(void **state)
{
    static const char *const bad[] = {"", "\n", "kvm", "\n\n\n\n", "1 mote\nkvm\t1\t2\tdoctored\n"};
    char text[4096], *end;
    struct accel_info infos[8];

    accel_choose(infos, NULL, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        write_file(bad[i]);
        accel_choose(infos, NULL, 0);
        assert_string_not_equal(infos[0].reason, "doctored");
    }
    doctor(text, sizeof(text));
    end = strchr(text, '\n') + 1;
    strcpy(end, accel_list[0]->name);
    strcat(end, "\t1\tx\tdoctored\n"); /* the right key, but not a number */
    write_file(text);
    accel_choose(infos, NULL, 0);
    assert_string_not_equal(infos[0].reason, "doctored");

    doctor(text, sizeof(text));
    write_file(text);
    assert_int_equal(chmod(file, 0622), 0); /* others may have written it */
    accel_choose(infos, NULL, 0);
    assert_string_not_equal(infos[0].reason, "doctored");
}

static void works_without_a_place(void **state)
{
    struct accel_info infos[8];
    char why[512];

    setenv("XDG_RUNTIME_DIR", "/proc/nowhere", 1);
    setenv("XDG_CACHE_HOME", "relative", 1);
    accel_choose(infos, why, sizeof(why));
    assert_true(why[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest each[] = {cmocka_unit_test(measures),
                                      cmocka_unit_test(tells_of_rescues),
                                      cmocka_unit_test(counts_its_own_time)};
    const struct CMUnitTest once[] = {
        cmocka_unit_test(outlasts_an_absence),
        cmocka_unit_test_setup_teardown(answers_from_the_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(distrusts_bad_files, setup, teardown),
        cmocka_unit_test_setup_teardown(works_without_a_place, setup, teardown),
    };

    return fixture_run_all("probe", each, ARRAY_SIZE(each)) +
           cmocka_run_group_tests(once, NULL, NULL);
}
