#include "cmd/run_options.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "base/parse.h"
#include "cmd/cmd.h"
#include "cmd/cpu_help.h"
#include "cmd/memory_option.h"
#include "host/ctl_path.h"
#include "host/listen.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_CMDLINE  "console=ttyS0 panic=-1"
#define DEFAULT_GRACE_NS UINT64_C(10000000000)
#define REPEAT_MAX       100000 /* --timings keeps all, for the median */

enum {
    OPT_KERNEL = 256,
    OPT_INITRD,
    OPT_CMDLINE,
    OPT_MODULE,
    OPT_BOOT,
    OPT_MEMORY,
    OPT_CPUS,
    OPT_CPU,
    OPT_PIN,
    OPT_ACCEL,
    OPT_IRQCHIP,
    OPT_BOARD,
    OPT_CONSOLE,
    OPT_CONTROL,
    OPT_DEBUG_EXIT,
    OPT_TIMEOUT,
    OPT_GRACE,
    OPT_NAME,
    OPT_DUMP,
    OPT_STATS,
    OPT_TRACE,
    OPT_TIMINGS,
    OPT_REPEAT,
    OPT_BOOT_TIMER,
    OPT_GDB,
    OPT_PAUSED,
};

static const struct option options[] = {
    {"kernel", required_argument, NULL, OPT_KERNEL},
    {"initrd", required_argument, NULL, OPT_INITRD},
    {"cmdline", required_argument, NULL, OPT_CMDLINE},
    {"module", required_argument, NULL, OPT_MODULE},
    {"boot", required_argument, NULL, OPT_BOOT},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"cpu", required_argument, NULL, OPT_CPU},
    {"pin", required_argument, NULL, OPT_PIN},
    {"accel", required_argument, NULL, OPT_ACCEL},
    {"irqchip", required_argument, NULL, OPT_IRQCHIP},
    {"board", required_argument, NULL, OPT_BOARD},
    {"console", required_argument, NULL, OPT_CONSOLE},
    {"control", no_argument, NULL, OPT_CONTROL},
    {"debug-exit", no_argument, NULL, OPT_DEBUG_EXIT},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"grace", required_argument, NULL, OPT_GRACE},
    {"name", required_argument, NULL, OPT_NAME},
    {"dump-on-failure", no_argument, NULL, OPT_DUMP},
    {"stats", no_argument, NULL, OPT_STATS},
    {"trace", required_argument, NULL, OPT_TRACE},
    {"timings", optional_argument, NULL, OPT_TIMINGS},
    {"repeat", required_argument, NULL, OPT_REPEAT},
    {"boot-timer", no_argument, NULL, OPT_BOOT_TIMER},
    {"gdb", required_argument, NULL, OPT_GDB},
    {"paused", no_argument, NULL, OPT_PAUSED},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static const char help[] =
    "Usage: mote run --kernel FILE [OPTION]...\n"
    "\n"
    "Boots a machine and ends with it.\n"
    "\n"
    "What to boot:\n"
    "  --kernel FILE       a Linux bzImage, an ELF file with a PVH note (vmlinux), a\n"
    "                      multiboot 1 kernel, or a flat binary (see --boot)\n"
    "  --initrd FILE       initial RAM disk\n"
    "  --cmdline STRING    kernel command line (default: '" DEFAULT_CMDLINE "'\n"
    "                      unless --boot is multiboot or flat)\n"
    "  --module 'FILE[ ARGS]'\n"
    "                      multiboot module with its arguments; may be repeated\n"
    "  --boot PROTOCOL     auto          by the kernel file's content (the default)\n"
    "                      linux         bzImage, unpacked by mote\n"
    "                      linux-self    bzImage that unpacks itself\n"
    "                      pvh           ELF file with a PVH note\n"
    "                      multiboot     multiboot 1\n"
    "                      flat:ADDRESS:MODE\n"
    "                                    loaded and entered at ADDRESS; MODE is real,\n"
    "                                    protected or long\n"
    "\n"
    "The machine:\n"
    "  --memory SIZE[,OPTION]...\n"
    "                      RAM, such as 64M or 2G (default: 256M); OPTION is\n"
    "                      hugepages[=2M|1G]  of huge pages that the host has reserved\n"
    "                      prefault      taken from the host before the guest starts\n"
    "                      shared        in a memfd\n"
    "                      thp=on|off    transparent huge pages, where the host has them\n"
    "                                    (default: on)\n"
    "  --cpus N            processors, 1 (the default) to 64\n"
    "  --cpu MODEL[,+FEATURE][,-FEATURE]...\n"
    "                      what the guest sees for a processor: host (the default), or\n"
    "                      x86-64-v2, x86-64-v3 or x86-64-v4, the same on every host, for\n"
    "                      guests that move; help lists models and features\n"
    "  --pin LIST          keep processor n on the n-th host CPU of a list such as 0,2-3;\n"
    "                      after the last comes the first again\n"
    "  --accel NAME        what runs the guest's code: kvm, kvm:DEVICE, soft (mote's own\n"
    "                      engine), or auto (the default; see 'mote info')\n"
    "  --irqchip WHICH     interrupt chips inside KVM: full (all, and the PIT), split (the\n"
    "                      local APICs), none, or auto (the default: split where KVM can);\n"
    "                      soft has none\n"
    "  --board pc          the kind of machine\n"
    "  --console WHERE     the serial port COM1 (ttyS0): stdio (the default), none, or\n"
    "                      the name of a file for its output\n"
    "  --control           a control line on COM2 (ttyS1): the guest writes 'size' to be\n"
    "                      told the window's size now and after each change ('size ROWS\n"
    "                      COLS'), and 'exit N' to end mote with status N\n"
    "  --debug-exit        a value V written to port 0xf4 ends mote with status V * 2 + 1\n"
    "  --boot-timer        the byte 123 written to 0xd0000000 says that the guest is ready;\n"
    "                      the time since mote's start is printed\n"
    "\n"
    "Around it:\n"
    "  --timeout SECONDS   end the machine after that time; 0.5 is half a second\n"
    "  --grace SECONDS     the time that SIGTERM leaves a guest that listens to the power\n"
    "                      button for powering off (default: 10)\n"
    "  --name NAME         make a socket for 'mote ctl NAME'; with a slash in it, its path\n"
    "  --gdb WHERE         let a gdb debug the guest: unix:PATH or tcp:127.0.0.1:PORT\n"
    "  --paused            begin with the processor standing still; a debugger's 'continue'\n"
    "                      lets it go\n"
    "  --dump-on-failure   print registers and code when the guest fails or time is up\n"
    "  --stats             print at the end how often the guest stopped, and why, which\n"
    "                      devices it used how often, and what memory was used\n"
    "  --timings[=FORM]    print at the end how long each step from mote's start to its end\n"
    "                      took: text (the default), json, or trace:FILE, Chrome's trace\n"
    "                      events (see 'mote timeline')\n"
    "  --repeat N          the machine's whole life N times; mote ends with 1 when its\n"
    "                      memory, descriptors, threads or mappings grew after the second\n"
    "  --trace LIST        print events; LIST is one or more of, separated by commas:\n";

static const char help_tail[] =
    "  --help              this help\n"
    "\n"
    "On a terminal, all keys but Ctrl-A go to the guest. Ctrl-A x quits, Ctrl-A h lists\n"
    "the rest. Input from a pipe or file is passed on as it is.\n"
    "\n"
    "Exit status:\n";

static void print_help(void)
{
    fputs(help, stdout);
    for (unsigned i = 0; i < TRACE_COUNT; i++)
        printf("                      %-10s  %s\n", trace_info[i].name, trace_info[i].help);
    fputs(help_tail, stdout);
#define X(id, value, text) printf("  %d  %s\n", value, text);
    STATUSES(X)
#undef X
}

/* ---- one option each; STATUS_OK or a printed error ---- */

static int set_boot(struct run_options *opt, const char *text)
{
    static const char *const modes[] = {"real", "protected", "long"};
    struct boot_params *boot = &opt->pc.boot;
    char address[32], mode[16];
    uint64_t gpa;

    for (unsigned p = BOOT_AUTO; p < BOOT_FLAT; p++) {
        if (!strcmp(text, boot_protocol_name((enum boot_protocol)p))) {
            boot->protocol = (enum boot_protocol)p;
            return STATUS_OK;
        }
    }
    if (sscanf(text, "flat:%31[^:]:%15s", address, mode) == 2 &&
        !parse_u64(address, UINT64_MAX, &gpa)) {
        for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
            if (strcmp(mode, modes[m]))
                continue;
            boot->protocol = BOOT_FLAT;
            boot->flat_addr = GPA(gpa);
            boot->flat_mode = (enum boot_mode)m;
            return STATUS_OK;
        }
    }
    return cmd_usage("run",
                     "--boot: '%s', expected auto, linux, linux-self, pvh, multiboot, or "
                     "flat:ADDRESS:MODE such as flat:0x100000:long",
                     text);
}

static int set_cpus(struct run_options *opt, const char *text)
{
    uint64_t n;

    if (parse_u64(text, CPUS_MAX, &n) || !n)
        return cmd_usage("run", "--cpus: '%s', expected a number from 1 to %d", text, CPUS_MAX);
    opt->pc.cpus = (unsigned)n;
    return STATUS_OK;
}

static int set_cpu(struct run_options *opt, const char *text)
{
    if (x86_cpu_parse(&opt->pc.cpu, text))
        return cmd_usage("run", "--cpu: '%.200s': %s", text, err_text());
    return STATUS_OK;
}

static int set_pin(struct run_options *opt, const char *text)
{
    if (host_cpus_parse(text, &opt->pc.pin))
        return cmd_usage("run", "--pin: '%s', expected numbers of host CPUs such as 0,2-3", text);
    return STATUS_OK;
}

static int set_accel(struct run_options *opt, const char *text)
{
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    char name[16];

    snprintf(name, sizeof(name), "%.*s", (int)MIN(len, sizeof(name)), text);
    opt->accel = accel_find(name);
    if (!strcmp(text, "auto"))
        return STATUS_OK;
    if (!opt->accel || (colon && strcmp(name, "kvm")) || (colon && !colon[1]))
        return cmd_usage("run", "--accel: '%s', expected auto, kvm, kvm:DEVICE or soft", text);
    free(opt->accel_device);
    opt->accel_device = colon ? strdup(colon + 1) : NULL;
    return STATUS_OK;
}

static int set_gdb(struct run_options *opt, const char *text)
{
    if (!listener_valid(text))
        return cmd_usage("run", "--gdb: '%s', expected unix:PATH or tcp:127.0.0.1:PORT", text);
    opt->pc.gdb = text;
    return STATUS_OK;
}

static bool parse_seconds(const char *text, uint64_t *ns)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end || !isfinite(seconds) || seconds < 0 || seconds > 1e9)
        return false;
    *ns = (uint64_t)ceil(seconds * 1e9);
    return true;
}

static int set_timeout(struct run_options *opt, const char *text)
{
    if (!parse_seconds(text, &opt->pc.timeout_ns) || !opt->pc.timeout_ns)
        return cmd_usage("run", "--timeout: '%s', expected a number of seconds above 0", text);
    opt->timeout_text = text;
    return STATUS_OK;
}

static int set_grace(struct run_options *opt, const char *text)
{
    if (!parse_seconds(text, &opt->pc.grace_ns))
        return cmd_usage("run", "--grace: '%s', expected a number of seconds", text);
    return STATUS_OK;
}

static int set_name(struct run_options *opt, const char *text)
{
    if (!ctl_name_is_good(text))
        return cmd_usage("run", "--name: '%s', expected " CTL_PATH_RULES, text);
    opt->pc.name = text;
    return STATUS_OK;
}

static int set_irqchip(struct run_options *opt, const char *text)
{
    static const char *const names[] = {"auto", "full", "split", "none"}; /* enum pc_irqchip */

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(text, names[i])) {
            opt->pc.irqchip = (enum pc_irqchip)i;
            return STATUS_OK;
        }
    }
    return cmd_usage("run", "--irqchip: '%s', expected auto, full, split or none", text);
}

static int set_timings(struct run_options *opt, const char *text)
{
    if (!text || !strcmp(text, "text")) {
        opt->timings.form = TIMINGS_TEXT;
    } else if (!strcmp(text, "json")) {
        opt->timings.form = TIMINGS_JSON;
    } else if (!strncmp(text, "trace:", 6) && text[6]) {
        opt->timings.form = TIMINGS_TRACE;
        opt->timings.trace_path = text + 6;
    } else {
        return cmd_usage("run", "--timings: '%s', expected text, json or trace:FILE", text);
    }
    return STATUS_OK;
}

static int set_repeat(struct run_options *opt, const char *text)
{
    uint64_t n;

    if (parse_u64(text, REPEAT_MAX, &n) || !n)
        return cmd_usage("run", "--repeat: '%s', expected a number from 1 to %d", text, REPEAT_MAX);
    opt->repeat = (unsigned)n;
    return STATUS_OK;
}

/* "FILE ARGS": the module's command line is the whole text, as multiboot has it. */
static int add_module(struct run_options *opt, const char *text)
{
    unsigned n = opt->pc.boot.module_count;
    size_t len = strcspn(text, " ");

    if (!len)
        return cmd_usage("run", "--module: no file, expected 'FILE[ ARGS]'");
    if (n == BOOT_MODULES_MAX)
        return cmd_usage("run", "--module: more than %d", BOOT_MODULES_MAX);
    opt->module_text[n] = strndup(text, len);
    if (!opt->module_text[n])
        return cmd_fail(STATUS_FAILED, "out of memory");
    opt->modules[n] = (struct boot_module){opt->module_text[n], text};
    opt->pc.boot.module_count++;
    return STATUS_OK;
}

static int set_option(struct run_options *opt, int letter, const char *text)
{
    switch (letter) {
    case OPT_KERNEL: opt->pc.boot.kernel_path = text; return STATUS_OK;
    case OPT_INITRD: opt->pc.boot.initrd_path = text; return STATUS_OK;
    case OPT_CMDLINE: opt->pc.boot.cmdline = text; return STATUS_OK;
    case OPT_MODULE: return add_module(opt, text);
    case OPT_BOOT: return set_boot(opt, text);
    case OPT_MEMORY: return memory_option_parse(&opt->pc.memory, text);
    case OPT_CPUS: return set_cpus(opt, text);
    case OPT_CPU: return set_cpu(opt, text);
    case OPT_PIN: return set_pin(opt, text);
    case OPT_ACCEL: return set_accel(opt, text);
    case OPT_IRQCHIP: return set_irqchip(opt, text);
    case OPT_BOARD:
        if (strcmp(text, "pc"))
            return cmd_usage("run", "--board: '%s', expected pc", text);
        return STATUS_OK;
    case OPT_CONSOLE: opt->pc.console = text; return STATUS_OK;
    case OPT_CONTROL: opt->pc.control = true; return STATUS_OK;
    case OPT_DEBUG_EXIT: opt->pc.debug_exit = true; return STATUS_OK;
    case OPT_TIMEOUT: return set_timeout(opt, text);
    case OPT_GRACE: return set_grace(opt, text);
    case OPT_NAME: return set_name(opt, text);
    case OPT_GDB: return set_gdb(opt, text);
    case OPT_PAUSED: opt->pc.paused = true; return STATUS_OK;
    case OPT_DUMP: opt->dump = true; return STATUS_OK;
    case OPT_TIMINGS: return set_timings(opt, text);
    case OPT_REPEAT: return set_repeat(opt, text);
    case OPT_BOOT_TIMER: opt->pc.boot_timer = true; return STATUS_OK;
    case OPT_STATS: opt->stats = opt->pc.count = true; return STATUS_OK;
    default:
        if (trace_enable(text))
            return cmd_usage("run", "%s", err_text());
        return STATUS_OK;
    }
}

static int check_whole(struct run_options *opt)
{
    struct boot_params *boot = &opt->pc.boot;

    if (!boot->kernel_path)
        return cmd_usage("run", "no --kernel FILE");
    if (!boot->cmdline && boot->protocol != BOOT_MULTIBOOT && boot->protocol != BOOT_FLAT)
        boot->cmdline = DEFAULT_CMDLINE;
    boot->modules = opt->modules;
    return STATUS_OK;
}

bool run_options_parse(struct run_options *opt, int argc, char **argv, int *status)
{
    int letter;

    *opt = (struct run_options){
        .pc = {.memory = {.size = MEMORY_DEFAULT},
               .cpus = 1,
               .console = "stdio",
               .grace_ns = DEFAULT_GRACE_NS},
        .repeat = 1,
    };
    *status = STATUS_OK;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (letter == 'h' || letter == OPT_HELP) {
            print_help();
            *status = cmd_flush();
            return false;
        }
        if (letter == OPT_CPU && !strcmp(optarg, "help")) {
            cpu_help();
            *status = cmd_flush();
            return false;
        }
        if (letter == ':' || letter == '?')
            *status = cmd_bad_option(argc, argv, letter);
        else
            *status = set_option(opt, letter, optarg);
        if (*status != STATUS_OK)
            return false;
    }
    if (optind < argc)
        *status =
            cmd_usage("run", "'%s' is not expected; the kernel is given by --kernel", argv[optind]);
    else
        *status = check_whole(opt);
    return *status == STATUS_OK;
}

void run_options_free(struct run_options *opt)
{
    free(opt->accel_device);
    timings_free(&opt->timings);
    for (unsigned i = 0; i < BOOT_MODULES_MAX; i++)
        free(opt->module_text[i]);
}
