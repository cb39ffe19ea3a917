#include "host/signals.h"

#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void set_of_ends(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGQUIT);
}

static void set_of_all(sigset_t *set)
{
    set_of_ends(set);
    sigaddset(set, SIGWINCH);
    sigaddset(set, SIGTSTP);
    sigaddset(set, SIGCONT);
}

static void call(struct signals *s, void (*fn)(void *user))
{
    if (fn)
        fn(s->user);
}

static void signals_ready(void *user, uint32_t events)
{
    struct signals *s = user;
    struct signalfd_siginfo info;

    if (read(s->watch.fd, &info, sizeof(info)) != sizeof(info))
        return;
    switch (info.ssi_signo) {
    case SIGWINCH: call(s, s->resize); break;
    case SIGCONT: call(s, s->resume); break;
    case SIGTSTP:
        call(s, s->stop);
        kill(getpid(), SIGSTOP);
        break;
    default:
        if (s->end)
            s->end(s->user, (int)info.ssi_signo);
        break;
    }
}

int signals_init(struct loop *loop, struct signals *s)
{
    sigset_t set;
    int err;

    set_of_all(&set);
    s->loop = loop;
    s->watch =
        (struct loop_watch){signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), signals_ready, s};
    if (s->watch.fd < 0)
        return err_sys(errno, "cannot create a signalfd");
    err = loop_add(loop, &s->watch, EPOLLIN);
    if (err) {
        close(s->watch.fd);
        s->watch.fd = -1;
        return err;
    }
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return 0;
}

void signals_release(struct signals *s)
{
    struct signalfd_siginfo info;
    sigset_t ends;

    while (read(s->watch.fd, &info, sizeof(info)) == sizeof(info))
        ;
    set_of_ends(&ends);
    pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
}

void signals_destroy(struct signals *s)
{
    sigset_t set;

    if (s->watch.fd < 0)
        return;
    loop_remove(s->loop, &s->watch);
    close(s->watch.fd);
    s->watch.fd = -1;
    set_of_all(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
