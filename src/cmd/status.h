/*
 * How mote ends. With --debug-exit, a value v written to the port ends it with
 * ((v << 1) | 1) & 0xff; with --control, "exit N" ends it with N.
 */
#ifndef MOTE_CMD_STATUS_H
#define MOTE_CMD_STATUS_H

#define STATUSES(X)                                                                                \
    X(OK, 0, "the guest switched itself off")                                                      \
    X(FAILED, 1, "mote failed: input or output, memory, another resource of the host")             \
    X(USAGE, 2, "the command line is wrong")                                                       \
    X(INPUT, 3, "a kernel, initrd or module file is missing, malformed or too large")              \
    X(ACCEL, 4, "the accelerator is not available, or failed")                                     \
    X(RESET, 5, "the guest asked for a reset (reboot; a panic with panic=-1)")                     \
    X(TRIPLE_FAULT, 6, "the guest crashed by a triple fault")                                      \
    X(TIMEOUT, 7, "--timeout came first")                                                          \
    X(QUIT, 8, "the user ended mote: Ctrl-A x, a signal, or mote ctl")                             \
    X(PANIC, 9, "the guest panicked, as its pvpanic driver reported")

enum status {
#define X(id, value, help) STATUS_##id = value,
    STATUSES(X)
#undef X
};

#endif
