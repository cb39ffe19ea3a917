/* The parts of board `pc`, for its own files: pc.c, pc_run.c, pc_stats.c. */
#ifndef MOTE_BOARD_PC_INTERNAL_H
#define MOTE_BOARD_PC_INTERNAL_H

#include "board/cpus.h"
#include "board/ctl.h"
#include "board/debugger.h"
#include "board/devices.h"
#include "board/pc.h"
#include "board/ram.h"
#include "host/clock.h"
#include "host/console.h"
#include "host/signals.h"

struct pc {
    struct pc_config cfg;
    struct loop loop;
    struct life life;
    struct host_clock clock;
    struct console console;
    struct signals signals;
    struct loop_timer timeout, grace;
    bool asked_off; /* SIGTERM pressed the power button */
    struct ram ram;
    struct machine *machine;
    struct devices devices;
    bool has_devices;
    struct cpus cpus;
    struct loop_event held; /* the vCPUs stand still */
    unsigned wired;         /* of them that have their local APIC */
    struct ctl ctl;
    struct debugger debugger;
    uint64_t started, ended; /* host_now_ns of pc_run */
};

#endif
