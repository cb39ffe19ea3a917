#include "gdb/regs.h"

#include "base/bits.h"
#include "gdb/reg_rows.h"
#include "x86/paging.h"

#include <errno.h>

enum reg_kind {
    KIND_GPR,
    KIND_RIP,
    KIND_FLAGS,
    KIND_SELECTOR,
    KIND_BASE,
    KIND_ST,
    KIND_X87, /* arg: enum x87_word */
    KIND_XMM,
    KIND_MXCSR,
    KIND_YMMH,
    KIND_KERNEL_GS_BASE,
    KIND_CR0,
    KIND_CR2,
    KIND_CR3,
    KIND_CR4,
    KIND_CR8,
    KIND_EFER,
};

/* gdb's names of the x87 environment, in its order. */
enum x87_word {
    X87_FCTRL,
    X87_FSTAT,
    X87_FTAG,
    X87_FISEG,
    X87_FIOFF,
    X87_FOSEG,
    X87_FOOFF,
    X87_FOP,
};

#define ROW(feature, size, kind, groups, type, group, prefix, suffix, first, count, arg)           \
    {                                                                                              \
        prefix, suffix, first, count, size, GDB_FEATURE_##feature, KIND_##kind, arg, groups, type, \
            group                                                                                  \
    }
#define ONE(feature, size, kind, groups, type, group, name, arg)                                   \
    ROW(feature, size, kind, groups, type, group, name, "", 0, 1, arg)
#define GPR(name, arg, type)          ONE(CORE, 8, GPR, X86_GPRS, type, NULL, name, arg)
#define SEL(name, arg)                ONE(CORE, 4, SELECTOR, X86_SEGS, "int32", NULL, name, arg)
#define X87(name, arg)                ONE(CORE, 4, X87, X86_FPU, "int32", "float", name, X87_##arg)
#define BASE(name, arg)               ONE(SEGMENTS, 8, BASE, X86_SEGS, "int64", NULL, name, arg)
#define SYS(name, kind, groups, type) ONE(SYSTEM, 8, kind, groups, type, "system", name, 0)

const struct gdb_reg_row gdb_reg_rows[] = {
    GPR("rax", RAX, "int64"),
    GPR("rbx", RBX, "int64"),
    GPR("rcx", RCX, "int64"),
    GPR("rdx", RDX, "int64"),
    GPR("rsi", RSI, "int64"),
    GPR("rdi", RDI, "int64"),
    GPR("rbp", RBP, "data_ptr"),
    GPR("rsp", RSP, "data_ptr"),
    ROW(CORE, 8, GPR, X86_GPRS, "int64", NULL, "r", "", 8, 8, R8),
    ONE(CORE, 8, RIP, X86_GPRS, "code_ptr", NULL, "rip", 0),
    ONE(CORE, 4, FLAGS, X86_GPRS, "i386_eflags", NULL, "eflags", 0),
    SEL("cs", SEG_CS),
    SEL("ss", SEG_SS),
    SEL("ds", SEG_DS),
    SEL("es", SEG_ES),
    SEL("fs", SEG_FS),
    SEL("gs", SEG_GS),
    ROW(CORE, 10, ST, X86_FPU, "i387_ext", NULL, "st", "", 0, 8, 0),
    X87("fctrl", FCTRL),
    X87("fstat", FSTAT),
    X87("ftag", FTAG),
    X87("fiseg", FISEG),
    X87("fioff", FIOFF),
    X87("foseg", FOSEG),
    X87("fooff", FOOFF),
    X87("fop", FOP),
    ROW(SSE, 16, XMM, X86_FPU, "vec128", NULL, "xmm", "", 0, 16, 0),
    ONE(SSE, 4, MXCSR, X86_FPU, "i386_mxcsr", "vector", "mxcsr", 0),
    ROW(AVX, 16, YMMH, X86_FPU, "uint128", NULL, "ymm", "h", 0, 16, 0),
    BASE("fs_base", SEG_FS),
    BASE("gs_base", SEG_GS),
    SYS("k_gs_base", KERNEL_GS_BASE, X86_MSRS, "int64"),
    SYS("cr0", CR0, X86_CRS, "cr0_flags"),
    SYS("cr2", CR2, X86_CRS, "int64"),
    SYS("cr3", CR3, X86_CRS, "int64"),
    SYS("cr4", CR4, X86_CRS, "cr4_flags"),
    SYS("cr8", CR8, X86_CRS, "int64"),
    SYS("efer", EFER, X86_MSRS, "efer_flags"),
};
const unsigned gdb_reg_row_count = ARRAY_SIZE(gdb_reg_rows);

bool gdb_reg_find(unsigned n, bool avx, struct gdb_reg *reg)
{
    for (unsigned i = 0; i < gdb_reg_row_count; i++) {
        const struct gdb_reg_row *row = &gdb_reg_rows[i];

        if (row->feature == GDB_FEATURE_AVX && !avx)
            continue;
        if (n < row->count) {
            *reg = (struct gdb_reg){row, n, row->size, row->groups};
            return true;
        }
        n -= row->count;
    }
    return false;
}

/* ---- the XSAVE area (SDM Vol. 1 10.5.1, 13.4) ---- */

#define FX_MXCSR     24
#define FX_ST        32
#define FX_XMM       160
#define XSTATE_BV    512
#define XSAVE_YMM    576
#define MXCSR_MASK   0xffffu
#define EXPONENT_MAX 0x7fffu

static void *st_at(struct mote_state *s, unsigned i)
{
    return s->xsave + FX_ST + 16 * i;
}

/* FSAVE's two bits for a register that is not empty: valid, zero or special. */
static unsigned tag_of(const uint8_t *st)
{
    unsigned exponent = le16_get(st + 8) & EXPONENT_MAX;
    uint64_t significand = le64_get(st);

    if (!exponent && !significand)
        return 1;
    return exponent && exponent != EXPONENT_MAX && significand >> 63 ? 0 : 2;
}

/* FXSAVE keeps one bit a register, gdb wants two; both by physical number. */
static unsigned full_tags(const struct mote_state *s)
{
    unsigned top = le16_get(s->xsave + 2) >> 11 & 7, tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        unsigned tag = 3;

        if (s->xsave[4] & 1u << i)
            tag = tag_of(s->xsave + FX_ST + 16 * ((i - top) & 7));
        tags |= tag << 2 * i;
    }
    return tags;
}

static uint8_t short_tags(unsigned tags)
{
    uint8_t bits = 0;

    for (unsigned i = 0; i < 8; i++) {
        if ((tags >> 2 * i & 3) != 3)
            bits |= (uint8_t)(1u << i);
    }
    return bits;
}

static unsigned x87_read(const struct mote_state *s, unsigned word)
{
    const uint8_t *fx = s->xsave;

    switch (word) {
    case X87_FCTRL: return le16_get(fx);
    case X87_FSTAT: return le16_get(fx + 2);
    case X87_FTAG: return full_tags(s);
    case X87_FISEG: return le16_get(fx + 12);
    case X87_FIOFF: return le32_get(fx + 8);
    case X87_FOSEG: return le16_get(fx + 20);
    case X87_FOOFF: return le32_get(fx + 16);
    default: return le16_get(fx + 6);
    }
}

static void x87_write(struct mote_state *s, unsigned word, uint32_t value)
{
    uint8_t *fx = s->xsave;

    switch (word) {
    case X87_FCTRL: le16_put(fx, (uint16_t)value); break;
    case X87_FSTAT: le16_put(fx + 2, (uint16_t)value); break;
    case X87_FTAG: fx[4] = short_tags(value); break;
    case X87_FISEG: le16_put(fx + 12, (uint16_t)value); break;
    case X87_FIOFF: le32_put(fx + 8, value); break;
    case X87_FOSEG: le16_put(fx + 20, (uint16_t)value); break;
    case X87_FOOFF: le32_put(fx + 16, value); break;
    default: le16_put(fx + 6, value & 0x7ff); break;
    }
}

/* A component that is in its initial configuration is not in the area. */
static bool has_ymm(const struct mote_state *s)
{
    return s->xsave[XSTATE_BV] & XCR0_AVX;
}

static void ymm_write(struct mote_state *s, unsigned i, const uint8_t *in)
{
    if (!has_ymm(s))
        memset(s->xsave + XSAVE_YMM, 0, 16 * 16);
    s->xsave[XSTATE_BV] |= XCR0_AVX;
    memcpy(s->xsave + XSAVE_YMM + 16 * i, in, 16);
}

/* ---- reading ---- */

/* Those of up to 64 bits. */
static uint64_t value_of(const struct gdb_reg *reg, const struct mote_state *s)
{
    unsigned arg = reg->row->arg + reg->index;

    switch (reg->row->kind) {
    case KIND_GPR: return s->gpr[arg];
    case KIND_RIP: return s->rip;
    case KIND_FLAGS: return s->rflags;
    case KIND_SELECTOR: return s->seg[arg].selector;
    case KIND_BASE: return s->seg[arg].base;
    case KIND_X87: return x87_read(s, arg);
    case KIND_MXCSR: return le32_get(s->xsave + FX_MXCSR);
    case KIND_KERNEL_GS_BASE: return s->msr.kernel_gs_base;
    case KIND_CR0: return s->cr0;
    case KIND_CR2: return s->cr2;
    case KIND_CR3: return s->cr3;
    case KIND_CR4: return s->cr4;
    case KIND_CR8: return s->cr8;
    default: return s->msr.efer;
    }
}

void gdb_reg_read(const struct gdb_reg *reg, const struct mote_state *s, uint8_t *out)
{
    uint64_t value;

    switch (reg->row->kind) {
    case KIND_ST: memcpy(out, s->xsave + FX_ST + 16 * reg->index, 10); break;
    case KIND_XMM: memcpy(out, s->xsave + FX_XMM + 16 * reg->index, 16); break;
    case KIND_YMMH:
        memset(out, 0, 16);
        if (has_ymm(s))
            memcpy(out, s->xsave + XSAVE_YMM + 16 * reg->index, 16);
        break;
    default: value = value_of(reg, s); memcpy(out, &value, reg->size);
    }
}

/* ---- writing ---- */

#define FLAGS_CHANGEABLE                                                                           \
    (FLAG_STATUS | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_AC | FLAG_ID)

static int put_canonical(uint64_t *reg, uint64_t value)
{
    if (!x86_canonical(value))
        return -EPERM;
    *reg = value;
    return 0;
}

static int put_up_to(uint64_t *reg, uint64_t value, uint64_t max)
{
    if (value > max)
        return -EPERM;
    *reg = value;
    return 0;
}

static int put_value(const struct gdb_reg *reg, struct mote_state *s, uint64_t value)
{
    unsigned arg = reg->row->arg + reg->index;

    switch (reg->row->kind) {
    case KIND_GPR: s->gpr[arg] = value; return 0;
    case KIND_RIP: return put_canonical(&s->rip, value);
    case KIND_FLAGS:
        s->rflags = (s->rflags & ~(uint64_t)FLAGS_CHANGEABLE) | (value & FLAGS_CHANGEABLE);
        return 0;
    case KIND_BASE: return put_canonical(&s->seg[arg].base, value);
    case KIND_X87: x87_write(s, arg, (uint32_t)value); return 0;
    case KIND_MXCSR:
        if (value & ~(uint64_t)MXCSR_MASK)
            return -EPERM;
        le32_put(s->xsave + FX_MXCSR, (uint32_t)value);
        return 0;
    case KIND_KERNEL_GS_BASE: return put_canonical(&s->msr.kernel_gs_base, value);
    case KIND_CR2: s->cr2 = value; return 0;
    case KIND_CR3: return put_up_to(&s->cr3, value, BIT(X86_PHYS_BITS) - 1);
    case KIND_CR8: return put_up_to(&s->cr8, value, 15);
    default: return -EPERM;
    }
}

int gdb_reg_write(const struct gdb_reg *reg, struct mote_state *s, const uint8_t *in)
{
    uint64_t value = 0;

    if (reg->groups & X86_FPU)
        s->xsave[XSTATE_BV] |= XCR0_X87 | XCR0_SSE;
    switch (reg->row->kind) {
    case KIND_ST: memcpy(st_at(s, reg->index), in, 10); return 0;
    case KIND_XMM: memcpy(s->xsave + FX_XMM + 16 * reg->index, in, 16); return 0;
    case KIND_YMMH: ymm_write(s, reg->index, in); return 0;
    default: break;
    }
    memcpy(&value, in, reg->size);
    return value == value_of(reg, s) ? 0 : put_value(reg, s, value);
}
