#include "host/console.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "host/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- output ---- */

static void output_lost(struct console *c, int err)
{
    if (err == EPIPE) {
        log_warn("%s: nobody reads it any more, the guest's output is dropped", c->name);
    } else {
        log_warn("%s: %s, the guest's output is dropped", c->name, strerror(err));
        atomic_store(&c->error, err);
    }
    if (c->out_fd != STDOUT_FILENO)
        close(c->out_fd);
    c->out_fd = -1;
}

void console_write(struct console *c, const uint8_t *buf, size_t len)
{
    atomic_store(&c->writing, true);
    while (len && c->out_fd >= 0 && !atomic_load(&c->aborted)) {
        ssize_t n = write(c->out_fd, buf, len);

        if (n >= 0) {
            buf += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {c->out_fd, POLLOUT, 0};

            poll(&p, 1, -1); /* someone made the shared description non-blocking */
        } else if (errno != EINTR) {
            output_lost(c, errno);
        }
    }
    atomic_store(&c->writing, false);
    if (atomic_exchange(&c->deferred, false))
        loop_event_set(&c->room);
}

/* ---- input ---- */

static void ring_put(struct console *c, uint8_t byte)
{
    if (c->used < CONSOLE_RING)
        c->ring[(c->head + c->used++) % CONSOLE_RING] = byte;
}

/*
 * A serial port that waits for us in console_write holds its lock, and giving
 * it input would make the loop wait with it, for as long as nobody reads our
 * output: keys, timers and --timeout would be dead.
 */
static bool must_defer(struct console *c)
{
    if (!atomic_load(&c->writing))
        return false;
    atomic_store(&c->deferred, true);
    return atomic_load(&c->writing); /* ended in between: it may have missed the flag */
}

static void ring_drain(struct console *c)
{
    if (must_defer(c))
        return;
    while (c->used) {
        size_t part = MIN(c->used, CONSOLE_RING - c->head);
        size_t taken = c->input(c->user, c->ring + c->head, part);

        c->head = (unsigned)((c->head + taken) % CONSOLE_RING);
        c->used -= (unsigned)taken;
        if (taken < part)
            return;
    }
}

/* With mote's own lines, not the guest's: its output has one writer, and may be full. */
static void print_help(void)
{
    log_warn("Ctrl-A x       quit mote");
    log_warn("Ctrl-A h       this help");
    log_warn("Ctrl-A Ctrl-A  send Ctrl-A to the guest (also Ctrl-A a)");
}

static void take_byte(struct console *c, uint8_t byte)
{
    if (!c->terminal) {
        ring_put(c, byte);
        return;
    }
    switch (escape_feed(&c->escape, byte, &byte)) {
    case ESCAPE_PASS: ring_put(c, byte); break;
    case ESCAPE_QUIT: c->quit(c->user); break;
    case ESCAPE_HELP: print_help(); break;
    case ESCAPE_NONE: break;
    }
}

static void watch(struct console *c, bool on)
{
    if (!c->waits || on == c->watching)
        return;
    c->watching = on;
    if (!on)
        loop_remove(c->loop, &c->in);
    else if (loop_add(c->loop, &c->in, EPOLLIN))
        c->in_fd = -1;
}

/* Read once what fits the ring. false: nothing came, or the input ended. */
static bool fill(struct console *c)
{
    uint8_t buf[512];
    /*
     * A pipe waits until the guest has read; a terminal does not, since Ctrl-A x
     * must get through to end a guest that reads nothing. Its excess is lost.
     */
    size_t room = c->terminal ? sizeof(buf) : MIN(sizeof(buf), CONSOLE_RING - c->used);
    ssize_t n = room ? read(c->in_fd, buf, room) : -1;

    if (!room || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return false;
    if (n <= 0) { /* end of file, or the terminal is gone: the guest runs on */
        watch(c, false);
        c->in_fd = -1;
        return false;
    }
    for (ssize_t i = 0; i < n; i++)
        take_byte(c, buf[i]);
    return true;
}

/* Move bytes as far as the guest takes them, and wait for whoever is next. */
static void pump(struct console *c)
{
    ring_drain(c);
    while (c->in_fd >= 0 && !c->waits && !c->used && fill(c))
        ring_drain(c);
    if (c->in_fd >= 0)
        watch(c, c->terminal || c->used < CONSOLE_RING);
}

static void in_ready(void *user, uint32_t events)
{
    struct console *c = user;

    if (c->in_fd >= 0 && fill(c))
        pump(c);
}

static void room_ready(void *user)
{
    pump(user);
}

void console_room(struct console *c)
{
    loop_event_set(&c->room);
}

/* ---- life ---- */

static int open_output(struct console *c, const char *spec)
{
    if (!strcmp(spec, "none"))
        return 0;
    if (!strcmp(spec, "stdio")) {
        c->in_fd = STDIN_FILENO;
        c->out_fd = STDOUT_FILENO;
        c->name = "standard output";
        c->terminal = isatty(c->in_fd);
        return 0;
    }
    c->out_fd = open(spec, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
    return c->out_fd < 0 ? err_sys(errno, "--console: cannot write %s", spec) : 0;
}

int console_open(struct console *c, struct loop *loop, const char *spec)
{
    int err;

    memset(c, 0, sizeof(*c));
    c->loop = loop;
    c->in_fd = c->out_fd = -1;
    c->name = spec;
    err = open_output(c, spec);
    if (err)
        return err;
    err = loop_event_init(loop, &c->room, room_ready, c);
    if (err && c->out_fd > STDERR_FILENO)
        close(c->out_fd);
    return err;
}

int console_start(struct console *c)
{
    int err;

    if (c->in_fd < 0)
        return 0;
    if (c->terminal) {
        err = tty_raw(c->in_fd);
        if (err)
            return err;
    }
    c->in = (struct loop_watch){c->in_fd, in_ready, c};
    err = loop_add(c->loop, &c->in, EPOLLIN);
    if (!err) {
        c->waits = c->watching = true;
        return 0;
    }
    if (err == -EBADF) { /* standard input is closed */
        c->in_fd = -1;
        return 0;
    }
    if (err != -EPERM)
        return err;
    pump(c); /* a regular file: always ready, read as the guest takes it */
    return 0;
}

void console_abort(struct console *c)
{
    atomic_store(&c->aborted, true);
}

int console_stop(struct console *c)
{
    watch(c, false);
    c->in_fd = -1;
    if (c->terminal)
        tty_restore();
    if (c->out_fd > STDERR_FILENO && close(c->out_fd) && !atomic_load(&c->error)) {
        log_warn("%s: %s", c->name, strerror(errno));
        atomic_store(&c->error, errno);
    }
    c->out_fd = -1;
    return -atomic_load(&c->error);
}

int console_close(struct console *c)
{
    loop_event_destroy(c->loop, &c->room);
    return console_stop(c);
}
