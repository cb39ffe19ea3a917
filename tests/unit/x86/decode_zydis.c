/*
 * The decoder against Zydis: on pseudo-random instructions in the three modes,
 * and on the code of a real program. Exits with 77 (skipped) without Zydis.
 */
#ifndef HAVE_ZYDIS
int main(void)
{
    return 77;
}
#else
#include "x86/decode.h"

#include "base/bits.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <Zydis/Zydis.h>
#include <cmocka.h>

#define ROUNDS 200000 /* a mode */

static ZydisDecoder decoders[3];

struct sample {
    enum x86_mode mode;
    uint8_t code[32];
    struct x86_insn got;
    int ret;
    ZydisDecodedInstruction want;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    ZyanStatus status;
};

static void complain(const struct sample *s, const char *what, long long got, long long want)
{
    char hex[64];

    for (int i = 0; i < 16; i++)
        sprintf(hex + i * 3, "%02x ", s->code[i]);
    print_error("%d-bit %s: %s %lld, Zydis %lld (%s, status %x)\n", 16 << s->mode, hex, what, got,
                want, ZYAN_SUCCESS(s->status) ? ZydisMnemonicGetString(s->want.mnemonic) : "error",
                s->status);
}

static unsigned slot(ZydisRegister reg)
{
    if (reg == ZYDIS_REGISTER_NONE)
        return X86_NONE_SLOT;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return X86_RIP_SLOT;
    return (unsigned)ZydisRegisterGetId(reg);
}

static bool differs(const struct sample *s, const char *what, long long got, long long want)
{
    if (got == want)
        return false;
    complain(s, what, got, want);
    return true;
}

static bool memory_differs(const struct sample *s, const ZydisDecodedOperand *op)
{
    const struct x86_insn *i = &s->got;
    const ZydisDecodedOperandMem *mem = &op->mem;
    bool bad = differs(s, "memory form", !!(i->flags & X86_RM_MEM), 1);

    bad |= differs(s, "base", i->base, slot(mem->base));
    bad |= differs(s, "index", i->index, slot(mem->index));
    bad |= differs(s, "scale", mem->scale ? 1 << i->scale : 0, mem->scale);
    bad |= differs(s, "disp", i->disp, mem->disp.has_displacement ? mem->disp.value : 0);
    if (mem->type == ZYDIS_MEMOP_TYPE_MEM || mem->type == ZYDIS_MEMOP_TYPE_VSIB)
        bad |= differs(s, "segment", i->seg, ZydisRegisterGetId(mem->segment));
    return bad;
}

static bool imm_differs(const struct sample *s)
{
    const struct x86_insn *i = &s->got;
    unsigned bytes[2] = {s->want.raw.imm[0].size / 8u, s->want.raw.imm[1].size / 8u};
    uint64_t value = s->want.raw.imm[0].value.u;

    if (i->opcode < 0xa4 && i->opcode >= 0xa0 && i->map == X86_MAP_1B) /* moffs: a disp there */
        return differs(s, "moffs", (int64_t)(i->imm << (64 - 8 * i->asize)),
                       (int64_t)((uint64_t)s->want.raw.disp.value << (64 - 8 * i->asize)));
    if (differs(s, "immediate size", i->imm_size, bytes[0] + bytes[1]))
        return true;
    if (i->imm_size == 0)
        return false;
    if (bytes[1] && differs(s, "imm2", i->imm2, (int64_t)s->want.raw.imm[1].value.u))
        return true;
    if (s->want.raw.imm[0].is_signed)
        return differs(s, "signed immediate", (int64_t)i->imm, (int64_t)value);
    return differs(s, "immediate", (int64_t)(i->imm & mask_bytes(bytes[0])),
                   (int64_t)(value & mask_bytes(bytes[0])));
}

/*
 * Where the two may differ, and why. First: extensions that Zydis knows and
 * the decoder rejects, because no CPU that it stands for has them.
 */
static const uint8_t rejected_exts[] = {
    ZYDIS_ISA_EXT_KNC, /* Knights Corner's own use of VEX, in three parts */
    ZYDIS_ISA_EXT_KNCE,     ZYDIS_ISA_EXT_KNCV, ZYDIS_ISA_EXT_AVX512VEX, /* mask registers */
    ZYDIS_ISA_EXT_AMD3DNOW,                                              /* FEMMS */
    ZYDIS_ISA_EXT_PADLOCK,                                               /* VIA */
    ZYDIS_ISA_EXT_SSE4A, /* EXTRQ, INSERTQ with two immediates */
    ZYDIS_ISA_EXT_RTM,   /* XBEGIN, XABORT: other values of ModRM.reg than MOV's */
};

/*
 * Second: operand and address widths that Zydis fixes for an instruction while
 * the decoder reports what mode and prefixes say, or the other way round.
 */
static const struct width_exception {
    uint8_t map, first, last;
} width_exceptions[] = {
    {X86_MAP_1B, 0xe4, 0xe7},   /* IN, OUT with a port: REX.W does not count there */
    {X86_MAP_1B, 0xec, 0xef},   /* IN, OUT with DX: the same */
    {X86_MAP_0F, 0x01, 0x01},   /* register forms: VMCALL, STAC, ENCLS ... have no operand size */
    {X86_MAP_0F, 0x05, 0x05},   /* SYSCALL: has no operand size */
    {X86_MAP_0F, 0x1a, 0x1b},   /* MPX: 67 does not count there */
    {X86_MAP_0F, 0x78, 0x79},   /* VMREAD, VMWRITE: 32 bits in 16-bit code */
    {X86_MAP_0F, 0xc7, 0xc7},   /* CMPXCHG8B: 66 does not count there */
    {X86_MAP_0F38, 0xf6, 0xf6}, /* ADCX, ADOX: the same */
};

/*
 * Third: what SSE and MMX make of a 66 that is mandatory or outranked by F2
 * and F3. The decoder's osize counts it all the same and nobody reads it.
 */
static bool width_matters(const ZydisDecodedInstruction *z)
{
    if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || z->operand_width == 8)
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(width_exceptions); i++) {
        const struct width_exception *e = &width_exceptions[i];

        if (z->opcode_map == e->map && z->opcode >= e->first && z->opcode <= e->last)
            return false;
    }
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_MMX:
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
    case ZYDIS_ISA_EXT_SSE3:
    case ZYDIS_ISA_EXT_SSSE3:
    case ZYDIS_ISA_EXT_SSE4A: return false;
    default: break;
    }
    for (unsigned i = 0; i < z->raw.prefix_count; i++) {
        if (z->raw.prefixes[i].value == 0x66 &&
            z->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            return false;
    }
    return true;
}

/* Is the operand what seg is about where no ModRM names it: moffs, the rSI of strings? */
static bool names_source(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
    if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || z->attributes & ZYDIS_ATTRIB_HAS_MODRM)
        return false;
    return op->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64 || slot(op->mem.base) == RSI;
}

static bool register_differs(const struct sample *s, const ZydisDecodedOperand *op)
{
    int id = ZydisRegisterGetId(op->reg.value);

    switch (ZydisRegisterGetClass(op->reg.value)) {
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_CONTROL:
    case ZYDIS_REGCLASS_DEBUG: break;
    default: return false; /* the files of eight, and AH to BH */
    }
    switch (op->encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG: return differs(s, "reg", s->got.reg, id);
    case ZYDIS_OPERAND_ENCODING_MODRM_RM:
    case ZYDIS_OPERAND_ENCODING_OPCODE: return differs(s, "rm", s->got.rm, id);
    case ZYDIS_OPERAND_ENCODING_NDSNDD: return differs(s, "vvvv", s->got.vvvv, id);
    default: return false;
    }
}

static bool fields_differ(const struct sample *s)
{
    const struct x86_insn *i = &s->got;
    const ZydisDecodedInstruction *z = &s->want;
    bool bad = differs(s, "length", s->ret, z->length);

    if (bad)
        return true;
    bad |= differs(s, "opcode", i->opcode, z->opcode);
    bad |= differs(s, "map", i->map, z->opcode_map);
    if (width_matters(z)) {
        bad |= differs(s, "address width", i->asize * 8, z->address_width);
        bad |= differs(s, "operand width", i->osize * 8, z->operand_width);
    }
    bad |=
        differs(s, "ModRM", !!(i->flags & X86_MODRM), !!(z->attributes & ZYDIS_ATTRIB_HAS_MODRM));
    if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM)
        bad |= differs(s, "ModRM", i->modrm,
                       z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 | z->raw.modrm.rm);
    for (unsigned n = 0; n < z->operand_count; n++) {
        if (s->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER)
            bad |= register_differs(s, &s->op[n]);
        if (s->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            s->op[n].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
            bad |= memory_differs(s, &s->op[n]);
        else if (names_source(z, &s->op[n]))
            bad |= differs(s, "segment", i->seg, ZydisRegisterGetId(s->op[n].mem.segment));
    }
    return bad | imm_differs(s);
}

/* Is it fine that one of the two rejects the sample? */
static bool rejection_accepted(const struct sample *s)
{
    if (s->ret > 0) {
        /* The decoder leaves undefined rows past the one-byte map, VEX and x87 to its caller. */
        return s->got.map != X86_MAP_1B || s->got.flags & X86_VEX || (s->got.opcode & 0xf8) == 0xd8;
    }
    if (s->want.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
        s->want.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return true; /* 3DNow!, XOP, EVEX, MVEX */
    for (unsigned i = 0; i < ARRAY_SIZE(rejected_exts); i++) {
        if (s->want.meta.isa_ext == rejected_exts[i])
            return true;
    }
    return false;
}

/* Fewer bytes than decide the matter are -EAGAIN; from there on the answer stays. */
static bool cut_differs(const struct sample *s)
{
    struct x86_insn part;
    int before = -EAGAIN;

    for (size_t n = 0; n <= X86_INSN_MAX; n++) {
        int ret = x86_decode(s->code, n, s->mode, &part);

        if (ret != before && before != -EAGAIN)
            return differs(s, "cut", ret, before);
        before = ret;
    }
    return differs(s, "cut", before, s->ret);
}

/* Decodes s->code both ways; true when the answers are at odds. */
static bool sample_differs(struct sample *s)
{
    s->ret = x86_decode(s->code, sizeof(s->code), s->mode, &s->got);
    s->status =
        ZydisDecoderDecodeFull(&decoders[s->mode], s->code, sizeof(s->code), &s->want, s->op);
    if (s->ret < 0 && !ZYAN_SUCCESS(s->status))
        return false;
    if (s->ret > 0 && ZYAN_SUCCESS(s->status))
        return fields_differ(s);
    if (rejection_accepted(s))
        return false;
    complain(s, "result", s->ret, ZYAN_SUCCESS(s->status) ? s->want.length : -1);
    return true;
}

static uint32_t random32(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* Random bytes, most of them behind a plausible start so that every opcode is met often. */
static void make_code(uint8_t code[32], uint64_t *seed)
{
    static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0,
                                       0xf2, 0xf3, 0x66, 0x67, 0x40, 0x41, 0x48, 0x4f};
    unsigned n = 0, kind = random32(seed) % 8;

    for (unsigned i = 0; i < 32; i++)
        code[i] = (uint8_t)random32(seed);
    if (kind == 0)
        return;
    for (unsigned count = random32(seed) % 4; count > 1; count--)
        code[n++] = prefixes[random32(seed) % ARRAY_SIZE(prefixes)];
    if (kind == 1)
        code[n++] = 0xc5;
    if (kind == 2) {
        code[n++] = 0xc4;
        code[n] = (uint8_t)((code[n] & 0xe0) | (1 + random32(seed) % 3));
    }
    if (kind >= 3 && kind <= 5)
        code[n++] = 0x0f;
    if (kind == 5)
        code[n] = code[n] & 1 ? 0x38 : 0x3a;
}

static void random_instructions(void **state)
{
    uint64_t seed = 20240229;
    struct sample s;
    unsigned bad = 0;

    for (s.mode = X86_MODE16; s.mode <= X86_MODE64; s.mode++) {
        for (unsigned i = 0; i < ROUNDS; i++) {
            make_code(s.code, &seed);
            bad += sample_differs(&s) || cut_differs(&s);
        }
    }
    assert_int_equal(bad, 0);
}

/* Walks one segment, as far as the first 20 differences. */
static unsigned segment_differences(const uint8_t *code, size_t len, unsigned long *count)
{
    struct sample s = {.mode = X86_MODE64};
    unsigned bad = 0;

    for (size_t at = 0; at < len && bad < 20; (*count)++) {
        memset(s.code, 0, sizeof(s.code));
        memcpy(s.code, code + at, MIN(len - at, sizeof(s.code)));
        bad += sample_differs(&s);
        at += ZYAN_SUCCESS(s.status) ? s.want.length : 1;
    }
    return bad;
}

static void program_code(void **state)
{
    int fd = open("/bin/busybox", O_RDONLY | O_CLOEXEC);
    unsigned long count = 0;
    unsigned bad = 0;
    struct stat st;

    if (fd < 0)
        fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);

    uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

    assert_ptr_not_equal(file, MAP_FAILED);

    const Elf64_Ehdr *ehdr = (const void *)file;

    for (unsigned i = 0; i < ehdr->e_phnum; i++) {
        const Elf64_Phdr *ph = (const void *)(file + ehdr->e_phoff + i * sizeof(*ph));

        if (ph->p_type == PT_LOAD && ph->p_flags & PF_X)
            bad += segment_differences(file + ph->p_offset, ph->p_filesz, &count);
    }
    munmap(file, (size_t)st.st_size);
    close(fd);
    print_message("%lu instructions\n", count);
    assert_int_equal(bad, 0);
    assert_true(count > 100);
}

static int setup(void **state)
{
    ZydisDecoderInit(&decoders[X86_MODE16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoders[X86_MODE32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoders[X86_MODE64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_instructions),
        cmocka_unit_test(program_code),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
#endif
