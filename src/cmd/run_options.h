/* The options of `mote run`, checked. */
#ifndef MOTE_CMD_RUN_OPTIONS_H
#define MOTE_CMD_RUN_OPTIONS_H

#include "board/pc.h"
#include "cmd/timings.h"

struct run_options {
    struct pc_config pc;
    const struct accel *accel; /* NULL: auto */
    char *accel_device;        /* owned; NULL: the default */
    struct boot_module modules[BOOT_MODULES_MAX];
    char *module_text[BOOT_MODULES_MAX]; /* owned: the strings behind modules */
    const char *timeout_text;
    bool stats, dump;
    unsigned repeat; /* lives, 1 or more */
    struct timings timings;
};

/*
 * false: no machine is to be run, because of --help or an error that was
 * printed; *status is mote's then. run_options_free is due either way.
 */
bool run_options_parse(struct run_options *opt, int argc, char **argv, int *status);
void run_options_free(struct run_options *opt);

#endif
