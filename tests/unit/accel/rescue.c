/*
 * Instructions that KVM leaves to the interpreter. A KVM with hardware hardly
 * leaves any, so most tests hand it one instruction after the other.
 */
#include "fixture.h"

#include "accel/kvm/kvm.h"
#include "base/bits.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>
#include <x86intrin.h>

#define DATA 0x3000u
#define IDT  0x4000u

extern const struct accel accel_kvm;

static void create(struct fixture *f)
{
    void *kvm = (void *)&accel_kvm;

    fixture_create(f, accel_of(&kvm));
}

/* count instructions, each of which the interpreter completes. */
static void rescue(struct fixture *f, unsigned count)
{
    struct vcpu_exit exit;

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(kvm_rescue(kvm_vcpu(f->v), &exit), 1);
}

/* One that ends with an exit. */
static struct vcpu_exit rescue_exit(struct fixture *f, enum vcpu_exit_reason reason)
{
    struct vcpu_exit exit;

    assert_int_equal(kvm_rescue(kvm_vcpu(f->v), &exit), 0);
    assert_string_equal(vcpu_exit_name(exit.reason), vcpu_exit_name(reason));
    return exit;
}

GUEST(cas, 64,
      "mov $0x3000,%edi; xor %eax,%eax; xor %edx,%edx; mov $1,%ebx; mov $2,%ecx\n"
      "cmpxchg16b (%rdi); setz %sil; hlt")

/* Natural where KVM emulates ring 0 without it, else by KVM; alike for the guest. */
static void the_guest_sees_no_difference(void **state)
{
    struct accel_stat stats[ACCEL_STATS];
    struct fixture f;

    create(&f);
    RUN_LONG(&f, cas);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(le64_get(f.ram + DATA), 1);
    assert_int_equal(le64_get(f.ram + DATA + 8), 2);
    assert_int_equal(fixture_gpr(&f, RSI) & 255, 1);
    assert_int_equal(vcpu_stats(f.v, stats), 1);
    assert_string_equal(stats[0].name, "instructions rescued");
    assert_true(stats[0].value <= 1);
    print_message("rescued: %u\n", (unsigned)stats[0].value);
    fixture_destroy(&f);
}

/* By the interpreter, then by KVM: each goes on from the other's state. */
static void takes_turns(void **state)
{
    struct fixture f;

    create(&f);
    RUN_LONG(&f, cas);
    rescue(&f, 6);
    assert_int_equal(le64_get(f.ram + DATA + 8), 2);
    assert_int_equal(f.v->rescued, 6);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RSI) & 255, 1);
    assert_int_equal(f.v->rescued, 6);
    fixture_destroy(&f);
}

GUEST(fpu, 64,
      "fninit; fld1; fldpi; faddp; mov $0x40000000,%eax; movd %eax,%xmm3; addss %xmm3,%xmm3\n"
      "fstpl 0x3000; movss %xmm3,0x3008; hlt")

static void keeps_x87_and_sse(void **state)
{
    double sum;
    float two;

    for (unsigned split = 0; split <= 9; split++) { /* so many by the interpreter */
        struct fixture f;

        create(&f);
        RUN_LONG(&f, fpu);
        rescue(&f, split);
        fixture_expect(&f, VCPU_EXIT_HALT);
        memcpy(&sum, f.ram + DATA, 8);
        memcpy(&two, f.ram + DATA + 8, 4);
        assert_true(sum > 4.1415926 && sum < 4.1415927);
        assert_true(two == 4.0f);
        fixture_destroy(&f);
    }
}

GUEST(in_out, 64, "mov $0x1234,%eax; out %ax,$0x80; in $0x81,%al; in $0x82,%al; hlt")
GUEST(strings, 64, "mov $0x3000,%edi; mov $3,%ecx; mov $0x1f0,%edx; cld; rep insb; hlt")
GUEST(device, 64, "mov $0x20000,%edi; mov $0x77,%eax; mov %eax,4(%rdi); mov 8(%rdi),%edx; hlt")

static void assists(void **state)
{
    static const struct access access[] = {
        OUT(2, 0x80, 0x1234), IN(1, 0x81, 0x42),     IN(1, 0x1f0, 1),       IN(1, 0x1f0, 2),
        IN(1, 0x1f0, 3),      WR(4, HOLE + 4, 0x77), RD(4, HOLE + 8, 0x99),
    };
    struct script script = {access};
    const struct accel_bus_ops ops = PLAY(&script);
    struct vcpu_exit exit;
    struct fixture f;

    create(&f);
    RUN_LONG(&f, in_out);
    rescue(&f, 1);
    exit = rescue_exit(&f, VCPU_EXIT_IO);
    assert_int_equal(exit.io.port, 0x80);
    assert_int_equal(exit.io.size, 2);
    assert_false(exit.io.in);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    assert_int_equal(vcpu_assist(f.v, &ops), -EINVAL); /* once is enough */
    rescue_exit(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    assert_int_equal(fixture_gpr(&f, RAX), 0x1242);
    rescue_exit(&f, VCPU_EXIT_IO); /* nobody answers */
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0x12ff);

    RUN_LONG(&f, strings);
    rescue(&f, 4);
    exit = rescue_exit(&f, VCPU_EXIT_IO);
    assert_true(exit.io.in && exit.io.string);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_memory_equal(f.ram + DATA, "\1\2\3", 3);

    RUN_LONG(&f, device);
    rescue(&f, 2);
    exit = rescue_exit(&f, VCPU_EXIT_MMIO);
    assert_int_equal(exit.mem.gpa.v, HOLE + 4);
    assert_true(exit.mem.write);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    rescue_exit(&f, VCPU_EXIT_MMIO);
    assert_int_equal(vcpu_assist(f.v, &ops), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RDX), 0x99);
    fixture_destroy(&f);
}

/* A state that is set makes the access void, as after any exit. */
static void a_new_rip_makes_the_access_void(void **state)
{
    struct fixture f;

    create(&f);
    RUN_LONG(&f, in_out);
    rescue(&f, 1);
    rescue_exit(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    f.v->state->rip = CODE + (uint64_t)(g_in_out_end - g_in_out) - 1; /* HLT */
    assert_int_equal(vcpu_set(f.v, X86_GPRS), 0);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 0x1234);
    fixture_destroy(&f);
}

GUEST(msr, 64, "mov $0x12345678,%ecx; rdmsr; mov %eax,%esi; mov $5,%eax; wrmsr; rdmsr; hlt")

static void gate(struct fixture *f, unsigned vector, uint64_t target)
{
    le64_put(f->ram + IDT + 16 * vector,
             (target & 0xffff) | 8 << 16 | UINT64_C(0x8e) << 40 | (target >> 16 & 0xffff) << 48);
    le64_put(f->ram + IDT + 16 * vector + 8, target >> 32);
}

/* Long mode with an IDT, handlers of one HLT each at 0x5000 + vector, and a GDT. */
static void with_idt(struct fixture *f)
{
    for (unsigned v = 0; v < 32; v++) {
        gate(f, v, 0x5000 + v);
        f->ram[0x5000 + v] = 0xf4;
    }
    le64_put(f->ram + 0x6008, UINT64_C(0x00af9b000000ffff));
    le64_put(f->ram + 0x6010, UINT64_C(0x00cf93000000ffff));
    f->v->state->gdtr = (struct mote_table){.base = 0x6000, .limit = 0x17};
    f->v->state->idtr = (struct mote_table){.base = IDT, .limit = 0x1ff};
    assert_int_equal(vcpu_set(f->v, X86_SEGS), 0);
}

static void completes_msrs(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    create(&f);
    RUN_LONG(&f, msr);
    with_idt(&f);
    rescue(&f, 1);
    exit = rescue_exit(&f, VCPU_EXIT_RDMSR);
    assert_int_equal(exit.msr.index, 0x12345678);
    assert_int_equal(vcpu_complete_msr(f.v, UINT64_C(0x100000002), false), 0);
    assert_int_equal(vcpu_complete_msr(f.v, 0, false), -EINVAL);
    rescue(&f, 2);
    exit = rescue_exit(&f, VCPU_EXIT_WRMSR);
    assert_int_equal(exit.msr.value, UINT64_C(0x100000005));
    assert_int_equal(vcpu_complete_msr(f.v, 0, false), 0);
    assert_int_equal(fixture_gpr(&f, RSI), 2);
    rescue_exit(&f, VCPU_EXIT_RDMSR);
    assert_int_equal(vcpu_complete_msr(f.v, 0, true), 0);
    fixture_expect(&f, VCPU_EXIT_HALT); /* KVM delivers the #GP */
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, 0x5000 + EXC_GP + 1);
    fixture_destroy(&f);
}

GUEST(faults, 64, "mov 0x40000000,%eax; hlt")
GUEST(trap, 64, "ud2; hlt")

static void faults_reach_the_guest(void **state)
{
    struct fixture f;

    create(&f);
    RUN_LONG(&f, faults);
    with_idt(&f);
    rescue(&f, 1);
    assert_int_equal(vcpu_get(f.v, X86_ALL), 0);
    assert_int_equal(f.v->state->rip, 0x5000 + EXC_PF);
    assert_int_equal(f.v->state->cr2, 0x40000000);
    fixture_expect(&f, VCPU_EXIT_HALT);
    f.v->state->cr2 = 0;
    assert_int_equal(vcpu_get(f.v, X86_CRS), 0);
    assert_int_equal(f.v->state->cr2, 0x40000000);

    RUN_LONG(&f, trap); /* #UD on purpose, by KVM or by the interpreter */
    with_idt(&f);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, 0x5000 + EXC_UD + 1);
    RUN_LONG(&f, trap);
    with_idt(&f);
    rescue(&f, 1);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, 0x5000 + EXC_UD);
    fixture_destroy(&f);
}

/* What waits for delivery comes before the instruction. */
static void delivers_what_is_pending(void **state)
{
    const struct mote_event event = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_BR};
    struct fixture f;

    create(&f);
    RUN_LONG(&f, cas);
    with_idt(&f);
    assert_int_equal(vcpu_inject(f.v, &event), 0);
    rescue(&f, 1);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, 0x5000 + EXC_BR + 1);
    assert_int_equal(le64_get(f.ram + f.v->state->gpr[RSP]), CODE);
    fixture_destroy(&f);
}

GUEST(halt, 64, "sti; hlt; mov $7,%eax; hlt")

static void halts_and_casts_shadows(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    create(&f);
    RUN_LONG(&f, halt);
    rescue(&f, 1);
    assert_int_equal(vcpu_get(f.v, X86_INTR), 0);
    assert_int_equal(f.v->state->intr.shadow, 1);
    exit = rescue_exit(&f, VCPU_EXIT_HALT);
    assert_true(exit.intr_ready && exit.rflags & FLAG_IF);
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(fixture_gpr(&f, RAX), 7);
    fixture_destroy(&f);
}

GUEST(time, 64, "rdtsc; mov %eax,%esi; mov %edx,%edi; nop; nop; nop; rdtsc; hlt")

/* The counter neither jumps nor stands still over the way there and back. */
static void time_goes_on(void **state)
{
    uint64_t start, end;
    struct fixture f;

    create(&f);
    RUN_LONG(&f, time);
    for (unsigned split = 0; split <= 6; split++) {
        int64_t moved, offset, slack = 20000000; /* two reads of it, not a set-back */
        uint64_t begin = __rdtsc();

        RUN_LONG(&f, time);
        assert_int_equal(vcpu_get(f.v, X86_MSRS), 0);
        rescue(&f, 1);
        offset = (int64_t)f.v->tsc_offset;
        rescue(&f, split);
        fixture_expect(&f, VCPU_EXIT_HALT);
        start = fixture_gpr(&f, RSI) | fixture_gpr(&f, RDI) << 32;
        end = (uint32_t)fixture_gpr(&f, RAX) | fixture_gpr(&f, RDX) << 32;
        assert_true(end > start);
        f.v->valid = 0;
        assert_int_equal(vcpu_get(f.v, X86_MSRS), 0);
        moved = (int64_t)f.v->tsc_offset - offset;
        slack += (int64_t)(__rdtsc() - begin); /* it may have been left alone amid either */
        assert_true(moved > -slack && moved < slack);
    }
    fixture_destroy(&f);
}

GUEST(endless, 64, "1: cmpxchg16b 0x3000; jmp 1b")

/* Between two rescues a kick is seen, as at any other time. */
static void can_be_kicked(void **state)
{
    struct vcpu_exit exit;
    pthread_t thread;
    struct fixture f;

    create(&f);
    RUN_LONG(&f, endless);
    assert_int_equal(pthread_create(&thread, NULL, kick_later, f.v), 0);
    assert_int_equal(vcpu_run(f.v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    pthread_join(thread, NULL);
    rescue(&f, 10);
    vcpu_kick(f.v);
    rescue(&f, 1);
    assert_int_equal(vcpu_run(f.v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    fixture_destroy(&f);
}

/* LA57: the interpreter's walk has four levels. */
static void declines_what_it_does_not_know(void **state)
{
    struct vcpu_exit exit;
    struct fixture f;

    create(&f);
    RUN_LONG(&f, cas);
    f.v->state->cr4 |= CR4_LA57;
    kvm_vcpu(f.v)->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
    kvm_vcpu(f.v)->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    kvm_vcpu(f.v)->run->internal.ndata = 0;
    assert_int_equal(kvm_rescue(kvm_vcpu(f.v), &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_FAIL);
    assert_string_equal(exit.fail.why, "KVM cannot emulate an instruction");
    assert_int_equal(f.v->rescued, 0);
    fixture_destroy(&f);
}

GUEST(eoi, 64, "movl $0,(%rdi); hlt")

/* With a local APIC inside, HLT is KVM's, and its registers cannot be reached. */
static void leaves_the_local_apic_to_kvm(void **state)
{
    const struct machine_config config = {.vcpus = 1, .want = ACCEL_CAP_LAPIC};
    struct vcpu_exit exit;
    struct machine *m;
    struct vcpu *v;
    struct fixture f;

    create(&f);
    RUN_LONG(&f, eoi);
    assert_int_equal(machine_create(&m, &accel_kvm, &config), 0);
    if (!(m->caps & ACCEL_CAP_LAPIC)) {
        machine_destroy(m);
        fixture_destroy(&f);
        skip();
    }
    assert_int_equal(machine_map(m, GPA(0), RAM_SIZE, f.ram, MEM_RWX), 0);
    assert_int_equal(vcpu_create(&v, m, 0), 0);
    assert_int_equal(vcpu_get(f.v, X86_ALL), 0);
    *v->state = *f.v->state;
    v->state->cr0 &= ~(uint64_t)CR0_PG; /* flat: the identity map ends before the APIC */
    v->state->cr0 |= CR0_PE;
    v->state->cr4 = 0;
    v->state->msr.efer = 0;
    v->state->seg[SEG_CS].attrib = (v->state->seg[SEG_CS].attrib & ~(uint32_t)SEG_L) | SEG_DB;
    v->state->gpr[RDI] = 0xfee000b0;
    kvm_vcpu(v)->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
    kvm_vcpu(v)->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    assert_int_equal(kvm_rescue(kvm_vcpu(v), &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_FAIL);
    assert_string_equal(exit.fail.why, "KVM cannot emulate an access to the local APIC inside it");

    v->state->rip += 6; /* HLT */
    assert_int_equal(vcpu_set(v, X86_GPRS), 0);
    assert_int_equal(kvm_rescue(kvm_vcpu(v), &exit), 1);
    v->valid = 0;
    assert_int_equal(vcpu_get(v, X86_INTR), 0);
    assert_int_equal(v->state->intr.activity, X86_HALTED);

    /* Who waits for a window is asked again, as KVM would sleep. */
    vcpu_request_window(v, true, false);
    assert_int_equal(vcpu_get(v, X86_GPRS | X86_INTR), 0);
    v->state->rip--;
    v->state->intr.activity = X86_ACTIVE;
    assert_int_equal(vcpu_set(v, X86_GPRS | X86_INTR), 0);
    assert_int_equal(kvm_rescue(kvm_vcpu(v), &exit), 1);
    assert_int_equal(vcpu_run(v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    vcpu_destroy(v);
    machine_destroy(m);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guest_sees_no_difference),
        cmocka_unit_test(takes_turns),
        cmocka_unit_test(keeps_x87_and_sse),
        cmocka_unit_test(assists),
        cmocka_unit_test(a_new_rip_makes_the_access_void),
        cmocka_unit_test(completes_msrs),
        cmocka_unit_test(faults_reach_the_guest),
        cmocka_unit_test(delivers_what_is_pending),
        cmocka_unit_test(halts_and_casts_shadows),
        cmocka_unit_test(time_goes_on),
        cmocka_unit_test(can_be_kicked),
        cmocka_unit_test(declines_what_it_does_not_know),
        cmocka_unit_test(leaves_the_local_apic_to_kvm),
    };

    return cmocka_run_group_tests_name("rescue", tests, NULL, NULL);
}
