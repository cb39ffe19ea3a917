/*
 * The state of interrupt chips inside an accelerator, as the structures of x86/irqchip.h:
 * read, set, and carried to mote's own chips and back. And what a processor waits for.
 */
#include "fixture.h"

#include "base/bits.h"
#include "dev/chip/ioapic.h"
#include "dev/chip/lapic.h"
#include "dev/chip/pic.h"
#include "dev/chip/pit.h"
#include "x86/msi.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { ID = 0x02, TPR = 0x08, LDR = 0x0d, SVR = 0x0f, ICR = 0x30, LVT = 0x32 };
enum { INITIAL = 0x38, CURRENT = 0x39, DIVIDE = 0x3e };

#define FULL (ACCEL_CAP_LAPIC | ACCEL_CAP_IRQCHIP)

static bool create(struct fixture *f, void **state, unsigned want)
{
    struct lapic_state lapic;
    static struct irqchip_state chips;

    fixture_create_with(f, accel_of(state), want | ACCEL_CAP_TSC_DEADLINE);
    if (!(want & ~f->m->caps))
        return true;
    if (!(f->m->caps & ACCEL_CAP_LAPIC)) {
        assert_int_equal(vcpu_get_lapic(f->v, &lapic), -ENODEV);
        assert_int_equal(vcpu_set_lapic(f->v, &lapic), -ENODEV);
    }
    assert_int_equal(machine_get_irqchip(f->m, 0, &chips), -ENODEV);
    assert_int_equal(machine_set_irqchip(f->m, 0, &chips), -ENODEV);
    assert_int_equal(machine_irq_line(f->m, 4, 1), -ENODEV);
    fixture_destroy(f);
    return false;
}

/* ---- mote's local APIC, beside ---- */

static uint64_t now_ns, tsc;

static uint64_t get_now(void *user)
{
    return now_ns;
}

static uint64_t get_tsc(void *user)
{
    return tsc;
}

static void arm(struct dev_timer *timer, uint64_t deadline)
{
}

static void nothing(void *user)
{
}

static void send(void *user, struct lapic *from, const struct apic_msg *msg)
{
}

static void eoi(void *user, uint8_t vector)
{
}

static struct dev_timer timer = {.arm = arm};

static void chip_init(struct lapic *l)
{
    const struct lapic_ops ops = {nothing, send, eoi, get_tsc, NULL};
    const struct dev_clock clock = {get_now, NULL};

    lapic_init(l, 0, true, &ops, &clock, &timer, 1000000);
}

/* Those that both model alike: but versions, and PPR and IDs, which follow from others. */
static void assert_same(const struct lapic_state *a, const struct lapic_state *b)
{
    static const uint8_t regs[] = {
        ID,   TPR,  LDR,  SVR,     0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,    0x17,  0x18,
        0x19, 0x1a, 0x1b, 0x1c,    0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23,    0x24,  0x25,
        0x26, 0x27, ICR,  ICR + 1, LVT,  0x33, 0x34, 0x35, 0x36, 0x37, INITIAL, DIVIDE};

    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        if (a->reg[regs[i]] != b->reg[regs[i]])
            fail_msg("register 0x%02x: 0x%x, expected 0x%x", regs[i], b->reg[regs[i]],
                     a->reg[regs[i]]);
    }
    assert_int_equal(a->apic_base, b->apic_base);
    assert_int_equal(a->tsc_deadline, b->tsc_deadline);
}

static void assert_about(uint64_t left, uint64_t before)
{
    assert_true(left <= before);
    assert_true(left + UINT64_C(60000000000) > before); /* these tests last no minute */
}

/* From KVM to a chip, from there to another vCPU of KVM's, and all still the same. */
static void carry(const struct lapic_state *first, void **state)
{
    struct lapic_state second, third;
    struct lapic chip;
    struct fixture f;

    chip_init(&chip);
    assert_int_equal(lapic_restore(&chip, first), 0);
    lapic_save(&chip, &second);
    lapic_destroy(&chip);
    assert_same(first, &second);
    assert_int_equal(second.timer_left, first->timer_left);
    assert_true(create(&f, state, ACCEL_CAP_LAPIC));
    assert_int_equal(vcpu_set_lapic(f.v, &second), 0);
    assert_int_equal(vcpu_get_lapic(f.v, &third), 0);
    assert_same(&second, &third);
    assert_about(third.timer_left, second.timer_left);
    assert_int_equal(vcpu_get(f.v, X86_CRS), 0);
    assert_int_equal(f.v->state->cr8, first->reg[TPR] >> 4);
    fixture_destroy(&f);
}

/* x2APIC, TPR, a one-shot timer of 2^31 * 128 ns, and an interrupt that waits. */
GUEST(one_shot, 16,
      "mov $0x1b,%ecx; mov $0xfee00d00,%eax; xor %edx,%edx; wrmsr\n"
      "mov $0x80f,%ecx; mov $0x1ff,%eax; wrmsr; mov $0x808,%ecx; mov $0x20,%eax; wrmsr\n"
      "mov $0x832,%ecx; mov $0x41,%eax; wrmsr; mov $0x83e,%ecx; mov $0xa,%eax; wrmsr\n"
      "mov $0x838,%ecx; mov $0x80000000,%eax; wrmsr\n"
      "mov $0x83f,%ecx; mov $0x55,%eax; wrmsr; out %al,$0x80; hlt")
/* The deadline of the TSC in the far future. */
GUEST(deadline, 16,
      "mov $0x1b,%ecx; mov $0xfee00d00,%eax; xor %edx,%edx; wrmsr\n"
      "mov $0x80f,%ecx; mov $0x1ff,%eax; wrmsr; mov $0x832,%ecx; mov $0x40042,%eax; wrmsr\n"
      "mov $0x6e0,%ecx; mov $0x123,%eax; mov $0x1000000,%edx; wrmsr; out %al,$0x80; hlt")

static void local_apic_in_x2apic_mode(void **state)
{
    struct lapic_state s;
    struct fixture f;

    if (!create(&f, state, ACCEL_CAP_LAPIC))
        return;
    RUN_REAL(&f, one_shot);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_get_lapic(f.v, &s), 0);
    assert_int_equal(s.apic_base, 0xfee00d00);
    assert_int_equal(s.reg[ID], 0);
    assert_int_equal(s.reg[TPR], 0x20);
    assert_int_equal(s.reg[SVR], 0x1ff);
    assert_int_equal(s.reg[LVT], 0x41);
    assert_int_equal(s.reg[0x22], 1u << 0x15); /* IRR of 0x55 */
    assert_int_equal(s.reg[INITIAL], 0x80000000);
    assert_int_equal(s.reg[DIVIDE], 0xa);
    assert_about(s.timer_left, UINT64_C(0x80000000) << 7);
    carry(&s, state);
    fixture_destroy(&f);
}

static void local_apic_with_a_deadline(void **state)
{
    struct lapic_state s;
    struct fixture f;

    if (!create(&f, state, ACCEL_CAP_LAPIC | ACCEL_CAP_TSC_DEADLINE))
        return;
    RUN_REAL(&f, deadline);
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(vcpu_get_lapic(f.v, &s), 0);
    assert_int_equal(s.tsc_deadline, UINT64_C(0x100000000000123));
    assert_int_equal(s.reg[LVT], 0x40042);
    assert_int_equal(s.timer_left, 0);
    carry(&s, state);
    fixture_destroy(&f);
}

/* As after power-up: xAPIC, nothing enabled. And CR8 that was set before the first run. */
static void local_apic_after_reset(void **state)
{
    struct lapic_state s;
    struct fixture f;

    if (!create(&f, state, ACCEL_CAP_LAPIC))
        return;
    f.v->state->cr8 = 5;
    assert_int_equal(vcpu_set(f.v, X86_CRS), 0);
    assert_int_equal(vcpu_get_lapic(f.v, &s), 0);
    assert_int_equal(s.apic_base, 0xfee00900);
    assert_int_equal(s.reg[SVR], 0xff);
    assert_int_equal(s.reg[TPR], 0x50);
    assert_int_equal(s.timer_left, 0);
    carry(&s, state);
    s.apic_base |= BIT(10);
    s.reg[ID] = 5; /* another's */
    assert_int_equal(vcpu_set_lapic(f.v, &s), -EINVAL);
    assert_int_equal(vcpu_get_lapic(f.v, &s), 0);
    assert_int_equal(s.apic_base, 0xfee00900);
    fixture_destroy(&f);
}

/* ---- PICs, IOAPIC, PIT ---- */

/* PICs as Linux sets them up, pin 9 a level, counter 0 periodic and counter 2 with the gate. */
GUEST(program, 32,
      "mov $0x11,%al; out %al,$0x20; mov $0x30,%al; out %al,$0x21; mov $4,%al; out %al,$0x21\n"
      "mov $1,%al; out %al,$0x21; mov $0xee,%al; out %al,$0x21\n"
      "mov $0x11,%al; out %al,$0xa0; mov $0x38,%al; out %al,$0xa1; mov $2,%al; out %al,$0xa1\n"
      "mov $1,%al; out %al,$0xa1; mov $0xff,%al; out %al,$0xa1\n"
      "mov $0x4d1,%dx; mov $2,%al; out %al,%dx\n"
      "mov $0x34,%al; out %al,$0x43; mov $0x00,%al; out %al,$0x40; mov $0x80,%al; out %al,$0x40\n"
      "mov $3,%al; out %al,$0x61; mov $0xb0,%al; out %al,$0x43\n"
      "mov $0x12,%al; out %al,$0x42; mov $0x34,%al; out %al,$0x42\n"
      "mov $0x22,%eax; mov %eax,0xfec00000; mov $0x18051,%eax; mov %eax,0xfec00010\n"
      "mov $0x23,%eax; mov %eax,0xfec00000; mov $0x1000000,%eax; mov %eax,0xfec00010\n"
      "out %al,$0x80; hlt")

static void run_flat(struct fixture *f, const uint8_t *code, size_t size)
{
    const uint32_t flat = SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A | SEG_G | SEG_DB;
    struct mote_state *s = f->v->state;

    fixture_real(f, code, size);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        s->seg[i] = (struct mote_seg){.limit = 0xffffffff, .selector = 0x10, .attrib = flat};
    s->seg[SEG_CS].attrib |= SEG_TYPE_CODE;
    s->seg[SEG_CS].selector = 8;
    s->cr0 = CR0_PE | CR0_ET | CR0_NE;
    assert_int_equal(vcpu_set(f->v, X86_SEGS | X86_CRS), 0);
}

static void check_pics(const struct irqchip_state *s)
{
    assert_int_equal(s->pic[0].irq_base, 0x30);
    assert_int_equal(s->pic[1].irq_base, 0x38);
    assert_int_equal(s->pic[0].imr, 0xee);
    assert_int_equal(s->pic[0].irr & 0x10, 0x10);
    assert_int_equal(s->pic[1].elcr, 2);
    assert_int_equal(s->pic[0].init_state, 0);
}

static void check_others(const struct irqchip_state *s)
{
    assert_int_equal(s->ioapic.redir[9], UINT64_C(0x0100000000018051));
    assert_int_equal(s->ioapic.redir[3] & 0x10000, 0x10000);
    assert_int_equal(s->ioapic.ioregsel, 0x23);
    assert_int_equal(s->ioapic.irr & 0x210, 0x210);
    assert_int_equal(s->pit.speaker, 3);
    assert_int_equal(s->pit.channel[0].count, 0x8000);
    assert_int_equal(s->pit.channel[0].mode, 2);
    assert_int_equal(s->pit.channel[2].count, 0x3412);
    assert_int_equal(s->pit.channel[2].mode, 0);
    assert_int_equal(s->pit.channel[2].gate, 1);
    assert_int_equal(s->pit.channel[1].loaded_ns, PIT_IDLE);
}

static void no_irq(void *user, unsigned line, int level)
{
}

static void no_delivery(void *user, const struct apic_msg *msg)
{
}

/* Through mote's own three chips. */
static void through_chips(struct irqchip_state *s)
{
    const struct dev_irq irq = {no_irq, NULL, 0};
    const struct dev_clock clock = {get_now, NULL};
    struct ioapic ioapic;
    struct pic pic;
    struct pit pit;

    pic_init(&pic, &irq);
    assert_int_equal(pic_restore(&pic, s->pic), 0);
    pic_save(&pic, s->pic);
    pic_destroy(&pic);
    ioapic_init(&ioapic, 0, &(struct ioapic_ops){.deliver = no_delivery});
    assert_int_equal(ioapic_restore(&ioapic, &s->ioapic), 0);
    ioapic_save(&ioapic, &s->ioapic);
    ioapic_destroy(&ioapic);
    pit_init(&pit, &irq, &clock, &timer);
    assert_int_equal(pit_restore(&pit, &s->pit), 0);
    pit_save(&pit, &s->pit);
    pit_destroy(&pit);
}

static void chips_of_the_machine(void **state)
{
    static struct irqchip_state s, t;
    struct fixture f;

    if (!create(&f, state, FULL))
        return;
    run_flat(&f, g_program, (size_t)(g_program_end - g_program));
    fixture_expect(&f, VCPU_EXIT_IO);
    assert_int_equal(machine_irq_line(f.m, IOAPIC_PINS, 1), -EINVAL);
    assert_int_equal(machine_irq_line(f.m, 4, 1), 0);
    assert_int_equal(machine_irq_line(f.m, 9, 1), 0);
    now_ns = UINT64_C(1000000000000);
    assert_int_equal(machine_get_irqchip(f.m, now_ns, &s), 0);
    check_pics(&s);
    check_others(&s);
    assert_about(s.pit.channel[2].loaded_ns, now_ns);
    through_chips(&s);
    check_pics(&s);
    check_others(&s);
    fixture_destroy(&f);

    assert_true(create(&f, state, FULL));
    assert_int_equal(machine_set_irqchip(f.m, now_ns, &s), 0);
    assert_int_equal(machine_get_irqchip(f.m, now_ns, &t), 0);
    check_pics(&t);
    check_others(&t);
    assert_about(t.pit.channel[2].loaded_ns, now_ns); /* KVM's counters begin anew */
    fixture_destroy(&f);
}

/* ---- what a processor waits for ---- */

static struct vcpu *second;
static struct vcpu_exit second_exit;

static void *run_second(void *arg)
{
    do
        assert_int_equal(vcpu_run(second, &second_exit), 0);
    while (second_exit.reason == VCPU_EXIT_NONE && !arg);
    return NULL;
}

static unsigned activity(struct vcpu *v)
{
    assert_int_equal(vcpu_get(v, X86_INTR), 0);
    return v->state->intr.activity;
}

static void set_activity(struct vcpu *v, unsigned value)
{
    assert_int_equal(vcpu_get(v, X86_INTR), 0);
    v->state->intr.activity = (uint8_t)value;
    assert_int_equal(vcpu_set(v, X86_INTR), 0);
}

static void message(struct machine *m, unsigned mode, unsigned vector)
{
    const uint64_t to = MSI_BASE | 1 << MSI_DEST_SHIFT;

    assert_int_equal(machine_msi(m, to, mode << MSI_MODE_SHIFT | MSI_ASSERT | vector), 0);
}

/* Kicked while it waits; an INIT comes, and it is kicked again. A message is no SIPI. */
static void awaits_its_start(void **state)
{
    static const unsigned all[] = {X86_UNINITIALIZED, X86_WAITS_SIPI, X86_HALTED, X86_ACTIVE};
    struct lapic_state lapic;
    pthread_t thread, kicker;
    struct fixture f;

    fixture_create_cpus(&f, accel_of(state), ACCEL_CAP_LAPIC, 2);
    assert_int_equal(vcpu_create(&second, f.m, 1), 0);
    if (!(f.m->caps & ACCEL_CAP_LAPIC)) {
        assert_int_equal(activity(second), X86_ACTIVE); /* the board's matter */
        vcpu_destroy(second);
        fixture_destroy(&f);
        return;
    }
    /* KVM finds the last vCPU by its ID once something in an APIC has changed. */
    assert_int_equal(vcpu_get_lapic(f.v, &lapic), 0);
    lapic.reg[SVR] |= 0x100;
    assert_int_equal(vcpu_set_lapic(f.v, &lapic), 0);
    assert_int_equal(activity(second), X86_UNINITIALIZED);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&thread, NULL, run_second, second), 0);
        assert_int_equal(pthread_create(&kicker, NULL, kick_later, second), 0);
        pthread_join(kicker, NULL);
        pthread_join(thread, NULL);
        assert_int_equal(second_exit.reason, VCPU_EXIT_NONE);
        assert_int_equal(activity(second), i ? X86_WAITS_SIPI : X86_UNINITIALIZED);
        message(f.m, 5, 0); /* INIT */
        second->valid = 0;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) { /* each can be set */
        set_activity(second, all[i]);
        vcpu_kick(second);
        assert_int_equal(vcpu_run(second, &second_exit), 0);
        if (second_exit.reason == VCPU_EXIT_NONE)
            assert_int_equal(activity(second), all[i]);
    }
    set_activity(second, 2);
    assert_int_equal(vcpu_run(second, &second_exit), -EINVAL);
    vcpu_destroy(second);
    fixture_destroy(&f);
}

/* The boot processor sends INIT and SIPI, before the second is run for the first time. */
GUEST(starter, 16,
      "mov $0x1b,%ecx; mov $0xfee00d00,%eax; xor %edx,%edx; wrmsr\n"
      "mov $0x80f,%ecx; mov $0x1ff,%eax; wrmsr\n"
      "mov $0x830,%ecx; mov $1,%edx; mov $0x4500,%eax; wrmsr; mov $0x4602,%eax; wrmsr\n"
      "out %al,$0x81; hlt")

/* Where the ID is depends on the mode. */
static void check_id(void)
{
    struct lapic_state s;

    assert_int_equal(vcpu_get_lapic(second, &s), 0);
    assert_int_equal(s.apic_base, 0xfee00800);
    assert_int_equal(s.reg[ID], 1u << 24);
    s.apic_base |= BIT(10);
    s.reg[ID] = 1;
    assert_int_equal(vcpu_set_lapic(second, &s), 0);
    assert_int_equal(vcpu_get_lapic(second, &s), 0);
    assert_int_equal(s.apic_base, 0xfee00c00);
    assert_int_equal(s.reg[ID], 1);
    assert_int_equal(s.reg[LDR], 2);
}

static void starts_before_it_ever_ran(void **state)
{
    static const uint8_t out_hlt[] = {0xe6, 0x80, 0xf4}; /* out %al,$0x80 */
    static struct x86_cpuid cpuid;
    const struct x86_cpuid_topology topology = {.apic_id = 1, .vcpus = 2};
    pthread_t thread;
    struct fixture f;

    fixture_create_cpus(&f, accel_of(state), ACCEL_CAP_LAPIC, 2);
    if (!(f.m->caps & ACCEL_CAP_LAPIC)) {
        fixture_destroy(&f);
        return;
    }
    assert_int_equal(guest_mem_write(&f.m->mem, GPA(0x2000), out_hlt, sizeof(out_hlt)), 0);
    assert_int_equal(vcpu_create(&second, f.m, 1), 0);
    assert_int_equal(machine_default_cpuid(f.m, &topology, &cpuid), 0);
    assert_int_equal(vcpu_set_cpuid(second, &cpuid), 0);
    RUN_REAL(&f, starter);
    assert_int_equal(fixture_expect(&f, VCPU_EXIT_IO).io.port, 0x81);
    assert_int_equal(pthread_create(&thread, NULL, run_second, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(second_exit.reason, VCPU_EXIT_IO);
    assert_int_equal(second_exit.io.port, 0x80);
    second->valid = 0;
    assert_int_equal(activity(second), X86_ACTIVE);
    assert_int_equal(vcpu_get(second, X86_SEGS), 0);
    assert_int_equal(second->state->seg[SEG_CS].base, 0x2000);
    check_id();
    vcpu_destroy(second);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_apic_in_x2apic_mode), cmocka_unit_test(local_apic_with_a_deadline),
        cmocka_unit_test(local_apic_after_reset),    cmocka_unit_test(chips_of_the_machine),
        cmocka_unit_test(awaits_its_start),          cmocka_unit_test(starts_before_it_ever_ran),
    };

    return fixture_run_all("chips", tests, ARRAY_SIZE(tests));
}
