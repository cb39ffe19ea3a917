/*
 * Errors: functions return -errno; the sentence that explains it to a person
 * travels beside it in a per-thread buffer. Only src/cmd prints it and exits.
 */
#ifndef MOTE_BASE_ERR_H
#define MOTE_BASE_ERR_H

/*
 * Record "FILE: what is wrong, what was expected" and return -err.
 * err is a positive errno. The newest record wins.
 */
int err_set(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Like err_set, with ": strerror(err)" appended. */
int err_sys(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The calling thread's newest record; "" when there is none. */
const char *err_text(void);

void err_clear(void);

#endif
