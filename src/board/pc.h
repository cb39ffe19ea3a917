/*
 * Board `pc`: what unmodified distribution kernels need and little more. One
 * life goes pc_create, pc_attach, pc_load, pc_run, and pc_destroy at any point.
 * The thread that calls them becomes the I/O thread in pc_run.
 */
#ifndef MOTE_BOARD_PC_H
#define MOTE_BOARD_PC_H

#include "accel/accel.h"
#include "board/cpus.h"
#include "board/life.h"
#include "board/ram.h"
#include "boot/boot.h"
#include "host/affinity.h"

#include <stdbool.h>
#include <stdio.h>

struct pc;

/* Which interrupt chips are the accelerator's. */
enum pc_irqchip {
    PC_IRQCHIP_AUTO,  /* what is best there: split, where it can do that */
    PC_IRQCHIP_FULL,  /* all, and the PIT */
    PC_IRQCHIP_SPLIT, /* the local APICs */
    PC_IRQCHIP_NONE,
};

/* Strings and modules must outlive the machine. */
struct pc_config {
    struct ram_config memory; /* PC_MEMORY_MIN or more */
    const char *console;      /* "stdio", "none", or a file */
    unsigned cpus;            /* processors, 1 to CPUS_MAX */
    struct x86_cpu cpu;       /* what they are; all zero: "host" */
    struct host_cpus pin;     /* host CPUs for the vCPUs' threads, --pin; none: any */
    enum pc_irqchip irqchip;
    bool control;        /* control line on COM2, board/control.h */
    bool debug_exit;     /* port 0xf4 */
    bool count;          /* complete statistics, at some cost: machine_config.count */
    bool boot_timer;     /* page 0xd0000000, dev/chip/boot_timer.h */
    uint64_t timeout_ns; /* 0: none */
    uint64_t grace_ns;   /* for the guest to power off after SIGTERM; 0: none */
    const char *name;    /* of the control socket, board/ctl.h; NULL: none */
    const char *gdb;     /* where a debugger may connect, board/debugger.h; NULL: nowhere */
    bool paused;         /* the vCPUs stand still until a debugger lets it go */
    /* What to boot; the board fills in e820 and acpi_rsdp. */
    struct boot_params boot;
};

/* Host resources: RAM, event loop, console. */
int pc_create(struct pc **out, const struct pc_config *cfg);

/*
 * The accelerator's machine with the devices around it; device NULL: the default. -ENOTSUP:
 * it does not have the interrupt chips that the configuration asks for.
 */
int pc_attach(struct pc *pc, const struct accel *accel, const char *device);

/* The kernel and what belongs to it; ACPI tables. */
int pc_load(struct pc *pc);

struct pc_end {
    enum life_end end;
    unsigned detail;     /* as in board/life.h */
    const char *why;     /* of LIFE_FAILED and LIFE_QUIT; valid until pc_destroy */
    bool console_failed; /* output to the console's file was lost; warned already */
};

/* Run to the end of the machine's life. -errno: it could not begin. */
int pc_run(struct pc *pc, struct pc_end *end);

/* After pc_run: the vCPUs' registers; what happened how often. */
void pc_report(struct pc *pc, FILE *out);
void pc_stats(struct pc *pc, FILE *out);

void pc_destroy(struct pc *pc); /* NULL is fine */

#endif
