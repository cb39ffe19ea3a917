/*
 * Rows on which an engine is known to be wrong, so that they are counted and
 * named instead of failing. Engines that are not ours to
 * mend, and gaps of ours.
 */
#include "row.h"

#include <string.h>

/*
 * A KVM that runs guests on an emulator rather than on the CPU (nested without
 * hardware help) implements less than the CPU: INT n to a DPL 0 gate, the
 * decimal adjusts, and INT3 in compatibility mode are #UD there. The first of
 * these is the probe.
 */
static const char *const emulating_kvm[] = {
    "compat: ",
    "lcall to compatibility mode",
    "int $",
    "iretq with a non-canonical rip",
    "mov to cr1",
    "fxsave misaligned: #GP", /* an instruction that faults is emulated too */
    "ldmxcsr of a reserved bit: #GP",
    "paddd misaligned: #GP",
};

/* What our own engine does not do yet; the run fails when one of these passes. */
static const char *const soft_gap[] = {
    "ac flag: ",                   /* #AC is never raised (SDM Vol. 3A 6.15, vector 17) */
    "gather faults in the middle", /* elements before the fault are lost (Vol. 2C VPGATHERDD) */
};

bool row_gap(const struct row *row, const char *engine)
{
    for (size_t i = 0; i < sizeof(soft_gap) / sizeof(soft_gap[0]); i++)
        if (!strcmp(engine, "soft") && !strncmp(row->name, soft_gap[i], strlen(soft_gap[i])))
            return true;
    return false;
}

bool row_known(const struct row *row, bool emulating)
{
    for (size_t i = 0; emulating && i < sizeof(emulating_kvm) / sizeof(emulating_kvm[0]); i++)
        if (!strncmp(row->name, emulating_kvm[i], strlen(emulating_kvm[i])))
            return true;
    return false;
}
