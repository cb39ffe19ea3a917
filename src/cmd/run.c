/* mote run: from the command line to a machine, and from its end to an exit status. */
#include "accel/accel.h"
#include "base/err.h"
#include "base/log.h"
#include "board/pc.h"
#include "cmd/cmd.h"
#include "cmd/run_options.h"

#include <signal.h>
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
    case LIFE_DEBUG_EXIT:
    case LIFE_EXIT: return (int)end->detail;
    case LIFE_TIMEOUT: return cmd_fail(STATUS_TIMEOUT, "timeout after %s s", opt->timeout_text);
    case LIFE_QUIT:
        if (!end->detail)
            return cmd_fail(STATUS_QUIT, "ended by %s", end->why);
        return cmd_fail(STATUS_QUIT, "ended by SIG%s", sigabbrev_np((int)end->detail));
    case LIFE_FAILED: break;
    }
    return cmd_fail(STATUS_ACCEL, "%s", end->why);
}

static bool guest_failed(enum life_end end)
{
    return end == LIFE_TRIPLE_FAULT || end == LIFE_TIMEOUT || end == LIFE_FAILED;
}

static int run(struct pc *pc, const struct run_options *opt)
{
    struct pc_end end;
    int status;

    if (pc_run(pc, &end))
        return cmd_fail(STATUS_FAILED, "%s", err_text());
    status = explain(&end, opt);
    if (opt->dump && guest_failed(end.end))
        pc_report(pc, stderr);
    if (opt->stats)
        pc_stats(pc, stderr);
    return status == STATUS_OK && end.console_failed ? STATUS_FAILED : status;
}

static int build(struct pc **pc, const struct run_options *opt)
{
    const struct accel *accel = opt->accel;
    char why[512] = "";

    if (pc_create(pc, &opt->pc))
        return cmd_fail(STATUS_FAILED, "%s", err_text());
    if (!accel) {
        accel = accel_choose(NULL, why, sizeof(why));
        if (!accel)
            return cmd_fail(STATUS_ACCEL, "%s", why);
    }
    if (pc_attach(*pc, accel, opt->accel_device))
        return cmd_fail(STATUS_ACCEL, "%s", err_text());
    if (pc_load(*pc))
        return cmd_fail(STATUS_INPUT, "%s", err_text());
    return STATUS_OK;
}

int cmd_run(int argc, char **argv)
{
    struct run_options opt;
    struct pc *pc = NULL;
    int status;

    if (run_options_parse(&opt, argc, argv, &status)) {
        status = build(&pc, &opt);
        if (status == STATUS_OK)
            status = run(pc, &opt);
        pc_destroy(pc);
    }
    run_options_free(&opt);
    return status;
}
