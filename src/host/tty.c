#include "host/tty.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios cooked;
static int tty_fd = -1;
static volatile sig_atomic_t is_raw;

void tty_restore(void)
{
    int saved = errno;

    if (is_raw) {
        is_raw = 0;
        tcsetattr(tty_fd, TCSANOW, &cooked);
        log_set_raw(false);
    }
    errno = saved;
}

/* SA_RESETHAND has made the default action current: it ends the process, with a core if wanted. */
static void restore_and_die(int sig)
{
    tty_restore();
    raise(sig);
}

static void catch_fatal_signals(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS,  SIGABRT, SIGFPE,  SIGILL, SIGSYS,
                                SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGALRM};

    for (unsigned i = 0; i < ARRAY_SIZE(fatal); i++) {
        struct sigaction old,
            act = {.sa_handler = restore_and_die, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

        /* An engine's own handler, or a signal ignored by nohup, stays. */
        sigemptyset(&act.sa_mask);
        if (!sigaction(fatal[i], NULL, &old) && old.sa_handler == SIG_DFL)
            sigaction(fatal[i], &act, NULL);
    }
}

int tty_raw(int fd)
{
    struct termios raw;

    if (tty_fd < 0) {
        if (tcgetattr(fd, &cooked))
            return err_sys(errno, "cannot read the terminal's modes");
        tty_fd = fd;
        atexit(tty_restore);
        catch_fatal_signals();
    }
    raw = cooked;
    cfmakeraw(&raw);
    is_raw = 1; /* before the change, so that a signal in between undoes it */
    if (tcsetattr(fd, TCSANOW, &raw)) {
        is_raw = 0;
        return err_sys(errno, "cannot make the terminal raw");
    }
    log_set_raw(true);
    return 0;
}

bool tty_size(int fd, unsigned *rows, unsigned *cols)
{
    struct winsize size;

    if (ioctl(fd, TIOCGWINSZ, &size) || !size.ws_row || !size.ws_col)
        return false;
    *rows = size.ws_row;
    *cols = size.ws_col;
    return true;
}
