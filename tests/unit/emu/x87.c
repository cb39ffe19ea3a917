/*
 * Every x87 instruction on random stacks, by the interpreter and on the bare
 * CPU; then what only the interpreter decides: environment formats, pending
 * exceptions, FXSAVE and XSAVE.
 */
#include "native.h"

#include "emu/fpu.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct emu_cpu *cpu;

/* ST registers: doubles, small integers, and anything at all. */
static void random_stack(struct machine *m)
{
    for (unsigned n = 0; n < 8; n++) {
        uint8_t *st = m->fx + X87_ST + 16 * n;
        uint64_t how = native_random() % 4;
        long double v;
        double d;

        memset(st, 0, 16);
        native_random_bytes(&d, 8);
        v = how == 0 ? (long double)(int64_t)(native_random() % 2001) - 1000 : (long double)d;
        memcpy(st, &v, 10);
        if (how == 3)
            native_random_bytes(st, 8);
        if (how == 3)
            le16_put(st + 8, (uint16_t)native_random());
    }
}

static void random_machine(struct machine *m, bool unmasked)
{
    unsigned fcw = 0x37f, top = native_random() & 7, flags = native_random() & 0x3f;

    native_random_machine(m);
    random_stack(m);
    fcw = (fcw & ~0xf00u) | (native_random() & 0xf00);
    if (unmasked) {
        fcw &= ~(unsigned)(native_random() & 0x3f);
        flags &= fcw;
    }
    le16_put(m->fx + X87_FCW, (uint16_t)fcw);
    le16_put(m->fx + X87_FSW,
             (uint16_t)(top << FSW_TOP_SHIFT | (native_random() & 0x4700) | flags));
    m->fx[X87_FTW] = native_random() & 3 ? 0xff : (uint8_t)native_random();
}

/* FNSTENV and FNSAVE store pointers, which are the host's on one side: both sides store none. */
static bool stores_pointers(const struct emu_op *op)
{
    unsigned reg = op->i.modrm >> 3 & 7;

    return op->i.flags & X86_RM_MEM && reg == 6 && (op->i.opcode == 0xd9 || op->i.opcode == 0xdd);
}

static unsigned run_opcode(uint8_t opcode, uint8_t modrm, bool unmasked)
{
    uint8_t code[16] = {opcode, modrm};
    struct machine m;
    struct emu_op op;
    unsigned n;

    if (native_bind(cpu, code, &op) != 0 || stores_pointers(&op))
        return 0;
    for (n = 0; n < 40; n++) {
        random_machine(&m, unmasked);
        native_random_bytes(native_ram + NATIVE_MIDDLE, 128);
        if (n & 1) /* small integers, for the integer and BCD forms */
            le64_put(native_ram + NATIVE_MIDDLE, native_random() & 0x0909090909);
        native_both(cpu, code, &op, &m, false);
    }
    return 1;
}

static void every_instruction_agrees(void **state)
{
    unsigned forms = 0;

    for (unsigned opcode = 0xd8; opcode <= 0xdf; opcode++) {
        for (unsigned reg = 0; reg < 8; reg++) {
            forms += run_opcode((uint8_t)opcode, (uint8_t)(reg << 3 | RBX), false);
            run_opcode((uint8_t)opcode, (uint8_t)(reg << 3 | RBX), true);
        }
        for (unsigned modrm = 0xc0; modrm <= 0xff; modrm++) {
            forms += run_opcode((uint8_t)opcode, (uint8_t)modrm, false);
            run_opcode((uint8_t)opcode, (uint8_t)modrm, true);
        }
    }
    print_message("%u forms, %u runs\n", forms, native_count.runs);
    assert_true(forms > 400);
    assert_int_equal(native_count.failures, 0);
    assert_int_equal(native_count.traps, 0);
}

/* ---- by hand ----------------------------------------------------------- */

static int run(const char *bytes, unsigned len, struct machine *m)
{
    uint8_t code[16] = {0};
    struct emu_op op;

    memcpy(code, bytes, len);
    assert_int_equal(native_bind(cpu, code, &op), 0);
    assert_int_equal(op.i.len, len);
    m->r[RBX] = NATIVE_GPA + NATIVE_MIDDLE;
    native_emulate(cpu, &op, m);
    return m->trap;
}

#define RUN(s, m) run(s, sizeof(s) - 1, m)

static void unmasked_exceptions_wait(void **state)
{
    struct machine m;

    native_random_machine(&m);
    le16_put(m.fx + X87_FCW, 0x037b);         /* divide by zero unmasked */
    assert_int_equal(RUN("\xd9\xe8", &m), 0); /* fld1 */
    assert_int_equal(RUN("\xd9\xee", &m), 0); /* fldz */
    assert_int_equal(RUN("\xde\xf9", &m), 0); /* fdivrp: faults later */
    assert_true(le16_get(m.fx + X87_FSW) & FSW_ES);
    assert_int_equal(le64_get(m.fx + X87_FIP), 0x1000);
    assert_int_equal(le16_get(m.fx + X87_FOP), 0x6f9);
    assert_int_equal(RUN("\xdf\xe0", &m), 0); /* fnstsw doesn't wait */
    assert_true(m.r[RAX] & FSW_ES);
    assert_int_equal(RUN("\xd9\xe8", &m), EXC_MF);
    assert_int_equal(RUN("\x9b", &m), EXC_MF);
    assert_int_equal(RUN("\x0f\x6f\xc1", &m), EXC_MF); /* MMX */
    assert_int_equal(RUN("\x0f\x58\xc1", &m), 0);      /* SSE doesn't care */
    assert_int_equal(RUN("\xdb\xe2", &m), 0);          /* fnclex */
    assert_int_equal(RUN("\x9b", &m), 0);
}

static void environment_keeps_state(void **state)
{
    const uint8_t *ram = native_ram + NATIVE_MIDDLE;
    struct machine m, saved;

    for (unsigned n = 0; n < 100; n++) {
        random_machine(&m, false);
        le16_put(m.fx + X87_FOP, 0x123);
        le64_put(m.fx + X87_FIP, 0x89abcdef);
        le64_put(m.fx + X87_FDP, 0x76543210);
        saved = m;
        assert_int_equal(RUN("\xdd\x33", &m), 0); /* fnsave (%rbx) */
        assert_int_equal(le16_get(m.fx + X87_FCW), FCW_INIT);
        assert_int_equal(m.fx[X87_FTW], 0);
        assert_int_equal(le32_get(ram + 12), 0x89abcdef);
        assert_int_equal(le16_get(ram + 18), 0x123);
        assert_int_equal(le32_get(ram + 20), 0x76543210);
        assert_int_equal(RUN("\xdd\x23", &m), 0); /* frstor (%rbx) */
        assert_memory_equal(m.fx, saved.fx, X87_SIZE);
    }
    cpu->protected_mode = false; /* real format, 16 bits */
    random_machine(&m, false);
    le64_put(m.fx + X87_FIP, 0xabcde);
    le16_put(m.fx + X87_FOP, 0x7ff);
    assert_int_equal(RUN("\x66\xd9\x33", &m), 0); /* fnstenv (%rbx) */
    cpu->protected_mode = true;
    assert_int_equal(le16_get(ram + 6), 0xbcde);
    assert_int_equal(le16_get(ram + 8), 0xa7ff);
    assert_int_equal(le16_get(m.fx) & 0x3f, 0x3f);
}

static void save_areas_keep_state(void **state)
{
    struct machine m, saved, other;
    uint64_t features = cpu->features;

    cpu->features |= EMU_F(XSAVE);
    for (unsigned n = 0; n < 100; n++) {
        bool fx = n & 1;

        memset(native_ram, 0, NATIVE_SIZE);
        random_machine(&m, false);
        le64_put(m.fx + X87_FIP, native_random());
        le32_put(m.fx + 24, (uint32_t)native_random() & MXCSR_VALID);
        m.r[RAX] = 7;
        m.r[RDX] = 0;
        saved = m;
        assert_int_equal(fx ? RUN("\x48\x0f\xae\x03", &m) : RUN("\x48\x0f\xae\x23", &m), 0);
        random_machine(&other, false);
        other.r[RAX] = 7;
        other.r[RDX] = 0;
        assert_int_equal(fx ? RUN("\x48\x0f\xae\x0b", &other) : RUN("\x48\x0f\xae\x2b", &other), 0);
        assert_memory_equal(other.fx, saved.fx, 416);
        if (!fx)
            assert_memory_equal(other.high, saved.high, sizeof(saved.high));
    }
    /* Components that are not in the area are initialised, others stay. */
    le64_put(native_ram + NATIVE_MIDDLE + 512, XCR0_X87 | XCR0_SSE);
    other = m;
    other.r[RAX] = XCR0_AVX;
    other.r[RDX] = 0;
    le32_put(native_ram + NATIVE_MIDDLE + 24, MXCSR_INIT);
    assert_int_equal(RUN("\x48\x0f\xae\x2b", &other), 0);
    assert_memory_equal(other.fx + 160, m.fx + 160, 256);
    for (unsigned n = 0; n < 256; n++)
        assert_int_equal(other.high[n / 16][n % 16], 0);
    /* Reserved bits. */
    le32_put(native_ram + NATIVE_MIDDLE + 24, 0x10000);
    assert_int_equal(RUN("\x48\x0f\xae\x2b", &other), EXC_GP);
    assert_int_equal(RUN("\x48\x0f\xae\x0b", &other), EXC_GP);
    le32_put(native_ram + NATIVE_MIDDLE, 0x10000);
    assert_int_equal(RUN("\x0f\xae\x13", &other), EXC_GP);
    le32_put(native_ram + NATIVE_MIDDLE + 24, MXCSR_INIT);
    le64_put(native_ram + NATIVE_MIDDLE + 512, 8);
    assert_int_equal(RUN("\x48\x0f\xae\x2b", &other), EXC_GP);
    le64_put(native_ram + NATIVE_MIDDLE + 512, 0);
    le64_put(native_ram + NATIVE_MIDDLE + 520, BIT(63));
    assert_int_equal(RUN("\x48\x0f\xae\x2b", &other), EXC_GP);
    cpu->features = features;
}

static void exchange_format_keeps_state(void **state)
{
    static uint8_t a[X86_XSAVE_SIZE], b[X86_XSAVE_SIZE];
    struct machine m;

    random_machine(&m, false);
    assert_int_equal(RUN("\xd9\xd0", &m), 0); /* fnop: the CPU holds m now */
    emu_fpu_to_xsave(cpu, a);
    RUN("\xdb\xe3", &m); /* fninit */
    emu_fpu_from_xsave(cpu, a);
    emu_fpu_to_xsave(cpu, b);
    assert_memory_equal(a, b, sizeof(a));
}

static int setup(void **state)
{
    cpu = aligned_alloc(64, align_up(sizeof(*cpu), 64));
    memset(cpu, 0, sizeof(*cpu));
    native_init(cpu);
    return 0;
}

static int teardown(void **state)
{
    free(cpu);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_agrees),    cmocka_unit_test(unmasked_exceptions_wait),
        cmocka_unit_test(environment_keeps_state),     cmocka_unit_test(save_areas_keep_state),
        cmocka_unit_test(exchange_format_keeps_state),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
