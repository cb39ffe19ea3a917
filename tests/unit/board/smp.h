/* A machine of several vCPUs without devices, and a guest in real mode that starts them all. */
#ifndef MOTE_TESTS_BOARD_SMP_H
#define MOTE_TESTS_BOARD_SMP_H

#include "board/cpus.h"

#define SMP_RAM     0x10000
#define SMP_CODE    0x1000 /* page of the start-up message */
#define SMP_PRIVATE 0x8004 /* a 32-bit counter for each vCPU, in the order of their coming */
#define SMP_CAME    0x8000 /* how many came */

struct smp {
    struct loop loop; /* nobody runs it */
    struct life life;
    struct host_clock clock;
    struct machine *machine;
    struct dev_bus ports, mmio;
    struct intc intc;
    struct cpus cpus;
    uint8_t *ram;
};

/* -errno: the accelerator is not to be had here. The guest's bytes go to SMP_CODE. */
int smp_make(struct smp *smp, const char *accel, unsigned count, const void *code, size_t size);
void smp_start(struct smp *smp);
/* The end, if it runs, and everything away. */
void smp_end(struct smp *smp);

/* Counter n of the guest's. */
uint32_t smp_counter(const struct smp *smp, uint64_t gpa);
/* Sleep until it is `more` beyond `was`, though it wraps; fails the test when it never is. */
void smp_wait(const struct smp *smp, uint64_t gpa, uint32_t was, uint32_t more);

#endif
