#include "board/pc.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "base/steps.h"
#include "base/tsc.h"
#include "board/ctl.h"
#include "board/devices.h"
#include "board/layout.h"
#include "board/ram.h"
#include "board/report.h"
#include "board/vcpu.h"
#include "boot/acpi.h"
#include "host/clock.h"
#include "host/console.h"
#include "host/process.h"
#include "host/signals.h"
#include "host/tty.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

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
    struct cpu cpu;
    struct ctl ctl;
    uint64_t started, ended; /* host_now_ns of pc_run */
};

/* ---- host side ---- */

static int host_init(struct pc *pc)
{
    int err = loop_init(&pc->loop);

    if (err)
        return err;
    life_init(&pc->life, &pc->loop);
    host_clock_start(&pc->clock);
    err = console_open(&pc->console, &pc->loop, pc->cfg.console);
    if (err) {
        life_destroy(&pc->life);
        loop_destroy(&pc->loop);
    }
    return err;
}

int pc_create(struct pc **out, const struct pc_config *cfg)
{
    struct pc *pc = calloc(1, sizeof(*pc));
    int err;

    *out = NULL;
    if (!pc)
        return err_set(ENOMEM, "out of memory");
    pc->cfg = *cfg;
    err = step_done(STEP_HOST, host_init(pc));
    if (err) {
        free(pc);
        return err;
    }
    err = step_done(STEP_RAM, ram_alloc(&pc->ram, cfg->memory));
    if (err) {
        pc_destroy(pc);
        return err;
    }
    *out = pc;
    return 0;
}

/* ---- the machine ---- */

static int map_ram(struct pc *pc)
{
    struct ram_piece piece[2];
    unsigned n = ram_pieces(pc->ram.size, piece);

    for (unsigned i = 0; i < n; i++) {
        int err = machine_map(pc->machine, GPA(piece[i].gpa), piece[i].size,
                              pc->ram.hva + piece[i].offset, MEM_RWX);

        if (err)
            return err;
    }
    return 0;
}

static uint32_t guest_tsc_khz(struct pc *pc)
{
    return pc->machine->tsc_khz ? pc->machine->tsc_khz : host_tsc_khz();
}

static int set_cpuid(struct pc *pc)
{
    const struct x86_cpuid_topology topology = {
        .apic_id = 0, .vcpus = 1, .tsc_khz = guest_tsc_khz(pc)};
    struct x86_cpuid *table = calloc(1, sizeof(*table));
    int err;

    if (!table)
        return err_set(ENOMEM, "out of memory");
    err = machine_default_cpuid(pc->machine, &topology, table);
    if (!err)
        err = vcpu_set_cpuid(pc->cpu.vcpu, table);
    free(table);
    return err;
}

static void on_held(void *user)
{
    struct pc *pc = user;

    ctl_held(&pc->ctl);
}

static void wake_vcpu(void *user)
{
    cpu_wake(user);
}

int pc_attach(struct pc *pc, const struct accel *accel, const char *device)
{
    const struct machine_config machine = {
        .device = device,
        .vcpus = 1,
        .want = ACCEL_CAP_LAPIC | ACCEL_CAP_CLOCK | ACCEL_CAP_TSC_DEADLINE,
    };
    struct devices_config devices = {
        .loop = &pc->loop,
        .clock = &pc->clock,
        .life = &pc->life,
        .console = &pc->console,
        .wake_vcpu = wake_vcpu,
        .wake_user = &pc->cpu,
        .control = pc->cfg.control,
        .debug_exit = pc->cfg.debug_exit,
        .boot_timer = pc->cfg.boot_timer,
    };
    int err = machine_create(&pc->machine, accel, &machine);

    if (!err)
        err = step_done(STEP_SLOT, map_ram(pc));
    if (!err)
        err = vcpu_create(&pc->cpu.vcpu, pc->machine, 0);
    if (!err)
        err = step_done(STEP_CPUID, set_cpuid(pc));
    if (err)
        return err;
    devices.machine = pc->machine;
    devices.tsc_offset = &pc->cpu.vcpu->tsc_offset;
    devices.tsc_khz = guest_tsc_khz(pc);
    err = step_done(STEP_DEVICES, devices_init(&pc->devices, &devices));
    if (err)
        return err;
    pc->has_devices = true;
    pc->cpu.life = &pc->life;
    pc->cpu.ports = &pc->devices.ports;
    pc->cpu.mmio = &pc->devices.mmio;
    pc->cpu.intc = &pc->devices.intc;
    pc->cpu.held = on_held;
    pc->cpu.user = pc;
    pc->ctl = (struct ctl){.life = &pc->life,
                           .cpu = &pc->cpu,
                           .pm = &pc->devices.pm,
                           .started = &pc->started,
                           .memory = pc->cfg.memory};
    return 0;
}

static int build_acpi(struct pc *pc, gpa_t *rsdp)
{
    static const struct acpi_config config = {
        .cpu_count = 1,
        .lapic_base = PC_LAPIC,
        .ioapic_base = PC_IOAPIC,
        .ioapic_id = PC_IOAPIC_ID,
        .sci_irq = PC_GSI_SCI,
        .pm1_evt_port = PC_PORT_PM1_EVT,
        .pm1_cnt_port = PC_PORT_PM1_CNT,
        .pm_tmr_port = PC_PORT_PM_TIMER,
        .pm_tmr_32 = PC_PM_TIMER_32,
        .power_button = true,
        .reset_port = PC_PORT_RESET,
        .reset_value = ACPI_PM_RESET_VALUE,
        .s5_type = ACPI_PM_SLP_TYP_S5,
        .com1_port = PC_PORT_COM1,
        .com1_irq = PC_GSI_COM1,
        .rtc_port = PC_PORT_RTC,
        .rtc_irq = PC_GSI_RTC,
        .i8042 = true,
        .i8042_irq = PC_GSI_KEYBOARD,
        .pvpanic_port = PC_PORT_PVPANIC,
    };

    return acpi_build(&config, &pc->machine->mem, GPA(PC_ACPI), PC_HIGH_BASE - PC_ACPI, rsdp);
}

int pc_load(struct pc *pc)
{
    struct boot_params boot = pc->cfg.boot;
    struct boot_e820 e820[E820_MAX];
    int err;

    boot.e820 = e820;
    boot.e820_count = ram_e820(pc->ram.size, e820);
    err = step_done(STEP_ACPI, build_acpi(pc, &boot.acpi_rsdp));
    if (err)
        return err;
    err = boot_load(&boot, &pc->machine->mem, pc->cpu.vcpu->state);
    return err ? err : vcpu_set(pc->cpu.vcpu, X86_ALL);
}

/* ---- running ---- */

/* The first SIGTERM asks the guest to power off. false: there is nothing to wait for. */
static bool ask_off(struct pc *pc)
{
    if (!pc->cfg.grace_ns || pc->asked_off || ctl_power_button(&pc->cpu, &pc->devices.pm))
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
    err = console_start(&pc->console);
    return err ? err : cpu_start(&pc->cpu);
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
        if (!err && loop_run(&pc->loop))
            life_finish(&pc->life, LIFE_FAILED, 0, err_text());
        tty_restore(); /* now, should ending take long */
        signals_release(&pc->signals);
        console_abort(&pc->console);
        cpu_join(&pc->cpu);
        ctl_close(&pc->ctl);
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

/* ---- afterwards ---- */

void pc_report(struct pc *pc, FILE *out)
{
    report_print(out, pc->cpu.vcpu, &pc->cpu.exit);
}

/* What the guest touched is its own; the rest is what running it costs. */
static void print_memory(struct pc *pc, FILE *out)
{
    uint64_t ram = ram_resident(&pc->ram);
    struct host_process self;

    host_process(&self);
    fprintf(out,
            "memory: at most %" PRIu64 " KiB, now %" PRIu64 " KiB, guest RAM %" PRIu64
            " KiB, at most beside it %" PRIu64 " KiB\n",
            self.rss_max >> 10, self.rss >> 10, ram >> 10,
            (self.rss_max > ram ? self.rss_max - ram : 0) >> 10);
}

void pc_stats(struct pc *pc, FILE *out)
{
    struct accel_stat stats[ACCEL_STATS];
    unsigned count = vcpu_stats(pc->cpu.vcpu, stats);
    struct rusage use;
    double wall = (double)(pc->ended - pc->started) / 1e9;

    getrusage(RUSAGE_SELF, &use);
    fprintf(out, "accelerator %s, %.3f s, host CPU %.3f s user and %.3f s system\n",
            pc->machine->accel->name, wall,
            (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec / 1e6,
            (double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec / 1e6);
    for (unsigned i = 0; i < VCPU_EXIT_COUNT; i++) {
        if (pc->cpu.exits[i])
            fprintf(out, "exits %-12s %" PRIu64 "\n", vcpu_exit_name(i), pc->cpu.exits[i]);
    }
    print_memory(pc, out);
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "%s: %" PRIu64 "\n", stats[i].name, stats[i].value);
}

void pc_destroy(struct pc *pc)
{
    if (!pc)
        return;
    vcpu_destroy(pc->cpu.vcpu);
    if (pc->has_devices)
        devices_destroy(&pc->devices);
    machine_destroy(pc->machine);
    ram_free(&pc->ram);
    console_close(&pc->console);
    life_destroy(&pc->life);
    loop_destroy(&pc->loop);
    free(pc);
}
