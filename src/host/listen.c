#include "host/listen.h"

#include "base/err.h"
#include "base/parse.h"
#include "host/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 16
#define REST_NS UINT64_C(100000000)

static void rest(struct listener *l)
{
    loop_remove(l->loop, &l->watch);
    l->resting = true;
    loop_timer_arm(&l->rest, host_now_ns() + REST_NS);
}

static void rested(void *user)
{
    struct listener *l = user;

    if (loop_add(l->loop, &l->watch, EPOLLIN))
        loop_timer_arm(&l->rest, host_now_ns() + REST_NS);
    else
        l->resting = false;
}

static void ready(void *user, uint32_t events)
{
    struct listener *l = user;
    int fd = accept4(l->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0)
        l->accepted(l->user, fd);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        rest(l); /* EMFILE, say: the connection stays, and the loop would spin */
}

static int refused(const char *where, int err)
{
    return err_sys(err, "%s: cannot listen", where);
}

static int new_socket(int family, const char *where)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 ? refused(where, errno) : fd;
}

/* ---- unix ---- */

/* A socket file outlives a killed process: it is in the way only when nobody answers there. */
static void remove_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    int fd;

    if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) && errno == ECONNREFUSED)
        unlink(addr->sun_path);
    close(fd);
}

static int open_unix(struct listener *l, const char *where, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd, err;

    if (!*path || strlen(path) >= sizeof(addr.sun_path))
        return err_set(EINVAL, "%s: the path has %zu bytes, expected 1 to %zu", where, strlen(path),
                       sizeof(addr.sun_path) - 1);
    strcpy(addr.sun_path, path);
    fd = new_socket(AF_UNIX, where);
    if (fd < 0)
        return fd;
    remove_stale(&addr);
    fchmod(fd, 0600); /* what bind gives the file */
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        err = refused(where, errno);
        close(fd);
        return err;
    }
    strcpy(l->path, path);
    return fd;
}

/* ---- tcp ---- */

static int parse_tcp(const char *text, struct sockaddr_in *addr)
{
    const char *colon = strrchr(text, ':');
    char host[INET_ADDRSTRLEN];
    uint64_t port;

    if (!colon || (size_t)(colon - text) >= sizeof(host) || parse_u64(colon + 1, 65535, &port))
        return -EINVAL;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &addr->sin_addr) != 1)
        return -EINVAL;
    return ntohl(addr->sin_addr.s_addr) >> 24 == 127 ? 0 : -EINVAL;
}

static int open_tcp(const char *where, const char *text)
{
    struct sockaddr_in addr;
    int fd, err, on = 1;

    if (parse_tcp(text, &addr))
        return err_set(EINVAL, "%s: expected tcp:127.0.0.1:PORT", where);
    fd = new_socket(AF_INET, where);
    if (fd < 0)
        return fd;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
        return fd;
    err = refused(where, errno);
    close(fd);
    return err;
}

/* ---- both ---- */

bool listener_valid(const char *where)
{
    struct sockaddr_in addr;

    if (!strncmp(where, "unix:", 5))
        return where[5];
    return !strncmp(where, "tcp:", 4) && !parse_tcp(where + 4, &addr);
}

int listener_open(struct listener *l, struct loop *loop, const char *where,
                  void (*accepted)(void *user, int fd), void *user)
{
    int err, fd;

    memset(l, 0, sizeof(*l));
    if (!strncmp(where, "unix:", 5))
        fd = open_unix(l, where, where + 5);
    else if (!strncmp(where, "tcp:", 4))
        fd = open_tcp(where, where + 4);
    else
        fd = err_set(EINVAL, "%s: expected unix:PATH or tcp:127.0.0.1:PORT", where);
    if (fd < 0)
        return fd;
    l->watch = (struct loop_watch){fd, ready, l};
    l->accepted = accepted;
    l->user = user;
    err = loop_timer_init(loop, &l->rest, rested, l);
    if (!err) {
        err = listen(fd, BACKLOG) ? refused(where, errno) : loop_add(loop, &l->watch, EPOLLIN);
        if (err)
            loop_timer_destroy(loop, &l->rest);
    }
    if (err) {
        close(fd);
        if (*l->path)
            unlink(l->path);
        return err;
    }
    l->loop = loop;
    return 0;
}

void listener_close(struct listener *l)
{
    if (!l->loop)
        return;
    if (!l->resting)
        loop_remove(l->loop, &l->watch);
    loop_timer_destroy(l->loop, &l->rest);
    close(l->watch.fd);
    if (*l->path)
        unlink(l->path);
    l->loop = NULL;
}

unsigned listener_port(const struct listener *l)
{
    struct sockaddr_in addr;
    socklen_t size = sizeof(addr);

    if (getsockname(l->watch.fd, (struct sockaddr *)&addr, &size) || addr.sin_family != AF_INET)
        return 0;
    return ntohs(addr.sin_port);
}
