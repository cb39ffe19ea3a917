/*
 * The control socket of a running machine (--name), what `mote ctl` talks to.
 * One line is a request, one line answers it: "ok", "ok WORDS" or "error WHY".
 *
 *   status    ok state=running pid=77 accel=soft memory=268435456 vcpus=1 uptime=1.5
 *             state is running, pausing (asked to stand still, but not there
 *             yet), paused, or stopped (by a debugger); memory in bytes
 *   pause     once all vCPUs stand still
 *   resume    let them go on, or leave it to a debugger that holds it too
 *   poweroff  press the power button; an error where the guest cannot notice
 *   quit      end the machine at once
 */
#ifndef MOTE_BOARD_CTL_H
#define MOTE_BOARD_CTL_H

#include "board/cpus.h"
#include "board/life.h"
#include "dev/chip/acpi_pm.h"
#include "host/line_server.h"

struct ctl {
    /* Filled in before ctl_open; used while the loop runs. */
    struct life *life;
    struct cpus *cpus;
    struct acpi_pm *pm;
    const uint64_t *started; /* host_now_ns */
    uint64_t memory;         /* bytes */

    struct loop *loop; /* NULL: not open */
    struct line_server server;
};

/*
 * Make the socket: name is one, or the path of a socket where it has a slash
 * (host/ctl_path.h). -EADDRINUSE: a machine of this name runs; others of
 * ctl_path and listener_open.
 */
int ctl_open(struct ctl *ctl, struct loop *loop, const char *name);

/* All vCPUs stand still. On the loop's thread; nothing happens on a ctl that is not open. */
void ctl_held(struct ctl *ctl);

/* Remove the socket. Fine on a zeroed ctl. */
void ctl_close(struct ctl *ctl);

/*
 * Why pressing the power button is in vain: nobody in the guest listens to it,
 * or the guest stands still. NULL: the button was pressed.
 */
const char *ctl_power_button(struct cpus *cpus, struct acpi_pm *pm);

#endif
