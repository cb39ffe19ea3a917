/* Interrupts and exceptions on their way in and out, in every mode (SDM Vol. 3A
 * chapter 6, Vol. 2A INT n and IRET). */
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

static void gate(unsigned vector, unsigned attrib, uint16_t selector, unsigned ist)
{
    box_gate(&box, IDT + vector * (c->long_mode ? 16 : 8), attrib, selector, HANDLER, ist);
}

static void real_mode(void **state)
{
    (void)state;
    c->idtr = (struct mote_table){.limit = 0x3ff};
    le32_put(box.ram + 0x21 * 4, 0x20001234);
    c->rflags = FLAG_R1 | FLAG_IF | FLAG_CF;
    assert_int_equal(EXEC(&box, 0xcd, 0x21), DONE);
    assert_int_equal(c->seg[SEG_CS].selector, 0x2000);
    assert_int_equal(c->r[X86_RIP_SLOT], 0x1234);
    assert_int_equal(c->r[RSP], 0x6ffa);
    assert_int_equal(le16_get(box.ram + 0x6ffe), FLAG_R1 | FLAG_IF | FLAG_CF);
    assert_int_equal(le16_get(box.ram + 0x6ffc), 0);
    assert_int_equal(le16_get(box.ram + 0x6ffa), 0x8002);
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_CF);
    assert_int_equal(EXEC(&box, 0xcf), DONE);
    assert_int_equal(c->r[X86_RIP_SLOT], 0x8002);
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_IF | FLAG_CF);
    c->idtr.limit = 0x21 * 4 + 2;
    assert_int_equal(EXEC(&box, 0xcd, 0x21), FAULT(EXC_GP, 0x21 * 8 + 2));
}

static void int_to_inner_and_iret(void **state)
{
    (void)state;
    box_protected(&box, 3);
    gate(0x80, SEG_P | SEG_DPL | DESC_INT32, CODE0, 0);
    c->rflags = FLAG_R1 | FLAG_IF | FLAG_NT;
    assert_int_equal(EXEC(&box, 0xcd, 0x80), DONE);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    assert_int_equal(c->r[RSP], STACK0 - 20);
    assert_int_equal(c->rflags, FLAG_R1);
    assert_int_equal(box32(&box, STACK0 - 4), DATA3);
    assert_int_equal(box32(&box, STACK0 - 8), STACK);
    assert_int_equal(box32(&box, STACK0 - 12), FLAG_R1 | FLAG_IF | FLAG_NT);
    assert_int_equal(box32(&box, STACK0 - 16), CODE3);
    assert_int_equal(box32(&box, STACK0 - 20), CODE + 2);
    assert_int_equal(EXEC(&box, 0xcf), DONE);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->r[RSP], STACK);
    assert_int_equal(c->r[X86_RIP_SLOT], CODE + 2);
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_IF | FLAG_NT);
}

static void int_errors(void **state)
{
    (void)state;
    box_protected(&box, 3);
    gate(0x80, SEG_P | DESC_INT32, CODE0, 0);
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_GP, 0x402)); /* gate's DPL, no EXT */
    gate(0x80, SEG_DPL | DESC_INT32, CODE0, 0);
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_NP, 0x402));
    gate(0x80, SEG_P | SEG_DPL | DESC_CALL32, CODE0, 0);
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_GP, 0x402));
    gate(0x80, SEG_P | SEG_DPL | DESC_INT32, 0, 0);
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_GP, 0));
    gate(0x80, SEG_P | SEG_DPL | DESC_INT32, DATA0, 0);
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_GP, DATA0));
    gate(0x80, SEG_P | SEG_DPL | DESC_INT32, ABSENT_CODE, 0);
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_NP, ABSENT_CODE));
    c->idtr.limit = 0x80 * 8 + 6;
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_GP, 0x402));
    assert_int_equal(c->r[X86_RIP_SLOT], CODE);
    assert_int_equal(c->r[RSP], STACK);
}

static void trap_gate_keeps_if(void **state)
{
    (void)state;
    box_protected(&box, 0);
    gate(3, SEG_P | DESC_TRAP32, CODE0, 0);
    c->rflags = FLAG_R1 | FLAG_IF | FLAG_TF;
    emu_deliver(c, 3, EMU_EVENT_EXTERNAL, false, 0);
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_IF);
    assert_int_equal(c->r[RSP], STACK - 12); /* same privilege, same stack */
}

/* A fault pushes its error code and RF, and returns to the instruction itself. */
static void fault_frame(void **state)
{
    (void)state;
    box_protected(&box, 3);
    gate(EXC_GP, SEG_P | DESC_INT32, CODE0, 0);
    c->rflags = FLAG_R1;
    assert_int_equal(STEP(&box, 0xf4), 0); /* hlt at CPL 3 */
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    assert_int_equal(box32(&box, STACK0 - 12), FLAG_R1 | FLAG_RF);
    assert_int_equal(box32(&box, STACK0 - 20), CODE);
    assert_int_equal(box32(&box, STACK0 - 24), 0);
    assert_int_equal(c->delivering, -1);
}

static void double_and_triple_fault(void **state)
{
    (void)state;
    box_protected(&box, 0);
    gate(EXC_GP, SEG_P | DESC_INT32, DATA0, 0); /* its handler cannot be entered: #GP again */
    gate(EXC_DF, SEG_P | DESC_INT32, CODE0, 0);
    c->r[RAX] = DATA3;
    assert_int_equal(STEP(&box, 0x8e, 0xd0), 0); /* mov ss, ax */
    assert_int_equal(c->r[X86_RIP_SLOT], HANDLER);
    assert_int_equal(box32(&box, c->r[RSP]), 0); /* #DF's error code */
    assert_int_equal(box32(&box, c->r[RSP] + 4), CODE);
    assert_int_equal(c->r[RSP], STACK - 16);
    gate(EXC_DF, DESC_INT32, CODE0, 0); /* not present */
    assert_int_equal(STEP(&box, 0x8e, 0xd0), VCPU_EXIT_SHUTDOWN);
}

static void benign_faults_do_not_double(void **state)
{
    (void)state;
    box_protected(&box, 0);
    gate(EXC_UD, DESC_INT32, CODE0, 0); /* not present: #NP, and no #DF */
    gate(EXC_NP, SEG_P | DESC_INT32, CODE0, 0);
    assert_int_equal(STEP(&box, 0x0f, 0x0b), 0);
    assert_int_equal(box32(&box, c->r[RSP]), EXC_UD * 8 + 3); /* IDT and EXT */
    assert_int_equal(box32(&box, c->r[RSP] + 4), CODE);
}

static void escalation_table(void **state)
{
    static const struct {
        int first;
        uint8_t second;
        int result; /* vector, -1: triple fault */
    } row[] = {
        {-1, EXC_GP, EXC_GP},     {EXC_DB, EXC_GP, EXC_GP}, {EXC_UD, EXC_PF, EXC_PF},
        {EXC_GP, EXC_UD, EXC_UD}, {EXC_GP, EXC_NP, EXC_DF}, {EXC_DE, EXC_TS, EXC_DF},
        {EXC_SS, EXC_PF, EXC_PF}, {EXC_PF, EXC_GP, EXC_DF}, {EXC_PF, EXC_PF, EXC_DF},
        {EXC_PF, EXC_UD, EXC_UD}, {EXC_DF, EXC_GP, -1},     {EXC_DF, EXC_PF, -1},
        {EXC_DF, EXC_UD, EXC_UD}, {0x80, EXC_GP, EXC_GP},
    };

    (void)state;
    for (unsigned n = 0; n < ARRAY_SIZE(row); n++) {
        c->delivering = row[n].first;
        c->event = (struct mote_event){.kind = X86_EVENT_EXCEPTION, .vector = row[n].second};
        assert_int_equal(emu_escalate(c), row[n].result >= 0);
        if (row[n].result >= 0)
            assert_int_equal(c->event.vector, row[n].result);
        if (row[n].result == EXC_DF)
            assert_true(c->event.has_error && !c->event.error);
    }
}

/* A delivery that cannot push leaves the CPU as it was. */
static void failed_push_changes_nothing(void **state)
{
    struct mote_seg ss;

    (void)state;
    box_protected(&box, 3);
    gate(0x80, SEG_P | SEG_DPL | DESC_INT32, CODE0, 0);
    box_descriptor(&box, GDT + DATA0, 0, 15, SEG_P | SEG_S | SEG_TYPE_RW);
    le32_put(box.ram + TSS + 4, 16); /* room for four pushes of five */
    ss = c->seg[SEG_SS];
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_SS, DATA0));
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->r[RSP], STACK);
    assert_int_equal(c->r[X86_RIP_SLOT], CODE);
    assert_memory_equal(&c->seg[SEG_SS], &ss, sizeof(ss));
}

static void vm86_in_and_out(void **state)
{
    static const uint8_t order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint32_t frame[9] = {0x100, 0x2000, FLAG_R1 | FLAG_VM | FLAG_IF, 0x8000, 0x2800, 1, 2, 3, 4};

    (void)state;
    box_protected(&box, 0);
    memcpy(box.ram + STACK, frame, sizeof(frame));
    assert_int_equal(EXEC(&box, 0xcf), DONE);
    assert_true(c->vm86);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->seg_base[SEG_CS], 0x20000);
    for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
        assert_int_equal(c->seg[order[n]].selector, frame[4 + n]);
    assert_int_equal(c->seg[SEG_DS].base, 0x20);
    assert_int_equal(c->r[RSP], 0x8000);

    gate(EXC_GP, SEG_P | DESC_INT32, CODE0, 0);
    assert_int_equal(STEP(&box, 0xcd, 0x21), 0); /* IOPL 0: #GP(0) */
    assert_false(c->vm86);
    assert_int_equal(c->r[RSP], STACK0 - 40);
    assert_int_equal(box32(&box, STACK0 - 4), 4);
    assert_int_equal(box32(&box, STACK0 - 16), 1);
    assert_int_equal(box32(&box, STACK0 - 20), 0x2800);
    assert_int_equal(box32(&box, STACK0 - 24), 0x8000);
    assert_true(box32(&box, STACK0 - 28) & FLAG_VM);
    assert_int_equal(box32(&box, STACK0 - 36), 0x100);
    assert_int_equal(box32(&box, STACK0 - 40), 0);
    assert_true(c->seg[SEG_DS].attrib & SEG_UNUSABLE);
}

static void long_mode_same_stack(void **state)
{
    (void)state;
    box_long(&box, 0);
    gate(0x30, SEG_P | DESC_INT32, CODE64_0, 0);
    c->r[RSP] = STACK - 4; /* aligned by delivery */
    c->rflags = FLAG_R1 | FLAG_IF;
    emu_deliver(c, 0x30, EMU_EVENT_EXTERNAL, false, 0);
    assert_int_equal(c->r[RSP], STACK - 16 - 40);
    assert_int_equal(box64(&box, STACK - 24), DATA0);
    assert_int_equal(box64(&box, STACK - 32), STACK - 4);
    assert_int_equal(box64(&box, STACK - 40), FLAG_R1 | FLAG_IF);
    assert_int_equal(box64(&box, STACK - 48), CODE64_0);
    assert_int_equal(box64(&box, STACK - 56), CODE);
    assert_int_equal(c->rflags, FLAG_R1);
    assert_int_equal(EXEC(&box, 0x48, 0xcf), DONE); /* iretq */
    assert_int_equal(c->r[RSP], STACK - 4);
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_IF);
}

static void long_mode_inner_and_ist(void **state)
{
    (void)state;
    box_long(&box, 3);
    gate(EXC_PF, SEG_P | DESC_INT32, CODE64_0, 0);
    gate(0x80, SEG_P | SEG_DPL | DESC_TRAP32, CODE64_0, 1);
    c->rflags = FLAG_R1 | FLAG_IF;
    assert_int_equal(EXEC(&box, 0xcd, 0x80), DONE);
    assert_int_equal(c->r[RSP], STACK_IST - 8 - 40);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->seg[SEG_SS].selector, 0);
    assert_int_equal(c->rflags, FLAG_R1 | FLAG_IF); /* trap gate */
    assert_int_equal(EXEC(&box, 0x48, 0xcf), DONE);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->seg[SEG_SS].selector, DATA3);
    assert_int_equal(c->r[RSP], STACK);

    c->r[RAX] = 0x40000000; /* not mapped */
    assert_int_equal(STEP(&box, 0x8b, 0x00), 0);
    assert_int_equal(c->cr2, 0x40000000);
    assert_int_equal(c->r[RSP], STACK0 - 48);
    assert_int_equal(box64(&box, STACK0 - 48), PF_U);
    assert_int_equal(box64(&box, STACK0 - 40), CODE + 2);
}

static void long_mode_errors(void **state)
{
    (void)state;
    box_long(&box, 3);
    gate(0x80, SEG_P | SEG_DPL | DESC_INT32, CODE0, 0);
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_GP, CODE0)); /* not 64-bit */
    gate(0x80, SEG_P | SEG_DPL | DESC_TASK_GATE, TSS_B_SEL, 0);
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_GP, 0x402));
    gate(0x80, SEG_P | SEG_DPL | DESC_INT32, CODE64_0, 0);
    c->seg[SEG_TR].limit = 10;
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_TS, TSS_SEL));
    c->seg[SEG_TR].limit = 0x67;
    le64_put(box.ram + TSS + 4, BIT(60));
    assert_int_equal(EXEC(&box, 0xcd, 0x80), FAULT(EXC_SS, 0));
    c->rflags |= FLAG_NT;
    assert_int_equal(EXEC(&box, 0x48, 0xcf), FAULT(EXC_GP, 0));
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->r[RSP], STACK);
}

static void iret_guards_privilege(void **state)
{
    (void)state;
    box_long(&box, 3);
    le64_put(box.ram + STACK, HANDLER);
    le64_put(box.ram + STACK + 8, CODE64_0);
    le64_put(box.ram + STACK + 16, FLAG_R1 | FLAG_IF | FLAG_IOPL);
    le64_put(box.ram + STACK + 24, STACK);
    le64_put(box.ram + STACK + 32, DATA3);
    assert_int_equal(EXEC(&box, 0x48, 0xcf), FAULT(EXC_GP, CODE64_0));
    le64_put(box.ram + STACK + 8, CODE64_3);
    c->rflags = FLAG_R1;
    assert_int_equal(EXEC(&box, 0x48, 0xcf), DONE);
    assert_int_equal(c->rflags, FLAG_R1); /* neither IF nor IOPL */
    le64_put(box.ram + STACK, BIT(50));
    assert_int_equal(EXEC(&box, 0x48, 0xcf), FAULT(EXC_GP, 0)); /* rip not canonical */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(real_mode),
        T(int_to_inner_and_iret),
        T(int_errors),
        T(trap_gate_keeps_if),
        T(fault_frame),
        T(double_and_triple_fault),
        T(benign_faults_do_not_double),
        T(escalation_table),
        T(failed_push_changes_nothing),
        T(vm86_in_and_out),
        T(long_mode_same_stack),
        T(long_mode_inner_and_ist),
        T(long_mode_errors),
        T(iret_guards_privilege),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
