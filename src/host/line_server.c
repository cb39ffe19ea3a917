#include "host/line_server.h"

#include "base/bits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void cut_off(struct line_client *c)
{
    loop_remove(c->server->loop, &c->watch);
    close(c->watch.fd);
    c->watch.fd = -1;
    c->asked = false;
}

/* While it waits for an answer a client is not read, only watched for its end. */
static bool watch_for(struct line_client *c, uint32_t events)
{
    loop_remove(c->server->loop, &c->watch);
    if (!loop_add(c->server->loop, &c->watch, events))
        return true;
    cut_off(c);
    return false;
}

static bool send_line(struct line_client *c, const char *line, size_t len)
{
    if (send(c->watch.fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len)
        return true;
    cut_off(c);
    return false;
}

void line_answer(struct line_client *c, const char *fmt, ...)
{
    char line[LINE_ANSWER];
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    len = MIN(len, (int)sizeof(line) - 2);
    line[len++] = '\n';
    c->asked = false;
    if (send_line(c, line, (size_t)len) && watch_for(c, EPOLLIN) && c->len)
        loop_event_set(&c->server->more);
}

/* The first whole line of what was read, taken out; false: there is none. */
static bool next_line(struct line_client *c, char line[LINE_REQUEST])
{
    char *end = memchr(c->line, '\n', c->len);
    size_t len;

    if (!end)
        return false;
    len = (size_t)(end - c->line);
    memcpy(line, c->line, len);
    c->len -= (unsigned)len + 1;
    memmove(c->line, end + 1, c->len);
    if (len && line[len - 1] == '\r')
        len--;
    line[len] = '\0';
    if (strlen(line) != len)
        strcpy(line, "?"); /* a NUL inside: no request at all */
    return true;
}

static void serve(struct line_client *c)
{
    static const char too_long[] = "error the line is too long\n";
    char line[LINE_REQUEST];

    if (next_line(c, line)) {
        c->asked = true;
        if (watch_for(c, 0))
            c->server->request(c->server->user, c, line);
    } else if (c->len == sizeof(c->line) && send_line(c, too_long, sizeof(too_long) - 1)) {
        cut_off(c);
    }
}

static void client_ready(void *user, uint32_t events)
{
    struct line_client *c = user;
    ssize_t n;

    if (c->asked) { /* it hung up */
        cut_off(c);
        return;
    }
    if (c->len == sizeof(c->line)) { /* lines that were read already: the first makes room */
        serve(c);
        return;
    }
    n = recv(c->watch.fd, c->line + c->len, sizeof(c->line) - c->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        cut_off(c);
        return;
    }
    c->len += (unsigned)n;
    c->active = ++c->server->turn;
    serve(c);
}

static void more_ready(void *user)
{
    struct line_server *s = user;

    for (unsigned i = 0; i < LINE_CLIENTS; i++) {
        struct line_client *c = &s->client[i];

        if (c->watch.fd >= 0 && !c->asked && c->len)
            serve(c);
    }
}

static struct line_client *free_client(struct line_server *s)
{
    struct line_client *quiet = &s->client[0];

    for (unsigned i = 0; i < LINE_CLIENTS; i++) {
        if (s->client[i].watch.fd < 0)
            return &s->client[i];
        if (s->client[i].active < quiet->active)
            quiet = &s->client[i];
    }
    cut_off(quiet);
    return quiet;
}

static void accepted(void *user, int fd)
{
    struct line_server *s = user;
    struct line_client *c = free_client(s);

    c->server = s;
    c->active = ++s->turn;
    c->len = 0;
    c->asked = false;
    c->watch = (struct loop_watch){fd, client_ready, c};
    if (loop_add(s->loop, &c->watch, EPOLLIN)) {
        close(fd);
        c->watch.fd = -1;
    }
}

int line_server_open(struct line_server *s, struct loop *loop, const char *where,
                     void (*request)(void *user, struct line_client *client, const char *line),
                     void *user)
{
    int err;

    memset(s, 0, sizeof(*s));
    s->request = request;
    s->user = user;
    for (unsigned i = 0; i < LINE_CLIENTS; i++)
        s->client[i].watch.fd = -1;
    err = loop_event_init(loop, &s->more, more_ready, s);
    if (err)
        return err;
    err = listener_open(&s->listener, loop, where, accepted, s);
    if (err) {
        loop_event_destroy(loop, &s->more);
        return err;
    }
    s->loop = loop;
    return 0;
}

void line_server_close(struct line_server *s)
{
    if (!s->loop)
        return;
    for (unsigned i = 0; i < LINE_CLIENTS; i++) {
        if (s->client[i].watch.fd >= 0)
            cut_off(&s->client[i]);
    }
    listener_close(&s->listener);
    loop_event_destroy(s->loop, &s->more);
    s->loop = NULL;
}
