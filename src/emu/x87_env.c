#include "emu/x87.h"

#include "emu/fpu.h"

/*
 * The environment is seven fields, 16 or 32 bits each: FCW, FSW, FTW, then the
 * pointers. In protected mode those are FIP, FCS with FOP in its upper half (32
 * bits only), FDP, FDS; in real and virtual-8086 mode linear addresses, FOP
 * below the upper bits of FIP.
 */
enum { E_FCW, E_FSW, E_FTW, E_IP, E_CS, E_DP, E_DS, E_COUNT };

#define REGS_SIZE 80

static bool real_format(const struct emu_cpu *c)
{
    return !c->protected_mode;
}

static unsigned field_size(const struct emu_op *op)
{
    return op->i.osize == 2 ? 2 : 4;
}

static void env_get(const struct emu_cpu *c, uint32_t e[E_COUNT])
{
    const struct emu_fpu *f = &c->fpu;
    uint64_t ip = le64_get(f->x87 + X87_FIP), dp = le64_get(f->x87 + X87_FDP);
    uint32_t fop = le16_get(f->x87 + X87_FOP) & 0x7ff, cs = 0, ds = 0;

    if (!c->code64) {
        cs = (uint16_t)(ip >> 32);
        ds = (uint16_t)(dp >> 32);
    }
    e[E_FCW] = 0xffff0000u | le16_get(f->x87 + X87_FCW);
    e[E_FSW] = 0xffff0000u | x87_fsw(f);
    e[E_FTW] = 0xffff0000u | x87_tags(f);
    if (real_format(c)) {
        uint32_t lip = (uint32_t)ip + (cs << 4), ldp = (uint32_t)dp + (ds << 4);

        e[E_IP] = 0xffff0000u | (lip & 0xffff);
        e[E_CS] = (lip >> 16) << 12 | fop;
        e[E_DP] = 0xffff0000u | (ldp & 0xffff);
        e[E_DS] = (ldp >> 16) << 12;
    } else {
        e[E_IP] = (uint32_t)ip;
        e[E_CS] = cs | fop << 16;
        e[E_DP] = (uint32_t)dp;
        e[E_DS] = 0xffff0000u | ds;
    }
}

static void env_set(struct emu_cpu *c, const uint32_t e[E_COUNT], unsigned size)
{
    struct emu_fpu *f = &c->fpu;
    uint64_t ip, dp;
    uint32_t fop;

    if (real_format(c)) {
        uint32_t mask = size == 2 ? 0xf : 0xffff;

        ip = (e[E_IP] & 0xffff) | (e[E_CS] >> 12 & mask) << 16;
        dp = (e[E_DP] & 0xffff) | (e[E_DS] >> 12 & mask) << 16;
        fop = e[E_CS];
    } else {
        ip = e[E_IP] | (c->code64 ? 0 : (uint64_t)(uint16_t)e[E_CS] << 32);
        dp = e[E_DP] | (c->code64 ? 0 : (uint64_t)(uint16_t)e[E_DS] << 32);
        fop = size == 2 ? 0 : e[E_CS] >> 16;
    }
    x87_set_fcw(f, (uint16_t)e[E_FCW]);
    x87_set_fsw(f, (uint16_t)e[E_FSW]);
    f->x87[X87_FTW] = x87_tags_abridge((uint16_t)e[E_FTW]);
    le16_put(f->x87 + X87_FOP, fop & 0x7ff);
    le64_put(f->x87 + X87_FIP, ip);
    le64_put(f->x87 + X87_FDP, dp);
}

static unsigned env_pack(const uint32_t e[E_COUNT], unsigned size, uint8_t *out)
{
    for (unsigned n = 0; n < E_COUNT; n++)
        memcpy(out + n * size, &e[n], size);
    return E_COUNT * size;
}

static unsigned env_unpack(const uint8_t *in, unsigned size, uint32_t e[E_COUNT])
{
    memset(e, 0, E_COUNT * sizeof(e[0]));
    for (unsigned n = 0; n < E_COUNT; n++)
        memcpy(&e[n], in + n * size, size);
    return E_COUNT * size;
}

void x87_fldenv(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = field_size(op);
    uint8_t in[E_COUNT * 4];
    uint32_t e[E_COUNT];

    x87_check(c, EXC_NM);
    emu_load_bytes(c, op->i.seg, emu_ea(c, &op->i), in, E_COUNT * size);
    env_unpack(in, size, e);
    env_set(c, e, size);
}

void x87_fnstenv(struct emu_cpu *c, const struct emu_op *op)
{
    uint8_t out[E_COUNT * 4];
    uint32_t e[E_COUNT];
    unsigned len;

    if (c->cr0 & (CR0_EM | CR0_TS))
        emu_raise(c, EXC_NM);
    env_get(c, e);
    len = env_pack(e, field_size(op), out);
    emu_store_bytes(c, op->i.seg, emu_ea(c, &op->i), out, len);
    x87_set_fcw(&c->fpu, le16_get(c->fpu.x87 + X87_FCW) | 0x3f);
}

void x87_frstor(struct emu_cpu *c, const struct emu_op *op)
{
    unsigned size = field_size(op), at;
    uint8_t in[E_COUNT * 4 + REGS_SIZE];
    uint32_t e[E_COUNT];

    x87_check(c, EXC_NM);
    emu_load_bytes(c, op->i.seg, emu_ea(c, &op->i), in, E_COUNT * size + REGS_SIZE);
    at = env_unpack(in, size, e);
    env_set(c, e, size);
    for (unsigned n = 0; n < 8; n++)
        memcpy(c->fpu.x87 + X87_ST + 16 * n, in + at + 10 * n, 10);
}

void x87_fnsave(struct emu_cpu *c, const struct emu_op *op)
{
    uint8_t out[E_COUNT * 4 + REGS_SIZE];
    uint32_t e[E_COUNT];
    unsigned len;

    if (c->cr0 & (CR0_EM | CR0_TS))
        emu_raise(c, EXC_NM);
    env_get(c, e);
    len = env_pack(e, field_size(op), out);
    for (unsigned n = 0; n < 8; n++)
        memcpy(out + len + 10 * n, c->fpu.x87 + X87_ST + 16 * n, 10);
    emu_store_bytes(c, op->i.seg, emu_ea(c, &op->i), out, len + REGS_SIZE);
    x87_init(&c->fpu);
}
