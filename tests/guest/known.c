/*
 * Rows that an engine which is not ours to mend is known to fail: they are left
 * out and counted. There is no such list for our own.
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

/* By the interpreter on a KVM that offers no AVX, or GFNI without it. */
static const char *const without_avx[] = {"compat: vex in 32-bit code", "vgf2p8mulb"};

bool row_needs_avx(const struct row *row)
{
    for (size_t i = 0; i < sizeof(without_avx) / sizeof(without_avx[0]); i++)
        if (!strncmp(row->name, without_avx[i], strlen(without_avx[i])))
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
