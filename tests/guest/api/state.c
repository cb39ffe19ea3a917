/* The state's groups through an engine and back, and the state after RESET. */
#include "api.h"

#include <string.h>

static struct mote_state before;

/* Hand over what was changed, let the vCPU stop before its first instruction, and get all. */
static void pass(struct api *a, unsigned groups)
{
    MUST(a, mote_vcpu_set(a->v, groups));
    before = *a->s;
    MUST(a, mote_vcpu_stop(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_NONE);
    memset(a->s->gpr, 0xa5, sizeof(before) - offsetof(struct mote_state, gpr));
    api_get(a, MOTE_ALL);
}

static void same_gprs(struct api *a)
{
    for (unsigned i = 0; i < MOTE_GPR_COUNT; i++)
        if (a->s->gpr[i] != before.gpr[i])
            api_fail(a, "gpr[%u] is 0x%llx, not 0x%llx", i, (unsigned long long)a->s->gpr[i],
                     (unsigned long long)before.gpr[i]);
    EQUAL(a, a->s->rip, before.rip);
    EQUAL(a, a->s->rflags, before.rflags);
}

static void change_gprs(struct api *a)
{
    for (unsigned i = 0; i < MOTE_GPR_COUNT; i++)
        a->s->gpr[i] = UINT64_C(0xfedcba9876543210) * (i + 1) | 1;
    a->s->rflags |= FLAGS_CF | FLAGS_PF | FLAGS_AF | FLAGS_ZF | FLAGS_SF | FLAGS_DF | FLAGS_OF;
}

void gprs_pass(struct api *a)
{
    change_gprs(a);
    pass(a, MOTE_GPRS);
    same_gprs(a);
    memset(a->s->gpr, 0xff, sizeof(a->s->gpr));
    pass(a, MOTE_GPRS);
    same_gprs(a);
    memset(a->s->gpr, 0, sizeof(a->s->gpr));
    a->s->rip = a->c->mode == LONG ? UINT64_C(0xffffffffffffffff) : 0xfff0;
    a->s->rflags = FLAGS_R1 | FLAGS_IF;
    pass(a, MOTE_GPRS);
    same_gprs(a);
}

static void same_segs(struct api *a)
{
    for (unsigned i = 0; i < MOTE_SEG_COUNT; i++) {
        const struct mote_seg *s = &a->s->seg[i], *b = &before.seg[i];

        if ((s->attrib & b->attrib & MOTE_SEG_UNUSABLE))
            continue; /* nothing else of it is defined */
        if (s->base != b->base || s->limit != b->limit || s->attrib != b->attrib ||
            s->selector != b->selector)
            api_fail(a, "seg[%u] is %x: 0x%llx+0x%x 0x%x, not %x: 0x%llx+0x%x 0x%x", i, s->selector,
                     (unsigned long long)s->base, s->limit, s->attrib, b->selector,
                     (unsigned long long)b->base, b->limit, b->attrib);
    }
    EQUAL(a, a->s->gdtr.base, before.gdtr.base);
    EQUAL(a, a->s->gdtr.limit, before.gdtr.limit);
    EQUAL(a, a->s->idtr.base, before.idtr.base);
    EQUAL(a, a->s->idtr.limit, before.idtr.limit);
}

static void change_segs(struct api *a)
{
    bool wide = a->c->mode >= COMPAT;
    struct mote_state *s = a->s;

    s->seg[MOTE_FS].base = wide ? UINT64_C(0x7fff12345678) : 0x12340;
    s->seg[MOTE_GS].base = wide ? UINT64_C(0xffff888000000000) : 0x43210;
    if (a->c->mode == REAL) {
        s->seg[MOTE_FS].selector = 0x1234;
        s->seg[MOTE_GS].selector = 0x4321;
    } else {
        s->seg[MOTE_LDTR] = (struct mote_seg){
            .base = 0x7000, .limit = 0x37, .attrib = MOTE_SEG_P | 2, .selector = 0x48};
        if (a->c->mode != PROT)
            s->seg[MOTE_ES] = (struct mote_seg){.attrib = MOTE_SEG_UNUSABLE};
    }
    s->gdtr =
        (struct mote_table){.base = wide ? UINT64_C(0xffff800000006000) : 0x6000, .limit = 0xffff};
    s->idtr = (struct mote_table){.base = wide ? UINT64_C(0xffff800000005000) : 0x5000, .limit = 0};
}

void segs_pass(struct api *a)
{
    change_segs(a);
    pass(a, MOTE_SEGS);
    same_segs(a);
    CHECK(a, a->c->mode < COMPAT || (a->s->seg[MOTE_ES].attrib & MOTE_SEG_UNUSABLE));
}

static void same_crs(struct api *a)
{
    EQUAL(a, a->s->cr0, before.cr0);
    EQUAL(a, a->s->cr2, before.cr2);
    EQUAL(a, a->s->cr3, before.cr3);
    EQUAL(a, a->s->cr4, before.cr4);
    EQUAL(a, a->s->cr8, before.cr8);
    EQUAL(a, a->s->xcr0, before.xcr0);
}

static void change_crs(struct api *a)
{
    a->s->cr0 |= 0x5002e & ~0xcu; /* MP, NE, WP, AM; neither EM nor TS */
    a->s->cr2 = UINT64_C(0xffff800000001abc);
    a->s->cr3 |= a->c->mode >= COMPAT ? 0x18 : 0x12345000;
    a->s->cr4 |= 0x8c; /* TSD, DE, PGE */
    a->s->cr8 = 15;
}

void crs_pass(struct api *a)
{
    change_crs(a);
    pass(a, MOTE_CRS);
    same_crs(a);
    a->s->cr2 = UINT64_MAX;
    a->s->cr8 = 0;
    pass(a, MOTE_CRS);
    same_crs(a);
}

static void same_drs(struct api *a)
{
    for (unsigned i = 0; i < 8; i++)
        if (i != 4 && i != 5)
            EQUAL(a, a->s->dr[i], before.dr[i]);
}

static void change_drs(struct api *a)
{
    a->s->dr[0] = 0x1234;
    a->s->dr[1] = a->c->mode >= COMPAT ? UINT64_C(0xffff888000001000) : 0xfffff000;
    a->s->dr[2] = 0;
    a->s->dr[3] = 0xffffffff;
    a->s->dr[6] = 0xffff4ff3; /* BS, B1, B0 */
    a->s->dr[7] = 0x400;
}

void drs_pass(struct api *a)
{
    change_drs(a);
    pass(a, MOTE_DRS);
    same_drs(a);
    a->s->dr[3] = 0x400000;
    a->s->dr[7] = 0x90000480; /* breakpoint 3 */
    pass(a, MOTE_DRS);
    same_drs(a);
}

static void same_msrs(struct api *a)
{
#define SAME(field) EQUAL(a, a->s->msr.field, before.msr.field)
    SAME(efer);
    SAME(star);
    SAME(lstar);
    SAME(cstar);
    SAME(sfmask);
    SAME(kernel_gs_base);
    SAME(sysenter_cs);
    SAME(sysenter_esp);
    SAME(sysenter_eip);
    SAME(pat);
    SAME(tsc_aux);
    SAME(misc_enable);
    SAME(mtrr_def_type);
    for (unsigned i = 0; i < 11; i++)
        SAME(mtrr_fixed[i]);
    for (unsigned i = 0; i < 16; i++)
        SAME(mtrr_var[i]);
#undef SAME
}

static void change_msrs(struct api *a)
{
    struct mote_msrs *m = &a->s->msr;

    m->star = UINT64_C(0x0023001000000000);
    m->lstar = UINT64_C(0xffffffff81000000);
    m->cstar = UINT64_C(0xffffffff81001000);
    m->sfmask = 0x47700;
    m->kernel_gs_base = UINT64_C(0xffff888000001000);
    m->sysenter_cs = 0x10;
    m->sysenter_esp = 0x81000000;
    m->sysenter_eip = 0x81001000;
    m->pat = UINT64_C(0x0007010600070106);
    if (api_has_rdtscp)
        m->tsc_aux = 5;
    m->mtrr_def_type = 0xc06;
    m->mtrr_fixed[0] = UINT64_C(0x0606060606060606);
    m->mtrr_fixed[10] = UINT64_C(0x0505050505050505);
    m->mtrr_var[0] = 0xc0000000;
    m->mtrr_var[1] = 0xffc0000800;
    m->tsc = 0;
}

void msrs_pass(struct api *a)
{
    change_msrs(a);
    pass(a, MOTE_MSRS);
    same_msrs(a);
}

static void same_intr(struct api *a)
{
    EQUAL(a, a->s->intr.shadow, before.intr.shadow);
    EQUAL(a, a->s->intr.nmi_masked, before.intr.nmi_masked);
    EQUAL(a, a->s->intr.nmi_pending, before.intr.nmi_pending);
    EQUAL(a, a->s->intr.pending.kind, before.intr.pending.kind);
}

void intr_pass(struct api *a)
{
    a->s->intr.nmi_masked = 1;
    pass(a, MOTE_INTR);
    same_intr(a);
    a->s->intr.nmi_masked = 0;
    a->s->intr.shadow = 1;
    pass(a, MOTE_INTR);
    same_intr(a);
}

static void same_fpu(struct api *a, unsigned size)
{
    CHECK(a, (a->s->xsave[512] & 3) == (before.xsave[512] & 3));
    for (unsigned i = 0; i < size; i++) {
        if (i >= 8 && i < 24)
            continue; /* the last instruction's and operand's addresses */
        if ((i >= 28 && i < 32) || (i >= 416 && i < 512))
            continue; /* MXCSR_MASK is the processor's; reserved */
        if (i >= 32 && i < 160 && (i - 32) % 16 >= 10)
            continue;
        if (a->s->xsave[i] != before.xsave[i])
            api_fail(a, "xsave[%u] is 0x%02x, not 0x%02x", i, a->s->xsave[i], before.xsave[i]);
    }
}

static void change_fpu(struct api *a)
{
    uint8_t *x = a->s->xsave;

    memset(x, 0, MOTE_XSAVE_SIZE);
    x[0] = 0x7f; /* FCW 0x27f, FSW 0x3800, all but one register valid */
    x[1] = 2;
    x[3] = 0x38;
    x[4] = 0xfe;
    x[24] = 0xa0; /* MXCSR 0x3fa0 */
    x[25] = 0x3f;
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned n = 0; n < 8; n++)
            x[32 + 16 * i + n] = (uint8_t)(0x80 | (i + n));
        x[32 + 16 * i + 8] = (uint8_t)i;
        x[32 + 16 * i + 9] = 0x40;
    }
    for (unsigned i = 0; i < 256; i++)
        x[160 + i] = (uint8_t)(i * 7 + 1);
    x[512] = 3;
}

void fpu_pass(struct api *a)
{
    change_fpu(a);
    pass(a, MOTE_FPU);
    same_fpu(a, 416);
}

void fpu_avx_pass(struct api *a)
{
    change_fpu(a);
    for (unsigned i = 0; i < 256; i++)
        a->s->xsave[576 + i] = (uint8_t)(i * 5 + 3);
    a->s->xsave[512] = 7;
    pass(a, MOTE_FPU);
    same_fpu(a, 416);
    CHECK(a, !memcmp(a->s->xsave + 576, before.xsave + 576, 256));
    CHECK(a, a->s->xsave[512] & 4);
}

void all_pass(struct api *a)
{
    change_gprs(a);
    change_segs(a);
    change_crs(a);
    change_drs(a);
    change_msrs(a);
    change_fpu(a);
    a->s->intr.nmi_masked = 1;
    pass(a, MOTE_ALL);
    same_gprs(a);
    same_segs(a);
    same_crs(a);
    same_drs(a);
    same_msrs(a);
    same_intr(a);
    same_fpu(a, 416);
    EQUAL(a, a->s->version, MOTE_STATE_VERSION);
    EQUAL(a, a->s->size, sizeof(struct mote_state));
}

/* ---- RESET ---- */

/* SDM Vol. 3A table 9-1, as far as it is the same for all processors. */
void reset_state(struct api *a)
{
    struct mote_vcpu *v;
    const struct mote_state *s;

    MUST(a, mote_vcpu_create(&v, a->m, 1));
    s = mote_vcpu_state(v);
    CHECK(a, s);
    MUST(a, mote_vcpu_get(v, MOTE_ALL));
    EQUAL(a, s->version, MOTE_STATE_VERSION);
    EQUAL(a, s->rip, 0xfff0);
    EQUAL(a, s->rflags, FLAGS_R1);
    EQUAL(a, s->seg[MOTE_CS].selector, 0xf000);
    EQUAL(a, s->seg[MOTE_CS].base, 0xffff0000);
    EQUAL(a, s->seg[MOTE_DS].base, 0);
    EQUAL(a, s->seg[MOTE_SS].limit, 0xffff);
    EQUAL(a, s->cr0 & ~UINT64_C(0x60000000), 0x10);
    EQUAL(a, s->cr4, 0);
    EQUAL(a, s->cr3, 0);
    EQUAL(a, s->xcr0, 1);
    EQUAL(a, s->msr.efer, 0);
    EQUAL(a, s->msr.pat, UINT64_C(0x0007040600070406));
    EQUAL(a, s->dr[6], 0xffff0ff0);
    EQUAL(a, s->dr[7], 0x400);
    EQUAL(a, s->gdtr.limit, 0xffff);
    EQUAL(a, s->idtr.limit, 0xffff);
    EQUAL(a, s->intr.pending.kind, MOTE_EVENT_NONE);
    for (unsigned i = 0; i < MOTE_GPR_COUNT; i++)
        CHECK(a, !s->gpr[i] || i == MOTE_RDX); /* RDX: which processor */
    MUST(a, mote_vcpu_destroy(v));
}
