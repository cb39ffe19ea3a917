/* The life of board `pc` but for its run: made, loaded, removed. */
#include "board/pc_internal.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/steps.h"
#include "base/tsc.h"
#include "board/layout.h"
#include "boot/acpi.h"

#include <errno.h>
#include <stdlib.h>

#define CPUID1_ECX_AVX BIT(28)

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

static bool has_avx(struct x86_cpuid *table)
{
    const struct x86_cpuid_leaf *leaf = x86_cpuid_find(table, 1, 0);

    return leaf && leaf->ecx & CPUID1_ECX_AVX;
}

static int set_cpuid(struct pc *pc)
{
    struct x86_cpuid *table = calloc(1, sizeof(*table));
    int err = 0;

    if (!table)
        return err_set(ENOMEM, "out of memory");
    for (unsigned i = 0; i < pc->cpus.count && !err; i++) {
        const struct x86_cpuid_topology topology = {
            .apic_id = i, .vcpus = pc->cpus.count, .tsc_khz = guest_tsc_khz(pc)};

        err = machine_default_cpuid(pc->machine, &topology, table);
        if (!err)
            err = vcpu_set_cpuid(pc->cpus.cpu[i].vcpu, table);
    }
    if (!err)
        debugger_attach(&pc->debugger, &pc->machine->mem, pc->cpus.cpu, pc->cpus.count,
                        has_avx(table));
    free(table);
    return err;
}

static void wake_cpu(void *cpu)
{
    cpu_wake(cpu);
}

static void on_held(void *user)
{
    struct pc *pc = user;

    ctl_held(&pc->ctl);
    debugger_held(&pc->debugger);
}

static int create_vcpus(struct pc *pc)
{
    int err = 0;

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

        cpu->life = &pc->life;
        cpu->ports = &pc->devices.ports;
        cpu->mmio = &pc->devices.mmio;
        cpu->held = on_held;
        cpu->user = pc;
        cpu->intc.intc = &pc->devices.intc;
        cpu->intc.tsc_offset = &cpu->vcpu->tsc_offset;
        cpu->intc.wake = wake_cpu;
        cpu->intc.user = cpu;
        cpu->waits = pc->wired && !pc->devices.intc.inside;
        err = cpu_intc_init(&cpu->intc, pc->wired, &pc->loop, &pc->clock, guest_tsc_khz(pc));
        if (err)
            return err;
    }
    return 0;
}

int pc_attach(struct pc *pc, const struct accel *accel, const char *device)
{
    const struct machine_config machine = {
        .device = device,
        .vcpus = pc->cfg.cpus,
        .want = ACCEL_CAP_LAPIC | ACCEL_CAP_CLOCK | ACCEL_CAP_TSC_DEADLINE,
    };
    struct devices_config devices = {
        .loop = &pc->loop,
        .clock = &pc->clock,
        .life = &pc->life,
        .console = &pc->console,
        .control = pc->cfg.control,
        .debug_exit = pc->cfg.debug_exit,
        .boot_timer = pc->cfg.boot_timer,
    };
    int err = machine_create(&pc->machine, accel, &machine);

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
                           .memory = pc->cfg.memory};
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
    struct boot_e820 e820[E820_MAX];
    int err;

    boot.e820 = e820;
    boot.e820_count = ram_e820(pc->ram.size, e820);
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
    life_destroy(&pc->life);
    loop_destroy(&pc->loop);
    free(pc);
}
