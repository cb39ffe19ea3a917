#include "emu/bind.h"

static void op_undefined(struct emu_cpu *c, const struct emu_op *op)
{
    emu_ud(c);
}

bool emu_is_bound(const struct emu_op *op)
{
    return op->fn != op_undefined;
}

void emu_bind(const struct emu_cpu *c, struct emu_op *op)
{
    static bool (*const topics[])(const struct emu_cpu *, struct emu_op *) = {
        bind_move,   bind_alu, bind_branch, bind_string, bind_segment,
        bind_system, bind_x87, bind_xsave,  bind_vector,
    };

    op->ends = false;
    for (unsigned n = 0; n < ARRAY_SIZE(topics); n++) {
        if (topics[n](c, op))
            return;
    }
    op->fn = op_undefined;
    op->ends = true;
}
