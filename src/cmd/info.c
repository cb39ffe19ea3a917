/* mote info: what this host offers, and what --accel auto makes of it. */
#include "accel/accel.h"
#include "base/tsc.h"
#include "cmd/cmd.h"
#include "host/clock.h"
#include "host/hostinfo.h"

#include <getopt.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ACCEL_MAX 8

static void print_host(void)
{
    char cpu[64], hypervisor[13];
    struct host_memory memory;
    struct utsname kernel;

    host_cpu_name(cpu, sizeof(cpu));
    host_hypervisor(hypervisor);
    host_memory(&memory);
    printf("mote         " MOTE_VERSION "\n");
    printf("host CPU     %s, %ld online, TSC %.3f MHz\n", cpu, sysconf(_SC_NPROCESSORS_ONLN),
           host_tsc_khz() / 1e3);
    if (hypervisor[0])
        printf("hypervisor   %s\n", hypervisor);
    if (!uname(&kernel))
        printf("kernel       %s %s\n", kernel.sysname, kernel.release);
    printf("memory       %llu MiB, %llu MiB of it available\n",
           (unsigned long long)memory.total >> 20, (unsigned long long)memory.available >> 20);
}

static void print_accels(const struct accel_info *infos)
{
    for (unsigned i = 0; accel_list[i] && i < ACCEL_MAX; i++) {
        const struct accel_info *info = &infos[i];

        /* A reason why one is usable says so itself. */
        printf("accelerator  %s (%s): %s%s\n", accel_list[i]->name, accel_list[i]->title,
               info->usable ? "" : "not usable: ", info->reason);
    }
}

int cmd_info(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, OPT_HELP}, {0}};
    struct accel_info infos[ACCEL_MAX] = {0};
    char why[512] = "";
    int letter;

    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (letter != 'h' && letter != OPT_HELP)
            return cmd_bad_option(argc, argv, letter);
        puts("Usage: mote info\n\n"
             "Shows the host, the accelerators found with the reason why each is usable or\n"
             "not, and which of them 'mote run --accel auto' takes.");
        return STATUS_OK;
    }
    if (optind < argc)
        return cmd_usage(argv[0], "'%s' is not expected", argv[optind]);
    accel_choose(infos, why, sizeof(why));
    print_host();
    print_accels(infos);
    printf("auto         %s\n", why);
    return cmd_flush();
}
