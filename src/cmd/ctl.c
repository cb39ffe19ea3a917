/* mote ctl: the other end of a running machine's control socket (board/ctl.h). */
#include "base/bits.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "host/ctl_path.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER     512
#define PATIENCE   10 /* s; pause waits while the guest's output has no reader */
#define LIST_TIME  1  /* s for each machine */
#define NAME_WIDTH 16

static const struct {
    const char *name, *help;
} command[] = {
    {"status", "print its state, process, accelerator, memory in bytes and uptime"},
    {"pause", "let its processor stand still; its clocks and devices go on"},
    {"resume", "let it go on"},
    {"poweroff", "press the power button; the guest decides what it does then"},
    {"quit", "end it at once, like Ctrl-A x"},
};

static void print_help(void)
{
    puts("Usage: mote ctl [--list]\n"
         "       mote ctl NAME COMMAND\n"
         "\n"
         "Lists the running machines that have a name (mote run --name NAME), or sends one\n"
         "of them a command. A NAME with a slash is the path of a machine's socket.\n");
    for (unsigned i = 0; i < ARRAY_SIZE(command); i++)
        printf("  %-8s  %s\n", command[i].name, command[i].help);
    puts("\nThe exit status is 1 when there is no such machine or it refused.");
}

/* ---- one question ---- */

static int dial(const char *path, unsigned seconds)
{
    const struct timeval patience = {.tv_sec = seconds};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int err;

    if (fd < 0)
        return -errno;
    strcpy(addr.sun_path, path);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
        return fd;
    err = -errno;
    close(fd);
    return err;
}

/* One line into answer, without its end and with nothing that a terminal obeys. */
static int receive(int fd, char answer[ANSWER])
{
    size_t len = 0;
    char *end = NULL;

    while (!end) {
        ssize_t n = recv(fd, answer + len, ANSWER - 1 - len, 0);

        if (n < 0)
            return -errno;
        if (n == 0)
            return len == ANSWER - 1 ? -EPROTO : -ECONNRESET;
        end = memchr(answer + len, '\n', (size_t)n);
        len += (size_t)n;
    }
    *end = '\0';
    for (char *c = answer; *c; c++)
        *c = isprint((unsigned char)*c) ? *c : '?';
    return 0;
}

/* -errno: there was no answer. */
static int ask(const char *path, const char *request, unsigned seconds, char answer[ANSWER])
{
    char line[32];
    int len = snprintf(line, sizeof(line), "%s\n", request);
    int fd = dial(path, seconds), err = 0;

    if (fd < 0)
        return fd;
    if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
        err = -errno;
    if (!err)
        err = receive(fd, answer);
    close(fd);
    return err;
}

/* ---- a command ---- */

static int no_answer(const char *name, const char *path, int err)
{
    switch (-err) {
    case ENOENT:
    case ECONNREFUSED: return cmd_fail(STATUS_FAILED, "%s: no such machine runs (%s)", name, path);
    case EAGAIN: return cmd_fail(STATUS_FAILED, "%s: no answer within %d s", name, PATIENCE);
    case ECONNRESET:
    case EPIPE: return cmd_fail(STATUS_FAILED, "%s: the machine ended before it answered", name);
    case EPROTO: return cmd_fail(STATUS_FAILED, "%s: %s is no machine's socket", name, path);
    default: return cmd_fail(STATUS_FAILED, "%s: %s: %s", name, path, strerror(-err));
    }
}

/* "state=running pid=77" as two lines "state running" and "pid 77", in columns. */
static void print_fields(char *text)
{
    for (char *field = strsep(&text, " "); field; field = strsep(&text, " ")) {
        char *value = strchr(field, '=');

        if (!value) {
            puts(field);
            continue;
        }
        *value++ = '\0';
        printf("%-8s %s\n", field, value);
    }
}

static int send_command(const char *name, const char *request)
{
    char path[CTL_PATH_MAX], answer[ANSWER];
    int err = 0;

    if (strchr(name, '/'))
        snprintf(path, sizeof(path), "%s", name);
    else
        err = ctl_path(path, name, false);
    if (err == -ENOENT)
        return no_answer(name, path, err);
    if (err)
        return cmd_fail(STATUS_FAILED, "%s", err_text());
    err = ask(path, request, PATIENCE, answer);
    if (err)
        return no_answer(name, path, err);
    if (!strncmp(answer, "error ", 6))
        return cmd_fail(STATUS_FAILED, "%s: %s", name, answer + 6);
    if (!strcmp(request, "status") && !strncmp(answer, "ok ", 3))
        print_fields(answer + 3);
    else if (!strncmp(answer, "ok ", 3))
        puts(answer + 3);
    else if (strcmp(answer, "ok"))
        return no_answer(name, path, -EPROTO);
    return STATUS_OK;
}

/* ---- the list ---- */

static int is_socket_name(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return len > 5 && !strcmp(entry->d_name + len - 5, ".sock");
}

/* Those that do not answer are left out: they ended by SIGKILL, or are no machines. */
static void print_machine(const char *folder, const char *file)
{
    char path[CTL_PATH_MAX], answer[ANSWER];
    int len = (int)strlen(file) - 5;

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, file) >= sizeof(path))
        return;
    if (!ask(path, "status", LIST_TIME, answer) && !strncmp(answer, "ok ", 3))
        printf("%-*.*s %s\n", NAME_WIDTH, len, file, answer + 3);
}

static int list(void)
{
    char folder[CTL_PATH_MAX];
    struct dirent **entry;
    int count, err = ctl_folder(folder, false);

    if (err == -ENOENT)
        return STATUS_OK;
    if (err)
        return cmd_fail(STATUS_FAILED, "%s", err_text());
    count = scandir(folder, &entry, is_socket_name, alphasort);
    if (count < 0)
        return cmd_fail(STATUS_FAILED, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < count; i++) {
        print_machine(folder, entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    return STATUS_OK;
}

/* ---- the command line ---- */

static int check_command(int argc, char **argv)
{
    if (!ctl_name_is_good(argv[0]))
        return cmd_usage("ctl", "'%s' is no name, expected " CTL_PATH_RULES, argv[0]);
    if (argc < 2)
        return cmd_usage("ctl", "no command for '%s'", argv[0]);
    if (argc > 2)
        return cmd_usage("ctl", "'%s' is not expected", argv[2]);
    for (unsigned i = 0; i < ARRAY_SIZE(command); i++) {
        if (!strcmp(argv[1], command[i].name))
            return STATUS_OK;
    }
    return cmd_usage("ctl", "unknown command '%s'", argv[1]);
}

#define OPT_LIST (OPT_HELP + 1)

static int run_ctl(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, OPT_HELP}, {"list", no_argument, NULL, OPT_LIST}, {0}};
    bool listing = argc == 1;
    int letter, status;

    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (letter == OPT_LIST) {
            listing = true;
        } else if (letter == 'h' || letter == OPT_HELP) {
            print_help();
            return STATUS_OK;
        } else {
            return cmd_bad_option(argc, argv, letter);
        }
    }
    if (listing && optind < argc)
        return cmd_usage("ctl", "'%s' is not expected", argv[optind]);
    if (listing)
        return list();
    if (optind == argc)
        return cmd_usage("ctl", "no name");
    status = check_command(argc - optind, argv + optind);
    return status == STATUS_OK ? send_command(argv[optind], argv[optind + 1]) : status;
}

int cmd_ctl(int argc, char **argv)
{
    int status = run_ctl(argc, argv);

    if (fflush(stdout) || ferror(stdout))
        return cmd_fail(STATUS_FAILED, "cannot write to standard output");
    return status;
}
