/* The hardware task switch (SDM Vol. 3A 7.3). */
#include "box.h"

static struct box box;
static struct emu_cpu *c;

#define EFLAGS_B (FLAG_R1 | FLAG_CF)

/* Task B: a whole 32-bit TSS that resumes at HANDLER with its registers numbered. */
static void task_b(uint16_t cs, uint16_t ss)
{
    static const uint8_t order[6] = {SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS};

    le32_put(box.ram + TSS_B + 0x20, HANDLER);
    le32_put(box.ram + TSS_B + 0x24, EFLAGS_B);
    for (unsigned n = 0; n < 8; n++)
        le32_put(box.ram + TSS_B + 0x28 + 4 * n, 0x1000 + n);
    le32_put(box.ram + TSS_B + 0x28 + 4 * RSP, STACK0);
    for (unsigned n = 0; n < 6; n++) {
        uint16_t selector = order[n] == SEG_CS ? cs : order[n] == SEG_SS ? ss : DATA3;

        le16_put(box.ram + TSS_B + 0x48 + 4 * order[n], selector);
    }
    le16_put(box.ram + TSS_B + 0x60, LDT_SEL);
}

static int setup(void **state)
{
    (void)state;
    box_create(&box);
    c = box.c;
    box_protected(&box, 0);
    task_b(CODE0, DATA0);
    c->rflags = FLAG_R1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    box_destroy(&box);
    return 0;
}

static unsigned tss_type(uint16_t selector)
{
    return box.ram[GDT + selector + 5] & SEG_TYPE;
}

static int jump(bool call, uint16_t selector)
{
    return EXEC(&box, call ? 0x9a : 0xea, 0, 0, 0, 0, (uint8_t)selector, 0);
}

static void jmp(void **state)
{
    (void)state;
    c->r[RBX] = 0x55;
    assert_int_equal(jump(false, TSS_B_SEL), DONE);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    assert_int_equal(c->r[RBX], 0x1000 + RBX);
    assert_int_equal(c->r[RSP], STACK0);
    assert_int_equal(c->rflags, EFLAGS_B); /* not nested */
    assert_int_equal(c->seg[SEG_TR].selector, TSS_B_SEL);
    assert_int_equal(c->seg[SEG_LDTR].selector, LDT_SEL);
    assert_int_equal(c->seg[SEG_LDTR].base, LDT);
    assert_true(c->cr0 & CR0_TS);
    assert_int_equal(tss_type(TSS_SEL), DESC_TSS32);
    assert_int_equal(tss_type(TSS_B_SEL), DESC_TSS32_BUSY);
    assert_int_equal(box32(&box, TSS + 0x20), CODE + 7);
    assert_int_equal(box32(&box, TSS + 0x28 + 4 * RBX), 0x55);
    assert_int_equal(box32(&box, TSS + 0x4c), CODE0);
    assert_int_equal(jump(false, TSS_B_SEL), FAULT(EXC_GP, TSS_B_SEL)); /* busy */
}

static void call_and_iret(void **state)
{
    (void)state;
    assert_int_equal(jump(true, TSS_B_SEL), DONE);
    assert_int_equal(c->rflags, EFLAGS_B | FLAG_NT);
    assert_int_equal(le16_get(box.ram + TSS_B), TSS_SEL); /* back link */
    assert_int_equal(tss_type(TSS_SEL), DESC_TSS32_BUSY);
    assert_int_equal(tss_type(TSS_B_SEL), DESC_TSS32_BUSY);
    c->r[RAX] = 0x77;
    assert_int_equal(EXEC(&box, 0xcf), DONE);
    assert_int_equal(c->seg[SEG_TR].selector, TSS_SEL);
    assert_int_equal(c->r[X86_RIP_SLOT], CODE + 7);
    assert_int_equal(c->rflags, FLAG_R1);
    assert_int_equal(tss_type(TSS_SEL), DESC_TSS32_BUSY);
    assert_int_equal(tss_type(TSS_B_SEL), DESC_TSS32);
    assert_int_equal(box32(&box, TSS_B + 0x24), EFLAGS_B); /* saved without NT */
    assert_int_equal(box32(&box, TSS_B + 0x28), 0x77);
}

static void fault_through_task_gate(void **state)
{
    (void)state;
    box_gate(&box, IDT + EXC_GP * 8, SEG_P | DESC_TASK_GATE, TSS_B_SEL, 0, 0);
    c->r[RAX] = DATA3;
    assert_int_equal(STEP(&box, 0x8e, 0xd0), 0); /* mov ss, ax: #GP(20) */
    assert_int_equal(c->seg[SEG_TR].selector, TSS_B_SEL);
    assert_int_equal(c->r[RSP], STACK0 - 4);
    assert_int_equal(box32(&box, STACK0 - 4), DATA3 & ~3);
    assert_true(c->rflags & FLAG_NT);
    assert_int_equal(box32(&box, TSS + 0x20), CODE);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
}

static void call_through_task_gate(void **state)
{
    (void)state;
    box_gate(&box, GDT + GATE, SEG_P | DESC_TASK_GATE, TSS_B_SEL, 0, 0);
    assert_int_equal(jump(true, GATE), DONE);
    assert_int_equal(c->seg[SEG_TR].selector, TSS_B_SEL);
    assert_int_equal(le16_get(box.ram + TSS_B), TSS_SEL);
}

/* To privilege 3 in the other task. */
static void to_user_task(void **state)
{
    (void)state;
    task_b(CODE3, DATA3);
    assert_int_equal(jump(false, TSS_B_SEL), DONE);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->seg[SEG_SS].selector, DATA3);
}

static void errors_before_the_switch(void **state)
{
    (void)state;
    assert_int_equal(jump(false, TSS_SEL), FAULT(EXC_GP, TSS_SEL)); /* busy: the current one */
    box_descriptor(&box, GDT + TSS_B_SEL, TSS_B, 0x66, SEG_P | DESC_TSS32);
    assert_int_equal(jump(false, TSS_B_SEL), FAULT(EXC_TS, TSS_B_SEL));
    box_descriptor(&box, GDT + TSS_B_SEL, TSS_B, 0x67, DESC_TSS32);
    assert_int_equal(jump(false, TSS_B_SEL), FAULT(EXC_NP, TSS_B_SEL));
    c->rflags |= FLAG_NT;
    le16_put(box.ram + TSS, TSS_B_SEL); /* back link to a task that is not busy */
    box_descriptor(&box, GDT + TSS_B_SEL, TSS_B, 0x67, SEG_P | DESC_TSS32);
    assert_int_equal(EXEC(&box, 0xcf), FAULT(EXC_TS, TSS_B_SEL));
    assert_int_equal(c->r[X86_RIP_SLOT], CODE);
    assert_int_equal(c->seg[SEG_TR].selector, TSS_SEL);
}

/* After the commit point an exception belongs to the new task. */
static void errors_after_the_switch(void **state)
{
    (void)state;
    task_b(CODE0, DATA3);
    assert_int_equal(jump(false, TSS_B_SEL), FAULT(EXC_TS, DATA3 & ~3));
    assert_int_equal(c->seg[SEG_TR].selector, TSS_B_SEL);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
}

static void debug_trap(void **state)
{
    (void)state;
    le16_put(box.ram + TSS_B + 0x64, 1);
    assert_int_equal(jump(false, TSS_B_SEL), FAULT(EXC_DB, 0));
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    assert_true(c->dr[6] & DR6_BT);
}

static void sixteen_bit_tss(void **state)
{
    (void)state;
    box_descriptor(&box, GDT + TSS_B_SEL, TSS_B, 0x2b, SEG_P | DESC_TSS16);
    memset(box.ram + TSS_B, 0, 0x2c);
    le16_put(box.ram + TSS_B + 0x0e, 0x1234);
    le16_put(box.ram + TSS_B + 0x10, EFLAGS_B);
    le16_put(box.ram + TSS_B + 0x12, 0xaaaa);
    le16_put(box.ram + TSS_B + 0x24, CODE0);
    le16_put(box.ram + TSS_B + 0x26, DATA0);
    le16_put(box.ram + TSS_B + 0x28, DATA0);
    assert_int_equal(jump(false, TSS_B_SEL), DONE);
    assert_int_equal(c->r[X86_RIP_SLOT], 0x1234);
    assert_int_equal(c->r[RAX] & 0xffff, 0xaaaa);
    assert_int_equal(c->seg[SEG_DS].selector, DATA0);
    assert_true(c->seg[SEG_FS].attrib & SEG_UNUSABLE);
    assert_int_equal(tss_type(TSS_B_SEL), DESC_TSS16_BUSY);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(jmp),
        T(call_and_iret),
        T(fault_through_task_gate),
        T(call_through_task_gate),
        T(to_user_task),
        T(errors_before_the_switch),
        T(errors_after_the_switch),
        T(debug_trap),
        T(sixteen_bit_tss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
