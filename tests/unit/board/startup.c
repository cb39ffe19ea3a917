/* INIT and SIPI, and KVM's hypercalls, on vCPUs that no thread runs. */
#include "board/startup.h"

#include "base/bits.h"
#include "board/hypercall.h"
#include "smp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct smp smp;
static struct cpu *boot, *other;

static int setup(void **state)
{
    assert_int_equal(smp_make(&smp, "soft", 3, "\xf4", 1), 0);
    boot = &smp.cpus.cpu[0];
    other = &smp.cpus.cpu[1];
    return 0;
}

static int teardown(void **state)
{
    smp_end(&smp);
    return 0;
}

static void send(struct cpu *to, unsigned event, uint8_t page)
{
    lapic_post_events(&to->intc.lapic, event, page);
    assert_true(cpu_intc_startup_pending(&to->intc));
    assert_int_equal(startup_take(to), 0);
    assert_false(cpu_intc_startup_pending(&to->intc));
}

static struct mote_state *all(struct cpu *cpu)
{
    assert_int_equal(vcpu_get(cpu->vcpu, X86_ALL), 0);
    return cpu->vcpu->state;
}

static void a_sipi_starts_at_its_page(void **state)
{
    struct mote_state *s;

    assert_int_equal(other->activity, CPU_WAIT_SIPI);
    send(other, LAPIC_EVENT_SIPI, 0x9a);
    assert_int_equal(other->activity, CPU_ACTIVE);
    s = all(other);
    assert_int_equal(s->seg[SEG_CS].selector, 0x9a00);
    assert_int_equal(s->seg[SEG_CS].base, 0x9a000);
    assert_int_equal(s->rip, 0);
}

static void one_that_runs_or_halts_hears_no_sipi(void **state)
{
    uint64_t rip;

    send(other, LAPIC_EVENT_SIPI, 0x10);
    all(other)->rip = rip = 0x1234;
    assert_int_equal(vcpu_set(other->vcpu, X86_GPRS), 0);
    send(other, LAPIC_EVENT_SIPI, 0x20);
    assert_int_equal(all(other)->rip, rip);
    other->activity = CPU_HALTED;
    send(other, LAPIC_EVENT_SIPI, 0x20);
    assert_int_equal(other->activity, CPU_HALTED);
}

/* SDM Vol. 3A table 9-1, column INIT. */
static void init_keeps_what_the_table_says(void **state)
{
    struct mote_state *s = all(other);

    memset(s->gpr, 0x55, sizeof(s->gpr));
    s->rip = 0x1234;
    s->rflags = FLAG_R1 | FLAG_IF;
    s->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NW;
    s->cr2 = 1;
    s->cr3 = 0x3000;
    s->cr4 = CR4_PAE;
    s->dr[0] = 5;
    s->msr.efer = EFER_LME | EFER_LMA;
    s->msr.star = 77;
    s->msr.pat = 0x0606060606060606;
    s->msr.kvm_system_time = 0x5001;
    s->msr.kvm_steal_time = 0x6001;
    s->intr.nmi_masked = 1;
    memset(&s->xsave[160], 0x66, 16); /* XMM0 */
    assert_int_equal(vcpu_set(other->vcpu, X86_ALL), 0);
    other->activity = CPU_ACTIVE;
    other->exit.intr_ready = true;
    send(other, LAPIC_EVENT_INIT, 0);
    assert_int_equal(other->activity, CPU_WAIT_SIPI);
    assert_false(other->exit.intr_ready);
    s = all(other);
    assert_int_equal(s->gpr[RAX], 0);
    assert_int_equal(s->rip, 0xfff0);
    assert_int_equal(s->seg[SEG_CS].base, 0xffff0000);
    assert_int_equal(s->rflags, FLAG_R1);
    assert_int_equal(s->cr0, CR0_ET | CR0_NW); /* CD was 0 and stays so */
    assert_int_equal(s->cr2 | s->cr3 | s->cr4 | s->dr[0], 0);
    assert_int_equal(s->intr.nmi_masked, 0);
    assert_int_equal(s->msr.efer, 0);
    assert_int_equal(s->msr.star, 77);
    assert_int_equal(s->msr.pat, 0x0606060606060606);
    assert_int_equal(s->msr.kvm_system_time, 0);
    assert_int_equal(s->msr.kvm_steal_time, 0);
    assert_int_equal(s->xsave[160], 0x66);
}

/* A SIPI that came after the INIT starts it, one before is cancelled. */
static void init_and_sipi_in_one_look(void **state)
{
    other->activity = CPU_ACTIVE;
    lapic_post_events(&other->intc.lapic, LAPIC_EVENT_SIPI, 0x30);
    send(other, LAPIC_EVENT_INIT, 0);
    assert_int_equal(other->activity, CPU_WAIT_SIPI);
    lapic_post_events(&other->intc.lapic, LAPIC_EVENT_INIT, 0);
    send(other, LAPIC_EVENT_SIPI, 0x40);
    assert_int_equal(other->activity, CPU_ACTIVE);
    assert_int_equal(all(other)->seg[SEG_CS].base, 0x40000);
}

static void init_of_the_boot_processor_is_a_reset(void **state)
{
    send(boot, LAPIC_EVENT_INIT, 0);
    assert_int_equal(atomic_load(&smp.life.end), LIFE_RESET);
}

/* ---- hypercalls ---- */

static int64_t call(bool wide, uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
    struct mote_state *s = all(boot);

    s->gpr[RAX] = number;
    s->gpr[RBX] = a0;
    s->gpr[RCX] = a1;
    s->gpr[RDX] = a2;
    s->gpr[RSI] = a3;
    s->msr.efer = wide ? EFER_LMA | EFER_LME : 0;
    s->seg[SEG_CS].attrib |= wide ? SEG_L : 0;
    assert_int_equal(vcpu_set(boot->vcpu, X86_ALL), 0);
    assert_int_equal(hypercall_answer(boot), 0);
    return (int64_t)boot->vcpu->state->gpr[RAX];
}

static void a_kick_is_kept_for_the_next_halt(void **state)
{
    assert_int_equal(call(true, 5, 0, 1, 0, 0), 0);
    assert_true(other->kicked);
    assert_false(boot->kicked);
    assert_int_equal(call(true, 5, 0, 64, 0, 0), 0); /* there is none such */
    assert_int_equal(call(true, 5, 0, UINT64_MAX, 0, 0), 0);
}

static void only_the_kernel_may_call(void **state)
{
    all(boot)->seg[SEG_SS].attrib |= SEG_DPL;
    assert_int_equal(vcpu_set(boot->vcpu, X86_SEGS), 0);
    assert_int_equal(call(true, 5, 0, 1, 0, 0), -1);
    assert_false(other->kicked);
}

static void unknown_calls(void **state)
{
    assert_int_equal(call(true, 99, 0, 0, 0, 0), -1000);
    assert_int_equal(call(true, UINT64_C(0x100000005), 0, 1, 0, 0), -1000);
    assert_int_equal(call(true, 11, 1, 0, 0, 0), 0); /* yield */
}

static void enable(struct cpu *cpu)
{
    uint64_t on = 0x1ff, base = 0xfee00c00;

    assert_true(cpu_intc_msr(&cpu->intc, 0x1b, true, &base));
    assert_true(cpu_intc_msr(&cpu->intc, 0x80f, true, &on));
}

static void ipis_go_to_those_in_the_bitmap(void **state)
{
    for (unsigned n = 0; n < 3; n++)
        enable(&smp.cpus.cpu[n]);
    assert_int_equal(call(true, 10, 6, 0, 0, 0x41), 2);
    assert_int_equal(lapic_pending(&boot->intc.lapic), -1);
    assert_int_equal(lapic_pending(&other->intc.lapic), 0x41);
    assert_int_equal(lapic_pending(&smp.cpus.cpu[2].intc.lapic), 0x41);
    assert_int_equal(call(true, 10, 1, 0, 1, 0x402), 1); /* an NMI, from ID 1 on */
    assert_true(cpu_intc_nmi_pending(&other->intc));
    assert_int_equal(call(true, 10, ~0ull, ~0ull, 3, 0x42), 0);
    assert_int_equal(call(true, 10, 3, 0, UINT64_MAX, 0x42), 0); /* must not wrap to ID 0 */
    assert_int_equal(call(true, 10, 1, 0, 0, 0x841), -22);
    assert_int_equal(call(true, 10, 1, 0, 0, 0xc0041), -22);
}

static void outside_of_64_bit_mode_words_have_32_bits(void **state)
{
    for (unsigned n = 0; n < 3; n++)
        enable(&smp.cpus.cpu[n]);
    /* The second word begins with the 32nd: 33 - 32 is ID 1 of the first, at most. */
    assert_int_equal(call(false, 10, UINT64_C(0xffffffff00000002), 1, 0, 0x41), 1);
    assert_int_equal(lapic_pending(&other->intc.lapic), 0x41);
    assert_int_equal(call(false, 99, 0, 0, 0, 0), (uint32_t)-1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_sipi_starts_at_its_page),
        TEST(one_that_runs_or_halts_hears_no_sipi),
        TEST(init_keeps_what_the_table_says),
        TEST(init_and_sipi_in_one_look),
        TEST(init_of_the_boot_processor_is_a_reset),
        TEST(a_kick_is_kept_for_the_next_halt),
        TEST(only_the_kernel_may_call),
        TEST(unknown_calls),
        TEST(ipis_go_to_those_in_the_bitmap),
        TEST(outside_of_64_bit_mode_words_have_32_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
