/* Lines in, lines out, over a socket; clients of every kind. */
#include "host/line_server.h"

#include "../deadlock.h"

#include "host/clock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * The server runs in a thread of its own; "echo X" is answered by X, "later" by
 * the next "now", which is answered too, "stop" ends the loop.
 */
static struct {
    struct loop loop;
    struct line_server server;
    pthread_t thread;
    char folder[32], path[64], where[80];
    atomic_uint deferred; /* how many "later" came */
} box;

static void request(void *user, struct line_client *c, const char *line)
{
    assert_true(c->asked);
    if (!strcmp(line, "later")) {
        box.deferred++;
        return;
    }
    if (!strcmp(line, "now")) {
        for (unsigned i = 0; i < LINE_CLIENTS; i++) {
            if (box.server.client[i].asked)
                line_answer(&box.server.client[i], "now");
        }
        return;
    }
    line_answer(c, "%s", strncmp(line, "echo ", 5) ? "what?" : line + 5);
    if (!strcmp(line, "stop"))
        loop_stop(&box.loop);
}

static void *serve(void *arg)
{
    loop_run(&box.loop);
    return NULL;
}

static int setup(void **state)
{
    box.deferred = 0;
    strcpy(box.folder, "/tmp/mote-lines-XXXXXX");
    if (!mkdtemp(box.folder))
        return -1;
    snprintf(box.path, sizeof(box.path), "%s/socket", box.folder);
    snprintf(box.where, sizeof(box.where), "unix:%s", box.path);
    assert_int_equal(loop_init(&box.loop), 0);
    assert_int_equal(line_server_open(&box.server, &box.loop, box.where, request, NULL), 0);
    return pthread_create(&box.thread, NULL, serve, NULL);
}

static int teardown(void **state)
{
    loop_stop(&box.loop);
    pthread_join(box.thread, NULL);
    line_server_close(&box.server);
    line_server_close(&box.server); /* idempotent */
    loop_destroy(&box.loop);
    assert_int_equal(access(box.path, F_OK), -1);
    return rmdir(box.folder);
}

static int dial(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = DEADLOCK_SECONDS};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(addr.sun_path, box.path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *text)
{
    char got[256] = "";
    size_t len = strlen(text);

    assert_int_equal(recv(fd, got, len, MSG_WAITALL), len);
    assert_string_equal(got, text);
}

/* The server hung up: end of file, or a reset where it had not read everything. */
static void expect_end(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, 0);

    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

static void answers_in_order(void **state)
{
    struct stat st;
    int fd = dial();

    assert_int_equal(stat(box.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    say(fd, "echo a\n");
    expect(fd, "a\n");
    say(fd, "echo b\r\necho c\n\necho ");
    expect(fd, "b\nc\nwhat?\n");
    usleep(2000);
    say(fd, "d\n");
    expect(fd, "d\n");
    assert_int_equal(send(fd, "echo\0e\n", 7, 0), 7);
    expect(fd, "what?\n");
    say(fd, "echo f\n");
    shutdown(fd, SHUT_WR);
    expect(fd, "f\n");
    expect_end(fd);
}

static void many_lines_at_once(void **state)
{
    char many[700], got[200]; /* more than is read at once */
    int fd = dial();

    for (unsigned i = 0; i < sizeof(many); i++)
        many[i] = "echo x\n"[i % 7];
    assert_int_equal(send(fd, many, sizeof(many), MSG_NOSIGNAL), sizeof(many));
    assert_int_equal(recv(fd, got, sizeof(got), MSG_WAITALL), sizeof(got));
    for (unsigned i = 0; i < sizeof(got); i++)
        assert_int_equal(got[i], "x\n"[i % 2]);
    close(fd);
}

static void deferred_answers(void **state)
{
    int a = dial(), b = dial(), gone = dial(), half = dial();

    say(gone, "later\n");
    say(half, "later\n");
    shutdown(half, SHUT_WR);
    say(a, "later\necho after\n");
    while (box.deferred != 3)
        usleep(100);
    close(gone);
    say(b, "echo turn\n"); /* the loop has been round, and seen who is gone */
    expect(b, "turn\n");
    say(b, "now\n");
    expect(b, "now\n");
    expect(a, "now\nafter\n");
    expect(half, "now\n");
    expect_end(half);
    close(a);
    close(b);
}

static void long_lines(void **state)
{
    char line[LINE_REQUEST + 1];
    int fd = dial();

    memset(line, 'x', sizeof(line));
    memcpy(line, "echo ", 5);
    line[LINE_REQUEST - 1] = '\n'; /* just fits */
    line[LINE_REQUEST] = '\0';
    say(fd, line);
    expect(fd, line + 5);
    line[LINE_REQUEST - 1] = 'x';
    say(fd, line);
    expect(fd, "error the line is too long\n");
    expect_end(fd);
}

/* More than there is room for: those that are quiet make room, those that speak are served. */
static void silent_clients(void **state)
{
    int quiet[3 * LINE_CLIENTS], fd = dial();

    for (unsigned i = 0; i < 3 * LINE_CLIENTS; i++) {
        quiet[i] = dial();
        say(fd, "echo here\n");
        expect(fd, "here\n");
    }
    for (unsigned i = 0; i < 2 * LINE_CLIENTS; i++)
        expect_end(quiet[i]);
    say(quiet[3 * LINE_CLIENTS - 1], "echo too\n");
    expect(quiet[3 * LINE_CLIENTS - 1], "too\n");
    for (unsigned i = 2 * LINE_CLIENTS; i < 3 * LINE_CLIENTS; i++)
        close(quiet[i]);
    close(fd);
}

static void client_that_does_not_read(void **state)
{
    const struct timeval patience = {.tv_sec = DEADLOCK_SECONDS};
    char many[7000];
    int fd = dial(), other = dial();

    for (unsigned i = 0; i < sizeof(many); i++)
        many[i] = "echo x\n"[i % 7];
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    for (unsigned i = 0; i < 2000; i++) {
        if (send(fd, many, sizeof(many), MSG_NOSIGNAL) < 0)
            break;
        assert_true(i < 1999);
    }
    assert_true(errno == EPIPE || errno == ECONNRESET);
    say(other, "echo y\n");
    expect(other, "y\n");
    close(fd);
    close(other);
}

static void noise(void **state)
{
    unsigned seed = 1;

    for (unsigned round = 0; round < 200; round++) {
        char bytes[300];
        size_t len = (size_t)(rand_r(&seed) % (int)sizeof(bytes));
        int fd = dial();

        for (size_t i = 0; i < len; i++)
            bytes[i] = (char)(rand_r(&seed) % 5 ? rand_r(&seed) : '\n');
        send(fd, bytes, len, MSG_NOSIGNAL);
        close(fd);
    }
    answers_in_order(state);
}

static void ends_with_clients_inside(void **state)
{
    int waits = dial(), fd = dial();

    say(waits, "later\n");
    say(fd, "stop\n");
    expect(fd, "what?\n");
    close(fd);
    close(waits);
}

static double cpu_of(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* The share of a processor that the loop's thread takes for a quarter of a second. */
static double share_of_loop(clockid_t clock)
{
    double cpu = cpu_of(clock), wall = cpu_of(CLOCK_MONOTONIC);

    while (cpu_of(CLOCK_MONOTONIC) - wall < 0.25)
        usleep(10000);
    return (cpu_of(clock) - cpu) / (cpu_of(CLOCK_MONOTONIC) - wall);
}

/*
 * Without a descriptor to accept with, a client waits, and the loop sleeps: some of the time, as
 * a virtual host's stolen time may be booked as its own.
 */
static void no_descriptor_left(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct rlimit limit, none;
    unsigned tries = 5;
    clockid_t clock;
    double share;

    assert_int_equal(pthread_getcpuclockid(box.thread, &clock), 0);
    strcpy(addr.sun_path, box.path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 3; /* lower than any that would be given out */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    do
        share = share_of_loop(clock);
    while (share >= 0.01 && --tries); /* asleep it is 0.001, and spinning on a busy host 0.05 */
    print_message("%.2f%% of a processor\n", share * 100);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (!tries)
        fail_msg("the loop took %.0f%% of a processor, expected below 1%%", share * 100);
    say(fd, "echo at last\n");
    expect(fd, "at last\n");
    close(fd);
}

static void one_server_a_socket(void **state)
{
    struct line_server second;
    struct loop loop;

    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(line_server_open(&second, &loop, box.where, request, NULL), -EADDRINUSE);
    line_server_close(&second);
    loop_destroy(&loop);
    assert_int_equal(access(box.path, F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_in_order),
        TEST(many_lines_at_once),
        TEST(deferred_answers),
        TEST(long_lines),
        TEST(silent_clients),
        TEST(client_that_does_not_read),
        TEST(noise),
        TEST(ends_with_clients_inside),
        TEST(no_descriptor_left),
        TEST(one_server_a_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
