#include "host/loop.h"

#include "base/err.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

static void wake_ready(void *user)
{
    /* Only there to end epoll_wait; loop_run looks at the flag. */
}

int loop_init(struct loop *loop)
{
    int err;

    atomic_init(&loop->stop, false);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return err_sys(errno, "cannot create an epoll instance");
    err = loop_event_init(loop, &loop->wake, wake_ready, loop);
    if (err) {
        close(loop->epoll_fd);
        loop->epoll_fd = -1;
    }
    return err;
}

void loop_destroy(struct loop *loop)
{
    if (loop->epoll_fd < 0)
        return;
    loop_event_destroy(loop, &loop->wake);
    close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

int loop_run(struct loop *loop)
{
    /*
     * One event a wait: a callback may remove any watch, and no event that was
     * fetched earlier can then name it. epoll rotates its ready list, so none
     * starves.
     */
    while (!atomic_load(&loop->stop)) {
        struct epoll_event ev;
        int n = epoll_wait(loop->epoll_fd, &ev, 1, -1);

        if (n < 0 && errno != EINTR)
            return err_sys(errno, "waiting for events");
        if (n == 1) {
            struct loop_watch *w = ev.data.ptr;

            w->ready(w->user, ev.events);
        }
    }
    return 0;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop, true);
    loop_event_set(&loop->wake);
}

int loop_add(struct loop *loop, struct loop_watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev))
        return err_sys(errno, "cannot watch file descriptor %d", w->fd);
    return 0;
}

void loop_remove(struct loop *loop, struct loop_watch *w)
{
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
}

static void event_ready(void *user, uint32_t events)
{
    struct loop_event *e = user;
    uint64_t count;

    if (read(e->watch.fd, &count, sizeof(count)) == sizeof(count))
        e->ready(e->user);
}

int loop_event_init(struct loop *loop, struct loop_event *e, void (*ready)(void *user), void *user)
{
    int err;

    e->ready = ready;
    e->user = user;
    e->watch = (struct loop_watch){eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), event_ready, e};
    if (e->watch.fd < 0)
        return err_sys(errno, "cannot create an eventfd");
    err = loop_add(loop, &e->watch, EPOLLIN);
    if (err)
        close(e->watch.fd);
    return err;
}

void loop_event_set(struct loop_event *e)
{
    int saved = errno; /* may run in a signal handler */
    uint64_t one = 1;

    /* Fails only when the counter is full: then it is set already. */
    if (write(e->watch.fd, &one, sizeof(one)) < 0)
        errno = saved;
}

void loop_event_destroy(struct loop *loop, struct loop_event *e)
{
    loop_remove(loop, &e->watch);
    close(e->watch.fd);
}

static void timer_ready(void *user, uint32_t events)
{
    struct loop_timer *t = user;
    uint64_t count;

    /* EAGAIN: re-armed or disarmed between epoll_wait and here. */
    if (read(t->watch.fd, &count, sizeof(count)) == sizeof(count))
        t->fire(t->user);
}

int loop_timer_init(struct loop *loop, struct loop_timer *t, void (*fire)(void *user), void *user)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int err;

    t->fire = fire;
    t->user = user;
    t->watch = (struct loop_watch){fd, timer_ready, t};
    if (fd < 0)
        return err_sys(errno, "cannot create a timer");
    err = loop_add(loop, &t->watch, EPOLLIN);
    if (err)
        close(fd);
    return err;
}

void loop_timer_destroy(struct loop *loop, struct loop_timer *t)
{
    loop_remove(loop, &t->watch);
    close(t->watch.fd);
}

void loop_timer_arm(struct loop_timer *t, uint64_t deadline)
{
    struct itimerspec spec = {0}; /* all zero disarms */

    if (deadline != LOOP_TIMER_OFF) {
        spec.it_value.tv_sec = (time_t)(deadline / NS_PER_S);
        spec.it_value.tv_nsec = (long)(deadline % NS_PER_S);
        if (!deadline)
            spec.it_value.tv_nsec = 1;
    }
    timerfd_settime(t->watch.fd, TFD_TIMER_ABSTIME, &spec, NULL);
}
