/* What the subcommands share. argv[0] of a subcommand is its name. */
#ifndef MOTE_CMD_CMD_H
#define MOTE_CMD_CMD_H

#include "cmd/status.h"

int cmd_run(int argc, char **argv);
int cmd_timeline(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_ctl(int argc, char **argv);

/* "mote: ..." on standard error; returns status. */
int cmd_fail(enum status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What getopt_long returns for --help. Long options have values that are no letters, so
 * that cmd_bad_option can tell them from short ones. */
#define OPT_HELP 0x1000

/* What getopt_long refused, as one line that names `mote NAME --help`; STATUS_USAGE. */
int cmd_bad_option(int argc, char **argv, int letter);

/*
 * Flush standard output: a full disk behind it must not pass for success. Returns
 * STATUS_OK or, having printed the reason, STATUS_FAILED; without a word when the
 * reader of a pipe has left.
 */
int cmd_flush(void);

/* Like cmd_fail(STATUS_USAGE, ...), with the advice to read `mote NAME --help`. */
int cmd_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
