#include "debugger.h"

#include "base/bits.h"

#include <cpuid.h>

GUEST(int3, 64, "mov $1, %ebx\nint3\nmov $2, %ebx\nout %al, $0xf4")
GUEST(pops_rip, 64, "pop %rax\npop %rcx\npop %rdx\nout %al, $0xf4")
GUEST(loops, 64, "mov $3, %ecx\n1: inc %eax\ndec %ecx\njnz 1b\npushf\npop %rbx\nout %al, $0xf4")
GUEST(toucher, 64, "1: lock orb $0, (%rdi)\nadd $0x1000, %edi\ncmp $0x10000, %edi\njb 1b\nhlt")
GUEST(ports, 64,
      "out %al, $0x80\nin $0x81, %al\nmov %eax, 0x20000\nmov 0x20004, %eax\nnop\nout %al, $0xf4")

struct vcpu_debug watching(unsigned n, uint64_t gva, unsigned size, enum vcpu_watch_kind kind)
{
    struct vcpu_debug d = {0};

    d.watch[n] = (struct vcpu_watch){gva, (uint8_t)size, (uint8_t)kind};
    return d;
}

void set_debug(struct fixture *f, const struct vcpu_debug *debug)
{
    assert_int_equal(vcpu_set_debug(f->v, debug), 0);
}

void set_rip(struct fixture *f, uint64_t rip)
{
    assert_int_equal(vcpu_get(f->v, X86_GPRS), 0);
    f->v->state->rip = rip;
    assert_int_equal(vcpu_set(f->v, X86_GPRS), 0);
}

void expect_debug(struct fixture *f, uint64_t rip, bool int3, bool stepped, unsigned watches)
{
    struct vcpu_exit exit = fixture_expect(f, VCPU_EXIT_DEBUG);

    assert_int_equal(exit.debug.rip, rip);
    assert_int_equal(exit.debug.int3, int3);
    assert_int_equal(exit.debug.step, stepped);
    assert_int_equal(exit.debug.watches, watches);
    assert_int_equal(vcpu_get(f->v, X86_GPRS), 0);
    assert_int_equal(f->v->state->rip, rip);
    assert_false(f->v->state->rflags & FLAG_TF);
    assert_false(exit.rflags & FLAG_TF);
}

void expect_step(struct fixture *f, uint64_t rip)
{
    expect_debug(f, rip, false, true, 0);
}

void expect_end(struct fixture *f)
{
    struct vcpu_exit exit = fixture_expect(f, VCPU_EXIT_IO);

    assert_int_equal(exit.io.port, 0xf4);
}

void set_handler(struct fixture *f, unsigned vector, const uint8_t *code, size_t size)
{
    static const uint64_t gdt[] = {0, UINT64_C(0x00af9b000000ffff), UINT64_C(0x00cf93000000ffff)};

    memcpy(f->ram + GDT, gdt, sizeof(gdt));
    le64_put(f->ram + IDT + vector * 16, HANDLER | 8 << 16 | UINT64_C(0x8e00) << 32);
    le64_put(f->ram + IDT + vector * 16 + 8, 0);
    memcpy(f->ram + HANDLER, code, size);
    assert_int_equal(vcpu_get(f->v, X86_SEGS), 0);
    f->v->state->gdtr = (struct mote_table){.base = GDT, .limit = sizeof(gdt) - 1};
    f->v->state->idtr = (struct mote_table){.base = IDT, .limit = 32 * 16 - 1};
    assert_int_equal(vcpu_set(f->v, X86_SEGS), 0);
}

/* One that does not know INT3, which the interpreter executes then. */
static bool runs_on_emulator(const struct accel *accel)
{
    struct vcpu_exit exit;
    struct fixture f;
    bool rescued;

    fixture_create(&f, accel);
    RUN_LONG(&f, int3);
    SET_HANDLER(&f, EXC_BP, pops_rip);
    do
        assert_int_equal(vcpu_run(f.v, &exit), 0);
    while (exit.reason == VCPU_EXIT_NONE);
    rescued = f.v->rescued;
    fixture_destroy(&f);
    return rescued;
}

static bool runs_on_qemu(void)
{
    uint32_t eax, signature[3];

    __cpuid(0x40000000, eax, signature[0], signature[1], signature[2]);
    return !memcmp(signature, "TCGTCGTCGTCG", 12);
}

/* The first instruction of a guest exits before it is executed: its page is not mapped yet. */
static bool runs_on_bochs(const struct accel *accel)
{
    struct vcpu_exit exit;
    struct fixture f;

    fixture_create(&f, accel);
    RUN_LONG(&f, loops);
    set_debug(&f, &step);
    exit = fixture_expect(&f, VCPU_EXIT_DEBUG);
    fixture_destroy(&f);
    return exit.debug.rip == CODE;
}

static bool runs_on_intel(void)
{
    uint32_t eax, ebx, ecx, edx;

    __cpuid(0, eax, ebx, ecx, edx);
    return ebx == signature_INTEL_ebx;
}

void run_steps(struct fixture *f, const void *code, size_t size)
{
    struct mote_state *s = f->v->state;

    if (strcmp(f->accel->name, "kvm") != 0 || !runs_on_bochs(f->accel)) {
        fixture_long(f, code, size);
        return;
    }
    RUN_LONG(f, toucher);
    s->gpr[RDI] = 0;
    fixture_expect(f, VCPU_EXIT_HALT);
    assert_int_equal(guest_mem_write(&f->m->mem, GPA(CODE), code, size), 0);
    assert_int_equal(vcpu_get(f->v, X86_GPRS), 0);
    memset(s->gpr, 0, sizeof(s->gpr));
    s->gpr[RSP] = STACK;
    s->rip = CODE;
    s->rflags = FLAG_R1;
    assert_int_equal(vcpu_set(f->v, X86_GPRS), 0);
}

const struct accel *accel_but(void **state, unsigned kinds)
{
    const struct accel *accel = accel_of(state);
    const char *why = NULL;

    if (strcmp(accel->name, "kvm") != 0)
        return accel;
    if ((kinds & ON_EMULATOR) && runs_on_emulator(accel))
        why = "runs ring 0 on an emulator";
    if ((kinds & ON_QEMU) && runs_on_qemu())
        why = "runs on QEMU's SVM, which has no breakpoints";
    if ((kinds & ON_BOCHS) && runs_on_bochs(accel))
        why = "runs on Bochs' VMX, which traps once too often";
    if ((kinds & ON_INTEL) && runs_on_intel())
        why = "runs on VMX, which injects #BP only after an INT3's exit";
    if (why) {
        print_message("skipped on kvm: this /dev/kvm %s\n", why);
        skip();
    }
    return accel;
}
