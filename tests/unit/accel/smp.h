/*
 * A machine of several vCPUs on the soft engine, each driven by a thread of its
 * own: 2 MiB of memory at 0, 64-bit mode in ring 0, mapped one to one by 4 KiB
 * pages. The next 2 MiB of linear addresses are empty, for smp_page.
 */
#ifndef MOTE_TESTS_ACCEL_SMP_H
#define MOTE_TESTS_ACCEL_SMP_H

#include "fixture.h"

#include <pthread.h>

#define SMP_RAM   0x200000u
#define SMP_CPUS  4
#define SMP_DATA  0x80000u  /* words that the guests share: RBP points here */
#define SMP_PAGES 0x100000u /* page tables, 5 pages */

struct smp {
    struct machine *m;
    struct vcpu *v[SMP_CPUS];
    pthread_t thread[SMP_CPUS];
    unsigned count;
    uint8_t *ram;
};

void smp_create(struct smp *s, const struct accel *accel, unsigned count);
void smp_create_as(struct smp *s, const struct accel *accel, const struct machine_config *config);
void smp_destroy(struct smp *s);

/* Code to a page-aligned address below SMP_DATA; smp_start's vCPU begins there, RDI = arg. */
void smp_code(struct smp *s, uint32_t at, const uint8_t *code, const uint8_t *end);
#define SMP_CODE(s, at, name) smp_code((s), (at), g_##name, g_##name##_end)
void smp_start(struct smp *s, unsigned cpu, uint32_t at, uint64_t arg);

/* Until it executes HLT; its RAX. The test fails on any other exit. */
uint64_t smp_join(struct smp *s, unsigned cpu);

/* Map the 4 KiB page at `linear`, in the second 2 MiB, to `gpa`. Before it is used. */
void smp_page(struct smp *s, uint32_t linear, uint32_t gpa);

/* The page-table entry of a page, in either half; the levels above it allow everything. */
void smp_entry(struct smp *s, uint32_t linear, uint64_t entry);
#define SMP_ENTRY(linear) (SMP_PAGES + 0x3000 + (uint32_t)(linear) / 0x1000 * 8) /* where it is */

/* A shared word, from outside. */
uint64_t smp_read(struct smp *s, uint32_t at);
void smp_write(struct smp *s, uint32_t at, uint64_t value);

/* An engine's counter of a vCPU that is not running. */
uint64_t smp_stat(struct smp *s, unsigned cpu, const char *name);

#endif
