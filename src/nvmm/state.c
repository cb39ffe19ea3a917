/* The state of a vCPU: NVMM's layout and libmote's, and when it moves. */
#include "nvmm/layer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct fxsave) == 512, "the FXSAVE area");

enum {
    XSTATE_X87 = 1,
    XSTATE_SSE = 2,
    XSTATE_BV = 512, /* where the XSAVE header says what is not in its initial state */
};

/* ---- groups ---- */

static void segment_get(struct nvmm_x64_state_seg *out, const struct mote_seg *in)
{
    memset(out, 0, sizeof(*out));
    out->selector = in->selector;
    out->base = in->base;
    out->limit = in->limit;
    out->attrib.type = in->attrib & MOTE_SEG_TYPE;
    out->attrib.s = !!(in->attrib & MOTE_SEG_S);
    out->attrib.dpl = (in->attrib & MOTE_SEG_DPL) >> 5;
    out->attrib.p = in->attrib & MOTE_SEG_P && !(in->attrib & MOTE_SEG_UNUSABLE);
    out->attrib.avl = !!(in->attrib & MOTE_SEG_AVL);
    out->attrib.l = !!(in->attrib & MOTE_SEG_L);
    out->attrib.def = !!(in->attrib & MOTE_SEG_DB);
    out->attrib.g = !!(in->attrib & MOTE_SEG_G);
}

static void segment_set(struct mote_seg *out, const struct nvmm_x64_state_seg *in)
{
    memset(out, 0, sizeof(*out));
    out->selector = in->selector;
    out->base = in->base;
    out->limit = in->limit;
    out->attrib = in->attrib.type | (in->attrib.s ? MOTE_SEG_S : 0u) |
                  (uint32_t)in->attrib.dpl << 5 | (in->attrib.p ? MOTE_SEG_P : MOTE_SEG_UNUSABLE) |
                  (in->attrib.avl ? MOTE_SEG_AVL : 0u) | (in->attrib.l ? MOTE_SEG_L : 0u) |
                  (in->attrib.def ? MOTE_SEG_DB : 0u) | (in->attrib.g ? MOTE_SEG_G : 0u);
}

static void table_get(struct nvmm_x64_state_seg *out, const struct mote_table *in)
{
    memset(out, 0, sizeof(*out));
    out->base = in->base;
    out->limit = in->limit;
}

static void table_set(struct mote_table *out, const struct nvmm_x64_state_seg *in)
{
    out->base = in->base;
    out->limit = (uint16_t)in->limit;
}

_Static_assert(NVMM_X64_SEG_ES == (int)MOTE_ES && NVMM_X64_SEG_GS == (int)MOTE_GS,
               "segment registers have the same numbers");

static void segments_get(struct nvmm_vcpu_state *out, const struct mote_state *in)
{
    for (unsigned i = 0; i <= NVMM_X64_SEG_GS; i++)
        segment_get(&out->segs[i], &in->seg[i]);
    segment_get(&out->segs[NVMM_X64_SEG_LDT], &in->seg[MOTE_LDTR]);
    segment_get(&out->segs[NVMM_X64_SEG_TR], &in->seg[MOTE_TR]);
    table_get(&out->segs[NVMM_X64_SEG_GDT], &in->gdtr);
    table_get(&out->segs[NVMM_X64_SEG_IDT], &in->idtr);
}

static void segments_set(struct mote_state *out, const struct nvmm_vcpu_state *in)
{
    for (unsigned i = 0; i <= NVMM_X64_SEG_GS; i++)
        segment_set(&out->seg[i], &in->segs[i]);
    segment_set(&out->seg[MOTE_LDTR], &in->segs[NVMM_X64_SEG_LDT]);
    segment_set(&out->seg[MOTE_TR], &in->segs[NVMM_X64_SEG_TR]);
    table_set(&out->gdtr, &in->segs[NVMM_X64_SEG_GDT]);
    table_set(&out->idtr, &in->segs[NVMM_X64_SEG_IDT]);
}

_Static_assert(NVMM_X64_GPR_RSP == (int)MOTE_RSP && NVMM_X64_GPR_R15 == (int)MOTE_R15,
               "general registers have the same numbers");

static void gprs_get(struct nvmm_vcpu_state *out, const struct mote_state *in)
{
    memcpy(out->gprs, in->gpr, sizeof(in->gpr));
    out->gprs[NVMM_X64_GPR_RIP] = in->rip;
    out->gprs[NVMM_X64_GPR_RFLAGS] = in->rflags;
}

static void gprs_set(struct mote_state *out, const struct nvmm_vcpu_state *in)
{
    memcpy(out->gpr, in->gprs, sizeof(out->gpr));
    out->rip = in->gprs[NVMM_X64_GPR_RIP];
    out->rflags = in->gprs[NVMM_X64_GPR_RFLAGS] | 2;
}

static void crs_get(struct nvmm_vcpu_state *out, const struct mote_state *in)
{
    out->crs[NVMM_X64_CR_CR0] = in->cr0;
    out->crs[NVMM_X64_CR_CR2] = in->cr2;
    out->crs[NVMM_X64_CR_CR3] = in->cr3;
    out->crs[NVMM_X64_CR_CR4] = in->cr4;
    out->crs[NVMM_X64_CR_CR8] = in->cr8;
    out->crs[NVMM_X64_CR_XCR0] = in->xcr0;
}

static void crs_set(struct mote_state *out, const struct nvmm_vcpu_state *in, uint64_t xcr0)
{
    out->cr0 = in->crs[NVMM_X64_CR_CR0];
    out->cr2 = in->crs[NVMM_X64_CR_CR2];
    out->cr3 = in->crs[NVMM_X64_CR_CR3];
    out->cr4 = in->crs[NVMM_X64_CR_CR4];
    out->cr8 = in->crs[NVMM_X64_CR_CR8];
    out->xcr0 = (in->crs[NVMM_X64_CR_XCR0] & xcr0) | XSTATE_X87;
}

static const uint8_t dr_number[NVMM_X64_NDR] = {0, 1, 2, 3, 6, 7};

static void drs_get(struct nvmm_vcpu_state *out, const struct mote_state *in)
{
    for (unsigned i = 0; i < NVMM_X64_NDR; i++)
        out->drs[i] = in->dr[dr_number[i]];
}

static void drs_set(struct mote_state *out, const struct nvmm_vcpu_state *in)
{
    for (unsigned i = 0; i < NVMM_X64_NDR; i++)
        out->dr[dr_number[i]] = in->drs[i];
}

/* Where libmote keeps NVMM's, in NVMM's order. */
static void msr_places(struct mote_msrs *m, uint64_t *place[NVMM_X64_NMSR])
{
    uint64_t *all[NVMM_X64_NMSR] = {&m->efer,        &m->star,         &m->lstar,
                                    &m->cstar,       &m->sfmask,       &m->kernel_gs_base,
                                    &m->sysenter_cs, &m->sysenter_esp, &m->sysenter_eip,
                                    &m->pat,         &m->tsc};

    memcpy(place, all, sizeof(all));
}

static void msrs_get(struct nvmm_vcpu_state *out, struct mote_state *in)
{
    uint64_t *place[NVMM_X64_NMSR];

    msr_places(&in->msr, place);
    for (unsigned i = 0; i < NVMM_X64_NMSR; i++)
        out->msrs[i] = *place[i];
}

static void msrs_set(struct mote_state *out, const struct nvmm_vcpu_state *in)
{
    uint64_t *place[NVMM_X64_NMSR];

    msr_places(&out->msr, place);
    for (unsigned i = 0; i < NVMM_X64_NMSR; i++)
        *place[i] = in->msrs[i];
}

/* What the header leaves out is in its initial state, whatever the area holds. */
static void fpu_get(struct nvmm_vcpu_state *out, const struct mote_state *in)
{
    uint64_t bv;

    memcpy(&bv, in->xsave + XSTATE_BV, sizeof(bv));
    memcpy(&out->fpu, in->xsave, sizeof(out->fpu));
    if (!(bv & XSTATE_X87)) {
        memset(&out->fpu, 0, offsetof(struct fxsave, fx_mxcsr));
        memset(out->fpu.fx_87_ac, 0, sizeof(out->fpu.fx_87_ac));
        out->fpu.fx_cw = 0x37f;
    }
    if (!(bv & XSTATE_SSE))
        memset(out->fpu.fx_xmm, 0, sizeof(out->fpu.fx_xmm));
}

static void fpu_set(struct mote_state *out, const struct nvmm_vcpu_state *in)
{
    struct fxsave old, area = in->fpu;
    uint64_t bv;

    memcpy(&old, out->xsave, sizeof(old));
    area.fx_mxcsr_mask = old.fx_mxcsr_mask;
    area.fx_mxcsr &= old.fx_mxcsr_mask ? old.fx_mxcsr_mask : 0xffff;
    memcpy(area.fx_rsvd, old.fx_rsvd, sizeof(area.fx_rsvd) + sizeof(area.fx_kernel));
    memcpy(out->xsave, &area, sizeof(area));
    memcpy(&bv, out->xsave + XSTATE_BV, sizeof(bv));
    bv |= XSTATE_X87 | XSTATE_SSE;
    memcpy(out->xsave + XSTATE_BV, &bv, sizeof(bv));
}

static void intr_get(struct nv_vcpu *nv)
{
    struct nvmm_x64_state_intr *out = &nv->page.state.intr;

    memset(out, 0, sizeof(*out));
    out->int_shadow = nv->state->intr.shadow;
    out->int_window_exiting = nv->int_window;
    out->nmi_window_exiting = nv->nmi_window;
    out->evt_pending = nv->state->intr.pending.kind != MOTE_EVENT_NONE;
}

static int intr_set(struct nv_vcpu *nv)
{
    const struct nvmm_x64_state_intr *in = &nv->page.state.intr;

    nv->state->intr.shadow = in->int_shadow;
    nv->int_window = in->int_window_exiting;
    nv->nmi_window = in->nmi_window_exiting;
    return mote_vcpu_request_window(nv->v, nv->int_window, nv->nmi_window);
}

/* ---- moving them ---- */

static unsigned mote_groups(uint64_t groups)
{
    return (groups & NVMM_X64_STATE_SEGS ? MOTE_SEGS : 0u) |
           (groups & NVMM_X64_STATE_GPRS ? MOTE_GPRS : 0u) |
           (groups & NVMM_X64_STATE_CRS ? MOTE_CRS : 0u) |
           (groups & NVMM_X64_STATE_DRS ? MOTE_DRS : 0u) |
           (groups & NVMM_X64_STATE_MSRS ? MOTE_MSRS : 0u) |
           (groups & NVMM_X64_STATE_INTR ? MOTE_INTR : 0u) |
           (groups & NVMM_X64_STATE_FPU ? MOTE_FPU : 0u);
}

int nv_get(struct nv_vcpu *nv, uint64_t groups)
{
    struct nvmm_vcpu_state *out = &nv->page.state;
    uint64_t need = groups & NVMM_X64_STATE_ALL & ~nv->page.state_cached;
    int err;

    if (!need)
        return 0;
    if (nv->assisting)
        return -EBUSY;
    err = mote_vcpu_get(nv->v, mote_groups(need));
    if (err)
        return err;
    if (need & NVMM_X64_STATE_SEGS)
        segments_get(out, nv->state);
    if (need & NVMM_X64_STATE_GPRS)
        gprs_get(out, nv->state);
    if (need & NVMM_X64_STATE_CRS)
        crs_get(out, nv->state);
    if (need & NVMM_X64_STATE_DRS)
        drs_get(out, nv->state);
    if (need & NVMM_X64_STATE_MSRS)
        msrs_get(out, nv->state);
    if (need & NVMM_X64_STATE_INTR)
        intr_get(nv);
    if (need & NVMM_X64_STATE_FPU)
        fpu_get(out, nv->state);
    nv->page.state_cached |= need;
    return 0;
}

/* Groups of libmote's that have more in them than NVMM's are got before they are changed. */
int nv_commit(struct nv_vcpu *nv)
{
    const uint64_t parts = NVMM_X64_STATE_MSRS | NVMM_X64_STATE_INTR | NVMM_X64_STATE_FPU;
    uint64_t groups = nv->page.state_commit & NVMM_X64_STATE_ALL;
    const struct nvmm_vcpu_state *in = &nv->page.state;
    int err = groups & parts ? mote_vcpu_get(nv->v, mote_groups(groups & parts)) : 0;

    if (err || !groups)
        return err;
    if (groups & NVMM_X64_STATE_SEGS)
        segments_set(nv->state, in);
    if (groups & NVMM_X64_STATE_GPRS)
        gprs_set(nv->state, in);
    if (groups & NVMM_X64_STATE_CRS)
        crs_set(nv->state, in, nv->machine->caps.xcr0);
    if (groups & NVMM_X64_STATE_DRS)
        drs_set(nv->state, in);
    if (groups & NVMM_X64_STATE_MSRS)
        msrs_set(nv->state, in);
    if (groups & NVMM_X64_STATE_INTR)
        err = intr_set(nv);
    if (groups & NVMM_X64_STATE_FPU)
        fpu_set(nv->state, in);
    if (!err)
        err = mote_vcpu_set(nv->v, mote_groups(groups));
    if (!err)
        nv->page.state_commit = 0;
    return err;
}

int nvmm_vcpu_getstate(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu, uint64_t flags)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);

    return nv ? nv_result(nv_get(nv, flags)) : -1;
}

int nvmm_vcpu_setstate(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu, uint64_t flags)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);

    if (!nv)
        return -1;
    nv->page.state_commit |= flags & NVMM_X64_STATE_ALL;
    nv->page.state_cached |= flags & NVMM_X64_STATE_ALL;
    return 0;
}

/* ---- for people ---- */

static void dump_segment(const char *name, const struct nvmm_x64_state_seg *s)
{
    printf("| -> %-4s %04x base 0x%016" PRIx64
           " limit 0x%08x type %2u s %u dpl %u p %u l %u d %u\n",
           name, s->selector, s->base, s->limit, s->attrib.type, s->attrib.s, s->attrib.dpl,
           s->attrib.p, s->attrib.l, s->attrib.def);
}

static void dump(const char *const names[], const uint64_t *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        printf("| -> %-7s 0x%016" PRIx64 "\n", names[i], values[i]);
}

int nvmm_vcpu_dump(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu)
{
    static const char *const gprs[NVMM_X64_NGPR] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                                    "RSI", "RDI", "R8",  "R9",  "R10", "R11",
                                                    "R12", "R13", "R14", "R15", "RIP", "RFLAGS"};
    static const char *const segs[NVMM_X64_NSEG] = {"ES", "CS",  "SS",  "DS",  "FS",
                                                    "GS", "GDT", "IDT", "LDT", "TR"};
    static const char *const crs[NVMM_X64_NCR] = {"CR0", "CR2", "CR3", "CR4", "CR8", "XCR0"};
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);
    const struct nvmm_vcpu_state *s;
    int err;

    if (!nv)
        return -1;
    err = nv_get(nv, NVMM_X64_STATE_GPRS | NVMM_X64_STATE_SEGS | NVMM_X64_STATE_CRS |
                         NVMM_X64_STATE_MSRS);
    if (err)
        return nv_result(err);
    s = &nv->page.state;
    printf("+ VCPU id=%u\n", nv->id);
    dump(gprs, s->gprs, NVMM_X64_NGPR);
    for (unsigned i = 0; i < NVMM_X64_NSEG; i++)
        dump_segment(segs[i], &s->segs[i]);
    dump(crs, s->crs, NVMM_X64_NCR);
    printf("| -> %-7s 0x%016" PRIx64 "\n", "EFER", s->msrs[NVMM_X64_MSR_EFER]);
    if (nv->exit.reason == NVMM_VCPU_EXIT_INVALID)
        printf("| %s\n", nv->why);
    return 0;
}
