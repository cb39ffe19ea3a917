/*
 * The public state of a vCPU (mote/state.h), its groups and kinds under the names
 * they have here, and what follows from it.
 */
#ifndef MOTE_X86_STATE_H
#define MOTE_X86_STATE_H

#include "x86/regs.h"

#include <mote/state.h>
#include <stdint.h>

enum {
    X86_GPRS = MOTE_GPRS,
    X86_SEGS = MOTE_SEGS,
    X86_CRS = MOTE_CRS,
    X86_DRS = MOTE_DRS,
    X86_MSRS = MOTE_MSRS,
    X86_INTR = MOTE_INTR,
    X86_FPU = MOTE_FPU,
    X86_ALL = MOTE_ALL,
};

enum {
    X86_EVENT_NONE = MOTE_EVENT_NONE,
    X86_EVENT_INTR = MOTE_EVENT_INTR,
    X86_EVENT_NMI = MOTE_EVENT_NMI,
    X86_EVENT_EXCEPTION = MOTE_EVENT_EXCEPTION,
};

enum {
    X86_ACTIVE = MOTE_ACTIVE,
    X86_HALTED = MOTE_HALTED,
    X86_WAITS_SIPI = MOTE_WAITS_SIPI,
    X86_UNINITIALIZED = MOTE_UNINITIALIZED,
};

#define X86_STATE_VERSION MOTE_STATE_VERSION
#define X86_XSAVE_SIZE    MOTE_XSAVE_SIZE

_Static_assert((int)R15 + 1 == (int)MOTE_GPR_COUNT && (int)SEG_COUNT == (int)MOTE_SEG_COUNT &&
                   SEG_UNUSABLE == MOTE_SEG_UNUSABLE && SEG_L == MOTE_SEG_L,
               "registers and rights have the same numbers in both");

/*
 * Fill *s with the state after RESET (SDM Vol. 3A table 9-1): real mode,
 * cs:ip = f000:fff0, x87 and SSE in their initial configuration.
 */
void x86_state_reset(struct mote_state *s);

/*
 * Linear address of the instruction to be executed next; GPRS, SEGS and MSRS of *s
 * are current. In 64-bit mode the base of CS counts as 0, whatever the cache holds.
 */
uint64_t x86_linear_rip(const struct mote_state *s);

/* Vector's error-code flag (X86_EXCEPTIONS). */
int x86_exception_has_error(unsigned vector);

/* "#PF" and so on; "#?" for others. Never NULL. */
const char *x86_exception_name(unsigned vector);

#endif
