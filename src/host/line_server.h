/*
 * A socket at which clients ask by a line of text and are answered by one. They
 * are not trusted: lines are bounded, and a client that is silent, or does not
 * read, holds up nobody.
 */
#ifndef MOTE_HOST_LINE_SERVER_H
#define MOTE_HOST_LINE_SERVER_H

#include "host/listen.h"
#include "host/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define LINE_CLIENTS 8 /* for one more, the one that was quiet the longest is cut off */
#define LINE_REQUEST 128
#define LINE_ANSWER  512

struct line_server;

struct line_client {
    struct line_server *server;
    struct loop_watch watch; /* fd -1: free */
    bool asked;              /* waits for line_answer */
    uint64_t active;         /* the server's turn when it last said something */
    unsigned len;
    char line[LINE_REQUEST];
};

struct line_server {
    struct loop *loop; /* NULL: not open */
    struct listener listener;
    struct loop_event more; /* lines that were read already wait to be obeyed */
    void (*request)(void *user, struct line_client *client, const char *line);
    void *user;
    uint64_t turn;
    struct line_client client[LINE_CLIENTS];
};

/*
 * where: as for listener_open, and its errors. request() gets one line without
 * its end (LF or CR LF), on the loop's thread, and a client's next one only
 * after line_answer.
 */
int line_server_open(struct line_server *s, struct loop *loop, const char *where,
                     void (*request)(void *user, struct line_client *client, const char *line),
                     void *user);

/* Cut off all clients and remove the socket. Fine on a zeroed server. */
void line_server_close(struct line_server *s);

/*
 * Answer the client's request, in request() or later while `asked` is still
 * set; a line without its end. One who does not take it is cut off.
 */
void line_answer(struct line_client *client, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
