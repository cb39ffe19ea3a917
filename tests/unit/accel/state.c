/* Each group of struct mote_state passes through an engine, on every accelerator. */
#include "fixture.h"

#include "accel/backends.h"
#include "base/bits.h"

#include <errno.h>

GUEST(hlt, 64, "hlt")

/* Hand over what was set, let the engine stop at once, and read everything back. */
static void pass_through(struct fixture *f, unsigned groups, struct mote_state *before)
{
    struct vcpu_exit exit;

    assert_int_equal(vcpu_set(f->v, groups), 0);
    *before = *f->v->state;
    vcpu_kick(f->v);
    assert_int_equal(vcpu_run(f->v, &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    assert_int_equal(f->v->valid & groups, 0);
    memset(&f->v->state->gpr, 0xa5, sizeof(*before) - offsetof(struct mote_state, gpr));
    assert_int_equal(vcpu_get(f->v, X86_ALL), 0);
}

static void gprs_and_segments_pass(void **state)
{
    static struct mote_state before;
    struct mote_state *s;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, hlt);
    s = f.v->state;
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = UINT64_C(0x1111111111111111) * i;
    s->rflags |= FLAG_CF | FLAG_OF;
    s->seg[SEG_FS].base = UINT64_C(0x7fff12345678);
    s->seg[SEG_GS].base = UINT64_C(0xffff888000000000);
    s->seg[SEG_ES].selector = 0;
    s->seg[SEG_ES].attrib |= SEG_UNUSABLE;
    s->seg[SEG_TR] = (struct mote_seg){0x5000, 0x67, SEG_P | 11, 0x40, {0}};
    s->gdtr = (struct mote_table){.base = 0x6000, .limit = 0x7f};
    s->idtr = (struct mote_table){.base = 0x7000, .limit = 0xfff};
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
    static struct mote_state before;
    struct mote_state *s;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, hlt);
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

/* With SVM, KVM gives guests the registers of 32 bits that AMD's processors have. */
static bool sysenter_is_short(const struct accel *accel)
{
    uint32_t regs[4];

    x86_cpuid_host(0x80000001, 0, regs);
    return accel == &accel_kvm && (regs[2] & 1u << 2);
}

static void msrs_pass(void **state)
{
    static struct mote_state before;
    struct mote_msrs *msr;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, hlt);
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
    if (sysenter_is_short(accel_of(state))) {
        before.msr.sysenter_esp &= UINT32_MAX;
        before.msr.sysenter_eip &= UINT32_MAX;
    }
    msr->tsc_aux = before.msr.tsc_aux; /* with RDTSCP only */
    msr->spec_ctrl = before.msr.spec_ctrl;
    assert_int_equal(msr->efer, before.msr.efer);
    assert_memory_equal(msr, &before.msr, sizeof(*msr));
    fixture_destroy(&f);
}

/* x87 and SSE part of the XSAVE area, with registers that are in use. */
static void fpu_passes(void **state)
{
    static struct mote_state before;
    struct mote_state *s;
    struct fixture f;

    fixture_create(&f, accel_of(state));
    RUN_LONG(&f, hlt);
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
    static struct mote_state before, reset;
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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(gprs_and_segments_pass),
        cmocka_unit_test(crs_drs_and_intr_pass),
        cmocka_unit_test(msrs_pass),
        cmocka_unit_test(fpu_passes),
        cmocka_unit_test(starts_at_reset),
    };

    return fixture_run_all("state", tests, ARRAY_SIZE(tests));
}
