/* Accesses that are not answered, or refused, or answered in unusual ways. */
#include "api.h"

#include <errno.h>
#include <string.h>

static bool is_access(uint32_t reason)
{
    return reason == MOTE_EXIT_IO || reason == MOTE_EXIT_MEMORY;
}

/* Nobody assists: reads are all ones, writes are lost. */
void unanswered(struct api *a)
{
    unsigned exits = 0;

    for (; is_access(api_run(a)); exits++)
        CHECK(a, exits < 20);
    CHECK(a, exits);
    EQUAL(a, a->exit.reason, MOTE_EXIT_HALT);
    api_compare(a);
}

/* A callback's error is the assist's, and the exit may be assisted again. */
void refused(struct api *a)
{
    CHECK(a, is_access(api_run(a)));
    a->device_error = -EHOSTDOWN;
    EQUAL(a, mote_vcpu_assist(a->v), -EHOSTDOWN);
    api_get(a, MOTE_GPRS);
    CHECK(a, a->s->rip < CODE + (uint64_t)(a->c->code_end - a->c->code) - 1);
    a->device_error = -EPERM;
    EQUAL(a, mote_vcpu_assist(a->v), -EPERM);
    MUST(a, mote_vcpu_assist(a->v));
    api_script(a);
}

void without_callback(struct api *a)
{
    MUST(a, mote_machine_set_callbacks(a->m, &(struct mote_callbacks){0}));
    CHECK(a, is_access(api_run(a)));
    EQUAL(a, mote_vcpu_assist(a->v), -ENOTSUP);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    api_compare(a);
}

/* ---- what a callback may do ---- */

static int looks(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    struct mote_state *s = mote_vcpu_state(vcpu);
    uint64_t *seen = user;

    seen[0]++;
    seen[1] = s ? s->gpr[MOTE_RBX] : 0;
    seen[2] = s ? s->rip : 0;
    access->data = 7;
    return 0;
}

/* What was got before is the state before the instruction. */
void state_in_callback(struct api *a)
{
    uint64_t seen[3] = {0};

    MUST(a, mote_machine_set_callbacks(a->m, &(struct mote_callbacks){NULL, looks, seen}));
    EQUAL(a, api_run(a), MOTE_EXIT_MEMORY);
    api_get(a, MOTE_GPRS);
    MUST(a, mote_vcpu_assist(a->v));
    EQUAL(a, seen[0], 1);
    EQUAL(a, seen[1], 3);
    EQUAL(a, seen[2], CODE + 5);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    api_compare(a);
}

/* Calls that would take the vCPU away from under its own assist are refused, others are not. */
static int changes(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    struct mote_exit exit;
    struct api *a = user;

    access->data = 7;
    if (mote_vcpu_run(vcpu, &exit) != -EBUSY || mote_vcpu_assist(vcpu) != -EBUSY ||
        mote_vcpu_set(vcpu, MOTE_GPRS) != -EBUSY || mote_vcpu_destroy(vcpu) != -EBUSY ||
        mote_machine_destroy(a->m) != -EBUSY)
        access->data = 8;
    if (mote_gpa_map(a->m, DEV + 0x4000, a->extra, 0x2000, MOTE_RWX) ||
        mote_gpa_unmap(a->m, DEV + 0x4000, 0x1000) || mote_gpa_unmap(a->m, DEV + 0x5000, 0x1000) ||
        mote_hva_unregister(a->m, a->extra, EXTRA_SIZE) ||
        mote_hva_register(a->m, a->extra, EXTRA_SIZE) || mote_gpa_written(a->m, CODE, 16))
        access->data = 9;
    return 0;
}

void changes_in_callback(struct api *a)
{
    MUST(a, mote_machine_set_callbacks(a->m, &(struct mote_callbacks){NULL, changes, a}));
    EQUAL(a, api_run(a), MOTE_EXIT_MEMORY);
    MUST(a, mote_vcpu_assist(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    api_compare(a);
}

/* ---- devices that change the map ---- */

static void assist_to_halt(struct api *a)
{
    while (is_access(api_run(a)))
        MUST(a, mote_vcpu_assist(a->v));
    EQUAL(a, a->exit.reason, MOTE_EXIT_HALT);
}

/* The byte that is written says which page of the extra memory is at DEV + 0x1000. */
static int chooses_bank(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    struct api *a = user;
    int err = mote_gpa_unmap(a->m, DEV + 0x1000, 0x1000);

    if (!access->write || (err && err != -ENOENT))
        return -EPROTO;
    return mote_gpa_map(a->m, DEV + 0x1000, a->extra + (access->data & 7) * 0x1000, 0x1000,
                        MOTE_RWX);
}

/* Each bank's number is in its memory, and in its code. */
void banks_in_callback(struct api *a)
{
    for (uint8_t bank = 0; bank < 8; bank++) {
        uint8_t code[] = {0xb8, bank, 0, 0, 0, 0xc3}; /* mov $bank, %eax; ret */

        a->extra[bank * 0x1000 + 16] = bank;
        memcpy(a->extra + bank * 0x1000 + 32, code, sizeof(code));
    }
    MUST(a,
         mote_machine_set_callbacks(a->m, &(struct mote_callbacks){chooses_bank, chooses_bank, a}));
    assist_to_halt(a);
    api_compare(a);
    for (uint8_t bank = 0; bank < 8; bank++)
        EQUAL(a, a->extra[bank * 0x1000 + 17], bank);
}

/* 7 is read of the device; the first access puts memory in its place, or takes that beside it. */
static int moves(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    struct api *a = user;
    int err;

    if (!access->write)
        access->data = 7;
    switch (a->c->arg) {
    case 0: return mote_gpa_map(a->m, DEV, a->extra, 0x1000, MOTE_RWX);
    case 1: mote_gpa_unmap(a->m, DEV - 0x1000, 0x1000); return 0; /* once more, it is not there */
    default: err = mote_gpa_unmap(a->m, CODE, 0x1000); break;
    }
    return err ? err : mote_gpa_map(a->m, CODE, a->extra, 0x1000, MOTE_RWX);
}

void memory_in_callback(struct api *a)
{
    size_t size = (size_t)(a->c->code_end - a->c->code);

    /* The same code, but for its last byte but one: HLT is behind an immediate. */
    if (a->c->arg == 2) {
        memcpy(a->extra, a->c->code, size);
        a->extra[size - 2] = 9;
    }
    MUST(a, mote_machine_set_callbacks(a->m, &(struct mote_callbacks){moves, moves, a}));
    assist_to_halt(a);
    api_compare(a);
}

/* ---- many elements ---- */

#define MANY 3000

struct stream {
    unsigned count;
    bool in_order;
};

static int stream(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    struct stream *s = user;

    if (access->write)
        s->in_order &= access->data == 3 * s->count && access->size == 4;
    else
        access->data = 5 * s->count + 1;
    s->count++;
    return 0;
}

static void many(struct api *a)
{
    struct stream s = {0, true};
    unsigned exits = 0;

    MUST(a, mote_machine_set_callbacks(a->m, &(struct mote_callbacks){stream, NULL, &s}));
    for (; api_run(a) == MOTE_EXIT_IO || a->exit.reason == MOTE_EXIT_NONE; exits++)
        if (a->exit.reason == MOTE_EXIT_IO)
            MUST(a, mote_vcpu_assist(a->v));
    EQUAL(a, a->exit.reason, MOTE_EXIT_HALT);
    EQUAL(a, s.count, MANY);
    CHECK(a, s.in_order);
    EQUAL(a, api_gpr(a, MOTE_RCX), 0);
}

void many_ins(struct api *a)
{
    many(a);
    for (unsigned i = 0; i < MANY; i++)
        EQUAL(a, api_ram_at(a, DATA + i, 1), (uint8_t)(5 * i + 1));
    EQUAL(a, api_ram_at(a, DATA + MANY, 1), 0);
}

void many_outs(struct api *a)
{
    for (unsigned i = 0; i < MANY; i++) {
        uint32_t value = 3 * i;

        api_ram(a, DATA + 4 * i, &value, 4);
    }
    many(a);
}
