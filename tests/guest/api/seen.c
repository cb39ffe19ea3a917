/* The state as the guest sees it, and what the guest or the program makes of it. */
#include "api.h"

#include <errno.h>
#include <string.h>

void gprs_seen(struct api *a)
{
    static const uint8_t order[] = {MOTE_RAX, MOTE_RCX, MOTE_RDX, MOTE_RBX, MOTE_RBP,
                                    MOTE_RSI, MOTE_RDI, MOTE_R8,  MOTE_R9,  MOTE_R10,
                                    MOTE_R11, MOTE_R12, MOTE_R13, MOTE_R14, MOTE_R15};

    for (unsigned i = 0; i < MOTE_GPR_COUNT; i++)
        a->s->gpr[i] = i == MOTE_RSP ? STACK : UINT64_C(0xf00000000000000f) + 16 * i;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    api_expect(a, MOTE_EXIT_HALT);
    for (unsigned i = 0; i < sizeof(order); i++)
        EQUAL(a, api_ram_at(a, STACK - 8 * (i + 1), 8),
              UINT64_C(0xf00000000000000f) + 16 * order[i]);
    EQUAL(a, api_gpr(a, MOTE_RSP), STACK - 120);
}

void gprs_changed(struct api *a)
{
    for (unsigned i = 0; i < MOTE_GPR_COUNT; i++)
        a->s->gpr[i] = UINT64_C(0x0123456789abcdef) << i;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_GPRS);
    for (unsigned i = 0; i < MOTE_GPR_COUNT; i++)
        EQUAL(a, a->s->gpr[i], ~(UINT64_C(0x0123456789abcdef) << i));
}

void flags_seen(struct api *a)
{
    a->s->rflags = 0xed7;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0xed7);
}

void segs_seen(struct api *a)
{
    uint64_t fs = 0x1111, gs = 0x2222;

    api_ram(a, DATA + 0x100, &fs, 8);
    api_ram(a, DATA + 0x200, &gs, 8);
    a->s->seg[MOTE_FS].base = DATA + 0x100;
    a->s->seg[MOTE_GS].base = DATA + 0x200;
    a->s->seg[MOTE_ES].selector = 0x13;
    a->s->seg[MOTE_ES].attrib |= MOTE_SEG_DPL;
    a->s->gdtr.limit = 0x123;
    MUST(a, mote_vcpu_set(a->v, MOTE_SEGS));
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0x13);
    EQUAL(a, a->s->gpr[MOTE_RCX], fs);
    EQUAL(a, a->s->gpr[MOTE_RDX], gs);
    EQUAL(a, api_ram_at(a, DATA + 32, 2), 0x123);
    EQUAL(a, api_ram_at(a, DATA + 34, 8), GDT);
    EQUAL(a, api_ram_at(a, DATA + 48, 2), 16 * 256 - 1);
    EQUAL(a, api_ram_at(a, DATA + 50, 8), IDT);
}

void segs_changed(struct api *a)
{
    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_SEGS);
    EQUAL(a, a->s->seg[MOTE_FS].selector, 0x2b);
    EQUAL(a, a->s->seg[MOTE_FS].limit, 0xffffffff);
    EQUAL(a, a->s->seg[MOTE_FS].attrib & 0xff, 0xf3);
    EQUAL(a, a->s->seg[MOTE_GS].selector, 0);
}

void crs_seen(struct api *a)
{
    struct mote_state before;

    a->s->cr2 = UINT64_C(0xffff800000001abc);
    a->s->cr8 = 11;
    MUST(a, mote_vcpu_set(a->v, MOTE_CRS));
    before = *a->s;
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), before.cr0);
    EQUAL(a, a->s->gpr[MOTE_RBX], before.cr2);
    EQUAL(a, a->s->gpr[MOTE_RCX], before.cr3);
    EQUAL(a, a->s->gpr[MOTE_RDX], before.cr4);
    EQUAL(a, a->s->gpr[MOTE_RSI], 11);
}

void crs_changed(struct api *a)
{
    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_CRS);
    EQUAL(a, a->s->cr2, UINT64_C(0x123456789));
    EQUAL(a, a->s->cr8, 6);
    CHECK(a, a->s->cr0 & 0x10000);
}

void drs_seen(struct api *a)
{
    struct mote_state before;

    a->s->dr[0] = 0x1000;
    a->s->dr[1] = UINT64_C(0xffff888000001000);
    a->s->dr[2] = 3;
    a->s->dr[3] = UINT64_C(0x7fffffffffff);
    a->s->dr[6] = 0xffff0ff5;
    a->s->dr[7] = 0x400;
    MUST(a, mote_vcpu_set(a->v, MOTE_DRS));
    before = *a->s;
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), before.dr[0]);
    EQUAL(a, a->s->gpr[MOTE_RBX], before.dr[1]);
    EQUAL(a, a->s->gpr[MOTE_RCX], before.dr[2]);
    EQUAL(a, a->s->gpr[MOTE_RDX], before.dr[3]);
    EQUAL(a, a->s->gpr[MOTE_RSI], before.dr[6]);
    EQUAL(a, a->s->gpr[MOTE_RDI], before.dr[7]);
}

void drs_changed(struct api *a)
{
    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_DRS);
    EQUAL(a, a->s->dr[2], 0x1234);
    EQUAL(a, a->s->dr[6], 0xffff0ff0);
    EQUAL(a, a->s->dr[7], 0x455);
}

void msrs_seen(struct api *a)
{
    struct mote_state before;

    a->s->msr.lstar = UINT64_C(0xffffffff81000000);
    a->s->msr.kernel_gs_base = UINT64_C(0xffff888000001000);
    a->s->msr.pat = UINT64_C(0x0007010600070106);
    a->s->msr.tsc = 0;
    MUST(a, mote_vcpu_set(a->v, MOTE_MSRS));
    before = *a->s;
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), before.msr.lstar);
    EQUAL(a, a->s->gpr[MOTE_RSI], before.msr.kernel_gs_base);
    EQUAL(a, a->s->gpr[MOTE_RAX], before.msr.pat);
}

void msrs_changed(struct api *a)
{
    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_MSRS);
    EQUAL(a, a->s->msr.star, UINT64_C(0x10000800000005));
    EQUAL(a, a->s->msr.sysenter_cs, 8);
    EQUAL(a, a->s->msr.sfmask, 0x700);
}

/* It goes on from what was set. */
void tsc_seen(struct api *a)
{
    uint64_t seen;

    api_get(a, MOTE_MSRS);
    a->s->msr.tsc = UINT64_C(0x123456789abcd);
    MUST(a, mote_vcpu_set(a->v, MOTE_MSRS));
    api_expect(a, MOTE_EXIT_HALT);
    seen = api_gpr(a, MOTE_RAX);
    CHECK(a, seen >= UINT64_C(0x123456789abcd));
    CHECK(a, seen < UINT64_C(0x133456789abcd));
    api_get(a, MOTE_MSRS);
    CHECK(a, a->s->msr.tsc > seen);
}

void tsc_zero_stays(struct api *a)
{
    uint64_t then;

    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_MSRS);
    then = a->s->msr.tsc;
    a->s->msr.tsc = 0;
    MUST(a, mote_vcpu_set(a->v, MOTE_MSRS));
    api_expect(a, MOTE_EXIT_HALT);
    CHECK(a, api_gpr(a, MOTE_RAX) > then);
}

void fpu_seen(struct api *a)
{
    static const uint8_t one_and_a_half[] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0x3f};
    uint8_t *x = a->s->xsave;

    memset(x, 0, MOTE_XSAVE_SIZE);
    x[0] = 0x7f;
    x[1] = 3;
    x[4] = 1;
    memcpy(x + 32, one_and_a_half, 10);
    x[24] = 0xa0;
    x[25] = 0x1f;
    for (unsigned i = 0; i < 16; i++)
        x[160 + 5 * 16 + i] = (uint8_t)(0x30 + i);
    x[512] = 3;
    MUST(a, mote_vcpu_set(a->v, MOTE_FPU));
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_ram_at(a, DATA, 8), UINT64_C(0x3ff8000000000000));
    EQUAL(a, api_ram_at(a, DATA + 16, 8), UINT64_C(0x3736353433323130));
    EQUAL(a, api_ram_at(a, DATA + 24, 8), UINT64_C(0x3f3e3d3c3b3a3938));
    EQUAL(a, api_ram_at(a, DATA + 32, 4), 0x1fa0);
}

void fpu_changed(struct api *a)
{
    static const uint8_t one[] = {0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f};
    const uint8_t *x = a->s->xsave;

    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_FPU);
    CHECK(a, (x[512] & 3) == 3);
    CHECK(a, !memcmp(x + 32, one, 10));
    EQUAL(a, x[4], 0x80);
    EQUAL(a, x[0] | x[1] << 8, 0x37f);
    EQUAL(a, x[24] | x[25] << 8, 0x1fa0);
    EQUAL(a, x[160 + 15 * 16], 7);
}

/* Until IRET: an NMI waits. */
void nmi_mask_seen(struct api *a)
{
    const struct mote_event nmi = {.kind = MOTE_EVENT_NMI};

    a->s->intr.nmi_masked = 1;
    MUST(a, mote_vcpu_set(a->v, MOTE_INTR));
    MUST(a, mote_vcpu_inject(a->v, &nmi));
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RSI), 2);
    EQUAL(a, api_ram_at(a, a->s->gpr[MOTE_RSP], 8),
          CODE + (uint64_t)(a->c->code_end - a->c->code) - 1);
}

/* STI's shadow is in the state, where an exit ends up in it. */
void shadow_seen(struct api *a)
{
    MUST(a, mote_vcpu_set_debug(a->v, &(struct mote_vcpu_debug){.step = true}));
    api_expect(a, MOTE_EXIT_DEBUG);
    if (a->exit.u.debug.rip == CODE) /* a KVM that exits before the first instruction */
        api_expect(a, MOTE_EXIT_DEBUG);
    EQUAL(a, a->exit.u.debug.rip, CODE + 1);
    CHECK(a, !a->exit.intr_ready);
    api_get(a, MOTE_INTR);
    EQUAL(a, a->s->intr.shadow, 1);
}

/* From real mode into long mode, by the state alone. */
void mode_switch(struct api *a)
{
    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_ALL);
    api_mode(a->s, LONG);
    a->s->rip = CODE + 1;
    a->s->msr.tsc = 0;
    MUST(a, mote_vcpu_set(a->v, MOTE_ALL));
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), UINT64_C(0x123456789a));
    api_get(a, MOTE_SEGS | MOTE_MSRS);
    EQUAL(a, a->s->msr.efer & 0x500, 0x500);
    CHECK(a, a->s->seg[MOTE_CS].attrib & MOTE_SEG_L);
}

/* The tables map the last 512 GiB like the first ones. */
void rip_high(struct api *a)
{
    api_ram64(a, TABLES + 8 * 511, (TABLES + 0x1000) | PTE_RW);
    api_set_rip(a, UINT64_C(0xffffff8000000000) + CODE);
    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, UINT64_C(0xffffff8000000000) + CODE + 1);
}

void unknown_group(struct api *a)
{
    EQUAL(a, mote_vcpu_set(a->v, MOTE_ALL + 1), -EINVAL);
    EQUAL(a, mote_vcpu_get(a->v, 1u << 31), -EINVAL);
    MUST(a, mote_vcpu_set(a->v, 0));
    MUST(a, mote_vcpu_get(a->v, 0));
    EQUAL(a, mote_vcpu_set(NULL, MOTE_GPRS), -EINVAL);
    EQUAL(a, mote_vcpu_get(NULL, MOTE_GPRS), -EINVAL);
    CHECK(a, !mote_vcpu_state(NULL));
    api_expect(a, MOTE_EXIT_HALT);
}

void set_survives_stop(struct api *a)
{
    a->s->gpr[MOTE_RAX] = 5;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    MUST(a, mote_vcpu_stop(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_NONE);
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), 5);
}

/* An exit that nobody answers, and a new rip: it is the new one that counts. */
void set_after_io(struct api *a)
{
    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    api_set_rip(a, CODE + 5);
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), 2);
}

void set_before_assist(struct api *a)
{
    static const struct access seven[] = {{IN, 1, 0x80, 7}, {0}};

    a->next = seven;
    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    api_get(a, MOTE_GPRS);
    a->s->gpr[MOTE_RAX] = 0x1100;
    a->s->gpr[MOTE_RBX] = 3;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    MUST(a, mote_vcpu_assist(a->v));
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0x1107);
    EQUAL(a, a->s->gpr[MOTE_RBX], 3);
}
