/*
 * Tiny guests through the seam, on every accelerator. What they expect is the
 * architecture and accel.h, not what one engine happens to do.
 */
#include "fixture.h"

#include "base/bits.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* Guest code, assembled into this test's read-only data. */
#define GUEST(name, mode, text)                                                                    \
    __asm__(".pushsection .rodata\n.global g_" #name ", g_" #name "_end\ng_" #name                 \
            ":\n.code" #mode "\n" text "\ng_" #name "_end:\n.code64\n.popsection\n");              \
    extern const uint8_t g_##name[], g_##name##_end[];
#define RUN_REAL(f, name) fixture_real(f, g_##name, (size_t)(g_##name##_end - g_##name))
#define RUN_LONG(f, name) fixture_long(f, g_##name, (size_t)(g_##name##_end - g_##name))

#define UNKNOWN_MSR 0x4d4f5445u

static void *accel_of(void **state)
{
    fixture_require(*state);
    alarm(60); /* a guest that never comes back fails the test */
    return *state;
}

/* ---- I/O and MMIO: the accesses a guest makes, in order ---- */

struct access {
    bool mmio, write;
    uint8_t size;
    uint32_t address;
    uint64_t value; /* that is written, or that the read is answered with */
};
#define OUT(size, port, value)                                                                     \
    {                                                                                              \
        false, true, size, port, value                                                             \
    }
#define IN(size, port, value)                                                                      \
    {                                                                                              \
        false, false, size, port, value                                                            \
    }
#define WR(size, gpa, value)                                                                       \
    {                                                                                              \
        true, true, size, gpa, value                                                               \
    }
#define RD(size, gpa, value)                                                                       \
    {                                                                                              \
        true, false, size, gpa, value                                                              \
    }

struct script {
    const struct access *next;
};

static int play(struct script *s, bool mmio, uint64_t address, unsigned size, bool write,
                uint64_t *data)
{
    const struct access *a = s->next++;

    assert_int_equal(a->mmio, mmio);
    assert_int_equal(a->write, write);
    assert_int_equal(a->address, address);
    assert_int_equal(a->size, size);
    if (write)
        assert_int_equal(*data, a->value);
    else
        *data = a->value;
    return 0;
}

static int play_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    return play(user, false, port, size, write, data);
}

static int play_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    return play(user, true, gpa.v, size, write, data);
}

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
        const struct accel_bus_ops ops = {play_io, play_mmio, &script};
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
    const struct accel_bus_ops refusing = {.io = refuse};
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, in8);
    f.v->state->gpr[RAX] = 0;
    assert_int_equal(vcpu_assist(f.v, &refusing), -EINVAL); /* nothing to answer */
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &refusing), -EIO);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffffff);

    RUN_REAL(&f, rd32);
    fixture_expect(&f, VCPU_EXIT_MMIO);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffffff);
    fixture_destroy(&f);
}

/* Registers read after an assist hold its result, and a change made then stays. */
static void state_around_an_access(void **state)
{
    const struct access answer = IN(1, 0x80, 0x42);
    struct script script = {&answer};
    const struct accel_bus_ops ops = {play_io, play_mmio, &script};
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

/* ---- memory ---- */

GUEST(peek_poke, 16, "mov 0x3000,%al; movb $9,0x3000; mov 0x3000,%ah; hlt")

static void read_only_slot(void **state)
{
    static uint8_t rom[0x1000] __attribute__((aligned(4096))) = {5};
    const struct access write = WR(1, 0x13000, 9);
    struct script script = {&write};
    const struct accel_bus_ops ops = {play_io, play_mmio, &script};
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

/* ---- halting, failing, stopping ---- */

GUEST(halts, 16, "hlt; mov $1,%bx; hlt; mov $2,%bx; hlt")

static void halts_and_goes_on(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, halts);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, CODE + 1);
    assert_int_equal(f.v->state->gpr[RBX], 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 1);
    f.v->state->rip = CODE; /* back to the start */
    f.v->state->gpr[RBX] = 5;
    assert_int_equal(vcpu_set(f.v, X86_GPRS), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 5);
    assert_int_equal(f.v->state->rip, CODE + 1);
    fixture_destroy(&f);
}

/* In long mode: KVM's emulator of real mode does not look at the IDT's limit. */
GUEST(fault64, 64, "ud2")

static void triple_fault(void **state)
{
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, fault64);
    f.v->state->idtr.limit = 0;
    fixture_expect(&f, VCPU_EXIT_SHUTDOWN);
    fixture_destroy(&f);
}

GUEST(spin, 16, "1: inc %bx; jmp 1b")

static void *kick_later(void *v)
{
    usleep(20000);
    vcpu_kick(v);
    return NULL;
}

static void kick_stops_a_loop(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;
    pthread_t thread;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, spin);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&thread, NULL, kick_later, f.v), 0);
        assert_int_equal(vcpu_run(f.v, &exit), 0);
        assert_int_equal(exit.reason, VCPU_EXIT_NONE);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    fixture_destroy(&f);
}

static void kick_before_run(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, halts);
    vcpu_kick(f.v);
    vcpu_kick(f.v);
    assert_int_equal(vcpu_run(f.v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, CODE);
    assert_int_equal(vcpu_run(f.v, &exit), 0); /* two kicks, one stop */
    assert_int_equal(exit.reason, VCPU_EXIT_HALT);
    fixture_destroy(&f);
}

/* Reading state in between must not swallow a kick. */
static void kick_survives_a_get(void **state)
{
    const struct access answer = IN(1, 0x80, 0x42);
    struct script script = {&answer};
    const struct accel_bus_ops ops = {play_io, play_mmio, &script};
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_REAL(&f, in8);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    vcpu_kick(f.v);
    assert_int_equal(fixture_gpr(&f, RAX), 0xffffff42);
    assert_int_equal(vcpu_run(f.v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    fixture_expect(&f, VCPU_EXIT_HALT);
    fixture_destroy(&f);
}

/* ---- MSRs ---- */

GUEST(rdmsr, 16, "mov $0x4d4f5445,%ecx; rdmsr; hlt")
GUEST(wrmsr, 16, "mov $0x4d4f5445,%ecx; mov $1,%eax; mov $2,%edx; wrmsr; hlt")
GUEST(handler, 16, "mov $0x77,%bx; hlt")

static void set_vector(struct fixture *f, unsigned vector, uint16_t ip)
{
    uint8_t entry[4] = {(uint8_t)ip, (uint8_t)(ip >> 8), 0, 0};

    assert_int_equal(guest_mem_write(&f->m->mem, GPA(vector * 4), entry, 4), 0);
}

static void set_handler(struct fixture *f, unsigned vector)
{
    size_t size = (size_t)(g_handler_end - g_handler);

    assert_int_equal(guest_mem_write(&f->m->mem, GPA(0x2000), g_handler, size), 0);
    set_vector(f, vector, 0x2000);
}

static void unknown_msrs_exit(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, EXC_GP);
    RUN_REAL(&f, rdmsr);
    exit = fixture_expect(&f, VCPU_EXIT_RDMSR);
    assert_int_equal(exit.msr.index, UNKNOWN_MSR);
    assert_int_equal(vcpu_complete_msr(f.v, UINT64_C(0x1122334455667788), false), 0);
    assert_int_equal(vcpu_complete_msr(f.v, 0, false), -EINVAL); /* once only */
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0x55667788);
    assert_int_equal(fixture_gpr(&f, RDX), 0x11223344);

    RUN_REAL(&f, wrmsr);
    exit = fixture_expect(&f, VCPU_EXIT_WRMSR);
    assert_int_equal(exit.msr.index, UNKNOWN_MSR);
    assert_int_equal(exit.msr.value, UINT64_C(0x200000001));
    assert_int_equal(vcpu_complete_msr(f.v, 0, false), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0);

    RUN_REAL(&f, wrmsr);
    fixture_expect(&f, VCPU_EXIT_WRMSR);
    assert_int_equal(vcpu_complete_msr(f.v, 0, true), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77); /* through #GP's handler */
    fixture_destroy(&f);
}

/* ---- events ---- */

GUEST(sti_hlt, 16, "sti; hlt; mov $1,%bx; hlt")
GUEST(masked, 16, "out %al,$0x80; sti; nop; 1: jmp 1b")

static const struct x86_event intr_0x20 = {.kind = X86_EVENT_INTR, .vector = 0x20};

static void interrupt_after_halt(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, 0x20);
    RUN_REAL(&f, sti_hlt);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), -EAGAIN); /* IF is clear */
    exit = fixture_expect(&f, VCPU_EXIT_HALT);
    assert_true(exit.rflags & FLAG_IF);
    assert_true(exit.intr_ready);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), 0);
    exit = fixture_expect(&f, VCPU_EXIT_HALT);
    assert_false(exit.rflags & FLAG_IF);
    assert_false(exit.intr_ready);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77);
    assert_int_equal(f.v->state->gpr[RSP], STACK - 6);
    assert_int_equal(le16_get(f.ram + STACK - 6), CODE + 2); /* behind the HLT */
    fixture_destroy(&f);
}

static void interrupt_window(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, 0x20);
    RUN_REAL(&f, masked);
    exit = fixture_expect(&f, VCPU_EXIT_IO);
    assert_false(exit.intr_ready);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), -EAGAIN);
    vcpu_request_window(f.v, true, false);
    exit = fixture_expect(&f, VCPU_EXIT_INTR_WINDOW);
    assert_true(exit.intr_ready);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77);
    assert_true(le16_get(f.ram + STACK - 6) > CODE + 3); /* not in STI's shadow */
    fixture_destroy(&f);
}

static void nmi_and_its_window(void **state)
{
    const struct x86_event nmi = {.kind = X86_EVENT_NMI};
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, EXC_NMI);
    RUN_REAL(&f, spin);
    vcpu_request_window(f.v, false, true);
    fixture_expect(&f, VCPU_EXIT_NMI_WINDOW);
    assert_int_equal(vcpu_inject(f.v, &nmi), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77);
    assert_int_equal(vcpu_get(f.v, X86_INTR), 0);
    assert_true(f.v->state->intr.nmi_masked);
    fixture_destroy(&f);
}

static void exception_is_injected(void **state)
{
    const struct x86_event ud = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_UD};
    const struct x86_event bad = {.kind = X86_EVENT_EXCEPTION, .vector = 32};
    struct fixture f;

    fixture_create(&f, accel_of(state));
    set_handler(&f, EXC_UD);
    RUN_REAL(&f, halts);
    assert_int_equal(vcpu_inject(f.v, &bad), -EINVAL);
    assert_int_equal(vcpu_inject(f.v, &ud), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RBX), 0x77);
    assert_int_equal(le16_get(f.ram + STACK - 6), CODE);
    fixture_destroy(&f);
}

/* ---- state ---- */

/* Hand over what was set, let the engine stop at once, and read everything back. */
static void pass_through(struct fixture *f, unsigned groups, struct x86_state *before)
{
    struct vcpu_exit exit;

    assert_int_equal(vcpu_set(f->v, groups), 0);
    *before = *f->v->state;
    vcpu_kick(f->v);
    assert_int_equal(vcpu_run(f->v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    assert_int_equal(f->v->valid & groups, 0);
    memset(&f->v->state->gpr, 0xa5, sizeof(*before) - offsetof(struct x86_state, gpr));
    assert_int_equal(vcpu_get(f->v, X86_ALL), 0);
}

static void gprs_and_segments_pass(void **state)
{
    static struct x86_state before;
    struct x86_state *s;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, rd64);
    s = f.v->state;
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = UINT64_C(0x1111111111111111) * i;
    s->rflags |= FLAG_CF | FLAG_OF;
    s->seg[SEG_FS].base = UINT64_C(0x7fff12345678);
    s->seg[SEG_GS].base = UINT64_C(0xffff888000000000);
    s->seg[SEG_ES].selector = 0;
    s->seg[SEG_ES].attrib |= SEG_UNUSABLE;
    s->seg[SEG_TR] = (struct x86_seg){0x5000, 0x67, SEG_P | 11, 0x40, {0}};
    s->gdtr = (struct x86_table){.base = 0x6000, .limit = 0x7f};
    s->idtr = (struct x86_table){.base = 0x7000, .limit = 0xfff};
    pass_through(&f, X86_GPRS | X86_SEGS, &before);
    assert_memory_equal(s->gpr, before.gpr, sizeof(s->gpr));
    assert_int_equal(s->rip, before.rip);
    assert_int_equal(s->rflags, before.rflags);
    assert_memory_equal(&s->gdtr, &before.gdtr, sizeof(s->gdtr));
    assert_memory_equal(&s->idtr, &before.idtr, sizeof(s->idtr));
    assert_true(s->seg[SEG_ES].attrib & SEG_UNUSABLE);
    for (unsigned i = SEG_CS; i < SEG_COUNT; i++) { /* of ES nothing else is defined */
        if (i == SEG_LDTR)
            continue;
        assert_int_equal(s->seg[i].base, before.seg[i].base);
        assert_int_equal(s->seg[i].limit, before.seg[i].limit);
        assert_int_equal(s->seg[i].attrib, before.seg[i].attrib);
        assert_int_equal(s->seg[i].selector, before.seg[i].selector);
    }
    fixture_destroy(&f);
}

static void crs_drs_and_intr_pass(void **state)
{
    static struct x86_state before;
    struct x86_state *s;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, rd64);
    s = f.v->state;
    s->cr0 |= CR0_WP;
    s->cr2 = UINT64_C(0xffff800000001000);
    s->cr4 |= CR4_PGE;
    s->cr8 = 5;
    for (unsigned i = 0; i < 4; i++)
        s->dr[i] = 0x1000 * i;
    s->dr[6] = DR6_FIXED | DR6_BS;
    s->intr.nmi_masked = 1;
    pass_through(&f, X86_CRS | X86_DRS | X86_INTR, &before);
    assert_int_equal(s->cr0, before.cr0);
    assert_int_equal(s->cr2, before.cr2);
    assert_int_equal(s->cr3, before.cr3);
    assert_int_equal(s->cr4, before.cr4);
    assert_int_equal(s->cr8, before.cr8);
    assert_int_equal(s->xcr0, XCR0_X87);
    assert_memory_equal(s->dr, before.dr, sizeof(s->dr));
    assert_int_equal(s->intr.nmi_masked, 1);
    assert_int_equal(s->intr.nmi_pending, 0);
    assert_int_equal(s->intr.shadow, 0);
    assert_int_equal(s->intr.pending.kind, X86_EVENT_NONE);
    fixture_destroy(&f);
}

static void msrs_pass(void **state)
{
    static struct x86_state before;
    struct x86_msrs *msr;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, rd64);
    msr = &f.v->state->msr;
    msr->efer |= EFER_SCE | EFER_NXE;
    msr->star = UINT64_C(0x0023001000000000);
    msr->lstar = UINT64_C(0xffffffff81000000);
    msr->cstar = UINT64_C(0xffffffff81001000);
    msr->sfmask = 0x47700;
    msr->kernel_gs_base = UINT64_C(0xffff888000001000);
    msr->sysenter_cs = 0x10;
    msr->sysenter_esp = UINT64_C(0xfffffe0000003000);
    msr->sysenter_eip = UINT64_C(0xffffffff81002000);
    msr->pat = UINT64_C(0x0407050600070106);
    msr->tsc = UINT64_C(0x1000000000);
    msr->mtrr_def_type = 0xc06;
    msr->mtrr_fixed[0] = msr->mtrr_fixed[10] = UINT64_C(0x0606060606060606);
    msr->mtrr_var[0] = 0x80000000;
    msr->mtrr_var[1] = 0xf80000800;
    pass_through(&f, X86_MSRS, &before);
    /* At least: there are KVMs without hardware help that leave the host's counter. */
    assert_true(msr->tsc >= before.msr.tsc);
    msr->tsc = before.msr.tsc;
    msr->tsc_aux = before.msr.tsc_aux; /* with RDTSCP only */
    msr->spec_ctrl = before.msr.spec_ctrl;
    assert_int_equal(msr->efer, before.msr.efer);
    assert_memory_equal(msr, &before.msr, sizeof(*msr));
    fixture_destroy(&f);
}

/* x87 and SSE part of the XSAVE area, with registers that are in use. */
static void fpu_passes(void **state)
{
    static struct x86_state before;
    struct x86_state *s;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, rd64);
    s = f.v->state;
    le16_put(&s->xsave[0], 0x027f);
    s->xsave[4] = 0xff; /* all in use */
    le32_put(&s->xsave[24], 0x1fa0);
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned b = 0; b < 10; b++)
            s->xsave[32 + i * 16 + b] = (uint8_t)(i * 16 + b + 1);
    }
    for (unsigned i = 160; i < 416; i++)
        s->xsave[i] = (uint8_t)(i * 7);
    pass_through(&f, X86_FPU, &before);
    assert_int_equal(le64_get(&s->xsave[512]) & 3, 3);
    assert_int_equal(le16_get(&s->xsave[0]), 0x027f);
    assert_int_equal(s->xsave[4], 0xff);
    assert_int_equal(le32_get(&s->xsave[24]), 0x1fa0);
    assert_memory_equal(&s->xsave[32], &before.xsave[32], 384);
    fixture_destroy(&f);
}

/* A new vCPU is in the state after RESET; what nobody sets stays so. */
static void starts_at_reset(void **state)
{
    static struct x86_state before, reset;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    x86_state_reset(&reset);
    pass_through(&f, 0, &before);
    assert_memory_equal(f.v->state->gpr, reset.gpr, sizeof(reset.gpr));
    assert_int_equal(f.v->state->rip, 0xfff0);
    assert_int_equal(f.v->state->seg[SEG_CS].base, 0xffff0000);
    assert_int_equal(f.v->state->cr0, reset.cr0);
    assert_int_equal(f.v->state->msr.pat, reset.msr.pat);
    assert_int_equal(vcpu_set(f.v, X86_ALL + 1), -EINVAL);
    fixture_destroy(&f);
}

/* ---- the controller inside, where there is one ---- */

/* 8259A: vectors from 0x20, input 4 open, then wait for it. */
GUEST(pic, 16,
      "mov $0x11,%al; out %al,$0x20; mov $0x20,%al; out %al,$0x21; mov $4,%al\n"
      "out %al,$0x21; mov $1,%al; out %al,$0x21; mov $0xef,%al; out %al,$0x21\n"
      "out %al,$0x80; sti; hlt")
GUEST(pic_handler, 16, "mov $0x66,%al; out %al,$0x80; hlt")

static void controller_inside(void **state)
{
    const struct access answers[] = {OUT(1, 0x80, 0xef), OUT(1, 0x80, 0x66)};
    const struct machine_config config = {
        .vcpus = 1, .want = ACCEL_CAP_IRQCHIP | ACCEL_CAP_PIT | ACCEL_CAP_TSC_DEADLINE};
    struct script script = {answers};
    const struct accel_bus_ops ops = {play_io, play_mmio, &script};
    const struct accel *accel = accel_of(state);
    struct vcpu_exit exit;
    struct fixture f;
    pthread_t thread;

    fixture_create(&f, accel);
    assert_int_equal(machine_irq_line(f.m, 4, 1), -ENODEV);
    vcpu_destroy(f.v);
    machine_destroy(f.m);
    assert_int_equal(machine_create(&f.m, accel, &config), 0);
    if (!(f.m->caps & ACCEL_CAP_IRQCHIP)) {
        machine_destroy(f.m);
        print_message("skipped on %s: it offers no interrupt controller\n", accel->name);
        skip();
    }
    assert_int_equal(machine_map(f.m, GPA(0), RAM_SIZE, f.ram, MEM_RWX), 0);
    assert_int_equal(vcpu_create(&f.v, f.m, 0), 0);
    RUN_REAL(&f, pic);
    memcpy(f.ram + 0x2000, g_pic_handler, (size_t)(g_pic_handler_end - g_pic_handler));
    set_vector(&f, 0x24, 0x2000);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    assert_int_equal(vcpu_inject(f.v, &intr_0x20), -EINVAL);
    assert_int_equal(pthread_create(&thread, NULL, kick_later, f.v), 0);
    assert_int_equal(vcpu_run(f.v, &exit), 0); /* sleeps in HLT until the kick */
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(vcpu_get(f.v, X86_INTR), 0);
    assert_true(f.v->state->intr.halted);
    assert_int_equal(machine_irq_line(f.m, 4, 1), 0);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    assert_int_equal(machine_irq_line(f.m, 4, 0), 0);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_its_accesses),
        cmocka_unit_test(unanswered_reads_are_ones),
        cmocka_unit_test(state_around_an_access),
        cmocka_unit_test(read_only_slot),
        cmocka_unit_test(map_and_unmap),
        cmocka_unit_test(translates),
        cmocka_unit_test(halts_and_goes_on),
        cmocka_unit_test(triple_fault),
        cmocka_unit_test(kick_stops_a_loop),
        cmocka_unit_test(kick_before_run),
        cmocka_unit_test(kick_survives_a_get),
        cmocka_unit_test(unknown_msrs_exit),
        cmocka_unit_test(interrupt_after_halt),
        cmocka_unit_test(interrupt_window),
        cmocka_unit_test(nmi_and_its_window),
        cmocka_unit_test(exception_is_injected),
        cmocka_unit_test(gprs_and_segments_pass),
        cmocka_unit_test(crs_drs_and_intr_pass),
        cmocka_unit_test(msrs_pass),
        cmocka_unit_test(fpu_passes),
        cmocka_unit_test(starts_at_reset),
        cmocka_unit_test(controller_inside),
    };

    return fixture_run_all("seam", tests, ARRAY_SIZE(tests));
}
