/* Going on: c, C, s, S, and vCont with an action for each thread. */
#include "gdb/stub_internal.h"

#include "base/bits.h"
#include "x86/paging.h"

#include <errno.h>

#define CPUS_MAX 4096

enum action {
    ACTION_NONE, /* no action of the packet names the thread: it stays */
    ACTION_STAY,
    ACTION_RUN,
    ACTION_STEP,
};

static void resume(struct gdb_stub *s, unsigned cpu, bool step)
{
    s->target->resume(s->target->user, cpu, step);
}

/* "[ADDRESS]" of c and s, "SIGNAL[;ADDRESS]" of C and S: where to go on. */
static int set_address(struct gdb_stub *s, struct gdb_text *t)
{
    struct mote_state *state;
    uint64_t rip;

    if (t->at == t->end)
        return 0;
    if (!gdb_take_number(t, &rip) || !x86_canonical(rip))
        return -EINVAL;
    state = s->target->get(s->target->user, s->resume_cpu, X86_GPRS);
    if (!state)
        return -EIO;
    state->rip = rip;
    return s->target->set(s->target->user, s->resume_cpu, X86_GPRS);
}

bool stub_resume(struct gdb_stub *s, struct gdb_text *t)
{
    bool step = *t->at == 's' || *t->at == 'S', with_signal = *t->at == 'C' || *t->at == 'S';
    uint64_t sig; /* a processor has none; it is enough to understand them */
    int err = 0;

    t->at++;
    if (with_signal && (!gdb_take_number(t, &sig) || (t->at < t->end && !gdb_take(t, ";"))))
        err = -EINVAL;
    if (!err)
        err = set_address(s, t);
    if (err) {
        stub_error(s, err);
        return true;
    }
    s->state = GDB_RUNNING;
    for (unsigned i = 0; i < s->target->cpus; i++) {
        if (i == s->resume_cpu)
            resume(s, i, step);
        else if (s->resume_all && !step)
            resume(s, i, false);
    }
    return false;
}

/* ---- vCont ---- */

static enum action take_action(struct gdb_text *t)
{
    uint64_t sig;

    if (gdb_take(t, "c"))
        return ACTION_RUN;
    if (gdb_take(t, "s"))
        return ACTION_STEP;
    if (gdb_take(t, "t"))
        return ACTION_STAY;
    if (gdb_take(t, "C"))
        return gdb_take_number(t, &sig) ? ACTION_RUN : ACTION_NONE;
    if (gdb_take(t, "S"))
        return gdb_take_number(t, &sig) ? ACTION_STEP : ACTION_NONE;
    return ACTION_NONE;
}

/* One "ACTION[:THREAD]"; the first that names a thread is the one for it. */
static bool take_clause(struct gdb_stub *s, struct gdb_text *t, uint8_t *actions,
                        enum action *others)
{
    enum action action = take_action(t);
    bool all = true;
    unsigned cpu;

    if (action == ACTION_NONE)
        return false;
    if (gdb_take(t, ":") && !stub_take_thread(s, t, &cpu, &all))
        return false;
    if (t->at < t->end && !gdb_take(t, ";"))
        return false;
    if (all && *others == ACTION_NONE)
        *others = action;
    else if (!all && actions[cpu] == ACTION_NONE)
        actions[cpu] = *others == ACTION_NONE ? (uint8_t)action : (uint8_t)*others;
    return true;
}

static bool perform(struct gdb_stub *s, const uint8_t *actions, enum action others)
{
    bool any = false;

    for (unsigned i = 0; i < s->target->cpus; i++) {
        unsigned action = actions[i] ? actions[i] : others;

        if (action != ACTION_RUN && action != ACTION_STEP)
            continue;
        s->state = GDB_RUNNING;
        resume(s, i, action == ACTION_STEP);
        any = true;
    }
    return any;
}

bool stub_vcont(struct gdb_stub *s, struct gdb_text *t)
{
    uint8_t actions[CPUS_MAX] = {0};
    enum action others = ACTION_NONE;

    if (s->target->cpus > CPUS_MAX || t->at == t->end) {
        stub_error(s, EINVAL);
        return true;
    }
    while (t->at < t->end) {
        if (!take_clause(s, t, actions, &others)) {
            stub_error(s, EINVAL);
            return true;
        }
    }
    if (perform(s, actions, others))
        return false;
    stub_put_stop(s); /* nothing runs */
    return true;
}
