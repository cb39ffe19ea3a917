#include "smp.h"

#include "base/bits.h"
#include "x86/regs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static void put64(struct smp *s, uint32_t at, uint64_t value)
{
    must(guest_mem_write(&s->m->mem, GPA(at), &value, 8), "guest_mem_write");
}

static void build_tables(struct smp *s)
{
    put64(s, SMP_PAGES, (SMP_PAGES + 0x1000) | 7);
    put64(s, SMP_PAGES + 0x1000, (SMP_PAGES + 0x2000) | 7);
    put64(s, SMP_PAGES + 0x2000, (SMP_PAGES + 0x3000) | 7);
    put64(s, SMP_PAGES + 0x2008, (SMP_PAGES + 0x4000) | 7);
    for (uint32_t n = 0; n < 512; n++)
        smp_page(s, n * 0x1000, n * 0x1000);
}

void smp_entry(struct smp *s, uint32_t linear, uint64_t entry)
{
    put64(s, SMP_ENTRY(linear), entry);
}

void smp_page(struct smp *s, uint32_t linear, uint32_t gpa)
{
    smp_entry(s, linear, gpa | 3);
}

void smp_create(struct smp *s, const struct accel *accel, unsigned count)
{
    const struct machine_config config = {.vcpus = count};

    smp_create_as(s, accel, &config);
}

void smp_create_as(struct smp *s, const struct accel *accel, const struct machine_config *config)
{
    static struct x86_cpuid cpuid;
    unsigned count = config->vcpus;

    memset(s, 0, sizeof(*s));
    s->count = count;
    s->ram = mmap(NULL, SMP_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(s->ram, MAP_FAILED);
    must(machine_create(&s->m, accel, config), "machine_create");
    must(machine_map(s->m, GPA(0), SMP_RAM, s->ram, MEM_RWX), "machine_map");
    build_tables(s);
    for (unsigned n = 0; n < count; n++) {
        const struct x86_cpuid_topology topology = {.apic_id = n, .vcpus = count};

        must(vcpu_create(&s->v[n], s->m, n), "vcpu_create");
        must(machine_default_cpuid(s->m, &topology, &cpuid), "machine_default_cpuid");
        must(vcpu_set_cpuid(s->v[n], &cpuid), "vcpu_set_cpuid");
        fixture_long_mode(s->v[n], SMP_PAGES);
    }
}

void smp_destroy(struct smp *s)
{
    for (unsigned n = 0; n < s->count; n++)
        vcpu_destroy(s->v[n]);
    machine_destroy(s->m);
    munmap(s->ram, SMP_RAM);
}

void smp_code(struct smp *s, uint32_t at, const uint8_t *code, const uint8_t *end)
{
    must(guest_mem_write(&s->m->mem, GPA(at), code, (uint64_t)(end - code)), "code");
}

static void *drive(void *vcpu)
{
    struct vcpu *v = vcpu;
    struct vcpu_exit exit;

    do {
        if (vcpu_run(v, &exit))
            return "vcpu_run failed";
    } while (exit.reason == VCPU_EXIT_NONE);
    return exit.reason == VCPU_EXIT_HALT ? NULL : (void *)vcpu_exit_name(exit.reason);
}

void smp_start(struct smp *s, unsigned cpu, uint32_t at, uint64_t arg)
{
    struct vcpu *v = s->v[cpu];

    must(vcpu_get(v, X86_GPRS), "vcpu_get");
    v->state->rip = at;
    v->state->rflags = FLAG_R1;
    v->state->gpr[RSP] = SMP_DATA - 0x1000 * cpu;
    v->state->gpr[RBP] = SMP_DATA;
    v->state->gpr[RDI] = arg;
    must(vcpu_set(v, X86_GPRS), "vcpu_set");
    assert_int_equal(pthread_create(&s->thread[cpu], NULL, drive, v), 0);
}

uint64_t smp_join(struct smp *s, unsigned cpu)
{
    void *why;

    assert_int_equal(pthread_join(s->thread[cpu], &why), 0);
    if (why)
        fail_msg("vCPU %u: %s", cpu, (const char *)why);
    must(vcpu_get(s->v[cpu], X86_GPRS), "vcpu_get");
    return s->v[cpu]->state->gpr[RAX];
}

uint64_t smp_read(struct smp *s, uint32_t at)
{
    return __atomic_load_n((uint64_t *)(s->ram + at), __ATOMIC_SEQ_CST);
}

void smp_write(struct smp *s, uint32_t at, uint64_t value)
{
    __atomic_store_n((uint64_t *)(s->ram + at), value, __ATOMIC_SEQ_CST);
}

uint64_t smp_stat(struct smp *s, unsigned cpu, const char *name)
{
    struct accel_stat stats[ACCEL_STATS];
    unsigned count = vcpu_stats(s->v[cpu], stats);

    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(stats[i].name, name))
            return stats[i].value;
    }
    fail_msg("no counter '%s'", name);
    return 0;
}
