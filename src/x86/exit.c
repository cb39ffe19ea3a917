#include "x86/exit.h"

#include "base/bits.h"

static const char *const names[VCPU_EXIT_COUNT] = {
#define X(id, name) [VCPU_EXIT_##id] = name,
    VCPU_EXITS(X)
#undef X
};

const char *vcpu_exit_name(enum vcpu_exit_reason reason)
{
    return (unsigned)reason < ARRAY_SIZE(names) ? names[reason] : "?";
}
