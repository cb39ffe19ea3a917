/* A debugger outside the guest. */
#include "api.h"

#include <errno.h>

#define INT3 0xcc

static void set_debug(struct api *a, const struct mote_vcpu_debug *d)
{
    MUST(a, mote_vcpu_set_debug(a->v, d));
}

static struct mote_vcpu_debug watch(unsigned n, uint64_t gva, unsigned size, unsigned kind)
{
    struct mote_vcpu_debug d = {0};

    d.watch[n].gva = gva;
    d.watch[n].size = (uint8_t)size;
    d.watch[n].kind = (uint8_t)kind;
    return d;
}

static void expect_debug(struct api *a, uint64_t rip, bool int3, bool step, unsigned watches)
{
    api_expect(a, MOTE_EXIT_DEBUG);
    EQUAL(a, a->exit.u.debug.rip, rip);
    EQUAL(a, a->exit.u.debug.int3, int3);
    EQUAL(a, a->exit.u.debug.step, step);
    EQUAL(a, a->exit.u.debug.watches, watches);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, rip);
    CHECK(a, !(a->s->rflags & FLAGS_TF));
}

void debug_int3(struct api *a)
{
    static const uint8_t nop = 0x90;

    set_debug(a, &(struct mote_vcpu_debug){.int3 = true});
    expect_debug(a, CODE + 5, true, false, 0);
    EQUAL(a, a->s->gpr[MOTE_RBX], 1);
    expect_debug(a, CODE + 5, true, false, 0); /* it is still there */
    api_ram(a, CODE + 5, &nop, 1);
    api_expect(a, a->c->mode == USER ? MOTE_EXIT_IO : MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), 2);
}

void debug_int3_off(struct api *a)
{
    set_debug(a, &(struct mote_vcpu_debug){.int3 = true});
    set_debug(a, &(struct mote_vcpu_debug){0});
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RSI), 3);
}

/*
 * Bochs' and KVM's emulators may exit before the first instruction of a page that is not mapped
 * yet: the code is run once before it is stepped.
 */
static void warm_up(struct api *a)
{
    api_expect(a, MOTE_EXIT_HALT);
    api_begin(a);
}

void debug_step(struct api *a)
{
    static const uint8_t at[] = {1, 6, 6, 8};

    warm_up(a);
    set_debug(a, &(struct mote_vcpu_debug){.step = true});
    for (unsigned i = 0; i < sizeof(at); i++)
        expect_debug(a, CODE + at[i], false, true, 0);
    set_debug(a, &(struct mote_vcpu_debug){0});
    api_expect(a, MOTE_EXIT_HALT);
}

void debug_step_real(struct api *a)
{
    static const uint8_t at[] = {1, 7, 8, 9};

    warm_up(a);
    set_debug(a, &(struct mote_vcpu_debug){.step = true});
    for (unsigned i = 0; i < sizeof(at); i++)
        expect_debug(a, CODE + at[i], false, true, 0);
    EQUAL(a, api_gpr(a, MOTE_RCX), 2);
}

/* An instruction that exits is a step, too, once it is answered. */
void debug_step_io(struct api *a)
{
    static const struct access accesses[] = {{IN, 1, 0x80, 7}, {RD, 4, DEV, 8}, {0}};

    set_debug(a, &(struct mote_vcpu_debug){.step = true});
    a->next = accesses;
    api_expect(a, MOTE_EXIT_IO);
    MUST(a, mote_vcpu_assist(a->v));
    expect_debug(a, CODE + 2, false, true, 0);
    EQUAL(a, api_gpr(a, MOTE_RAX), 7);
    expect_debug(a, CODE + 3, false, true, 0);
    api_expect(a, MOTE_EXIT_MEMORY);
    MUST(a, mote_vcpu_assist(a->v));
    expect_debug(a, CODE + 10, false, true, 0);
    EQUAL(a, api_gpr(a, MOTE_RCX), 8);
}

/* TF is not the guest's to see, where it is not what steps. */
void debug_step_hidden(struct api *a)
{
    warm_up(a);
    set_debug(a, &(struct mote_vcpu_debug){.step = true});
    for (unsigned i = 1; i <= 4; i++)
        expect_debug(a, CODE + i, false, true, 0);
    CHECK(a, a->on_kvm || !(api_gpr(a, MOTE_RAX) & FLAGS_TF));
}

void debug_watch_exec(struct api *a)
{
    struct mote_vcpu_debug d = watch(2, CODE + 2, 1, MOTE_WATCH_EXEC);

    set_debug(a, &d);
    for (unsigned i = 0; i < 3; i++) {
        expect_debug(a, CODE + 2, false, false, 4);
        EQUAL(a, a->s->gpr[MOTE_RCX], i);
    }
}

/* Reads do not count, nor do the bytes beside it. */
void debug_watch_write(struct api *a)
{
    struct mote_vcpu_debug d = watch(0, DATA, 4, MOTE_WATCH_WRITE);

    set_debug(a, &d);
    expect_debug(a, CODE + 7 + 11 + 11, false, false, 1);
    EQUAL(a, api_ram_at(a, DATA, 4), 1);
    api_expect(a, MOTE_EXIT_HALT);
}

void debug_watch_access(struct api *a)
{
    struct mote_vcpu_debug d = watch(1, DATA + 8, 2, MOTE_WATCH_ACCESS);

    set_debug(a, &d);
    expect_debug(a, CODE + 8, false, false, 2);
    expect_debug(a, CODE + 15, false, false, 2);
    api_expect(a, MOTE_EXIT_HALT);
}

void debug_watch_sizes(struct api *a)
{
    struct mote_vcpu_debug d = watch(0, DATA, 8, MOTE_WATCH_WRITE);

    d.watch[1].gva = DATA + 16;
    d.watch[1].size = 2;
    d.watch[2].gva = DATA + 24;
    d.watch[2].size = 4;
    d.watch[3].gva = DATA + 32;
    d.watch[3].size = 1;
    for (unsigned i = 1; i < 4; i++)
        d.watch[i].kind = MOTE_WATCH_WRITE;
    set_debug(a, &d);
    for (unsigned i = 0; i < 4; i++)
        expect_debug(a, CODE + 8 * (i + 1), false, false, 1u << i);
    api_expect(a, MOTE_EXIT_HALT);
}

void debug_bad_watch(struct api *a)
{
    static const struct {
        uint64_t gva;
        unsigned size, kind;
    } bad[] = {
        {DATA + 1, 2, MOTE_WATCH_WRITE},
        {DATA, 3, MOTE_WATCH_WRITE},
        {DATA, 0, MOTE_WATCH_ACCESS},
        {DATA, 4, MOTE_WATCH_EXEC},
        {DATA, 1, 9},
        {UINT64_C(1) << 60, 1, MOTE_WATCH_WRITE},
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct mote_vcpu_debug d = watch(0, bad[i].gva, bad[i].size, bad[i].kind);

        if (mote_vcpu_set_debug(a->v, &d) != -EINVAL)
            api_fail(a, "bad watch %u was not refused", i);
    }
    EQUAL(a, mote_vcpu_set_debug(a->v, NULL), -EINVAL);
    api_expect(a, MOTE_EXIT_HALT);
}

/* The guest's own debug registers stay its own. */
void debug_keeps_dr(struct api *a)
{
    struct mote_vcpu_debug d = watch(0, DATA + 0x800, 8, MOTE_WATCH_WRITE);

    a->s->dr[0] = 0x1234;
    a->s->dr[7] = 0x400;
    MUST(a, mote_vcpu_set(a->v, MOTE_DRS));
    set_debug(a, &d);
    api_expect(a, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0x1234);
    EQUAL(a, api_gpr(a, MOTE_RBX), 0x400);
}
