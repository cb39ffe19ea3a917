/* Events that are injected: what the guest's handler finds. */
#include "api.h"

#include <errno.h>
#include <string.h>

static int inject(struct api *a, unsigned kind, unsigned vector)
{
    const struct mote_event event = {.kind = kind, .vector = (uint8_t)vector};

    return mote_vcpu_inject(a->v, &event);
}

/* Up to where the vCPU says that it is ready: from a stop, before the first instruction. */
static void get_ready(struct api *a)
{
    MUST(a, mote_vcpu_stop(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_NONE);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE);
}

/* The handler of a vector halted, and was entered with rip and flags as given. */
static void in_handler(struct api *a, unsigned vector, bool error, uint64_t rip)
{
    enum mode mode = a->c->mode;
    unsigned word = mode == REAL ? 2 : mode == PROT ? 4 : 8;
    uint64_t sp, stack = mode == USER ? RING0 : STACK;
    unsigned words = mode == REAL || mode == PROT ? 3 : 5;

    EQUAL(a, a->exit.reason, MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RSI) & 0xff, vector);
    sp = a->s->gpr[MOTE_RSP];
    EQUAL(a, a->s->rip, HANDLERS + 16 * vector + (mode == REAL ? 4 : 6));
    EQUAL(a, sp, stack - word * (words + error));
    EQUAL(a, api_ram_at(a, sp + error * word, word), rip);
    CHECK(a, !(a->s->rflags & FLAGS_IF));
    if (words == 5)
        EQUAL(a, api_ram_at(a, sp + (error + 3) * word, word), STACK);
}

void inject_intr(struct api *a)
{
    get_ready(a);
    CHECK(a, a->exit.intr_ready);
    MUST(a, inject(a, MOTE_EVENT_INTR, a->c->arg));
    api_run(a);
    in_handler(a, a->c->arg, false, CODE);
    CHECK(a, api_ram_at(a,
                        a->s->gpr[MOTE_RSP] + (a->c->mode == REAL   ? 4
                                               : a->c->mode == PROT ? 8
                                                                    : 16),
                        2) &
                 FLAGS_IF);
    if (a->c->mode == USER)
        return;
    EQUAL(a, api_run(a), MOTE_EXIT_HALT); /* behind IRET */
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE + 2);
    CHECK(a, a->s->rflags & FLAGS_IF);
}

/* IF is clear, then set, and behind HLT it may come. */
void inject_not_ready(struct api *a)
{
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    CHECK(a, !a->exit.intr_ready);
    EQUAL(a, inject(a, MOTE_EVENT_INTR, 0x40), -EAGAIN);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    CHECK(a, a->exit.intr_ready);
    MUST(a, inject(a, MOTE_EVENT_INTR, 0x40));
    api_run(a);
    in_handler(a, 0x40, false, CODE + 4);
}

void inject_shadow(struct api *a)
{
    a->s->rflags |= FLAGS_IF;
    a->s->intr.shadow = 1;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS | MOTE_INTR));
    get_ready(a);
    CHECK(a, !a->exit.intr_ready);
    EQUAL(a, inject(a, MOTE_EVENT_INTR, 0x40), -EAGAIN);
}

void inject_halted(struct api *a)
{
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    CHECK(a, a->exit.intr_ready);
    MUST(a, inject(a, MOTE_EVENT_INTR, 0x51));
    api_run(a);
    in_handler(a, 0x51, false, CODE + 2);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), 7);
}

void inject_twice(struct api *a)
{
    get_ready(a);
    MUST(a, inject(a, MOTE_EVENT_INTR, 0x51));
    EQUAL(a, inject(a, MOTE_EVENT_INTR, 0x52), -EAGAIN);
    api_run(a);
    in_handler(a, 0x51, false, CODE);
    EQUAL(a, inject(a, MOTE_EVENT_INTR, 0x52), -EAGAIN);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RSI), 0x51);
}

void inject_at_window(struct api *a)
{
    get_ready(a);
    CHECK(a, !a->exit.intr_ready);
    EQUAL(a, inject(a, MOTE_EVENT_INTR, 0x51), -EAGAIN);
    MUST(a, mote_vcpu_request_window(a->v, true, false));
    EQUAL(a, api_run(a), MOTE_EXIT_INTR_WINDOW);
    MUST(a, inject(a, MOTE_EVENT_INTR, 0x51));
    api_run(a);
    in_handler(a, 0x51, false, CODE + 7);
}

/* The instruction is finished before the interrupt comes. */
void inject_after_io(struct api *a)
{
    static const struct access seven[] = {{IN, 1, 0x80, 7}, {0}};

    a->next = seven;
    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    MUST(a, mote_vcpu_assist(a->v));
    MUST(a, mote_vcpu_request_window(a->v, true, false));
    EQUAL(a, api_run(a), MOTE_EXIT_INTR_WINDOW);
    MUST(a, inject(a, MOTE_EVENT_INTR, 0x51));
    api_run(a);
    in_handler(a, 0x51, false, CODE + 2);
    EQUAL(a, a->s->gpr[MOTE_RAX], 7);
}

void inject_nmi(struct api *a)
{
    MUST(a, inject(a, MOTE_EVENT_NMI, 0));
    api_expect(a, MOTE_EXIT_HALT);
    in_handler(a, 2, false, CODE);
    api_get(a, MOTE_INTR);
    CHECK(a, a->s->intr.nmi_masked);
    if (a->c->mode == USER)
        return;
    api_expect(a, MOTE_EXIT_HALT);
    api_get(a, MOTE_INTR);
    CHECK(a, !a->s->intr.nmi_masked);
}

void inject_nmi_halted(struct api *a)
{
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    MUST(a, inject(a, MOTE_EVENT_NMI, 0));
    api_run(a);
    in_handler(a, 2, false, CODE + 1);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), 7);
}

/* The second waits until the first one's handler is through. */
void inject_nmi_masked(struct api *a)
{
    MUST(a, inject(a, MOTE_EVENT_NMI, 0));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    in_handler(a, 2, false, CODE);
    MUST(a, inject(a, MOTE_EVENT_NMI, 0));
    api_get(a, MOTE_INTR);
    CHECK(a, a->s->intr.nmi_masked);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    in_handler(a, 2, false, CODE);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE + 2);
}

void inject_nothing(struct api *a)
{
    EQUAL(a, inject(a, MOTE_EVENT_NONE, 0), -EINVAL);
    EQUAL(a, inject(a, 4, 0), -EINVAL);
    EQUAL(a, mote_vcpu_inject(a->v, NULL), -EINVAL);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

static bool has_error(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

void inject_exception(struct api *a)
{
    unsigned vector = a->c->arg;
    bool error = has_error(vector) && a->c->mode != REAL;
    const struct mote_event event = {.kind = MOTE_EVENT_EXCEPTION,
                                     .vector = (uint8_t)vector,
                                     .has_error = error,
                                     .error = !error || vector == 8 || vector == 17 ? 0 : 0x18};

    MUST(a, mote_vcpu_inject(a->v, &event));
    EQUAL(a, mote_vcpu_inject(a->v, &event), -EAGAIN);
    api_expect(a, MOTE_EXIT_HALT);
    in_handler(a, vector, error, CODE);
    if (error)
        EQUAL(a, api_ram_at(a, a->s->gpr[MOTE_RSP], 4), event.error);
}

/* #BP as the answer to an INT3 that was the guest's own. */
void inject_bp(struct api *a)
{
    MUST(a, inject(a, MOTE_EVENT_EXCEPTION, 3));
    api_expect(a, MOTE_EXIT_HALT);
    in_handler(a, 3, false, CODE + 1);
}

/* As a snapshot has it: in the state. */
void inject_pending(struct api *a)
{
    api_get(a, MOTE_INTR);
    a->s->intr.pending = (struct mote_event){.kind = MOTE_EVENT_INTR, .vector = 0x61};
    MUST(a, mote_vcpu_set(a->v, MOTE_INTR));
    api_expect(a, MOTE_EXIT_HALT);
    in_handler(a, 0x61, false, CODE);
}
