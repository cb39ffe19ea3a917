/* The program is linked with --wrap=emu_bind, so that engines bind by what is here. */
#include "inject.h"

#include "emu/bind.h"
#include "x86/regs.h"

#include <stdbool.h>

void __real_emu_bind(const struct emu_cpu *c, struct emu_op *op);
void __wrap_emu_bind(const struct emu_cpu *c, struct emu_op *op);

static bool on;

/* SHRD and one flag wrong behind it. */
static void wrong(struct emu_cpu *c, const struct emu_op *op)
{
    struct emu_op right = *op;

    on = false;
    __real_emu_bind(c, &right);
    on = true;
    right.fn(c, op);
    c->rflags ^= FLAG_ZF;
}

void __wrap_emu_bind(const struct emu_cpu *c, struct emu_op *op)
{
    __real_emu_bind(c, op);
    if (on && op->i.map == X86_MAP_0F && op->i.opcode == 0xad && !(op->i.flags & X86_RM_MEM))
        op->fn = wrong;
}

void inject_wrong_flag(void)
{
    on = true;
}
