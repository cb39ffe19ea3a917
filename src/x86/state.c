#include "x86/state.h"

#include "base/bits.h"

void x86_state_reset(struct mote_state *s)
{
    memset(s, 0, sizeof(*s));
    s->version = X86_STATE_VERSION;
    s->size = sizeof(*s);
    s->rip = 0xfff0;
    s->rflags = FLAG_R1;
    s->gpr[RDX] = 0x600;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        s->seg[i].limit = 0xffff;
        s->seg[i].attrib = SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A;
    }
    s->seg[SEG_CS].attrib |= SEG_TYPE_CODE;
    s->seg[SEG_CS].selector = 0xf000;
    s->seg[SEG_CS].base = 0xffff0000;
    s->seg[SEG_LDTR] = (struct mote_seg){.limit = 0xffff, .attrib = SEG_P | 2};
    s->seg[SEG_TR] = (struct mote_seg){.limit = 0xffff, .attrib = SEG_P | 11};
    s->gdtr.limit = s->idtr.limit = 0xffff;
    s->cr0 = CR0_ET | CR0_NW | CR0_CD;
    s->xcr0 = XCR0_X87;
    s->dr[6] = DR6_FIXED;
    s->dr[7] = DR7_FIXED;
    s->msr.pat = UINT64_C(0x0007040600070406);
    s->msr.misc_enable = 1;
    s->msr.kvm_poll_control = 1;    /* KVM's own reset value: the host may poll */
    le16_put(&s->xsave[0], 0x037f); /* FCW: FINIT's, which kernels expect (RESET's is 0x40) */
    le32_put(&s->xsave[24], 0x1f80);
    le32_put(&s->xsave[28], 0xffff);
    le64_put(&s->xsave[512], XCR0_X87 | XCR0_SSE);
}

int x86_exception_has_error(unsigned vector)
{
    switch (vector) {
#define X(name, vec, code)                                                                         \
    case vec: return code;
        X86_EXCEPTIONS(X)
#undef X
    default: return 0;
    }
}

const char *x86_exception_name(unsigned vector)
{
    switch (vector) {
#define X(name, vec, code)                                                                         \
    case vec: return "#" #name;
        X86_EXCEPTIONS(X)
#undef X
    default: return "#?";
    }
}

uint64_t x86_linear_rip(const struct mote_state *s)
{
    if (s->msr.efer & EFER_LMA && s->seg[SEG_CS].attrib & SEG_L)
        return s->rip;
    return (uint32_t)(s->seg[SEG_CS].base + s->rip);
}
