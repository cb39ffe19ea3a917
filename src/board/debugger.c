#include "board/debugger.h"

#include "base/bits.h"
#include "base/err.h"
#include "board/debugger_target.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_CHUNK 4096

/* ---- the vCPUs ---- */

/* Afterwards debugger_held comes, whether they stand still already or soon. */
static void hold_all(struct debugger *d)
{
    cpus_hold(d->cpus, CPU_HOLD_DEBUGGER);
}

/* Whoever debugs decides: also a machine that began --paused goes on. */
static void let_go(struct cpu *cpu, bool of_user)
{
    if (of_user)
        cpu_release(cpu, CPU_HOLD_USER);
    cpu_release(cpu, CPU_HOLD_DEBUGGER);
}

/* What vCPUs stopped for by themselves; the first is what is told. */
static void take_reasons(struct debugger *d)
{
    for (unsigned i = 0; i < d->cpus->count; i++) {
        struct cpu *cpu = &d->cpus->cpu[i];
        struct gdb_stop stop;

        if (cpu->exit.reason != VCPU_EXIT_DEBUG)
            continue;
        cpu->exit.reason = VCPU_EXIT_NONE;
        if (debugger_reason(d, i, &stop)) {
            if (!d->stopping)
                d->stop = stop;
            d->stopping = true;
        }
    }
}

/* A stop that is told holds all; after an INT3 of the guest's own they go on as they were. */
static void report_stop(struct debugger *d)
{
    take_reasons(d);
    if (d->stopping) {
        d->stopping = false;
        hold_all(d);
        gdb_stub_stopped(&d->stub, &d->stop);
    }
    cpus_release(d->cpus, CPU_HOLD_STOP);
}

static void clean_up(struct debugger *d)
{
    take_reasons(d);
    d->stopping = false;
    breakpoints_clear(&d->breaks);
    for (unsigned i = 0; i < d->cpus->count; i++)
        debugger_resume(d, i, false);
    cpus_release(d->cpus, CPU_HOLD_STOP);
}

/* ---- the client ---- */

static void client_ready(void *user, uint32_t events);

static void watch(struct debugger *d, uint32_t events)
{
    if (d->watched == events)
        return;
    if (d->watched)
        loop_remove(d->loop, &d->client);
    d->watched = events;
    if (events && loop_add(d->loop, &d->client, events)) {
        d->watched = 0;
        d->lost = true;
    }
}

static void close_client(struct debugger *d)
{
    watch(d, 0);
    close(d->client.fd);
    d->client.fd = -1;
}

/* The client is gone, or is to go: the guest goes on without it. */
static void drop(struct debugger *d)
{
    close_client(d);
    d->unpause = d->phase == DEBUGGER_ATTACHED && d->stub.state != GDB_RUNNING;
    d->phase = DEBUGGER_LEAVING;
    hold_all(d);
}

static void flush(struct debugger *d)
{
    ssize_t n = 0;

    if (d->out_len)
        n = send(d->client.fd, d->out, d->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        d->lost = true;
    if (n > 0) {
        d->out_len -= (size_t)n;
        memmove(d->out, d->out + n, d->out_len);
    }
}

/* After the stub had a say. */
static void settle(struct debugger *d)
{
    flush(d);
    if (d->stub.state == GDB_KILLED)
        life_finish(d->life, LIFE_QUIT, 0, "the debugger");
    if (d->lost || d->stub.state == GDB_KILLED || d->stub.state == GDB_DETACHED)
        drop(d);
    else
        watch(d, d->out_len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void client_ready(void *user, uint32_t events)
{
    struct debugger *d = user;
    uint8_t buf[INPUT_CHUNK];
    ssize_t n;

    if (d->phase != DEBUGGER_ATTACHED) { /* only its end was waited for */
        drop(d);
        return;
    }
    n = recv(d->client.fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n > 0)
        gdb_stub_feed(&d->stub, buf, (size_t)n);
    else if (!n || (errno != EAGAIN && errno != EINTR))
        d->lost = true;
    settle(d);
}

static bool is_gone(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return !n || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void accepted(void *user, int fd)
{
    struct debugger *d = user;
    const int on = 1;

    if (d->client.fd >= 0 && is_gone(d->client.fd))
        drop(d);
    if (d->client.fd >= 0) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* no matter for a unix socket */
    d->client = (struct loop_watch){fd, client_ready, d};
    d->lost = false;
    d->out_len = 0;
    d->phase = DEBUGGER_ATTACHING;
    watch(d, EPOLLRDHUP);
    hold_all(d);
}

/* ---- both ---- */

void debugger_held(struct debugger *d)
{
    if (!d->open || d->phase == DEBUGGER_IDLE)
        return;
    if (d->phase == DEBUGGER_ATTACHED) {
        if (d->stub.state == GDB_RUNNING) {
            report_stop(d);
            settle(d);
        }
        return;
    }
    clean_up(d);
    if (d->phase == DEBUGGER_ATTACHING) {
        d->phase = DEBUGGER_ATTACHED;
        gdb_stub_init(&d->stub, &d->target);
        watch(d, EPOLLIN);
        if (d->lost)
            drop(d);
        return;
    }
    d->phase = DEBUGGER_IDLE;
    for (unsigned i = 0; i < d->cpus->count; i++)
        let_go(&d->cpus->cpu[i], d->unpause);
}

/* ---- what the stub asks for ---- */

static void target_send(void *user, const void *data, size_t len)
{
    struct debugger *d = user;

    if (len > sizeof(d->out) - d->out_len) {
        d->lost = true;
        return;
    }
    memcpy(d->out + d->out_len, data, len);
    d->out_len += len;
}

static void target_resume(void *user, unsigned cpu, bool step)
{
    struct debugger *d = user;

    debugger_resume(d, cpu, step);
    let_go(&d->cpus->cpu[cpu], true);
}

static void target_interrupt(void *user)
{
    struct debugger *d = user;

    if (d->stopping)
        return;
    d->stop = (struct gdb_stop){.signal = GDB_SIGINT};
    d->stopping = true;
    hold_all(d);
}

/* ---- life ---- */

int debugger_open(struct debugger *d, struct loop *loop, struct life *life, const char *where)
{
    int err;

    d->loop = loop;
    d->life = life;
    d->client.fd = -1;
    err = listener_open(&d->listener, loop, where, accepted, d);
    d->open = !err;
    return err;
}

void debugger_attach(struct debugger *d, struct guest_mem *mem, struct cpus *cpus, bool avx)
{
    d->cpus = cpus;
    d->mem = d->breaks.mem = mem;
    debugger_target_init(d, cpus->count, avx);
    d->target.send = target_send;
    d->target.resume = target_resume;
    d->target.interrupt = target_interrupt;
}

/* As gdb's users know the ends of programs: a status, or a signal that stands for the cause. */
static void tell_end(struct debugger *d, enum life_end end, unsigned detail)
{
    static const uint8_t signals[] = {
        [LIFE_RESET] = GDB_SIGHUP, [LIFE_TRIPLE_FAULT] = GDB_SIGSEGV, [LIFE_TIMEOUT] = GDB_SIGALRM,
        [LIFE_QUIT] = GDB_SIGTERM, [LIFE_FAILED] = GDB_SIGABRT,       [LIFE_PANIC] = GDB_SIGABRT,
    };

    if (end == LIFE_DEBUG_EXIT || end == LIFE_EXIT)
        gdb_stub_exited(&d->stub, false, detail);
    else if (end == LIFE_POWEROFF)
        gdb_stub_exited(&d->stub, false, 0);
    else
        gdb_stub_exited(&d->stub, true, signals[end]);
}

void debugger_end(struct debugger *d, enum life_end end, unsigned detail)
{
    if (!d->open || d->client.fd < 0)
        return;
    if (d->phase == DEBUGGER_ATTACHED && end != LIFE_RUNNING) {
        tell_end(d, end, detail);
        flush(d);
    }
    close_client(d);
    d->phase = DEBUGGER_IDLE;
}

void debugger_close(struct debugger *d)
{
    if (!d->open)
        return;
    if (d->client.fd >= 0)
        close_client(d);
    listener_close(&d->listener);
    d->open = false;
}
