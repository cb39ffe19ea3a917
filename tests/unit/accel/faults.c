/* What tests of faults in hot code share. */
#include "faults.h"

#include "base/bits.h"

#include <string.h>

void fault_start(struct smp *s, const struct kind *k, const struct bad *b)
{
    static const uint64_t gpr[16] = {
        [RAX] = OPERAND, [RCX] = 1,        [RDX] = 5,       [RBP] = SMP_DATA,
        [RSI] = 3,       [RDI] = SMP_DATA, [R8] = 8,        [R9] = UINT64_C(0x9999999999999999),
        [R10] = 10,      [R11] = 11,       [R12] = OPERAND,
    };
    const uint64_t user = b->mode == HOT_USER ? 4 : 0;
    struct mote_state *st;

    hot_create(s, 1);
    st = s->v[0]->state;
    for (uint32_t page = HOT_CODE; page < NEXT + 0x1000; page += 0x1000)
        smp_entry(s, page, page | 3 | user);
    smp_code(s, HOT_CODE, k->code, k->end);
    memset(s->ram + BAD, 0x5a, 0x2000);
    hot_at(s, b->mode, HOT_CODE);
    must(vcpu_get(s->v[0], X86_GPRS | X86_FPU | X86_CRS), "vcpu_get");
    memcpy(st->gpr, gpr, sizeof(gpr));
    st->gpr[RSP] = SMP_DATA;
    st->cr4 |= b->cr4;
    for (unsigned n = 0; n < 256; n++) {
        st->xsave[160 + n] = (uint8_t)(n + 1);
        st->xsave[576 + n] = (uint8_t)(n ^ 0x55);
    }
    st->xsave[512] = hot_has_avx() ? 7 : 3; /* XSTATE_BV */
    must(vcpu_set(s->v[0], X86_GPRS | X86_FPU | X86_CRS), "vcpu_set");
}

void fault_flags(const struct hot_trap *t)
{
    assert_int_equal(t->frame.rflags & ~(uint64_t)(FLAG_RF | FLAG_STATUS), FLAG_R1);
}
