#include "cmd/cmd.h"

#include "base/bits.h"
#include "base/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} subcommand[] = {
    {"run", cmd_run, "boot a machine"},
    {"ctl", cmd_ctl, "ask and steer running machines"},
    {"timeline", cmd_timeline, "draw a trace of 'mote run --timings=trace:FILE' as SVG"},
    {"info", cmd_info, "show the host, its accelerators, and which one 'auto' takes"},
};

static const char help_head[] =
    "Usage: mote SUBCOMMAND [OPTION]...\n"
    "\n"
    "mote runs virtual machines: an unmodified Linux, or a program of your own that\n"
    "wants a bare CPU; on KVM, or where that is missing or slow on its own engine.\n"
    "\n";

static const char help_tail[] =
    "  help      this help; 'mote help run' is 'mote run --help'\n"
    "  version   the version (also --version)\n"
    "\n"
    "Example: mote run --kernel vmlinuz --initrd initrd.img --memory 512M\n";

int cmd_fail(enum status status, const char *fmt, ...)
{
    va_list ap;

    fputs("mote: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return status;
}

int cmd_flush(void)
{
    errno = 0;
    if (!fflush(stdout) && !ferror(stdout))
        return STATUS_OK;
    return errno == EPIPE ? STATUS_FAILED
                          : cmd_fail(STATUS_FAILED, "cannot write to standard output");
}

int cmd_usage(const char *name, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "mote %s: ", name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "; see 'mote %s --help'\n", name);
    return STATUS_USAGE;
}

int cmd_bad_option(int argc, char **argv, int letter)
{
    const char *word = argv[optind - 1];

    if (letter == ':')
        return cmd_usage(argv[0], "option '%s' needs a value", word);
    if (optopt > 0 && optopt < 256)
        return cmd_usage(argv[0], "unknown option '-%c'", optopt);
    if (optopt)
        return cmd_usage(argv[0], "option '%s' takes no value", word);
    return cmd_usage(argv[0], "unknown or ambiguous option '%s'", word);
}

static int help(void)
{
    fputs(help_head, stdout);
    for (unsigned i = 0; i < ARRAY_SIZE(subcommand); i++)
        printf("  %-8s  %s\n", subcommand[i].name, subcommand[i].help);
    fputs(help_tail, stdout);
    return cmd_flush();
}

static int version(void)
{
    puts("mote " MOTE_VERSION);
    return cmd_flush();
}

static int dispatch(int argc, char **argv)
{
    for (unsigned i = 0; i < ARRAY_SIZE(subcommand); i++) {
        if (!strcmp(argv[0], subcommand[i].name))
            return subcommand[i].run(argc, argv);
    }
    return cmd_fail(STATUS_USAGE, "unknown subcommand '%s'; see 'mote --help'", argv[0]);
}

/*
 * Started with a standard stream closed, mote must not take its number for
 * another file. Input ends at once then; output fails, as that of a closed file does.
 */
static void fill_standard_streams(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";

    steps_main();
    fill_standard_streams();
    signal(SIGPIPE, SIG_IGN); /* whoever stops reading, the status tells how mote ended */
    if (!strcmp(word, "--version") || !strcmp(word, "-V") || !strcmp(word, "version"))
        return version();
    if (!strcmp(word, "--help") || !strcmp(word, "-h"))
        return help();
    if (!strcmp(word, "help")) {
        char *asked[] = {argc > 2 ? argv[2] : NULL, "--help", NULL};

        return asked[0] ? dispatch(2, asked) : help();
    }
    if (argc < 2)
        return cmd_fail(STATUS_USAGE, "no subcommand; see 'mote --help'");
    if (word[0] == '-')
        return cmd_fail(STATUS_USAGE, "unknown option '%s'; see 'mote --help'", word);
    return dispatch(argc - 1, argv + 1);
}
