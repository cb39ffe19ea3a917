/* Whether the interpreter may stand in for another processor at one instruction. */
#include "emu/bind.h"
#include "emu/emu.h"

/* PKE is tolerated, since kernels always set it: the walk does not look at PKRU. */
#define CR4_PKE (1u << 22)
#define CR4_KNOWN                                                                                  \
    (CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |             \
     CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP |    \
     CR4_PKE)

/* UD0, UD1 and UD2 are #UD on purpose (SDM Vol. 2B). */
static bool is_meant_to_fail(const struct emu_cpu *c)
{
    return c->bytes[0] == 0x0f &&
           (c->bytes[1] == 0x0b || c->bytes[1] == 0xb9 || c->bytes[1] == 0xff);
}

/* 0F AE /4-6 and 0F C7 /3-5 with memory: XSAVE, XRSTOR and their kin. */
static bool is_xsave(const struct x86_insn *i)
{
    if (i->map != X86_MAP_0F || !(i->flags & X86_RM_MEM))
        return false;
    return i->opcode == 0xae ? (i->reg & 7) >= 4 : i->opcode == 0xc7 && (i->reg & 7) >= 3;
}

/* Components beyond AVX, which XSAVE would lose and VEX would not clear. */
static bool misses_components(const struct emu_cpu *c, const struct x86_insn *i)
{
    return (c->fpu.xcr0 & ~(uint64_t)(XCR0_X87 | XCR0_SSE | XCR0_AVX)) &&
           (i->flags & X86_VEX || is_xsave(i));
}

bool emu_knows(struct emu_cpu *c)
{
    if (c->cr4 & ~(uint64_t)CR4_KNOWN)
        return false;
    if (c->intr.pending.kind != X86_EVENT_NONE)
        return true;
    c->op = NULL;
    c->first = NULL;
    c->bytes_len = 0;
    if (setjmp(c->unwind)) /* the fetch faults, or there is no such instruction */
        return c->event.vector != EXC_UD || is_meant_to_fail(c);
    emu_fetch(c, &c->scratch);
    return emu_is_bound(&c->scratch) ? !misses_components(c, &c->scratch.i) : is_meant_to_fail(c);
}
