/* The host's time-stamp counter. */
#ifndef MOTE_BASE_TSC_H
#define MOTE_BASE_TSC_H

#include <stdint.h>

/*
 * Frequency of the host's TSC in kHz: from CPUID leaf 0x15 or the hypervisor's
 * timing leaf, else measured against CLOCK_MONOTONIC_RAW for 2 ms, once in a
 * host's boot where that can be kept (base/bootcache.h). 0: it makes no sense.
 */
uint32_t host_tsc_khz(void);

#endif
