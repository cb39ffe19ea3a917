/*
 * The host's side. A sample is a line there and a line back: the guest read its
 * clocks somewhere between. How long a line takes on a busy machine varies by
 * milliseconds, so time is cut in windows and of each only the quickest sample is
 * taken; the line fitted through those is the rate.
 */
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOWS        12
#define START_SECONDS  600 /* a host that is slow and busy */
#define ANSWER_SECONDS 300
#define PAUSE_US       2000 /* between two questions */
#define UNSURE         5    /* an error of so many tolerances says nothing */

struct sample {
    double host, round_trip; /* seconds; host: the middle of it */
    uint64_t guest[CLOCKS];
};

struct guest {
    pid_t pid;
    int to, from;
    char buffer[8192]; /* what came and is not a whole line yet */
    size_t fill;
};

static double now_seconds(void)
{
    return (double)clock_read(MONOTONIC) / 1e9;
}

static int start(struct guest *guest, char **command)
{
    int to[2], from[2];

    if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
        return -1;
    guest->pid = fork();
    if (guest->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    guest->to = to[1];
    guest->from = from[0];
    return guest->pid < 0 ? -1 : 0;
}

/* The next line that begins with `word`, without it, before `until`; the others are shown. */
static int next_line(struct guest *guest, const char *word, double until, char *line, size_t size)
{
    for (;;) {
        char *end = memchr(guest->buffer, '\n', guest->fill);
        if (end) {
            size_t length = (size_t)(end - guest->buffer) + 1;
            *end = '\0';
            guest->buffer[strcspn(guest->buffer, "\r")] = '\0';
            int fits = !strncmp(guest->buffer, word, strlen(word));
            if (fits)
                snprintf(line, size, "%s", guest->buffer + strlen(word));
            else if (guest->buffer[0] && strncmp(guest->buffer, "clock: ", 7) != 0)
                fprintf(stderr, "guest: %s\n", guest->buffer);
            guest->fill -= length;
            memmove(guest->buffer, guest->buffer + length, guest->fill);
            if (fits)
                return 0;
            continue;
        }
        double left = until - now_seconds();
        struct pollfd ready = {.fd = guest->from, .events = POLLIN};
        if (guest->fill == sizeof(guest->buffer))
            guest->fill = 0;
        if (left <= 0 || poll(&ready, 1, (int)(left * 1000) + 1) < 0)
            break;
        if (!ready.revents)
            continue;
        ssize_t got =
            read(guest->from, guest->buffer + guest->fill, sizeof(guest->buffer) - guest->fill);
        if (got <= 0)
            break;
        guest->fill += (size_t)got;
    }
    fprintf(stderr, "clock: the guest did not say '%s'; it said: %.*s\n", word, (int)guest->fill,
            guest->buffer);
    return -1;
}

static int ask(struct guest *guest, unsigned number, struct sample *sample)
{
    char line[256];
    unsigned answered;
    unsigned long long g[CLOCKS];
    double before = now_seconds(), after;

    if (dprintf(guest->to, "ask %u\n", number) < 0)
        return -1;
    do {
        if (next_line(guest, CLOCK_SAYS, before + ANSWER_SECONDS, line, sizeof(line)) < 0)
            return -1;
        after = now_seconds();
        if (sscanf(line, "%u %llu %llu %llu %llu", &answered, &g[0], &g[1], &g[2], &g[3]) != 5)
            answered = number + 1;
    } while (answered != number);
    sample->host = (before + after) / 2;
    sample->round_trip = after - before;
    for (int clock = 0; clock < CLOCKS; clock++)
        sample->guest[clock] = g[clock];
    return 0;
}

/* Fill in the quickest of each window; returns how many samples there were, or -1. */
static int take(struct guest *guest, double seconds, struct sample *best)
{
    double begin = now_seconds(), length = seconds / WINDOWS;
    unsigned count = 0;

    for (int window = 0; window < WINDOWS; window++) {
        best[window].round_trip = INFINITY;
        do {
            struct sample sample;
            if (ask(guest, ++count, &sample) < 0)
                return -1;
            if (sample.round_trip < best[window].round_trip)
                best[window] = sample;
            usleep(PAUSE_US);
        } while (now_seconds() < begin + (window + 1) * length);
    }
    return (int)count;
}

/* How many of the clock's units pass in a second, and how wrong that may be (a ratio). */
static double rate(const struct sample *best, int clock, double *error)
{
    double t = 0, g = 0, tg = 0, tt = 0, lean = 0;

    for (int i = 0; i < WINDOWS; i++) {
        t += (best[i].host - best[0].host) / WINDOWS;
        g += (double)(int64_t)(best[i].guest[clock] - best[0].guest[clock]) / WINDOWS;
    }
    for (int i = 0; i < WINDOWS; i++) {
        double dt = best[i].host - best[0].host - t;
        double dg = (double)(int64_t)(best[i].guest[clock] - best[0].guest[clock]) - g;
        tg += dt * dg;
        tt += dt * dt;
        /* Each is off by half its round trip at most: early ones one way, late ones the other. */
        lean += fabs(dt) * best[i].round_trip / 2;
    }
    *error = lean / tt;
    return tg / tt;
}

static int tell(const struct sample *best, int samples, double tolerance)
{
    double error, slowest = 0;
    int bad = 0, unsure = 0;

    for (int i = 0; i < WINDOWS; i++)
        slowest = fmax(slowest, best[i].round_trip);
    printf("samples %d, %d kept, round trip at most %.3f ms, %.1f s\n", samples, WINDOWS,
           slowest * 1e3, best[WINDOWS - 1].host - best[0].host);
    for (int clock = 0; clock < TSC; clock++) {
        double ppm = (rate(best, clock, &error) / 1e9 - 1) * 1e6;
        printf("%-9s %+.2f ppm, error at most %.2f\n", clock_names[clock], ppm, error * 1e6);
        bad |= tolerance > 0 && fabs(ppm) > tolerance + error * 1e6;
        unsure |= tolerance > 0 && error * 1e6 > UNSURE * tolerance;
    }
    printf("%-9s %.4f MHz\n", clock_names[TSC], rate(best, TSC, &error) / 1e6);
    if (unsure)
        printf("the host is too busy to tell\n");
    return bad ? CLOCK_WRONG : unsure ? CLOCK_UNSURE : CLOCK_TRUE;
}

/* What the guest found; 1 when time went backwards, -1 when it does not say. */
static int tell_found(struct guest *guest)
{
    char line[256], name[16];
    unsigned long long readings, back, worst;
    int cpus, bad = 0;

    if (dprintf(guest->to, "end\n") < 0)
        return -1;
    for (int clock = 0; clock < CLOCKS; clock++) {
        double until = now_seconds() + ANSWER_SECONDS;
        if (next_line(guest, CLOCK_BACK, until, line, sizeof(line)) < 0 ||
            sscanf(line, "%15s %d %llu %llu %llu", name, &cpus, &readings, &back, &worst) != 5)
            return -1;
        printf("%-9s backwards %llu times, by at most %llu, in %llu readings on %d processors\n",
               name, back, worst, readings, cpus);
        bad |= back != 0 || readings == 0;
    }
    return bad;
}

int clock_host(double seconds, double tolerance, char **command)
{
    struct guest guest = {0};
    struct sample best[WINDOWS];
    char line[256];
    int status, samples, bad = CLOCK_NO_ANSWER;

    signal(SIGPIPE, SIG_IGN);
    if (start(&guest, command) < 0) {
        perror("clock");
        return CLOCK_NO_ANSWER;
    }
    if (next_line(&guest, CLOCK_READY, now_seconds() + START_SECONDS, line, sizeof(line)) == 0 &&
        (samples = take(&guest, seconds, best)) >= 0) {
        int drifts = tell(best, samples, tolerance);
        int found = tell_found(&guest);
        bad = found < 0 ? CLOCK_NO_ANSWER : found ? CLOCK_WRONG : drifts;
        /* The machine switches itself off. */
        next_line(&guest, CLOCK_DONE, now_seconds() + ANSWER_SECONDS, line, sizeof(line));
    }
    if (bad == CLOCK_NO_ANSWER)
        kill(guest.pid, SIGKILL);
    close(guest.to);
    while (waitpid(guest.pid, &status, 0) < 0 && errno == EINTR)
        ;
    return bad;
}
