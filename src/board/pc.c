/* The life of board `pc` but for its run: made, loaded, removed. */
#include "board/pc_internal.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/steps.h"
#include "base/tsc.h"
#include "board/layout.h"
#include "board/memory_map.h"
#include "boot/acpi.h"

#include <errno.h>
#include <stdlib.h>

/* ---- host side ---- */

static void look_at_held(void *user)
{
    struct pc *pc = user;

    if (!cpus_are_held(&pc->cpus))
        return;
    ctl_held(&pc->ctl);
    debugger_held(&pc->debugger);
}

static int host_init(struct pc *pc)
{
    int err = loop_init(&pc->loop);

    if (err)
        return err;
    life_init(&pc->life, &pc->loop);
    host_clock_start(&pc->clock);
    err = loop_event_init(&pc->loop, &pc->held, look_at_held, pc);
    if (!err) {
        err = console_open(&pc->console, &pc->loop, pc->cfg.console);
        if (err)
            loop_event_destroy(&pc->loop, &pc->held);
    }
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
    err = host_cpus_check(&cfg->pin);
    if (!err)
        err = step_done(STEP_HOST, host_init(pc));
    if (err) {
        free(pc);
        return err;
    }
    err = step_done(STEP_RAM, ram_alloc(&pc->ram, &cfg->memory));
    if (!err && cfg->gdb)
        err = debugger_open(&pc->debugger, &pc->loop, &pc->life, cfg->gdb);
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
    struct memory_piece piece[MEMORY_PIECES_MAX];
    unsigned n = memory_pieces(pc->ram.size, piece);
    int err = 0;

    for (unsigned i = 0; i < n && !err; i++)
        err = machine_map(pc->machine, GPA(piece[i].gpa), piece[i].size,
                          pc->ram.hva + piece[i].offset, piece[i].rights);
    return err;
}

static uint32_t guest_tsc_khz(struct pc *pc)
{
    return pc->machine->tsc_khz ? pc->machine->tsc_khz : host_tsc_khz();
}

static int set_cpuid(struct pc *pc)
{
    struct x86_cpuid *table = calloc(1, sizeof(*table));
    struct x86_cpuid_topology place = {.vcpus = pc->cpus.count, .tsc_khz = guest_tsc_khz(pc)};
    int err;

    if (!table)
        return err_set(ENOMEM, "out of memory");
    err = machine_cpuid(pc->machine, &pc->cfg.cpu, &place, table);
    for (unsigned i = 0; i < pc->cpus.count && !err; i++) {
        place.apic_id = i;
        err = x86_cpuid_place(table, &place);
        if (!err)
            err = vcpu_set_cpuid(pc->cpus.cpu[i].vcpu, table);
    }
    if (!err)
        debugger_attach(&pc->debugger, &pc->machine->mem, &pc->cpus,
                        x86_cpuid_has(table, X86_FEATURE_AVX));
    free(table);
    return err;
}

static void wake_cpu(void *cpu)
{
    cpu_wake(cpu);
}

/* All vCPUs stand still; on one of their threads. */
static void on_held(void *user)
{
    struct pc *pc = user;

    loop_event_set(&pc->held);
}

static int create_vcpus(struct pc *pc)
{
    int err = 0;

    pc->cpus.life = &pc->life;
    pc->cpus.ports = &pc->devices.ports;
    pc->cpus.mmio = &pc->devices.mmio;
    pc->cpus.held = on_held;
    pc->cpus.user = pc;
    while (!err && pc->cpus.count < pc->cfg.cpus) {
        err = vcpu_create(&pc->cpus.cpu[pc->cpus.count].vcpu, pc->machine, pc->cpus.count);
        pc->cpus.count += !err;
    }
    return err;
}

/* Their local APICs and what their threads need. */
static int wire_vcpus(struct pc *pc)
{
    for (; pc->wired < pc->cpus.count; pc->wired++) {
        struct cpu *cpu = &pc->cpus.cpu[pc->wired];
        int err;

        cpu->cpus = &pc->cpus;
        cpu->pin = host_cpus_nth(&pc->cfg.pin, pc->wired);
        cpu->intc.intc = &pc->devices.intc;
        cpu->intc.tsc_offset = &cpu->vcpu->tsc_offset;
        cpu->intc.wake = wake_cpu;
        cpu->intc.user = cpu;
        cpu->activity = pc->wired && !pc->devices.intc.inside ? CPU_WAIT_SIPI : CPU_ACTIVE;
        err = cpu_intc_init(&cpu->intc, pc->wired, &pc->loop, &pc->clock, guest_tsc_khz(pc));
        if (err)
            return err;
    }
    return 0;
}

/* In the order of enum pc_irqchip: what of the accelerator's capabilities is asked for. */
static const struct {
    const char *name;
    unsigned want;
} irqchips[] = {
    {"auto", ACCEL_CAP_LAPIC},
    {"full", ACCEL_CAP_LAPIC | ACCEL_CAP_IRQCHIP},
    {"split", ACCEL_CAP_LAPIC},
    {"none", 0},
};

static int create_machine(struct pc *pc, const struct accel *accel, const char *device)
{
    unsigned chips = irqchips[pc->cfg.irqchip].want;
    const struct machine_config config = {
        .device = device,
        .vcpus = pc->cfg.cpus,
        .count = pc->cfg.count,
        .want = chips | ACCEL_CAP_CLOCK | ACCEL_CAP_TSC_DEADLINE | ACCEL_CAP_IRQFD |
                ACCEL_CAP_IOEVENTFD,
    };
    int err = machine_create(&pc->machine, accel, &config);

    if (err || pc->cfg.irqchip == PC_IRQCHIP_AUTO || !(chips & ~pc->machine->caps))
        return err;
    return err_set(ENOTSUP,
                   "%s: the interrupt chips inside cannot be '%s' here, expected auto or none",
                   accel->name, irqchips[pc->cfg.irqchip].name);
}

int pc_attach(struct pc *pc, const struct accel *accel, const char *device)
{
    struct devices_config devices = {
        .loop = &pc->loop,
        .clock = &pc->clock,
        .life = &pc->life,
        .console = &pc->console,
        .control = pc->cfg.control,
        .debug_exit = pc->cfg.debug_exit,
        .boot_timer = pc->cfg.boot_timer,
    };
    int err = create_machine(pc, accel, device);

    if (!err)
        err = step_done(STEP_SLOT, map_ram(pc));
    if (!err)
        err = create_vcpus(pc);
    if (!err)
        err = step_done(STEP_CPUID, set_cpuid(pc));
    if (err)
        return err;
    devices.machine = pc->machine;
    err = devices_init(&pc->devices, &devices);
    pc->has_devices = !err;
    if (!err)
        err = wire_vcpus(pc);
    step_end(STEP_DEVICES);
    if (err)
        return err;
    pc->ctl = (struct ctl){.life = &pc->life,
                           .cpus = &pc->cpus,
                           .pm = &pc->devices.pm,
                           .started = &pc->started,
                           .memory = pc->ram.size};
    return 0;
}

static int build_acpi(struct pc *pc, gpa_t *rsdp)
{
    const struct acpi_config config = {
        .cpu_count = pc->cpus.count,
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
        .pvpanic_port = PC_PORT_PVPANIC,
    };

    return acpi_build(&config, &pc->machine->mem, GPA(PC_ACPI), PC_HIGH_BASE - PC_ACPI, rsdp);
}

int pc_load(struct pc *pc)
{
    struct boot_params boot = pc->cfg.boot;
    struct boot_e820 e820[MEMORY_E820_MAX];
    int err;

    boot.e820 = e820;
    boot.e820_count = memory_e820(pc->ram.size, e820);
    err = step_done(STEP_ACPI, build_acpi(pc, &boot.acpi_rsdp));
    if (err)
        return err;
    err = boot_load(&boot, &pc->machine->mem, pc->cpus.cpu[0].vcpu->state);
    return err ? err : vcpu_set(pc->cpus.cpu[0].vcpu, X86_ALL);
}

void pc_destroy(struct pc *pc)
{
    if (!pc)
        return;
    debugger_close(&pc->debugger);
    while (pc->wired)
        cpu_intc_destroy(&pc->cpus.cpu[--pc->wired].intc, &pc->loop);
    while (pc->cpus.count)
        vcpu_destroy(pc->cpus.cpu[--pc->cpus.count].vcpu);
    if (pc->has_devices)
        devices_destroy(&pc->devices);
    machine_destroy(pc->machine);
    ram_free(&pc->ram);
    console_close(&pc->console);
    loop_event_destroy(&pc->loop, &pc->held);
    life_destroy(&pc->life);
    loop_destroy(&pc->loop);
    free(pc);
}
