#include "board/ctl.h"

#include "base/err.h"
#include "host/clock.h"
#include "host/ctl_path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- requests ---- */

static const char *state_of(struct cpus *cpus)
{
    unsigned holders = cpus_holders(cpus);

    if (!holders)
        return "running";
    if (!cpus_are_held(cpus))
        return "pausing";
    return holders & CPU_HOLD_USER ? "paused" : "stopped";
}

static void status(struct ctl *ctl, struct line_client *c)
{
    const struct machine *m = ctl->cpus->cpu[0].vcpu->machine;

    line_answer(c, "ok state=%s pid=%ld accel=%s memory=%" PRIu64 " vcpus=%u uptime=%.3f",
                state_of(ctl->cpus), (long)getpid(), m->accel->name, ctl->memory, ctl->cpus->count,
                (double)(host_now_ns() - *ctl->started) / 1e9);
}

/* Answer those who wait for the vCPUs to stand still: pause is what is answered later. */
static void answer_waiting(struct ctl *ctl, const char *answer)
{
    for (unsigned i = 0; i < LINE_CLIENTS; i++) {
        if (ctl->server.client[i].asked)
            line_answer(&ctl->server.client[i], "%s", answer);
    }
}

void ctl_held(struct ctl *ctl)
{
    if (ctl->loop && cpus_holders(ctl->cpus) & CPU_HOLD_USER)
        answer_waiting(ctl, "ok");
}

static void resume(struct ctl *ctl, struct line_client *c)
{
    cpus_release(ctl->cpus, CPU_HOLD_USER);
    line_answer(c, cpus_holders(ctl->cpus) ? "ok a debugger holds it still" : "ok");
    answer_waiting(ctl, "error resumed meanwhile");
}

const char *ctl_power_button(struct cpus *cpus, struct acpi_pm *pm)
{
    if (cpus_holders(cpus))
        return "the machine is paused";
    if (!acpi_pm_power_button(pm))
        return "nobody in the guest listens to the power button";
    return NULL;
}

static void poweroff(struct ctl *ctl, struct line_client *c)
{
    const char *why = ctl_power_button(ctl->cpus, ctl->pm);

    if (why)
        line_answer(c, "error %s", why);
    else
        line_answer(c, "ok");
}

static void request(void *user, struct line_client *c, const char *line)
{
    struct ctl *ctl = user;

    if (!strcmp(line, "status")) {
        status(ctl, c);
    } else if (!strcmp(line, "pause")) {
        cpus_hold(ctl->cpus, CPU_HOLD_USER); /* ctl_held answers */
    } else if (!strcmp(line, "resume")) {
        resume(ctl, c);
    } else if (!strcmp(line, "poweroff")) {
        poweroff(ctl, c);
    } else if (!strcmp(line, "quit")) {
        line_answer(c, "ok");
        life_finish(ctl->life, LIFE_QUIT, 0, "mote ctl");
    } else {
        line_answer(c, "error expected status, pause, resume, poweroff or quit");
    }
}

/* ---- the socket ---- */

static int open_socket(struct ctl *ctl, const char *name, const char *path)
{
    char where[CTL_PATH_MAX + 8];
    int err;

    snprintf(where, sizeof(where), "unix:%s", path);
    err = line_server_open(&ctl->server, ctl->loop, where, request, ctl);
    if (err == -EADDRINUSE)
        return err_set(EADDRINUSE,
                       "--name %s: a machine of that name runs already, or %s is a file", name,
                       path);
    return err;
}

/* Of two that find the same stale socket, the second must not take the first's new one for it. */
static int open_named(struct ctl *ctl, const char *name)
{
    char path[CTL_PATH_MAX];
    int lock, err = ctl_folder(path, true);

    if (err)
        return err;
    lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_EX))
        err = err_sys(errno, "%s", path);
    if (!err)
        err = ctl_path(path, name, true);
    if (!err)
        err = open_socket(ctl, name, path);
    if (lock >= 0)
        close(lock);
    return err;
}

int ctl_open(struct ctl *ctl, struct loop *loop, const char *name)
{
    int err;

    ctl->loop = loop;
    err = strchr(name, '/') ? open_socket(ctl, name, name) : open_named(ctl, name);
    if (err)
        ctl->loop = NULL;
    return err;
}

void ctl_close(struct ctl *ctl)
{
    if (!ctl->loop)
        return;
    line_server_close(&ctl->server);
    ctl->loop = NULL;
}
