/* The run of board `pc`: what comes from outside while the guest runs, and the end. */
#include "board/pc_internal.h"

#include "base/err.h"
#include "host/tty.h"

#include <signal.h>
#include <string.h>

/* The first SIGTERM asks the guest to power off. false: there is nothing to wait for. */
static bool ask_off(struct pc *pc)
{
    if (!pc->cfg.grace_ns || pc->asked_off || ctl_power_button(&pc->cpus, &pc->devices.pm))
        return false;
    pc->asked_off = true;
    loop_timer_arm(&pc->grace, host_now_ns() + pc->cfg.grace_ns);
    return true;
}

static void on_signal(void *user, int sig)
{
    struct pc *pc = user;
    char why[16];

    if (sig == SIGTERM && ask_off(pc))
        return;
    snprintf(why, sizeof(why), "SIG%s", sigabbrev_np(sig));
    life_finish(&pc->life, LIFE_QUIT, 0, why);
}

static void on_grace(void *user)
{
    struct pc *pc = user;
    char why[80];

    snprintf(why, sizeof(why), "SIGTERM (the guest did not power off within %g s)",
             (double)pc->cfg.grace_ns / 1e9);
    life_finish(&pc->life, LIFE_QUIT, 0, why);
}

static void on_resize(void *user)
{
    struct pc *pc = user;

    if (pc->cfg.control)
        control_resized(&pc->devices.control);
}

static void on_stop(void *user)
{
    tty_restore();
}

static void on_resume(void *user)
{
    struct pc *pc = user;

    if (pc->console.terminal && life_running(&pc->life))
        tty_raw(pc->console.in_fd);
}

static void on_timeout(void *user)
{
    struct pc *pc = user;

    life_finish(&pc->life, LIFE_TIMEOUT, 0, NULL);
}

static void on_quit_key(void *user)
{
    struct pc *pc = user;

    life_finish(&pc->life, LIFE_QUIT, 0, "Ctrl-A x");
}

static size_t on_input(void *user, const uint8_t *buf, size_t len)
{
    struct pc *pc = user;

    return serial_receive(&pc->devices.com1, buf, len);
}

static int timers_init(struct pc *pc)
{
    int err = loop_timer_init(&pc->loop, &pc->timeout, on_timeout, pc);

    if (err)
        return err;
    err = loop_timer_init(&pc->loop, &pc->grace, on_grace, pc);
    if (err)
        loop_timer_destroy(&pc->loop, &pc->timeout);
    return err;
}

static int begin(struct pc *pc)
{
    int err = pc->cfg.name ? ctl_open(&pc->ctl, &pc->loop, pc->cfg.name) : 0;

    if (err)
        return err;
    pc->console.input = on_input;
    pc->console.quit = on_quit_key;
    pc->console.user = pc;
    if (pc->cfg.timeout_ns)
        loop_timer_arm(&pc->timeout, pc->started + pc->cfg.timeout_ns);
    if (pc->cfg.paused)
        cpus_hold(&pc->cpus, CPU_HOLD_USER);
    err = console_start(&pc->console);
    return err ? err : cpus_start(&pc->cpus);
}

int pc_run(struct pc *pc, struct pc_end *end)
{
    int err;

    pc->started = host_now_ns();
    pc->signals = (struct signals){
        .end = on_signal, .resize = on_resize, .stop = on_stop, .resume = on_resume, .user = pc};
    err = signals_init(&pc->loop, &pc->signals);
    if (err)
        return err;
    err = timers_init(pc);
    if (!err) {
        err = begin(pc);
        if (err || loop_run(&pc->loop))
            life_finish(&pc->life, LIFE_FAILED, 0, err_text());
        tty_restore(); /* now, should ending take long */
        signals_release(&pc->signals);
        console_abort(&pc->console);
        cpus_join(&pc->cpus);
        ctl_close(&pc->ctl);
        debugger_end(&pc->debugger, atomic_load(&pc->life.end), pc->life.detail);
        loop_timer_destroy(&pc->loop, &pc->timeout);
        loop_timer_destroy(&pc->loop, &pc->grace);
    }
    pc->ended = host_now_ns();
    *end = (struct pc_end){.console_failed = console_stop(&pc->console) != 0};
    signals_destroy(&pc->signals);
    end->end = atomic_load(&pc->life.end);
    end->detail = pc->life.detail;
    end->why = pc->life.why;
    return err;
}
