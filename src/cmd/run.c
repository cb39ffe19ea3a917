/* mote run: from the command line to a machine, and from its end to an exit status. */
#include "accel/accel.h"
#include "base/err.h"
#include "base/log.h"
#include "base/steps.h"
#include "board/pc.h"
#include "cmd/cmd.h"
#include "cmd/repeat.h"
#include "cmd/run_options.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

/* A non-zero status for each end, and the line that explains it. */
static int explain(const struct pc_end *end, const struct run_options *opt)
{
    switch (end->end) {
    case LIFE_RUNNING:
    case LIFE_POWEROFF: return STATUS_OK;
    case LIFE_RESET: return cmd_fail(STATUS_RESET, "the guest asked for a reset");
    case LIFE_TRIPLE_FAULT:
        return cmd_fail(STATUS_TRIPLE_FAULT, "the guest crashed: triple fault%s",
                        opt->dump ? "" : " (--dump-on-failure shows its registers)");
    case LIFE_PANIC: return cmd_fail(STATUS_PANIC, "the guest panicked");
    case LIFE_DEBUG_EXIT:
    case LIFE_EXIT: return (int)end->detail;
    case LIFE_TIMEOUT: return cmd_fail(STATUS_TIMEOUT, "timeout after %s s", opt->timeout_text);
    case LIFE_QUIT: return cmd_fail(STATUS_QUIT, "ended by %s", end->why);
    case LIFE_FAILED: break;
    }
    return cmd_fail(STATUS_ACCEL, "%s", end->why);
}

static bool guest_failed(enum life_end end)
{
    return end == LIFE_TRIPLE_FAULT || end == LIFE_PANIC || end == LIFE_TIMEOUT ||
           end == LIFE_FAILED;
}

static bool guest_ended(enum life_end end)
{
    return end == LIFE_POWEROFF || end == LIFE_RESET || end == LIFE_DEBUG_EXIT || end == LIFE_EXIT;
}

static int run(struct pc *pc, const struct run_options *opt, bool *orderly)
{
    struct pc_end end;
    int status;

    if (pc_run(pc, &end))
        return cmd_fail(STATUS_FAILED, "%s", err_text());
    *orderly = guest_ended(end.end) && !end.console_failed;
    status = explain(&end, opt);
    if (opt->dump ? guest_failed(end.end) : end.end == LIFE_FAILED)
        pc_report(pc, stderr);
    if (opt->stats)
        pc_stats(pc, stderr);
    return status == STATUS_OK && end.console_failed ? STATUS_FAILED : status;
}

/* Its measuring guest is not the machine whose steps are recorded. */
static const struct accel *choose(char *why, size_t size)
{
    const struct accel *accel;
    bool on = steps_on;

    steps_on = false;
    accel = accel_choose(NULL, why, size);
    steps_on = on;
    step_end(STEP_CHOOSE);
    return accel;
}

/* What the host has too little of is not the accelerator's fault. */
static enum status attach_status(int err)
{
    switch (-err) {
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC: return STATUS_FAILED;
    default: return STATUS_ACCEL;
    }
}

static int build(struct pc **pc, const struct run_options *opt)
{
    const struct accel *accel = opt->accel;
    char why[512] = "";
    int err;

    if (pc_create(pc, &opt->pc))
        return cmd_fail(STATUS_FAILED, "%s", err_text());
    if (!accel && opt->pc.engine != ACCEL_ENGINE_BEST)
        accel = accel_find("soft"); /* the one with engines */
    if (!accel) {
        accel = choose(why, sizeof(why));
        if (!accel)
            return cmd_fail(STATUS_ACCEL, "%s", why);
    }
    err = pc_attach(*pc, accel, opt->accel_device);
    if (err)
        return cmd_fail(attach_status(err), "%s", err_text());
    if (pc_load(*pc))
        return cmd_fail(STATUS_INPUT, "%s", err_text());
    return STATUS_OK;
}

/* One life of a machine. *orderly: it ended as the guest wanted. */
static int live(const struct run_options *opt, bool *orderly)
{
    struct pc *pc = NULL;
    int status = build(&pc, opt);

    *orderly = false;
    if (status == STATUS_OK)
        status = run(pc, opt, orderly);
    pc_destroy(pc);
    step_end(STEP_CLEANUP);
    return status;
}

/* What the heap keeps for later is no growth. */
static void measure(struct host_process *p)
{
    malloc_trim(0);
    host_process(p);
}

/* All lives. What one leaves behind shows in the next: the second is what the last must equal. */
static int live_all(struct run_options *opt)
{
    struct host_process settled = {0}, last;
    bool orderly;
    int status;

    for (unsigned run = 1;; run++) {
        status = live(opt, &orderly);
        timings_add(&opt->timings);
        if (!orderly || run == opt->repeat)
            break;
        if (run == 2)
            measure(&settled);
        steps_restart();
    }
    if (!orderly || opt->repeat < 3)
        return status;
    measure(&last);
    return repeat_report(opt->repeat, &settled, &last) ? status : STATUS_FAILED;
}

int cmd_run(int argc, char **argv)
{
    struct run_options opt;
    int status;

    /* Large blocks go back to the host when they are freed, rather than fragment the heap. */
    mallopt(M_MMAP_THRESHOLD, 64 << 10);
    if (run_options_parse(&opt, argc, argv, &status)) {
        if (opt.timings.form != TIMINGS_OFF)
            steps_record();
        if (timings_init(&opt.timings, opt.repeat)) {
            status = cmd_fail(STATUS_FAILED, "%s", err_text());
        } else {
            step_end(STEP_OPTIONS);
            status = live_all(&opt);
            if (timings_print(&opt.timings))
                status = cmd_fail(STATUS_FAILED, "%s", err_text());
        }
    }
    run_options_free(&opt);
    return status;
}
