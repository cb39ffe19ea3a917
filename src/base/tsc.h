/* The host's time-stamp counter. */
#ifndef MOTE_BASE_TSC_H
#define MOTE_BASE_TSC_H

#include <stdint.h>

/*
 * Frequency of the host's TSC in kHz: from CPUID leaf 0x15 or the hypervisor's
 * timing leaf, else measured once per process against CLOCK_MONOTONIC_RAW (2 ms).
 */
uint32_t host_tsc_khz(void);

#endif
