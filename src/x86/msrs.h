/*
 * Model-specific registers: which of them a guest has, given its CPUID, and which the
 * state carries. All others that no device answers for raise #GP.
 */
#ifndef MOTE_X86_MSRS_H
#define MOTE_X86_MSRS_H

#include "x86/cpu_features.h"
#include "x86/state.h"

#define X86_MSR_ALWAYS X86_FEATURE_COUNT /* in place of a feature */

struct x86_msr_info {
    uint32_t index;
    uint16_t offset;  /* of its field in struct mote_msrs */
    uint16_t feature; /* the guest has the MSR with it, or X86_MSR_ALWAYS */
    uint16_t or ;     /* or with this one, the same if there is no other */
};

/*
 * All of struct mote_msrs but EFER, in the order to write them in: TSC_ADJUST before the
 * TSC, as the counter written is the counter meant; what switches others on behind them.
 */
extern const struct x86_msr_info x86_msr_list[];
extern const unsigned x86_msr_count;

/* Does a guest with this table have it? */
bool x86_msr_exists(const struct x86_msr_info *msr, const struct x86_cpuid *t);

/* By its number, or NULL. */
const struct x86_msr_info *x86_msr_find(uint32_t index);

#endif
