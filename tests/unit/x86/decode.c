/* The decoder's rules, one by one, on instructions written by hand. */
#include "x86/decode.h"

#include "base/bits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define M16 X86_MODE16
#define M32 X86_MODE32
#define M64 X86_MODE64

/* "48 8b 05 ..." into bytes; returns how many. */
static size_t parse(const char *hex, uint8_t *code)
{
    size_t n = 0;

    for (char *end; *hex; hex = end + (*end == ' '))
        code[n++] = (uint8_t)strtoul(hex, &end, 16);
    return n;
}

/* Decodes with bytes behind the instruction, which must not matter. */
static int decode(enum x86_mode mode, const char *hex, struct x86_insn *insn)
{
    uint8_t code[64];

    memset(code, 0xcc, sizeof(code));
    return parse(hex, code) ? x86_decode(code, sizeof(code), mode, insn) : 0;
}

static struct x86_insn decoded(enum x86_mode mode, const char *hex)
{
    struct x86_insn insn;
    uint8_t code[64];
    size_t len = parse(hex, code);
    int ret = decode(mode, hex, &insn);

    if (ret != (int)len || insn.len != len)
        fail_msg("%s: %d, wanted %zu", hex, ret, len);
    for (size_t n = 0; n < len; n++) {
        struct x86_insn part;

        if (x86_decode(code, n, mode, &part) != -EAGAIN)
            fail_msg("%s: cut to %zu bytes it is not -EAGAIN", hex, n);
    }
    return insn;
}

static void rejected(enum x86_mode mode, const char *hex)
{
    struct x86_insn insn;
    int ret = decode(mode, hex, &insn);

    if (ret != -EILSEQ)
        fail_msg("%s: %d, wanted -EILSEQ", hex, ret);
}

static void addressing_forms(void **state)
{
    static const struct {
        enum x86_mode mode;
        const char *hex;
        uint8_t base, index, scale, seg;
        int32_t disp;
    } rows[] = {
        {M64, "8b 00", RAX, X86_NONE_SLOT, 0, SEG_DS, 0},
        {M64, "8b 43 f0", RBX, X86_NONE_SLOT, 0, SEG_DS, -16},
        {M64, "8b 85 00 00 00 80", RBP, X86_NONE_SLOT, 0, SEG_SS, INT32_MIN},
        {M64, "41 8b 45 00", R13, X86_NONE_SLOT, 0, SEG_DS, 0},
        {M64, "8b 05 04 03 02 01", X86_RIP_SLOT, X86_NONE_SLOT, 0, SEG_DS, 0x01020304},
        {M64, "41 8b 05 04 03 02 01", X86_RIP_SLOT, X86_NONE_SLOT, 0, SEG_DS, 0x01020304},
        {M64, "8b 04 25 78 56 34 12", X86_NONE_SLOT, X86_NONE_SLOT, 0, SEG_DS, 0x12345678},
        {M64, "8b 04 24", RSP, X86_NONE_SLOT, 0, SEG_SS, 0},
        {M64, "8b 44 cc 08", RSP, RCX, 3, SEG_SS, 8},
        {M64, "42 8b 04 a0", RAX, R12, 2, SEG_DS, 0},
        {M64, "41 8b 04 24", R12, X86_NONE_SLOT, 0, SEG_DS, 0},
        {M64, "8b 04 6d 01 00 00 00", X86_NONE_SLOT, RBP, 1, SEG_DS, 1},
        {M64, "41 8b 04 ad 01 00 00 00", X86_NONE_SLOT, RBP, 2, SEG_DS, 1},
        {M64, "64 8b 04 24", RSP, X86_NONE_SLOT, 0, SEG_FS, 0},
        {M64, "36 3e 26 2e 8b 45 00", RBP, X86_NONE_SLOT, 0, SEG_SS, 0},
        {M64, "65 2e 8b 00", RAX, X86_NONE_SLOT, 0, SEG_GS, 0},
        {M32, "8b 05 04 03 02 01", X86_NONE_SLOT, X86_NONE_SLOT, 0, SEG_DS, 0x01020304},
        {M32, "3e 8b 45 00", RBP, X86_NONE_SLOT, 0, SEG_DS, 0},
        {M32, "26 2e 8b 00", RAX, X86_NONE_SLOT, 0, SEG_CS, 0},
        {M16, "8b 00", RBX, RSI, 0, SEG_DS, 0},
        {M16, "8b 01", RBX, RDI, 0, SEG_DS, 0},
        {M16, "8b 02", RBP, RSI, 0, SEG_SS, 0},
        {M16, "8b 43 80", RBP, RDI, 0, SEG_SS, -128},
        {M16, "8b 04", RSI, X86_NONE_SLOT, 0, SEG_DS, 0},
        {M16, "8b 05", RDI, X86_NONE_SLOT, 0, SEG_DS, 0},
        {M16, "8b 06 00 80", X86_NONE_SLOT, X86_NONE_SLOT, 0, SEG_DS, -32768},
        {M16, "8b 46 00", RBP, X86_NONE_SLOT, 0, SEG_SS, 0},
        {M16, "8b 87 34 12", RBX, X86_NONE_SLOT, 0, SEG_DS, 0x1234},
        {M16, "67 8b 04 24", RSP, X86_NONE_SLOT, 0, SEG_SS, 0},
        {M32, "67 8b 07", RBX, X86_NONE_SLOT, 0, SEG_DS, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct x86_insn insn = decoded(rows[i].mode, rows[i].hex);

        if (!(insn.flags & X86_RM_MEM) || insn.base != rows[i].base ||
            insn.index != rows[i].index || insn.scale != rows[i].scale || insn.seg != rows[i].seg ||
            insn.disp != rows[i].disp)
            fail_msg("%s: base %u index %u scale %u seg %u disp %d", rows[i].hex, insn.base,
                     insn.index, insn.scale, insn.seg, insn.disp);
    }
}

static void immediates(void **state)
{
    static const struct {
        enum x86_mode mode;
        const char *hex;
        uint64_t imm;
        uint16_t imm2;
        uint8_t imm_size;
    } rows[] = {
        {M64, "83 c0 ff", UINT64_MAX, 0, 1},
        {M64, "48 81 c0 00 00 00 80", 0xffffffff80000000, 0, 4},
        {M64, "66 81 c0 00 80", 0xffffffffffff8000, 0, 2},
        {M64, "6a 80", 0xffffffffffffff80, 0, 1},
        {M64, "68 00 00 00 80", 0xffffffff80000000, 0, 4},
        {M64, "66 68 34 12", 0x1234, 0, 2},
        {M64, "6b c0 fe", UINT64_MAX - 1, 0, 1},
        {M64, "48 b8 08 07 06 05 04 03 02 81", 0x8102030405060708, 0, 8},
        {M64, "b8 01 00 00 80", 0xffffffff80000001, 0, 4},
        {M64, "66 b8 01 80", 0xffffffffffff8001, 0, 2},
        {M64, "b0 80", 0xffffffffffffff80, 0, 1},
        {M64, "c1 e0 9f", 0x9f, 0, 1},
        {M64, "cd 80", 0x80, 0, 1},
        {M64, "e4 f0", 0xf0, 0, 1},
        {M64, "c2 00 80", 0x8000, 0, 2},
        {M64, "ca 00 80", 0x8000, 0, 2},
        {M64, "c8 34 82 9f", 0x8234, 0x9f, 3},
        {M64, "eb fe", UINT64_MAX - 1, 0, 1},
        {M64, "e8 fb ff ff ff", UINT64_MAX - 4, 0, 4},
        {M64, "66 e8 fb ff ff ff", UINT64_MAX - 4, 0, 4},
        {M32, "66 e8 fb ff", UINT64_MAX - 4, 0, 2},
        {M16, "e8 fb ff", UINT64_MAX - 4, 0, 2},
        {M64, "0f 84 00 00 00 80", 0xffffffff80000000, 0, 4},
        {M16, "66 0f 84 00 00 00 80", 0xffffffff80000000, 0, 4},
        {M64, "f6 c0 80", 0xffffffffffffff80, 0, 1},
        {M64, "f6 c8 80", 0xffffffffffffff80, 0, 1},
        {M64, "f6 d0", 0, 0, 0},
        {M64, "48 f7 c0 01 02 03 84", 0xffffffff84030201, 0, 4},
        {M64, "f7 d8", 0, 0, 0},
        {M64, "a1 08 07 06 05 04 03 02 81", 0x8102030405060708, 0, 8},
        {M64, "67 a1 08 07 06 85", 0x85060708, 0, 4},
        {M32, "a1 08 07 06 85", 0x85060708, 0, 4},
        {M16, "a1 08 87", 0x8708, 0, 2},
        {M16, "ea f0 ff 00 f0", 0xfff0, 0xf000, 4},
        {M32, "9a 78 56 34 92 cd ab", 0x92345678, 0xabcd, 6},
        {M64, "0f ba e0 ff", 0xff, 0, 1},
        {M64, "0f a4 c0 ff", 0xff, 0, 1},
        {M64, "66 0f 71 d0 ff", 0xff, 0, 1},
        {M64, "0f c2 c0 83", 0x83, 0, 1},
        {M64, "66 0f 3a 0f c1 88", 0x88, 0, 1},
        {M64, "48 c7 05 01 00 00 00 02 00 00 80", 0xffffffff80000002, 0, 4},
        {M16, "c7 06 34 12 78 56", 0x5678, 0, 2},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct x86_insn insn = decoded(rows[i].mode, rows[i].hex);

        if (insn.imm != rows[i].imm || insn.imm2 != rows[i].imm2 ||
            insn.imm_size != rows[i].imm_size)
            fail_msg("%s: %#llx, %#x, %u bytes", rows[i].hex, (unsigned long long)insn.imm,
                     insn.imm2, insn.imm_size);
    }
}

static void sizes(void **state)
{
    static const struct {
        enum x86_mode mode;
        const char *hex;
        uint8_t osize, asize;
    } rows[] = {
        {M16, "89 c0", 2, 2},       {M16, "66 89 c0", 4, 2},    {M16, "67 89 c0", 2, 4},
        {M32, "89 c0", 4, 4},       {M32, "66 89 c0", 2, 4},    {M32, "67 89 c0", 4, 2},
        {M64, "89 c0", 4, 8},       {M64, "66 89 c0", 2, 8},    {M64, "48 89 c0", 8, 8},
        {M64, "66 48 89 c0", 8, 8}, {M64, "67 89 c0", 4, 4},    {M64, "50", 8, 8},
        {M64, "66 50", 2, 8},       {M64, "8f c0", 8, 8},       {M64, "c9", 8, 8},
        {M64, "ff f0", 8, 8},       {M64, "66 ff f0", 2, 8},    {M64, "ff d0", 8, 8},
        {M64, "66 ff e0", 8, 8},    {M64, "ff c0", 4, 8},       {M64, "66 ff c0", 2, 8},
        {M64, "ff 28", 4, 8},       {M64, "c3", 8, 8},          {M64, "66 c3", 8, 8},
        {M64, "cb", 4, 8},          {M64, "48 cb", 8, 8},       {M64, "66 e2 00", 8, 8},
        {M64, "cf", 4, 8},          {M64, "0f a0", 8, 8},       {M64, "0f 20 c0", 8, 8},
        {M64, "66 0f 22 c0", 8, 8}, {M32, "66 0f 20 c0", 4, 4}, {M16, "0f 23 c0", 4, 2},
        {M64, "0f 01 10", 8, 8},    {M32, "0f 01 10", 4, 4},    {M64, "0f 01 e0", 4, 8},
        {M64, "88 c0", 4, 8},       {M32, "50", 4, 4},          {M32, "66 ff d0", 2, 4},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct x86_insn insn = decoded(rows[i].mode, rows[i].hex);

        if (insn.osize != rows[i].osize || insn.asize != rows[i].asize)
            fail_msg("%s: osize %u, asize %u", rows[i].hex, insn.osize, insn.asize);
    }
}

static void registers_and_rex(void **state)
{
    struct x86_insn insn = decoded(M64, "4d 89 fe");

    assert_int_equal(insn.reg, R15);
    assert_int_equal(insn.rm, R14);
    assert_int_equal(insn.flags, X86_REX | X86_W | X86_MODRM);
    assert_int_equal(insn.modrm, 0xfe);
    assert_int_equal(insn.modrm_off, 2);
    assert_int_equal(insn.base, X86_NONE_SLOT);
    assert_int_equal(insn.index, X86_NONE_SLOT);
    insn = decoded(M64, "41 57"); /* the register in the opcode */
    assert_int_equal(insn.rm, R15);
    assert_int_equal(decoded(M64, "41 90").rm, R8);
    assert_int_equal(decoded(M64, "49 0f cb").rm, R11);
    assert_int_equal(decoded(M64, "40 88 e0").flags, X86_REX | X86_MODRM);
    insn = decoded(M64, "4f 66 89 c0"); /* REX does not count before another prefix */
    assert_int_equal(insn.flags, X86_OPSIZE | X86_MODRM);
    assert_int_equal(insn.reg, RAX);
    insn = decoded(M64, "4f 40 89 c0"); /* nor before another REX */
    assert_int_equal(insn.flags, X86_REX | X86_MODRM);
    insn = decoded(M32, "41"); /* INC ECX */
    assert_int_equal(insn.opcode, 0x41);
    assert_int_equal(insn.rm, RCX);
    assert_int_equal(insn.flags, 0);
    insn = decoded(M64, "44 0f 20 00"); /* MOV RAX, CR8: mod is ignored */
    assert_int_equal(insn.reg, 8);
    assert_int_equal(insn.flags, X86_REX | X86_MODRM);
    decoded(M64, "0f 22 04");
    decoded(M32, "0f 21 85");
}

static void maps_and_mandatory_prefixes(void **state)
{
    struct x86_insn insn = decoded(M64, "f3 0f 1e fa"); /* ENDBR64 */

    assert_int_equal(insn.map, X86_MAP_0F);
    assert_int_equal(insn.pp, 2);
    assert_int_equal(insn.flags, X86_REP | X86_MODRM);
    insn = decoded(M64, "66 f2 0f 38 f1 c0"); /* CRC32 EAX, AX */
    assert_int_equal(insn.map, X86_MAP_0F38);
    assert_int_equal(insn.opcode, 0xf1);
    assert_int_equal(insn.pp, 3);
    assert_int_equal(insn.osize, 2);
    assert_int_equal(insn.flags, X86_REPNE | X86_OPSIZE | X86_MODRM);
    assert_int_equal(decoded(M64, "f3 f2 0f 10 c0").pp, 3);
    insn = decoded(M64, "f2 f3 66 0f 10 c0");
    assert_int_equal(insn.pp, 2);
    assert_int_equal(insn.flags, X86_REP | X86_OPSIZE | X86_MODRM);
    assert_int_equal(decoded(M64, "66 0f 6f c0").pp, 1);
    assert_int_equal(decoded(M64, "0f 6f c0").pp, 0);
    assert_int_equal(decoded(M64, "66 0f 3a 0b c0 00").map, X86_MAP_0F3A);
    decoded(M64, "0f ff c0");
    decoded(M64, "0f b9 00");
    decoded(M64, "0f 1f 84 00 00 00 00 00");
    decoded(M64, "66 2e 0f 1f 84 00 00 00 00 00");
    decoded(M64, "0f 05");
    decoded(M64, "0f a2");
}

static void vex(void **state)
{
    struct x86_insn insn = decoded(M64, "c5 f9 6f c1"); /* VMOVDQA XMM0, XMM1 */

    assert_int_equal(insn.flags, X86_VEX | X86_MODRM);
    assert_int_equal(insn.map, X86_MAP_0F);
    assert_int_equal(insn.pp, 1);
    assert_int_equal(insn.vvvv, 0);
    insn = decoded(M64, "c4 41 35 fe c2"); /* VPADDD YMM8, YMM9, YMM10 */
    assert_int_equal(insn.flags, X86_VEX | X86_L | X86_MODRM);
    assert_int_equal(insn.reg, 8);
    assert_int_equal(insn.vvvv, 9);
    assert_int_equal(insn.rm, 10);
    insn = decoded(M64, "c4 e2 f8 f3 d0"); /* BLSMSK RAX, RAX */
    assert_int_equal(insn.map, X86_MAP_0F38);
    assert_int_equal(insn.flags, X86_VEX | X86_W | X86_MODRM);
    assert_int_equal(insn.osize, 8);
    assert_int_equal(decoded(M32, "c4 e2 78 f3 d0").osize, 4);
    insn = decoded(M64, "c4 e3 fd 00 c1 4e"); /* VPERMQ YMM0, YMM1, 4Eh */
    assert_int_equal(insn.map, X86_MAP_0F3A);
    assert_int_equal(insn.imm, 0x4e);
    insn = decoded(M64, "c4 a2 69 90 04 21"); /* VPGATHERDD XMM0, [RCX+XMM12], XMM2 */
    assert_true(insn.flags & X86_VSIB);
    assert_int_equal(insn.index, 12);
    assert_int_equal(insn.base, RCX);
    assert_int_equal(decoded(M64, "c4 e2 69 90 04 21").index, 4); /* XMM4, not "none" */
    decoded(M64, "64 67 c5 f8 77");
    decoded(M32, "c4 00");       /* LES */
    decoded(M32, "c5 44 24 08"); /* LDS */
    insn = decoded(M32, "c5 d9 fe c2");
    assert_int_equal(insn.vvvv, 4);
    insn = decoded(M32, "c4 c1 19 fe c2"); /* B and the top bit of vvvv do not exist */
    assert_int_equal(insn.vvvv, 4);
    assert_int_equal(insn.rm, 2);
    rejected(M64, "66 c5 f8 77");
    rejected(M64, "f3 c5 f8 77");
    rejected(M64, "f2 c5 f8 77");
    rejected(M64, "f0 c5 f8 77");
    rejected(M64, "40 c5 f8 77");
    rejected(M64, "c4 e0 78 77 c0");
    rejected(M64, "c4 e4 78 77 c0");
    rejected(M64, "c5 f8 05 c0"); /* not in the VEX map */
    rejected(M64, "c5 f8 38 c0");
    rejected(M64, "c4 e2 69 90 c0"); /* a gather needs SIB */
    rejected(M64, "c4 e2 69 90 00");
    rejected(M32, "67 c4 e2 69 90 04"); /* and no 16-bit address */
}

static void invalid_in_64_bit_mode(void **state)
{
    static const uint8_t op[] = {0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f,
                                 0x60, 0x61, 0x62, 0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea};

    for (size_t i = 0; i < ARRAY_SIZE(op); i++) {
        uint8_t code[16] = {op[i]};
        struct x86_insn insn;

        assert_int_equal(x86_decode(code, sizeof(code), M64, &insn), -EILSEQ);
        assert_true(x86_decode(code, sizeof(code), M32, &insn) > 0);
        assert_true(x86_decode(code, sizeof(code), M16, &insn) > 0);
    }
}

static void undefined(void **state)
{
    static const char *const hex[] = {
        "0f 04",
        "0f 0a",
        "0f 0f c0 0d",
        "0f 24 c0",
        "0f 26 c0",
        "0f 36",
        "0f 39",
        "0f 7a c0",
        "0f a6 c0",
        "fe d0",
        "ff f8",
        "ff d8",
        "ff e8",
        "8d c0",
        "8c f0",
        "8e c8",
        "8e f8",
        "8f c8",
        "8f e8 78 01 c0",
        "c6 c8 00",
        "0f ba d8 01",
        "0f b2 c0",
        "66 0f 78 c0 01 02",
    };

    for (size_t i = 0; i < ARRAY_SIZE(hex); i++) {
        rejected(M64, hex[i]);
        rejected(M32, hex[i]);
    }
    rejected(M32, "62 f1 7c 48 58 c1"); /* EVEX */
    decoded(M32, "62 00");              /* BOUND */
}

static void lock(void **state)
{
    static const char *const good[] = {
        "f0 00 00",       "f0 09 00",       "f0 11 00",
        "f0 18 00",       "f0 21 00",       "f0 29 00",
        "f0 31 00",       "f0 80 00 01",    "f0 81 00 01 02 03 04",
        "f0 83 30 01",    "f0 86 00",       "f0 87 00",
        "f0 f6 10",       "f0 f7 18",       "f0 fe 00",
        "f0 ff 08",       "f0 0f ab 00",    "f0 0f b3 00",
        "f0 0f bb 00",    "f0 0f ba 28 01", "f0 0f ba 30 01",
        "f0 0f ba 38 01", "f0 0f b0 00",    "f0 0f b1 00",
        "f0 0f c0 00",    "f0 0f c1 00",    "f0 0f c7 08",
    };
    static const char *const bad[] = {
        "f0 01 c0",    "f0 38 00",       "f0 39 00",    "f0 02 00",    "f0 03 00", "f0 83 38 01",
        "f0 87 c0",    "f0 90",          "f0 f6 00 01", "f0 f7 20",    "f0 ff 10", "f0 ff 30",
        "f0 0f a3 00", "f0 0f ba 20 01", "f0 0f c7 38", "f0 0f c7 f0", "f0 8b 00", "f0 84 00",
        "f0 0f 20 c0", "f0 0f 38 01 00", "f0 f4",       "f0 a4",
    };

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(decoded(M64, good[i]).flags & X86_LOCK);
        decoded(M32, good[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        rejected(M64, bad[i]);
        rejected(M32, bad[i]);
    }
}

static void implicit_segments(void **state)
{
    assert_int_equal(decoded(M64, "a4").seg, SEG_DS);
    assert_int_equal(decoded(M64, "f3 65 48 a5").seg, SEG_GS);
    assert_int_equal(decoded(M64, "2e a4").seg, SEG_DS);
    assert_int_equal(decoded(M32, "2e a4").seg, SEG_CS);
    assert_int_equal(decoded(M16, "26 a1 00 00").seg, SEG_ES);
    assert_int_equal(decoded(M16, "d7").seg, SEG_DS);
    assert_int_equal(decoded(M16, "36 d7").flags, X86_SEGOVR);
    assert_int_equal(decoded(M64, "36 d7").flags, 0);
}

static void length_limit(void **state)
{
    struct x86_insn insn;
    uint8_t code[32];

    memset(code, 0x66, sizeof(code));
    for (size_t n = 0; n < X86_INSN_MAX; n++)
        assert_int_equal(x86_decode(code, n, M64, &insn), -EAGAIN);
    assert_int_equal(x86_decode(code, 15, M64, &insn), -E2BIG);
    assert_int_equal(x86_decode(code, 32, M64, &insn), -E2BIG);
    code[14] = 0x90;
    assert_int_equal(x86_decode(code, 14, M64, &insn), -EAGAIN);
    assert_int_equal(x86_decode(code, 15, M64, &insn), 15);
    assert_int_equal(x86_decode(code, 32, M64, &insn), 15);
    code[14] = 0xa1; /* the longest walk of all */
    assert_int_equal(x86_decode(code, 32, M64, &insn), -E2BIG);
    code[14] = 0x06; /* the fifteenth byte decides: no such instruction */
    assert_int_equal(x86_decode(code, 32, M64, &insn), -EILSEQ);
    code[13] = 0x0f; /* the rejection would rest on byte 16 */
    code[14] = 0x38;
    assert_int_equal(x86_decode(code, 32, M64, &insn), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addressing_forms),
        cmocka_unit_test(immediates),
        cmocka_unit_test(sizes),
        cmocka_unit_test(registers_and_rex),
        cmocka_unit_test(maps_and_mandatory_prefixes),
        cmocka_unit_test(vex),
        cmocka_unit_test(invalid_in_64_bit_mode),
        cmocka_unit_test(undefined),
        cmocka_unit_test(lock),
        cmocka_unit_test(implicit_segments),
        cmocka_unit_test(length_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
