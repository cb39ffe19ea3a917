/* Board `pc` afterwards: registers, counters, memory. */
#include "board/pc_internal.h"

#include "board/report.h"
#include "host/process.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

void pc_report(struct pc *pc, FILE *out)
{
    for (unsigned i = 0; i < pc->cpus.count; i++)
        report_print(out, pc->cpus.cpu[i].vcpu, &pc->cpus.cpu[i].exit);
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

/* To the one of that name, which not every vCPU has. */
static unsigned add_stat(struct accel_stat sum[ACCEL_STATS], unsigned count,
                         const struct accel_stat *stat)
{
    unsigned n = 0;

    while (n < count && strcmp(sum[n].name, stat->name))
        n++;
    if (n == ACCEL_STATS)
        return count;
    if (n == count)
        sum[count++] = *stat;
    else
        sum[n].value += stat->value;
    return count;
}

/* The sums over all vCPUs. */
static unsigned all_stats(struct cpus *cpus, struct accel_stat sum[ACCEL_STATS])
{
    unsigned count = 0;

    for (unsigned i = 0; i < cpus->count; i++) {
        struct accel_stat stats[ACCEL_STATS];
        unsigned more = vcpu_stats(cpus->cpu[i].vcpu, stats);

        for (unsigned n = 0; n < more; n++)
            count = add_stat(sum, count, &stats[n]);
    }
    return count;
}

static uint64_t all_exits(const struct cpus *cpus, unsigned reason)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < cpus->count; i++)
        n += cpus->cpu[i].exits[reason];
    return n;
}

static void print_vcpus(const struct cpus *cpus, FILE *out)
{
    for (unsigned i = 0; i < cpus->count; i++) {
        const struct cpu *cpu = &cpus->cpu[i];
        uint64_t n = 0;

        for (unsigned reason = 0; reason < VCPU_EXIT_COUNT; reason++)
            n += cpu->exits[reason];
        fprintf(out, "vCPU %u: %" PRIu64 " exits, %" PRIu64 " of them halt\n", i, n,
                cpu->exits[VCPU_EXIT_HALT]);
    }
}

static void print_counts(FILE *out, const char *bus, uint64_t base, const struct dev_counts *counts)
{
    if (counts->reads || counts->writes)
        fprintf(out, "%s 0x%" PRIx64 ": %" PRIu64 " reads, %" PRIu64 " writes\n", bus, base,
                counts->reads, counts->writes);
}

/* Accesses that came to the board, by the start of the device's range. */
static void print_bus(FILE *out, const struct dev_bus *bus)
{
    const struct dev_counts *none = &bus->unassigned;

    for (unsigned i = 0; i < bus->count; i++)
        print_counts(out, bus->name, bus->region[i].base, &bus->region[i].counts);
    if (none->reads || none->writes)
        fprintf(out, "%s without a device: %" PRIu64 " reads, %" PRIu64 " writes\n", bus->name,
                none->reads, none->writes);
}

void pc_stats(struct pc *pc, FILE *out)
{
    struct accel_stat stats[ACCEL_STATS] = {0};
    unsigned count = all_stats(&pc->cpus, stats);
    struct rusage use;
    double wall = (double)(pc->ended - pc->started) / 1e9;

    getrusage(RUSAGE_SELF, &use);
    fprintf(out, "accelerator %s, %.3f s, host CPU %.3f s user and %.3f s system\n",
            pc->machine->accel->name, wall,
            (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec / 1e6,
            (double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec / 1e6);
    for (unsigned i = 0; i < VCPU_EXIT_COUNT; i++) {
        uint64_t n = all_exits(&pc->cpus, i);

        if (n)
            fprintf(out, "exits %-12s %" PRIu64 "\n", vcpu_exit_name(i), n);
    }
    if (pc->cpus.count > 1)
        print_vcpus(&pc->cpus, out);
    print_bus(out, &pc->devices.ports);
    print_bus(out, &pc->devices.mmio);
    print_memory(pc, out);
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "%s: %" PRIu64 "\n", stats[i].name, stats[i].value);
}
