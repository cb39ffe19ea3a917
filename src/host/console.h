/*
 * The guest's console on the host: standard input and output, a file, or
 * nothing. Knows no serial port: bytes go in through input() and come out
 * through console_write().
 */
#ifndef MOTE_HOST_CONSOLE_H
#define MOTE_HOST_CONSOLE_H

#include "host/escape.h"
#include "host/loop.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_RING 4096

struct console {
    struct loop *loop;
    const char *name;     /* for messages */
    int in_fd;            /* -1: no input (any more) */
    int out_fd;           /* -1: output is dropped */
    bool terminal;        /* input is a terminal: raw mode, Ctrl-A commands */
    bool waits;           /* input is a file that epoll can wait for */
    bool watching;        /* and it does so now */
    atomic_bool aborted;  /* see console_abort */
    atomic_bool writing;  /* a console_write is under way */
    atomic_bool deferred; /* and input waits for its end */
    atomic_int error;     /* errno of output that was lost, 0 */
    struct loop_watch in;
    struct loop_event room;
    struct escape escape;
    unsigned head, used; /* bytes that the guest has not taken */
    uint8_t ring[CONSOLE_RING];

    /* The owner's: takes bytes for the guest, returns how many fitted. */
    size_t (*input)(void *user, const uint8_t *buf, size_t len);
    void (*quit)(void *user); /* Ctrl-A x */
    void *user;
};

/*
 * spec: "stdio", "none", or the name of a file for output, which is made
 * anew. The string must outlive the console.
 */
int console_open(struct console *c, struct loop *loop, const char *spec);

/* Begin to read, a terminal in raw mode. input, quit and user are set before. Loop's thread. */
int console_start(struct console *c);

/*
 * Write guest output; any thread, one at a time. Waits while a pipe or terminal
 * is full. Output that cannot be written is dropped with one warning.
 */
void console_write(struct console *c, const uint8_t *buf, size_t len);

/* The guest has room for input again. Any thread. */
void console_room(struct console *c);

/*
 * Let no console_write wait any longer. A write(2) that sleeps already ends
 * when its thread gets a signal with a handler. Any thread.
 */
void console_abort(struct console *c);

/*
 * Stop reading, restore the terminal, end the output: 0, or -errno when output
 * to a file was lost. No console_write may be under way. Idempotent.
 */
int console_stop(struct console *c);

/* console_stop, and the rest of what console_open made. */
int console_close(struct console *c);

#endif
