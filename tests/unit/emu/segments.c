/* Segment loads and far transfers, with every kind of error (SDM Vol. 2 MOV,
 * CALL, RET, IRET; Vol. 3A chapter 5). */
#include "box.h"

static struct box box;
static struct emu_cpu *c;

static int setup(void **state)
{
    (void)state;
    box_create(&box);
    c = box.c;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    box_destroy(&box);
    return 0;
}

#define MOV_DS_AX 0x8e, 0xd8
#define MOV_SS_AX 0x8e, 0xd0

static int load(unsigned seg, uint16_t selector)
{
    c->r[RAX] = selector;
    return EXEC(&box, 0x8e, (uint8_t)(0xc0 | seg << 3));
}

static void real_mode_loads(void **state)
{
    (void)state;
    c->r[RAX] = 0x1234;
    assert_int_equal(EXEC(&box, MOV_DS_AX), DONE);
    assert_int_equal(c->seg[SEG_DS].base, 0x12340);
    assert_int_equal(c->seg[SEG_DS].limit, 0xffff);
    assert_int_equal(EXEC(&box, 0xea, 0x00, 0x80, 0x00, 0x10), DONE); /* jmp 1000:8000 */
    assert_int_equal(c->seg[SEG_CS].base, 0x10000);
    assert_int_equal(c->r[X86_RIP_SLOT], 0x8000);
}

static void data_loads(void **state)
{
    (void)state;
    box_protected(&box, 0);
    assert_int_equal(load(SEG_DS, DATA3), DONE);
    assert_int_equal(box.ram[GDT + (DATA3 & ~3) + 5] & 1, 1); /* accessed */
    assert_int_equal(load(SEG_DS, 0), DONE);
    assert_true(c->seg[SEG_DS].attrib & SEG_UNUSABLE);
    assert_int_equal(load(SEG_ES, READ_ONLY), DONE);
    assert_int_equal(load(SEG_FS, CODE0), DONE);
    assert_int_equal(load(SEG_FS, EXECUTE_ONLY), FAULT(EXC_GP, EXECUTE_ONLY));
    assert_int_equal(load(SEG_GS, ABSENT), FAULT(EXC_NP, ABSENT));
    assert_int_equal(load(SEG_GS, GDT_END), FAULT(EXC_GP, GDT_END));
    assert_int_equal(load(SEG_GS, TSS_SEL), FAULT(EXC_GP, TSS_SEL));
    assert_int_equal(load(SEG_GS, DATA0 | 4), FAULT(EXC_GP, DATA0 | 4)); /* no LDT */
    assert_int_equal(EXEC(&box, 0x8e, 0xc8), FAULT(EXC_UD, 0));          /* mov cs, ax */
}

static void data_loads_check_privilege(void **state)
{
    (void)state;
    box_protected(&box, 3);
    assert_int_equal(load(SEG_DS, DATA0 | 3), FAULT(EXC_GP, DATA0));
    assert_int_equal(load(SEG_DS, CODE0), FAULT(EXC_GP, CODE0));
    assert_int_equal(load(SEG_DS, CONFORMING), DONE);
    assert_int_equal(load(SEG_DS, DATA3), DONE);
    assert_int_equal(c->r[X86_RIP_SLOT], CODE + 4); /* faults stay where they were */
}

static void stack_loads(void **state)
{
    (void)state;
    box_protected(&box, 0);
    assert_int_equal(load(SEG_SS, DATA0), DONE);
    assert_int_equal(c->intr.shadow, 1);
    assert_int_equal(EXEC(&box, 0xfc), DONE);
    assert_int_equal(c->intr.shadow, 0);
    assert_int_equal(load(SEG_SS, 0), FAULT(EXC_GP, 0));
    assert_int_equal(load(SEG_SS, DATA0 | 3), FAULT(EXC_GP, DATA0));
    assert_int_equal(load(SEG_SS, DATA3), FAULT(EXC_GP, DATA3 & ~3));
    assert_int_equal(load(SEG_SS, READ_ONLY), FAULT(EXC_GP, READ_ONLY));
    assert_int_equal(load(SEG_SS, CODE0), FAULT(EXC_GP, CODE0));
    assert_int_equal(load(SEG_SS, ABSENT), FAULT(EXC_SS, ABSENT));
}

static void null_stack_in_64_bit_mode(void **state)
{
    (void)state;
    box_long(&box, 0);
    assert_int_equal(load(SEG_SS, 0), DONE);
    assert_int_equal(load(SEG_SS, 3), FAULT(EXC_GP, 0));
    box_long(&box, 3);
    assert_int_equal(load(SEG_SS, 3), FAULT(EXC_GP, 0));
}

static void pop_and_pointers(void **state)
{
    (void)state;
    box_protected(&box, 0);
    c->r[RSP] = STACK - 4;
    le32_put(box.ram + STACK - 4, DATA3);
    assert_int_equal(EXEC(&box, 0x1f), DONE); /* pop ds */
    assert_int_equal(c->seg[SEG_DS].selector, DATA3);
    assert_int_equal(c->r[RSP], STACK);
    le32_put(box.ram + STACK, ABSENT);
    assert_int_equal(EXEC(&box, 0x07), FAULT(EXC_NP, ABSENT)); /* pop es */
    assert_int_equal(c->r[RSP], STACK);
    c->r[RBX] = DATA;
    c->r[RSI] = 7;
    le32_put(box.ram + DATA, 0x12345678);
    le16_put(box.ram + DATA + 4, ABSENT);
    assert_int_equal(EXEC(&box, 0x0f, 0xb4, 0x33), FAULT(EXC_NP, ABSENT)); /* lfs esi, [ebx] */
    assert_int_equal(c->r[RSI], 7);
    le16_put(box.ram + DATA + 4, DATA0);
    assert_int_equal(EXEC(&box, 0x0f, 0xb4, 0x33), DONE);
    assert_int_equal(c->r[RSI], 0x12345678);
    assert_int_equal(c->seg[SEG_FS].selector, DATA0);
}

static int far_jump(uint16_t selector, uint32_t offset)
{
    uint8_t code[7] = {0xea};

    le32_put(code + 1, offset);
    le16_put(code + 5, selector);
    return box_exec(&box, code, sizeof(code));
}

static void far_jumps(void **state)
{
    (void)state;
    box_protected(&box, 0);
    assert_int_equal(far_jump(0, HANDLER), FAULT(EXC_GP, 0));
    assert_int_equal(far_jump(DATA0, HANDLER), FAULT(EXC_GP, DATA0));
    assert_int_equal(far_jump(CODE3, HANDLER), FAULT(EXC_GP, CODE3 & ~3));
    assert_int_equal(far_jump(CODE0 | 3, HANDLER), FAULT(EXC_GP, CODE0));
    assert_int_equal(far_jump(ABSENT_CODE, HANDLER), FAULT(EXC_NP, ABSENT_CODE));
    assert_int_equal(far_jump(LDT_SEL, HANDLER), FAULT(EXC_GP, LDT_SEL));
    box_descriptor(&box, GDT + EXECUTE_ONLY, 0, 0xfff, SEG_P | SEG_S | SEG_TYPE_CODE);
    assert_int_equal(far_jump(EXECUTE_ONLY, HANDLER), FAULT(EXC_GP, 0)); /* past its limit */
    assert_int_equal(c->r[X86_RIP_SLOT], CODE);
    assert_int_equal(far_jump(CONFORMING | 3, HANDLER), DONE);
    assert_int_equal(c->seg[SEG_CS].selector, CONFORMING); /* RPL becomes CPL */
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    box_protected(&box, 3);
    assert_int_equal(far_jump(CODE0, HANDLER), FAULT(EXC_GP, CODE0));
    assert_int_equal(far_jump(CONFORMING, HANDLER), DONE);
    assert_int_equal(c->cpl, 3);
}

#define CALL_GATE 0x9a, 0, 0, 0, 0, GATE, 0

static void call_gate_to_inner(void **state)
{
    (void)state;
    box_protected(&box, 3);
    box_gate(&box, GDT + GATE, SEG_P | SEG_DPL | DESC_CALL32, CODE0, HANDLER, 2);
    le32_put(box.ram + STACK, 0x11111111); /* pushed last: at the lower address */
    le32_put(box.ram + STACK + 4, 0x22222222);
    assert_int_equal(EXEC(&box, CALL_GATE), DONE);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->seg[SEG_CS].selector, CODE0);
    assert_int_equal(c->seg[SEG_SS].selector, DATA0);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    assert_int_equal(c->r[RSP], STACK0 - 24);
    assert_int_equal(box32(&box, STACK0 - 4), DATA3);
    assert_int_equal(box32(&box, STACK0 - 8), STACK);
    assert_int_equal(box32(&box, STACK0 - 12), 0x22222222);
    assert_int_equal(box32(&box, STACK0 - 16), 0x11111111);
    assert_int_equal(box32(&box, STACK0 - 20), CODE3);
    assert_int_equal(box32(&box, STACK0 - 24), CODE + 7);

    c->seg[SEG_DS] = c->seg[SEG_SS];                /* privilege 0: may not be kept */
    assert_int_equal(EXEC(&box, 0xca, 8, 0), DONE); /* retf 8 */
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->seg[SEG_CS].selector, CODE3);
    assert_int_equal(c->seg[SEG_SS].selector, DATA3);
    assert_int_equal(c->r[RSP], STACK + 8);
    assert_int_equal(c->r[X86_RIP_SLOT], CODE + 7);
    assert_true(c->seg[SEG_DS].attrib & SEG_UNUSABLE);
    assert_int_equal(c->seg[SEG_ES].selector, DATA3);
}

static void call_gate_errors(void **state)
{
    (void)state;
    box_protected(&box, 3);
    box_gate(&box, GDT + GATE, SEG_P | DESC_CALL32, CODE0, HANDLER, 0);
    assert_int_equal(EXEC(&box, CALL_GATE), FAULT(EXC_GP, GATE)); /* gate's DPL */
    box_gate(&box, GDT + GATE, SEG_DPL | DESC_CALL32, CODE0, HANDLER, 0);
    assert_int_equal(EXEC(&box, CALL_GATE), FAULT(EXC_NP, GATE));
    box_gate(&box, GDT + GATE, SEG_P | SEG_DPL | DESC_CALL32, 0, HANDLER, 0);
    assert_int_equal(EXEC(&box, CALL_GATE), FAULT(EXC_GP, 0));
    box_gate(&box, GDT + GATE, SEG_P | SEG_DPL | DESC_CALL32, DATA0, HANDLER, 0);
    assert_int_equal(EXEC(&box, CALL_GATE), FAULT(EXC_GP, DATA0));
    box_gate(&box, GDT + GATE, SEG_P | SEG_DPL | DESC_CALL32, CODE0, HANDLER, 0);
    assert_int_equal(far_jump(GATE, 0), FAULT(EXC_GP, CODE0)); /* JMP keeps privilege */
    le16_put(box.ram + TSS + 8, DATA3);
    assert_int_equal(EXEC(&box, CALL_GATE), FAULT(EXC_TS, DATA3 & ~3));
    le16_put(box.ram + TSS + 8, ABSENT);
    assert_int_equal(EXEC(&box, CALL_GATE), FAULT(EXC_SS, ABSENT));
    c->seg[SEG_TR].limit = 8;
    assert_int_equal(EXEC(&box, CALL_GATE), FAULT(EXC_TS, TSS_SEL));
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->r[RSP], STACK);
}

static void call_gate_in_long_mode(void **state)
{
    (void)state;
    box_long(&box, 3);
    box_gate(&box, GDT + GATE, SEG_P | SEG_DPL | DESC_CALL32, CODE64_0, HANDLER, 0);
    le16_put(box.ram + DATA + 4, GATE);
    c->r[RBX] = DATA;
    assert_int_equal(EXEC(&box, 0xff, 0x1b), DONE); /* call far [rbx] */
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->seg[SEG_SS].selector, 0);
    assert_int_equal(c->r[RSP], STACK0 - 32);
    assert_int_equal(box64(&box, STACK0 - 8), DATA3);
    assert_int_equal(box64(&box, STACK0 - 16), STACK);
    assert_int_equal(box64(&box, STACK0 - 24), CODE64_3);
    assert_int_equal(box64(&box, STACK0 - 32), CODE + 2);
    assert_int_equal(EXEC(&box, 0x48, 0xcb), DONE); /* retfq */
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->r[RSP], STACK);
    box_gate(&box, GDT + GATE, SEG_P | SEG_DPL | DESC_CALL32, CODE0, HANDLER, 0);
    assert_int_equal(EXEC(&box, 0xff, 0x1b), FAULT(EXC_GP, CODE0)); /* not a 64-bit segment */
}

static void queries(void **state)
{
    (void)state;
    box_protected(&box, 3);
    c->r[RAX] = DATA3;
    assert_int_equal(EXEC(&box, 0x0f, 0x03, 0xc8), DONE); /* lsl ecx, eax */
    assert_true(c->rflags & FLAG_ZF);
    assert_int_equal(c->r[RCX], UINT32_MAX);
    assert_int_equal(EXEC(&box, 0x0f, 0x02, 0xc8), DONE); /* lar ecx, eax */
    assert_int_equal(c->r[RCX], 0x00cff200);
    c->r[RAX] = DATA0;
    assert_int_equal(EXEC(&box, 0x0f, 0x02, 0xc8), DONE);
    assert_false(c->rflags & FLAG_ZF);
    assert_int_equal(c->r[RCX], 0x00cff200);
    c->r[RAX] = CODE3;
    assert_int_equal(EXEC(&box, 0x0f, 0x00, 0xe0), DONE); /* verr ax */
    assert_true(c->rflags & FLAG_ZF);
    assert_int_equal(EXEC(&box, 0x0f, 0x00, 0xe8), DONE); /* verw ax */
    assert_false(c->rflags & FLAG_ZF);
    c->r[RAX] = DATA0;
    c->r[RCX] = 3;
    assert_int_equal(EXEC(&box, 0x63, 0xc8), DONE); /* arpl ax, cx */
    assert_true(c->rflags & FLAG_ZF);
    assert_int_equal(c->r[RAX], DATA0 | 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(real_mode_loads),
        T(data_loads),
        T(data_loads_check_privilege),
        T(stack_loads),
        T(null_stack_in_64_bit_mode),
        T(pop_and_pointers),
        T(far_jumps),
        T(call_gate_to_inner),
        T(call_gate_errors),
        T(call_gate_in_long_mode),
        T(queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
