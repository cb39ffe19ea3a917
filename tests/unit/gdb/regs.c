/* Registers by gdb's numbers: their order, their values, and what may be changed. */
#include "gdb/regs.h"

#include "base/bits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mote_state state;

static int setup(void **s)
{
    x86_state_reset(&state);
    return 0;
}

/* The name of register n in the description, where the order is the number. */
static const char *name_of(const char *xml, unsigned n)
{
    static char name[32];

    for (unsigned i = 0; xml; i++) {
        xml = strstr(xml, "<reg name=\"");
        if (!xml)
            break;
        xml += strlen("<reg name=\"");
        if (i == n) {
            snprintf(name, sizeof(name), "%.*s", (int)strcspn(xml, "\""), xml);
            return name;
        }
    }
    return "";
}

/* Its number, with AVX. */
static unsigned number_of(const char *name)
{
    char *xml = malloc(16384);
    unsigned n = 0;

    assert_true(gdb_regs_describe(true, xml, 16384));
    while (strcmp(name_of(xml, n), name)) {
        assert_true(*name_of(xml, n));
        n++;
    }
    free(xml);
    return n;
}

static struct gdb_reg reg_of(const char *name)
{
    struct gdb_reg reg;

    assert_true(gdb_reg_find(number_of(name), true, &reg));
    return reg;
}

static uint64_t get(const char *name)
{
    struct gdb_reg reg = reg_of(name);
    uint8_t value[GDB_REG_SIZE] = {0};

    gdb_reg_read(&reg, &state, value);
    return le64_get(value);
}

static int set(const char *name, uint64_t value)
{
    struct gdb_reg reg = reg_of(name);
    uint8_t bytes[GDB_REG_SIZE] = {0};

    le64_put(bytes, value);
    return gdb_reg_write(&reg, &state, bytes);
}

/* GDB manual G.5.? and its amd64 numbers: the core's are fixed. */
static void numbers(void **s)
{
    struct gdb_reg reg;

    assert_int_equal(number_of("rax"), 0);
    assert_int_equal(number_of("rsp"), 7);
    assert_int_equal(number_of("r8"), 8);
    assert_int_equal(number_of("rip"), 16);
    assert_int_equal(number_of("eflags"), 17);
    assert_int_equal(number_of("cs"), 18);
    assert_int_equal(number_of("gs"), 23);
    assert_int_equal(number_of("st0"), 24);
    assert_int_equal(number_of("fctrl"), 32);
    assert_int_equal(number_of("xmm0"), 40);
    assert_int_equal(number_of("mxcsr"), 56);
    assert_true(gdb_reg_find(number_of("efer"), true, &reg));
    assert_false(gdb_reg_find(number_of("efer") + 1, true, &reg));
    assert_false(gdb_reg_find(number_of("efer") - 15, false, &reg)); /* without YMM */
    assert_true(gdb_reg_find(number_of("efer") - 16, false, &reg));
}

static void values(void **s)
{
    state.gpr[RSI] = 4;
    state.rip = 0xffffffff81000000;
    state.seg[SEG_FS].selector = 0x2b;
    state.seg[SEG_GS].base = 0xffff888000000000;
    state.msr.kernel_gs_base = 7;
    state.cr3 = 0x1000;
    state.msr.efer = EFER_LMA;
    assert_int_equal(get("rsi"), 4);
    assert_int_equal(get("rip"), 0xffffffff81000000);
    assert_int_equal(get("eflags"), 2);
    assert_int_equal(get("fs"), 0x2b);
    assert_int_equal(get("gs_base"), 0xffff888000000000);
    assert_int_equal(get("k_gs_base"), 7);
    assert_int_equal(get("cr3"), 0x1000);
    assert_int_equal(get("efer"), EFER_LMA);
    assert_int_equal(get("mxcsr"), 0x1f80);
    assert_int_equal(get("fctrl"), 0x37f);
}

static void what_may_change(void **s)
{
    assert_int_equal(set("r15", 9), 0);
    assert_int_equal(state.gpr[R15], 9);
    assert_int_equal(set("rip", UINT64_C(1) << 63), -EPERM);
    assert_int_equal(set("fs_base", UINT64_C(1) << 47), -EPERM);
    assert_int_equal(set("gs_base", 5), 0);
    assert_int_equal(state.seg[SEG_GS].base, 5);
    assert_int_equal(set("eflags", 0xffffffff), 0);
    assert_int_equal(state.rflags & FLAG_VM, 0);
    assert_int_equal(state.rflags & FLAG_STATUS, FLAG_STATUS);
    assert_int_equal(state.rflags & FLAG_R1, FLAG_R1);
    assert_int_equal(set("cs", 8), -EPERM);
    assert_int_equal(set("cs", state.seg[SEG_CS].selector), 0);
    assert_int_equal(set("cr0", 0), -EPERM);
    assert_int_equal(set("cr4", 0x20), -EPERM);
    assert_int_equal(set("efer", 1), -EPERM);
    assert_int_equal(set("cr3", UINT64_C(1) << 52), -EPERM);
    assert_int_equal(set("cr3", 0x2000), 0);
    assert_int_equal(set("cr8", 16), -EPERM);
    assert_int_equal(set("mxcsr", 0x10000), -EPERM);
}

static void x87(void **s)
{
    state.xsave[2] = 0;
    state.xsave[3] = 6 << 3;    /* top is 6 */
    state.xsave[4] = 0xc0;      /* registers 6 and 7: ST0, ST1 */
    state.xsave[32 + 7] = 0x80; /* ST0 = 1.0, valid */
    le16_put(&state.xsave[32 + 8], 0x3fff);
    assert_int_equal(get("ftag"), 0x4fff); /* ST1 is zero */
    le16_put(&state.xsave[48 + 8], 0x7fff);
    assert_int_equal(get("ftag"), 0x8fff); /* special */
    assert_int_equal(set("ftag", 0xfffc), 0);
    assert_int_equal(state.xsave[4], 1);
    assert_int_equal(set("fop", 0xffff), 0);
    assert_int_equal(get("fop"), 0x7ff);
    assert_int_equal(set("st1", 0x1234), 0);
    assert_int_equal(le64_get(&state.xsave[48]), 0x1234);
}

/* A component that is not in the XSAVE area has its initial value. */
static void upper_halves(void **s)
{
    memset(state.xsave + 576, 0xaa, 256);
    assert_int_equal(get("ymm3h"), 0);
    assert_int_equal(set("ymm3h", 5), 0);
    assert_int_equal(get("ymm3h"), 5);
    assert_int_equal(get("ymm4h"), 0);
    assert_int_equal(state.xsave[512], XCR0_X87 | XCR0_SSE | XCR0_AVX);
}

static void a_small_buffer_is_too_small(void **s)
{
    char xml[16384];
    size_t size;

    assert_true(gdb_regs_describe(true, xml, sizeof(xml)));
    size = strlen(xml);
    assert_true(gdb_regs_describe(true, xml, size + 1));
    assert_false(gdb_regs_describe(true, xml, size));
    assert_true(gdb_regs_describe(false, xml, sizeof(xml)));
    assert_null(strstr(xml, "ymm"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(numbers, setup),
        cmocka_unit_test_setup(values, setup),
        cmocka_unit_test_setup(what_may_change, setup),
        cmocka_unit_test_setup(x87, setup),
        cmocka_unit_test_setup(upper_halves, setup),
        cmocka_unit_test_setup(a_small_buffer_is_too_small, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
