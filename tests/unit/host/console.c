/* The console: Ctrl-A commands; back-pressure from the guest to a pipe and a file; lost output. */
#include "host/console.h"

#include "host/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void typed(const char *keys, const char *passed, int quits, int helps)
{
    struct escape e = {0};
    char got[64];
    size_t n = 0;
    int quit = 0, help = 0;

    for (; *keys; keys++) {
        uint8_t out;

        switch (escape_feed(&e, (uint8_t)*keys, &out)) {
        case ESCAPE_PASS: got[n++] = (char)out; break;
        case ESCAPE_QUIT: quit++; break;
        case ESCAPE_HELP: help++; break;
        case ESCAPE_NONE: break;
        }
    }
    got[n] = '\0';
    assert_string_equal(got, passed);
    assert_int_equal(quit, quits);
    assert_int_equal(help, helps);
}

static void escape_commands(void **state)
{
    typed("plain\x03\x1a", "plain\x03\x1a", 0, 0);
    typed("a\x01xb", "ab", 1, 0);
    typed("\x01h\x01?", "", 0, 2);
    typed("\x01\x01\x01"
          "a",
          "\x01\x01", 0, 0);
    typed("\x01zx", "x", 0, 0);
}

/* A guest that takes at most 16 bytes, then needs console_room to go on. */
struct guest {
    struct console console;
    struct loop loop;
    struct loop_timer tick;
    uint8_t got[20000];
    size_t count, want;
};

static size_t guest_input(void *user, const uint8_t *buf, size_t len)
{
    struct guest *g = user;
    size_t n = len < 16 ? len : 16;

    if (n > sizeof(g->got) - g->count)
        n = sizeof(g->got) - g->count;
    memcpy(g->got + g->count, buf, n);
    g->count += n;
    if (g->count == g->want)
        loop_stop(&g->loop);
    return n;
}

static void guest_reads(void *user)
{
    struct guest *g = user;

    console_room(&g->console);
    loop_timer_arm(&g->tick, host_now_ns() + 10000);
}

static void guest_quit(void *user)
{
    fail_msg("a pipe has no Ctrl-A commands");
}

/* Everything written to standard input's stand-in reaches the guest, in order. */
static void feed(int in_fd, const uint8_t *bytes, size_t len)
{
    static struct guest g;
    int saved = dup(STDIN_FILENO);

    memset(&g, 0, sizeof(g));
    g.want = len;
    assert_int_equal(dup2(in_fd, STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(loop_init(&g.loop), 0);
    assert_int_equal(console_open(&g.console, &g.loop, "stdio"), 0);
    g.console.input = guest_input;
    g.console.quit = guest_quit;
    g.console.user = &g;
    assert_int_equal(loop_timer_init(&g.loop, &g.tick, guest_reads, &g), 0);
    loop_timer_arm(&g.tick, 0);
    assert_int_equal(console_start(&g.console), 0);
    assert_int_equal(loop_run(&g.loop), 0);
    assert_memory_equal(g.got, bytes, len);
    assert_int_equal(console_close(&g.console), 0);
    loop_timer_destroy(&g.loop, &g.tick);
    loop_destroy(&g.loop);
    dup2(saved, STDIN_FILENO);
    close(saved);
}

static void fill_pattern(uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(i * 7 + i / 251);
    buf[100] = ESCAPE_KEY;
    buf[101] = 'x';
}

static void slow_guest_gets_all_of_a_pipe(void **state)
{
    static uint8_t bytes[15000];
    int ends[2];

    fill_pattern(bytes, sizeof(bytes));
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], bytes, sizeof(bytes)), sizeof(bytes));
    close(ends[1]);
    feed(ends[0], bytes, sizeof(bytes));
    close(ends[0]);
}

static void slow_guest_gets_all_of_a_file(void **state)
{
    static uint8_t bytes[15000];
    int fd = memfd_create("input", MFD_CLOEXEC);

    fill_pattern(bytes, sizeof(bytes));
    assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    feed(fd, bytes, sizeof(bytes));
    close(fd);
}

static void full_disk_is_remembered(void **state)
{
    struct loop loop;
    struct console c;

    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(console_open(&c, &loop, "/dev/full"), 0);
    assert_int_equal(console_start(&c), 0);
    console_write(&c, (const uint8_t *)"text", 4);
    console_write(&c, (const uint8_t *)"more", 4);
    assert_int_equal(console_close(&c), -ENOSPC);
    assert_int_equal(console_open(&c, &loop, "/nonexistent/file"), -ENOENT);
    loop_destroy(&loop);
}

static void closed_standard_output_is_survived(void **state)
{
    struct loop loop;
    struct console c;
    int ends[2], saved = dup(STDOUT_FILENO);

    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    dup2(ends[1], STDOUT_FILENO);
    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(console_open(&c, &loop, "stdio"), 0);
    console_write(&c, (const uint8_t *)"text", 4);
    console_write(&c, (const uint8_t *)"more", 4);
    dup2(saved, STDOUT_FILENO);
    assert_int_equal(c.out_fd, -1);
    assert_int_equal(console_close(&c), 0);
    loop_destroy(&loop);
    close(ends[1]);
    close(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escape_commands),
        cmocka_unit_test(slow_guest_gets_all_of_a_pipe),
        cmocka_unit_test(slow_guest_gets_all_of_a_file),
        cmocka_unit_test(full_disk_is_remembered),
        cmocka_unit_test(closed_standard_output_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
