#include "board/control.h"

#include "base/parse.h"
#include "host/tty.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void control_resized(struct control *c)
{
    atomic_store(&c->changed, true);
    loop_event_set(&c->send);
}

static void obey(struct control *c, const char *line)
{
    uint64_t status;

    if (!strcmp(line, "size")) {
        atomic_store(&c->asked, true);
        control_resized(c);
    } else if (!strncmp(line, "exit ", 5) && !parse_u64(line + 5, 255, &status)) {
        life_finish(c->life, LIFE_EXIT, (unsigned)status, NULL);
    }
}

void control_take(struct control *c, const uint8_t *buf, size_t len)
{
    for (; len; buf++, len--) {
        if (*buf == '\n') {
            if (c->len < CONTROL_LINE) {
                c->line[c->len] = '\0';
                obey(c, c->line);
            }
            c->len = 0;
        } else if (*buf != '\r' && c->len < CONTROL_LINE) {
            c->line[c->len++] = (char)*buf;
        }
    }
}

static void backend_write(void *user, const uint8_t *buf, size_t len)
{
    control_take(user, buf, len);
}

static void backend_ready(void *user)
{
    struct control *c = user;

    loop_event_set(&c->send);
}

/* The next line to send into c->out. false: nothing to say. */
static bool next_line(struct control *c)
{
    unsigned rows, cols;

    if (!atomic_load(&c->asked) || !atomic_exchange(&c->changed, false))
        return false;
    if (!tty_size(STDOUT_FILENO, &rows, &cols) && !tty_size(STDIN_FILENO, &rows, &cols))
        return false;
    c->out_len = (unsigned)snprintf(c->out, sizeof(c->out), "size %u %u\n", rows, cols);
    c->out_sent = 0;
    return true;
}

static void send_ready(void *user)
{
    struct control *c = user;

    while (c->out_sent < c->out_len || next_line(c)) {
        size_t n = serial_receive(&c->serial, (const uint8_t *)c->out + c->out_sent,
                                  c->out_len - c->out_sent);

        c->out_sent += (unsigned)n;
        if (c->out_sent < c->out_len)
            return; /* backend_ready continues */
    }
}

int control_init(struct control *c, struct loop *loop, struct life *life, const struct dev_irq *irq)
{
    const struct serial_backend backend = {backend_write, backend_ready, c};
    int err;

    memset(c, 0, sizeof(*c));
    c->loop = loop;
    c->life = life;
    err = loop_event_init(loop, &c->send, send_ready, c);
    if (err)
        return err;
    serial_init(&c->serial, irq, &backend);
    return 0;
}

void control_destroy(struct control *c)
{
    serial_destroy(&c->serial);
    loop_event_destroy(c->loop, &c->send);
}
