/*
 * I/O, MMIO and memory through the seam, on every accelerator. The tests of the
 * seam expect what the architecture and accel.h say, not what one engine does.
 */
#include "fixture.h"

#include "base/bits.h"

#include <errno.h>

GUEST(out8, 16, "mov $0x55,%al; out %al,$0x80; hlt")
GUEST(out16, 16, "mov $0x1234,%ax; mov $0x3f8,%dx; out %ax,(%dx); hlt")
GUEST(out32, 16, "mov $0xdeadbeef,%eax; mov $0xcf8,%dx; out %eax,(%dx); hlt")
GUEST(in8, 16, "mov $-1,%eax; in $0x80,%al; hlt")
GUEST(in16, 16, "mov $-1,%eax; in $0x80,%ax; hlt")
GUEST(in32, 64, "mov $-1,%rax; in $0x80,%eax; hlt")
GUEST(outsb, 16,
      "mov $text,%si; mov $3,%cx; mov $0x3f8,%dx; cld; rep outsb; hlt\n"
      "text = 0x1000 + . - g_outsb; .ascii \"abc\"")
GUEST(insw, 16,
      "mov $0x3000,%di; mov $2,%cx; mov $0x1f0,%dx; cld; rep insw\n"
      "mov 0x3000,%eax; hlt")
GUEST(insd_down, 16,
      "mov $0x3004,%di; mov $2,%cx; mov $0x1f0,%dx; std; rep insl\n"
      "mov 0x3000,%eax; hlt")
GUEST(rd8, 16, "mov $0x2000,%bx; mov %bx,%ds; mov $-1,%eax; movb 4,%al; hlt")
GUEST(rd16, 16, "mov $0x2000,%bx; mov %bx,%ds; mov $-1,%eax; movw 6,%ax; hlt")
GUEST(rd32, 16, "mov $0x2000,%bx; mov %bx,%ds; movl 8,%eax; hlt")
GUEST(rd64, 64, "mov 0x20010,%rax; hlt")
GUEST(wr8, 16, "mov $0x2000,%bx; mov %bx,%ds; movb $0x7f,5; hlt")
GUEST(wr16, 16, "mov $0x2000,%bx; mov %bx,%ds; movw $0x1234,6; hlt")
GUEST(wr32, 16, "mov $0x2000,%bx; mov %bx,%ds; movl $0x12345678,8; hlt")
GUEST(wr64, 64, "movabs $0x1122334455667788,%rax; mov %rax,0x20018; hlt")
GUEST(movzx, 64, "movzwl 0x20000,%eax; hlt")
GUEST(add, 16, "mov $0x2000,%bx; mov %bx,%ds; addb $3,4; hlt")
GUEST(movs, 16,
      "mov $0x2000,%bx; mov %bx,%es; mov $text2,%si; xor %di,%di; mov $2,%cx\n"
      "cld; rep movsb; mov %di,%ax; movzx %ax,%eax; hlt\n"
      "text2 = 0x1000 + . - g_movs; .ascii \"xy\"")

#define GUEST_ROW(name) #name, g_##name, g_##name##_end
static const struct {
    const char *name;
    const uint8_t *code, *end;
    bool long_mode;
    bool check_rax;
    uint64_t rax; /* at the end */
    struct access access[4];
} accesses[] = {
    {GUEST_ROW(out8), false, false, 0, {OUT(1, 0x80, 0x55)}},
    {GUEST_ROW(out16), false, false, 0, {OUT(2, 0x3f8, 0x1234)}},
    {GUEST_ROW(out32), false, false, 0, {OUT(4, 0xcf8, 0xdeadbeef)}},
    {GUEST_ROW(in8), false, true, 0xffffff42, {IN(1, 0x80, 0x42)}},
    {GUEST_ROW(in16), false, true, 0xffff4243, {IN(2, 0x80, 0x4243)}},
    {GUEST_ROW(in32), true, true, 0x84858687, {IN(4, 0x80, 0x84858687)}},
    {GUEST_ROW(outsb),
     false,
     false,
     0,
     {OUT(1, 0x3f8, 'a'), OUT(1, 0x3f8, 'b'), OUT(1, 0x3f8, 'c')}},
    {GUEST_ROW(insw), false, true, 0xbbbbaaaa, {IN(2, 0x1f0, 0xaaaa), IN(2, 0x1f0, 0xbbbb)}},
    {GUEST_ROW(insd_down),
     false,
     true,
     0x22222222,
     {IN(4, 0x1f0, 0x11111111), IN(4, 0x1f0, 0x22222222)}},
    {GUEST_ROW(rd8), false, true, 0xffffff01, {RD(1, HOLE + 4, 1)}},
    {GUEST_ROW(rd16), false, true, 0xffff0102, {RD(2, HOLE + 6, 0x102)}},
    {GUEST_ROW(rd32), false, true, 0x1020304, {RD(4, HOLE + 8, 0x1020304)}},
    {GUEST_ROW(rd64),
     true,
     true,
     UINT64_C(0x1020304050607),
     {RD(8, HOLE + 16, UINT64_C(0x1020304050607))}},
    {GUEST_ROW(wr8), false, false, 0, {WR(1, HOLE + 5, 0x7f)}},
    {GUEST_ROW(wr16), false, false, 0, {WR(2, HOLE + 6, 0x1234)}},
    {GUEST_ROW(wr32), false, false, 0, {WR(4, HOLE + 8, 0x12345678)}},
    {GUEST_ROW(wr64), true, false, 0, {WR(8, HOLE + 24, UINT64_C(0x1122334455667788))}},
    {GUEST_ROW(movzx), true, true, 0xfffe, {RD(2, HOLE, 0xfffe)}},
    {GUEST_ROW(add), false, false, 0, {RD(1, HOLE + 4, 0xfe), WR(1, HOLE + 4, 1)}},
    {GUEST_ROW(movs), false, true, 2, {WR(1, HOLE, 'x'), WR(1, HOLE + 1, 'y')}},
};

static void makes_its_accesses(void **state)
{
    const struct accel *accel = accel_of(state);

    for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++) {
        struct script script = {accesses[i].access};
        const struct accel_bus_ops ops = PLAY(&script);
        size_t size = (size_t)(accesses[i].end - accesses[i].code);
        struct vcpu_exit exit;
        struct fixture f;

        fixture_create(&f, accel);
        if (accesses[i].long_mode)
            fixture_long(&f, accesses[i].code, size);
        else
            fixture_real(&f, accesses[i].code, size);
        do {
            exit = fixture_expect(&f, script.next->size == 0 ? VCPU_EXIT_HALT
                                      : script.next->mmio    ? VCPU_EXIT_MMIO
                                                             : VCPU_EXIT_IO);
            if (exit.reason == VCPU_EXIT_IO) {
                assert_int_equal(exit.io.port, script.next->address);
                assert_int_equal(exit.io.size, script.next->size);
                assert_int_equal(exit.io.in, !script.next->write);
            } else if (exit.reason == VCPU_EXIT_MMIO) {
                assert_int_equal(exit.mem.gpa.v, script.next->address);
                assert_int_equal(exit.mem.write, script.next->write);
            }
            if (exit.reason != VCPU_EXIT_HALT)
                assert_int_equal(vcpu_assist(f.v, &ops), 0);
        } while (exit.reason != VCPU_EXIT_HALT);
        if (accesses[i].check_rax)
            assert_int_equal(fixture_gpr(&f, RAX), accesses[i].rax);
        fixture_destroy(&f);
    }
}

static int refuse(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    return -EIO;
}

static void unanswered_reads_are_ones(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, in8);
    f.v->state->gpr[RAX] = 0;
    fixture_expect(&f, VCPU_EXIT_IO);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffffff);

    RUN_REAL(&f, rd32);
    fixture_expect(&f, VCPU_EXIT_MMIO);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffffff);

    RUN_REAL(&f, in8); /* a state that is set is the state that runs: the IN once more */
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(vcpu_set(f.v, X86_GPRS), 0);
    fixture_expect(&f, VCPU_EXIT_IO);
    fixture_destroy(&f);
}

/* A callback's error comes back, and the access can still be answered. */
static void refused_access_can_be_retried(void **state)
{
    const struct accel_bus_ops refusing = {.io = refuse};
    const struct access answer = IN(1, 0x80, 0x42);
    struct script script = {&answer};
    const struct accel_bus_ops ops = PLAY(&script);
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, in8);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &refusing), -EIO);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffff42);
    fixture_destroy(&f);
}

/* Registers read after an assist hold its result, and a change made then stays. */
static void state_around_an_access(void **state)
{
    const struct access answer = IN(1, 0x80, 0x42);
    struct script script = {&answer};
    const struct accel_bus_ops ops = PLAY(&script);
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, in8);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, CODE + 6); /* at the IN */
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffff42);
    assert_int_equal(f.v->state->rip, CODE + 8);
    f.v->state->gpr[RBX] = 7;
    assert_int_equal(vcpu_set(f.v, X86_GPRS), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffff42);
    assert_int_equal(fixture_gpr(&f, RBX), 7);
    fixture_destroy(&f);
}

GUEST(peek_poke, 16, "mov 0x3000,%al; movb $9,0x3000; mov 0x3000,%ah; hlt")

static void read_only_slot(void **state)
{
    static uint8_t rom[0x1000] __attribute__((aligned(4096))) = {5};
    const struct access write = WR(1, 0x13000, 9);
    struct script script = {&write};
    const struct accel_bus_ops ops = PLAY(&script);
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    assert_int_equal(machine_map(f.m, GPA(0x13000), 0x1000, rom, MEM_READ | MEM_EXEC), 0);
    RUN_REAL(&f, peek_poke);
    f.v->state->seg[SEG_DS].selector = 0x1000;
    f.v->state->seg[SEG_DS].base = 0x10000;
    exit = fixture_expect(&f, VCPU_EXIT_MMIO);
    assert_int_equal(exit.mem.gpa.v, 0x13000);
    assert_true(exit.mem.write);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX) & 0xffff, 0x0505);
    assert_int_equal(rom[0], 5);
    fixture_destroy(&f);
}

static void map_and_unmap(void **state)
{
    static uint8_t more[0x2000] __attribute__((aligned(4096)));
    struct fixture f;

    fixture_create(&f, accel_of(state));
    assert_int_equal(machine_map(f.m, GPA(0xf000), 0x2000, more, MEM_RWX), -EEXIST);
    assert_int_equal(machine_map(f.m, GPA(HOLE), 0, more, MEM_RWX), -EINVAL);
    assert_int_equal(machine_unmap(f.m, GPA(HOLE)), -ENOENT);
    assert_int_equal(machine_unmap(f.m, GPA(0x1000)), -ENOENT);
    assert_int_equal(machine_map(f.m, GPA(HOLE), 0x2000, more, MEM_RWX), 0);
    more[8] = 0x77;
    RUN_REAL(&f, rd32);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0x77);
    assert_int_equal(machine_unmap(f.m, GPA(HOLE)), 0);
    RUN_REAL(&f, rd32);
    fixture_expect(&f, VCPU_EXIT_MMIO);
    fixture_destroy(&f);
}

static void translates(void **state)
{
    gpa_t gpa = GPA(0);
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, rd64);
    assert_int_equal(vcpu_translate(f.v, 0x1234, &gpa), 0);
    assert_int_equal(gpa.v, 0x1234);
    assert_int_equal(vcpu_translate(f.v, 0x12345678, &gpa), -EFAULT);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_its_accesses),
        cmocka_unit_test(unanswered_reads_are_ones),
        cmocka_unit_test(refused_access_can_be_retried),
        cmocka_unit_test(state_around_an_access),
        cmocka_unit_test(read_only_slot),
        cmocka_unit_test(map_and_unmap),
        cmocka_unit_test(translates),
    };

    return fixture_run_all("access", tests, ARRAY_SIZE(tests));
}
