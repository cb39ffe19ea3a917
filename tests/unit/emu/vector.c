/*
 * Every row of the vector table, in every encoding it has, by the interpreter
 * and on the bare CPU: all vector registers, general registers, flags, MXCSR,
 * MMX registers and memory must agree.
 */
#include "native.h"

#include "emu/fpu.h"
#include "emu/vector_table.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ROUNDS 12

static struct emu_cpu *cpu;
static unsigned forms, skipped;

/* ---- encodings -------------------------------------------------------- */

struct choice {
    bool vex, l, w, mem;
    unsigned reg, h, rm;
};

/* Any register but RSP and RBX for general ones, 0-7 for MMX. */
static unsigned pick_register(unsigned kind)
{
    unsigned n = native_random() & 15;

    if (kind == VEC_M)
        return n & 7;
    if (kind == VEC_G && (n == RSP || n == RBX))
        return RAX;
    return n;
}

static unsigned encode(const struct vec_row *row, const struct choice *x, uint8_t *out)
{
    static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
    unsigned at = 0, b = x->mem ? RBX : x->rm;

    memset(out, 0, 16);
    if (x->vex) {
        out[at++] = 0xc4;
        out[at++] = (uint8_t)((x->reg & 8 ? 0 : 0x80) | 0x40 | (b & 8 ? 0 : 0x20) | row->map);
        out[at++] = (uint8_t)(x->w << 7 | (~x->h & 15) << 3 | x->l << 2 | row->pp);
    } else {
        if (row->pp)
            out[at++] = prefix[row->pp];
        out[at++] = (uint8_t)(0x40 | x->w << 3 | (x->reg & 8) >> 1 | (b & 8) >> 3);
        out[at++] = 0x0f;
        if (row->map != X86_MAP_0F)
            out[at++] = row->map == X86_MAP_0F38 ? 0x38 : 0x3a;
    }
    out[at++] = row->opcode;
    out[at++] = (uint8_t)((x->mem ? 0 : 0xc0) | (x->reg & 7) << 3 | (b & 7));
    out[at] = (uint8_t)native_random(); /* the immediate, where there is one */
    return at;
}

/* One encoding choice of a row with random registers, some rounds; returns false when it is not
 * encodable or not offered here. */
static bool run_choice(const struct vec_row *row, struct choice x, uint32_t mxcsr)
{
    const struct vec_operands *o = &vec_operands[row->form];
    bool h = vec_has_h(row, x.mem), ran = false;
    uint8_t code[16];
    struct machine m;
    struct emu_op op;

    for (unsigned n = 0; n < ROUNDS; n++) {
        x.reg = row->ext != VEC_ANY ? row->ext : pick_register(o->reg);
        x.rm = pick_register(o->rm);
        x.h = h ? pick_register(VEC_X) : 0;
        encode(row, &x, code);
        if (native_bind(cpu, code, &op) != 0)
            return false;
        native_random_machine(&m);
        le32_put(m.fx + 24, mxcsr);
        native_random_bytes(native_ram + NATIVE_MIDDLE, 64);
        if (o->reg == VEC_M || (o->rm == VEC_M && !(x.mem && row->opcode == 0x2a))) {
            native_random_bytes(m.fx + X87_ST, 128);
            m.fx[X87_FTW] = (uint8_t)native_random();
            le16_put(m.fx + X87_FSW, (uint16_t)((native_random() & 7) << FSW_TOP_SHIFT));
        }
        if (x.mem && row->opcode == 0x2a) /* CVTPI2PS from memory may or may not begin MMX use */
            m.fx[X87_FTW] = 0xff;
        native_both(cpu, code, &op, &m, false);
        ran = true;
    }
    return ran;
}

static void run_row(const struct vec_row *row, uint32_t mxcsr)
{
    bool any = false;

    for (unsigned n = 0; n < 16; n++) {
        struct choice x = {.vex = n & 1, .l = n & 2, .w = n & 4, .mem = n & 8};

        if ((x.vex ? row->vex : row->legacy) == VEC_NO || (!x.vex && x.l) ||
            (x.mem ? !row->size : row->flags & VEC_NOREG))
            continue;
        if (run_choice(row, x, mxcsr)) {
            forms++;
            any = true;
        }
    }
    skipped += !any;
}

static void every_row_agrees(void **state)
{
    for (unsigned n = 0; n < vec_row_count; n++)
        run_row(&vec_rows[n], MXCSR_INIT);
    print_message("%u rows, %u not on this CPU; %u forms, %u runs\n", vec_row_count, skipped, forms,
                  native_count.runs);
    assert_true(forms > vec_row_count);
    assert_int_equal(native_count.failures, 0);
}

static void rounding_and_traps_agree(void **state)
{
    static const uint32_t controls[] = {0x3f80, 0x5f80, 0x7f80, 0x9f80, 0x1fc0, 0xffc0,
                                        0x1fbf, 0x1f00, 0x1e80, 0x1d80, 0x1b80, 0x1780,
                                        0x0f80, 0x0000, 0x9780, 0x003f, 0x1000};

    native_count.traps = 0;
    for (unsigned c = 0; c < ARRAY_SIZE(controls); c++) {
        for (unsigned n = 0; n < vec_row_count; n++)
            if (vec_rows[n].flags & VEC_FP)
                run_row(&vec_rows[n], controls[c]);
    }
    print_message("%u traps\n", native_count.traps);
    assert_true(native_count.traps > 0);
    assert_int_equal(native_count.failures, 0);
}

/* ---- those without a row ---------------------------------------------- */

static void special_instructions_agree(void **state)
{
    static const struct {
        const char *bytes;
        unsigned len;
        bool small_index;
    } list[] = {
#define S(s) {s, sizeof(s) - 1, false}
#define SI(s)                                                                                      \
    {                                                                                              \
        s, sizeof(s) - 1, true                                                                     \
    }
        S("\x0f\x77"),                      /* emms */
        S("\xc5\xf8\x77"),                  /* vzeroupper */
        S("\xc5\xfc\x77"),                  /* vzeroall */
        S("\x0f\xc3\x0b"),                  /* movnti %ecx, (%rbx) */
        S("\x4c\x0f\xc3\x4b\x10"),          /* movnti %r9, 16(%rbx) */
        S("\xf2\x0f\x38\xf0\xcd"),          /* crc32 %ch, %ecx */
        S("\xf2\x48\x0f\x38\xf0\xce"),      /* crc32 %sil, %rcx */
        S("\x66\xf2\x0f\x38\xf1\xca"),      /* crc32 %dx, %ecx */
        S("\xf2\x0f\x38\xf1\x0b"),          /* crc32 (%rbx), %ecx */
        S("\xf2\x4c\x0f\x38\xf1\x0b"),      /* crc32 (%rbx), %r9 */
        S("\x66\x0f\xf7\xca"),              /* maskmovdqu %xmm2, %xmm1 */
        S("\xc5\xf9\xf7\xca"),              /* vmaskmovdqu */
        S("\x0f\xf7\xca"),                  /* maskmovq %mm2, %mm1 */
        S("\xc4\xe2\x69\x2c\x0b"),          /* vmaskmovps (%rbx), %xmm2, %xmm1 */
        S("\xc4\xe2\x6d\x2c\x0b"),          /* ... ymm */
        S("\xc4\xe2\x69\x2d\x0b"),          /* vmaskmovpd */
        S("\xc4\xe2\x6d\x2d\x0b"),          /* ... */
        S("\xc4\xe2\x69\x2e\x0b"),          /* ... stores */
        S("\xc4\xe2\x6d\x2e\x0b"),          /* ... */
        S("\xc4\xe2\x69\x2f\x0b"),          /* ... */
        S("\xc4\xe2\x6d\x2f\x0b"),          /* ... */
        S("\xc4\xe2\x69\x8c\x0b"),          /* vpmaskmovd */
        S("\xc4\xe2\xed\x8c\x0b"),          /* vpmaskmovq */
        S("\xc4\xe2\x6d\x8e\x0b"),          /* ... stores */
        S("\xc4\xe2\xe9\x8e\x0b"),          /* ... */
        SI("\xc4\xe2\x69\x90\x0c\x23"),     /* vpgatherdd %xmm2, (%rbx,%xmm4), %xmm1 */
        SI("\xc4\xe2\x6d\x90\x0c\x63"),     /* ... ymm, scale 2 */
        SI("\xc4\xe2\xe9\x90\x0c\x23"),     /* vpgatherdq */
        SI("\xc4\xe2\xed\x90\x0c\xa3"),     /* ... */
        SI("\xc4\xe2\x69\x91\x4c\x23\x20"), /* vpgatherqd, displacement */
        SI("\xc4\xe2\x6d\x91\x0c\x23"),     /* ... */
        SI("\xc4\xe2\xe9\x91\x0c\x23"),     /* vpgatherqq */
        SI("\xc4\xe2\xed\x91\x0c\xe3"),     /* ... */
        SI("\xc4\xe2\x69\x92\x0c\x23"),     /* vgatherdps */
        SI("\xc4\xe2\xed\x92\x0c\x23"),     /* vgatherdpd */
        SI("\xc4\xe2\x6d\x93\x0c\x23"),     /* vgatherqps */
        SI("\xc4\xe2\xe9\x93\x0c\x23"),     /* vgatherqpd */
        S("\x0f\xae\x13"),                  /* ldmxcsr (%rbx) */
        S("\x0f\xae\x1b"),                  /* stmxcsr (%rbx) */
        S("\xc5\xf8\xae\x1b"),              /* vstmxcsr (%rbx) */
        S("\x48\x0f\xae\x0b"),              /* fxrstor64 (%rbx) */
    };
    unsigned before = native_count.failures;

    for (unsigned n = 0; n < ARRAY_SIZE(list); n++) {
        for (unsigned round = 0; round < ROUNDS; round++) {
            uint8_t code[16] = {0};
            struct machine m;
            struct emu_op op;

            memcpy(code, list[n].bytes, list[n].len);
            if (native_bind(cpu, code, &op) != 0) {
                skipped++;
                break;
            }
            assert_int_equal(op.i.len, list[n].len);
            native_random_machine(&m);
            native_random_bytes(m.fx + X87_ST, 128);
            native_random_bytes(native_ram + NATIVE_MIDDLE - 1024, 2048);
            le32_put(native_ram + NATIVE_MIDDLE + 24, MXCSR_VALID);
            le32_put(native_ram + NATIVE_MIDDLE,
                     0x9fc1); /* for LDMXCSR; as FCW and FSW all masked */
            if (list[n].small_index) {
                bool wide = op.i.opcode & 1;

                for (unsigned at = 0; at < 32; at += wide ? 8 : 4) {
                    int64_t v = (int64_t)(native_random() & 127) - 64;
                    uint8_t *half = at < 16 ? m.fx + 160 + 16 * 4 : m.high[4];

                    memcpy(half + (at & 15), &v, wide ? 8 : 4);
                }
            }
            native_both(cpu, code, &op, &m, true);
        }
    }
    assert_int_equal(native_count.failures, before);
}

/* ---- what is refused -------------------------------------------------- */

static int trap_of(const char *bytes, unsigned len)
{
    uint8_t code[16] = {0};
    struct machine m;
    struct emu_op op;

    memcpy(code, bytes, len);
    assert_int_equal(native_bind(cpu, code, &op), 0);
    native_random_machine(&m);
    m.r[RBX] = NATIVE_GPA + 1;
    native_emulate(cpu, &op, &m);
    return m.trap;
}

static bool claimed(const char *bytes, unsigned len)
{
    uint8_t code[16] = {0};
    struct emu_op op;

    memcpy(code, bytes, len);
    return native_bind(cpu, code, &op) == 0;
}

#define TRAP(s)    trap_of(s, sizeof(s) - 1)
#define CLAIMED(s) claimed(s, sizeof(s) - 1)

static void control_registers_refuse(void **state)
{
    uint64_t cr0 = cpu->cr0, cr4 = cpu->cr4, features = cpu->features;

    assert_int_equal(TRAP("\x0f\x28\x03"), EXC_GP); /* movaps (%rbx) misaligned */
    assert_int_equal(TRAP("\x0f\x58\x03"), EXC_GP); /* addps */
    assert_int_equal(TRAP("\x0f\x10\x03"), 0);      /* movups */
    cpu->cr0 |= CR0_TS;
    emu_vectors_changed(cpu);
    assert_int_equal(TRAP("\x0f\x58\xc1"), EXC_NM);
    assert_int_equal(TRAP("\x0f\x6f\xc1"), EXC_NM); /* MMX movq */
    assert_int_equal(TRAP("\xd9\xe8"), EXC_NM);     /* fld1 */
    assert_int_equal(TRAP("\x9b"), EXC_NM);         /* fwait: MP and TS */
    cpu->cr0 = cr0 | CR0_EM;
    emu_vectors_changed(cpu);
    assert_int_equal(TRAP("\x0f\x58\xc1"), EXC_UD);
    assert_int_equal(TRAP("\x0f\x6f\xc1"), EXC_UD);
    assert_int_equal(TRAP("\xd9\xe8"), EXC_NM);
    cpu->cr0 = cr0;
    cpu->cr4 = cr4 & ~(uint64_t)CR4_OSFXSR;
    emu_vectors_changed(cpu);
    assert_int_equal(TRAP("\x0f\x58\xc1"), EXC_UD);
    assert_int_equal(TRAP("\x0f\x6f\xc1"), 0);
    cpu->cr4 = cr4 & ~(uint64_t)CR4_OSXSAVE;
    emu_vectors_changed(cpu);
    if (features & EMU_F(AVX))
        assert_int_equal(TRAP("\xc5\xf8\x58\xc1"), EXC_UD);
    cpu->cr4 = cr4;
    emu_vectors_changed(cpu);
    cpu->features = features & ~EMU_F(SSE41);
    assert_false(CLAIMED("\x66\x0f\x38\x17\xc1")); /* ptest */
    cpu->features = features & ~EMU_F(AVX2);
    assert_false(CLAIMED("\xc5\xfd\xef\xc1")); /* vpxor ymm */
    cpu->features = features;
    if (features & EMU_F(AVX)) {
        assert_true(CLAIMED("\xc5\xf8\x58\xc1"));
        assert_false(CLAIMED("\xc5\xf0\x28\xc1")); /* vmovaps with vvvv */
        assert_false(CLAIMED("\xc5\xfd\x6e\xc1")); /* vmovd with L */
        cpu->protected_mode = false;
        assert_false(CLAIMED("\xc5\xf8\x58\xc1"));
        cpu->protected_mode = true;
    }
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
        cmocka_unit_test(every_row_agrees),
        cmocka_unit_test(rounding_and_traps_agree),
        cmocka_unit_test(special_instructions_agree),
        cmocka_unit_test(control_registers_refuse),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
