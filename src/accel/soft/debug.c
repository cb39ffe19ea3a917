/* What a debugger outside the guest wants, handed to the interpreter. */
#include "accel/soft/soft.h"

#include "base/err.h"

#include <errno.h>

static bool stops_at_other_code(const struct emu_cpu *c, const struct vcpu_debug *debug)
{
    for (unsigned n = 0; n < VCPU_WATCHES; n++) {
        const struct vcpu_watch *new = &debug->watch[n];
        const struct emu_watch *old = &c->watch[EMU_DEBUGGER + n];
        bool was = old->on & BIT(EMU_EXEC), is = new->kind == VCPU_WATCH_EXEC;

        if (was != is || (is && old->linear != new->gva))
            return true;
    }
    return false;
}

int soft_set_debug(struct vcpu *v, const struct vcpu_debug *debug)
{
    static const uint8_t on[] = {
        [VCPU_WATCH_OFF] = 0,
        [VCPU_WATCH_EXEC] = BIT(EMU_EXEC),
        [VCPU_WATCH_WRITE] = BIT(EMU_WRITE),
        [VCPU_WATCH_ACCESS] = BIT(EMU_READ) | BIT(EMU_WRITE),
    };
    struct emu_debug d = {.int3 = debug->breakpoints, .step = debug->step};
    struct soft_vcpu *s = (struct soft_vcpu *)v;

    if (s->check)
        return err_set(ENOTSUP, "vCPU %u: no debugger where engines are compared", v->id);
    for (unsigned n = 0; n < VCPU_WATCHES; n++) {
        const struct vcpu_watch *w = &debug->watch[n];

        d.watch[n] = (struct emu_watch){w->gva, w->size, on[w->kind]};
    }
    if (stops_at_other_code(&s->cpu, debug))
        block_flush(&s->blocks); /* blocks end before such an instruction */
    emu_set_debug(&s->cpu, &d);
    return 0;
}
