#include "smp.h"

#include "../deadlock.h"

#include "base/tsc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

static void wake(void *cpu)
{
    cpu_wake(cpu);
}

static void give_cpuid(struct smp *smp, unsigned n)
{
    struct x86_cpuid *table = calloc(1, sizeof(*table));
    const struct x86_cpuid_topology topology = {
        .apic_id = n, .vcpus = smp->cpus.count, .tsc_khz = host_tsc_khz()};

    assert_int_equal(machine_default_cpuid(smp->machine, &topology, table), 0);
    assert_int_equal(vcpu_set_cpuid(smp->cpus.cpu[n].vcpu, table), 0);
    free(table);
}

static void make_cpu(struct smp *smp, unsigned n)
{
    struct cpu *cpu = &smp->cpus.cpu[n];

    assert_int_equal(vcpu_create(&cpu->vcpu, smp->machine, n), 0);
    give_cpuid(smp, n);
    cpu->cpus = &smp->cpus;
    cpu->pin = -1;
    cpu->intc = (struct cpu_intc){
        .intc = &smp->intc, .tsc_offset = &cpu->vcpu->tsc_offset, .wake = wake, .user = cpu};
    cpu->activity = n && !smp->intc.inside ? CPU_WAIT_SIPI : CPU_ACTIVE;
    assert_int_equal(cpu_intc_init(&cpu->intc, n, &smp->loop, &smp->clock, host_tsc_khz()), 0);
}

static void enter(struct vcpu *v)
{
    x86_state_reset(v->state);
    v->state->seg[SEG_CS].selector = SMP_CODE >> 4;
    v->state->seg[SEG_CS].base = SMP_CODE;
    v->state->rip = 0;
    v->state->msr.tsc = 0;
    assert_int_equal(vcpu_set(v, X86_GPRS | X86_SEGS), 0);
}

int smp_make(struct smp *smp, const char *accel, unsigned count, const void *code, size_t size)
{
    const struct machine_config config = {.vcpus = count, .want = ACCEL_CAP_LAPIC};
    int err;

    memset(smp, 0, sizeof(*smp));
    err = machine_create(&smp->machine, accel_find(accel), &config);
    if (err)
        return err;
    assert_int_equal(loop_init(&smp->loop), 0);
    life_init(&smp->life, &smp->loop);
    host_clock_start(&smp->clock);
    smp->ram = mmap(NULL, SMP_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(smp->ram, MAP_FAILED);
    memcpy(smp->ram + SMP_CODE, code, size);
    assert_int_equal(machine_map(smp->machine, GPA(0), SMP_RAM, smp->ram, MEM_RWX), 0);
    dev_bus_init(&smp->ports, "port");
    dev_bus_init(&smp->mmio, "mmio");
    smp->intc.machine = smp->machine;
    intc_init(&smp->intc);
    smp->cpus.life = &smp->life;
    smp->cpus.ports = &smp->ports;
    smp->cpus.mmio = &smp->mmio;
    smp->cpus.count = count;
    for (unsigned n = 0; n < count; n++)
        make_cpu(smp, n);
    enter(smp->cpus.cpu[0].vcpu);
    return 0;
}

void smp_start(struct smp *smp)
{
    assert_int_equal(cpus_start(&smp->cpus), 0);
}

void smp_end(struct smp *smp)
{
    life_finish(&smp->life, LIFE_QUIT, 0, "test");
    cpus_join(&smp->cpus);
    while (smp->cpus.count) {
        struct cpu *cpu = &smp->cpus.cpu[--smp->cpus.count];

        cpu_intc_destroy(&cpu->intc, &smp->loop);
        vcpu_destroy(cpu->vcpu);
    }
    intc_destroy(&smp->intc);
    machine_destroy(smp->machine);
    munmap(smp->ram, SMP_RAM);
    life_destroy(&smp->life);
    loop_destroy(&smp->loop);
}

uint32_t smp_counter(const struct smp *smp, uint64_t gpa)
{
    return __atomic_load_n((const uint32_t *)(smp->ram + gpa), __ATOMIC_RELAXED);
}

void smp_wait(const struct smp *smp, uint64_t gpa, uint32_t was, uint32_t more)
{
    const struct timespec tick = {.tv_nsec = 1000000};
    uint64_t until = host_now_ns() + DEADLOCK_SECONDS * UINT64_C(1000000000);

    while (smp_counter(smp, gpa) - was < more) {
        if (host_now_ns() >= until)
            fail_msg("counter %#lx is %u, expected %u + %u", (unsigned long)gpa,
                     smp_counter(smp, gpa), was, more);
        nanosleep(&tick, NULL);
    }
}
