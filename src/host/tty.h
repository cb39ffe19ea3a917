/*
 * The terminal on standard input: raw mode, and its restoration on every way
 * out of the process: exit(), orderly ends, crashes and aborts. Signals that
 * ask mote to end (SIGINT, SIGTERM...) are src/host/signals.h's; their default
 * action on a thread that has not blocked them restores the terminal too.
 */
#ifndef MOTE_HOST_TTY_H
#define MOTE_HOST_TTY_H

#include <stdbool.h>

/*
 * Make the terminal fd raw: every byte, Ctrl-C and Ctrl-Z among them, is the
 * guest's. -ENOTTY: fd is no terminal. Calling it again re-applies raw mode
 * (after SIGCONT).
 */
int tty_raw(int fd);

/* Back to the modes before tty_raw. Idempotent, async-signal-safe. */
void tty_restore(void);

/* Size of the terminal fd. false: fd is no terminal, or it does not know. */
bool tty_size(int fd, unsigned *rows, unsigned *cols);

#endif
